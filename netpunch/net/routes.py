"""Which way the system sends a datagram: its routing table's answer, by rtnetlink(7)."""

from __future__ import annotations

import itertools
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netpunch.address import Address
from netpunch.net.sockets import DEFAULT_OPTIONS, SocketOptions
from netpunch.tunnels import is_tunnel

# Of linux/netlink.h and linux/rtnetlink.h.
NLM_F_REQUEST = 1
RTM_NEWROUTE = 24
RTM_GETROUTE = 26
RTA_DST = 1
RTA_OIF = 4
RTA_PREFSRC = 7
RTA_MARK = 16
RTA_IP_PROTO = 27
RTA_SPORT = 28
RTA_DPORT = 29

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence, port."""
ROUTE = struct.Struct("=8BI")
"""struct rtmsg: family, length of destination and source in bits, type of service, table, protocol,
scope, type, flags."""
ATTRIBUTE = struct.Struct("=HH")
"""struct rtattr: length, type; the next one begins at a multiple of four."""
MAX_ANSWER = 4096
"""Bytes: more than a route with all of its attributes takes."""


class Route(NamedTuple):
    """The interface that datagrams leave by, and the own address (canonical) that they come from
    unless they have one; empty if the system doesn't tell."""

    interface: str
    source: str


def route_to(
    destination: Address, *, port: int = 0, options: SocketOptions = DEFAULT_OPTIONS
) -> Route | None:
    """How UDP datagrams get to `destination` from a wildcard socket on `port` with these options,
    rules of policy routing included. None if they don't, or the system doesn't tell: anywhere but
    on Linux."""
    if sys.platform != "linux":
        return None
    try:
        answer = _ask(_question(destination, port, options))
        index = answer.get(RTA_OIF)
        interface = socket.if_indextoname(int.from_bytes(index, sys.byteorder)) if index else ""
    except OSError:
        return None
    source = answer.get(RTA_PREFSRC)
    if not interface:
        return None
    return Route(interface, _host(source) if source else "")


def tunnel_towards(
    destinations: Iterable[Address], *, port: int = 0, options: SocketOptions = DEFAULT_OPTIONS
) -> str:
    """A sentence for people if the way to one of these leads into a tunnel of this host; else
    empty."""
    for destination in destinations:
        route = route_to(destination, port=port, options=options)
        if route is not None and is_tunnel(route.interface):
            return (
                f"the route to {destination} leads into the tunnel {route.interface}: if that "
                "tunnel runs over this link, set `mark: 51820` (the mark that wg-quick chooses; "
                "`wg show` tells it) or `interface:` for this end"
            )
    return ""


def _question(destination: Address, port: int, options: SocketOptions) -> bytes:
    family = socket.AF_INET6 if destination.family == 6 else socket.AF_INET
    host = socket.inet_pton(family, destination.host)
    attributes = [
        (RTA_DST, host),
        (RTA_IP_PROTO, bytes((socket.IPPROTO_UDP,))),
        (RTA_DPORT, struct.pack("!H", destination.port)),
    ]
    if port:
        attributes.append((RTA_SPORT, struct.pack("!H", port)))
    if options.mark:
        attributes.append((RTA_MARK, struct.pack("=I", options.mark)))
    if options.interface:
        index = socket.if_nametoindex(options.interface)
        attributes.append((RTA_OIF, struct.pack("=I", index)))
    route = ROUTE.pack(family, len(host) * 8, 0, 0, 0, 0, 0, 0, 0)
    body = route + b"".join(itertools.starmap(_attribute, attributes))
    return HEADER.pack(HEADER.size + len(body), RTM_GETROUTE, NLM_F_REQUEST, 0, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + padding


def _ask(question: bytes) -> dict[int, bytes]:
    """The attributes of the answer, none if it is an error. The kernel answers within send()."""
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


def _host(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET6 if len(packed) == 16 else socket.AF_INET, packed)
