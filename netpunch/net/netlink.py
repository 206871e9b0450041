"""rtnetlink(7): asking the kernel for a route, and hearing that interfaces, addresses or routes
change. Linux only."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
from collections.abc import Iterable, Iterator

# Of linux/netlink.h and linux/rtnetlink.h.
NLM_F_REQUEST = 1
RTM_NEWROUTE = 24
RTM_GETROUTE = 26
RTA_DST = 1
RTA_SRC = 2
RTA_OIF = 4
RTA_GATEWAY = 5
RTA_PREFSRC = 7
RTA_MARK = 16
RTA_VIA = 18
RTA_IP_PROTO = 27
RTA_SPORT = 28
RTA_DPORT = 29
RTNLGRP_LINK = 1
RTNLGRP_IPV4_IFADDR = 5
RTNLGRP_IPV4_ROUTE = 7
RTNLGRP_IPV4_RULE = 8
RTNLGRP_IPV6_IFADDR = 9
RTNLGRP_IPV6_ROUTE = 11
RTNLGRP_IPV6_RULE = 19
SOL_NETLINK = 270
NETLINK_NO_ENOBUFS = 5

CHANGES = (
    RTNLGRP_LINK,  # IPv4 routes that go with their interface are not announced by themselves
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_ROUTE,
    RTNLGRP_IPV4_RULE,
    RTNLGRP_IPV6_RULE,
)
"""The groups of messages that tell of a change of this host's network."""

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence, port."""
ROUTE = struct.Struct("=8BI")
"""struct rtmsg: family, length of destination and source in bits, type of service, table, protocol,
scope, type, flags."""
ATTRIBUTE = struct.Struct("=HH")
"""struct rtattr: length, type; the next one begins at a multiple of four."""
MAX_ANSWER = 4096
"""Bytes: more than a route with all of its attributes takes."""
QUEUE = 4096
"""Bytes of messages about changes that wait to be read. What they say does not matter, so few need
to be kept: on a router there may be thousands a second."""


def route_attributes(
    family: socket.AddressFamily, destination: bytes, more: Iterable[tuple[int, bytes]]
) -> dict[int, bytes]:
    """The attributes of the kernel's route to a packed destination, for what `more` says of the
    datagrams; none if there is no route. Raises OSError where netlink is not to be had."""
    attributes = {RTA_DST: destination, **dict(more)}
    lengths = (8 * len(attributes.get(kind, b"")) for kind in (RTA_DST, RTA_SRC))
    route = ROUTE.pack(family, *lengths, 0, 0, 0, 0, 0, 0)
    body = route + b"".join(itertools.starmap(_attribute, attributes.items()))
    return _ask(HEADER.pack(HEADER.size + len(body), RTM_GETROUTE, NLM_F_REQUEST, 0, 0) + body)


def open_changes() -> socket.socket:
    """A socket that becomes readable each time that interfaces, addresses or routes change. Raises
    OSError where it is not to be had.

    Overflow makes no difference: without ENOBUFS messages are dropped only while others wait."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        sock.setblocking(False)
        sock.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)  # uvloop gives up sockets with errors
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE)
        sock.bind((0, sum(1 << group - 1 for group in CHANGES)))
    except BaseException:
        sock.close()
        raise
    return sock


def discard(changes: socket.socket, most: int) -> None:
    """Takes up to `most` messages, unread, from the queue of such a socket."""
    with contextlib.suppress(OSError):  # nothing left
        for _ in range(most):
            changes.recv(1)  # which drops the rest of the message


def _attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + padding


def _ask(question: bytes) -> dict[int, bytes]:
    """The attributes of the answer, none if it is an error. The kernel answers during send()."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.send(question)
        answer = sock.recv(MAX_ANSWER)
    length, kind, *_ = HEADER.unpack_from(answer)
    if kind != RTM_NEWROUTE:
        return {}
    return dict(_attributes(answer[HEADER.size + ROUTE.size : length]))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(data)
        yield kind, data[ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
