"""Why a control is silent, as far as its host says: asked from sockets of their own, once for all
ends of a loop that announce themselves there.

A host refuses datagrams to a port at which nothing listens, unless a firewall drops them. So one
that refuses another port but not control's lets datagrams arrive, and something listens there.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import NamedTuple
from weakref import WeakKeyDictionary

from netpunch.address import Address
from netpunch.core.settings import EndSettings
from netpunch.errors import NetpunchError
from netpunch.net.sockets import Bind, binder, connected
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import CONTROL_DATAGRAM, NONCE_LENGTH, ControlChannel
from netpunch.wire.keys import control_key, fingerprint
from netpunch.wire.v2 import ECHO_LENGTH, Observe

REPEAT_AFTER = 0.5
PATIENCE = 1.0
"""Seconds for an answer to the first or second datagram: a round trip of most networks."""
FRESH_FOR = 10.0
"""So long what was found is good for other ends, too."""
UNUSED_PORT = 33434
"""That of traceroute: nothing listens there."""

WAYLESS = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN}
FORBIDDEN = {errno.EPERM, errno.EACCES}

REFUSED = (
    "nothing listens there, says that host: start control (`netpunch run`), correct `address`, or "
    "open its UDP port in a firewall that rejects"
)
NO_WAY = (
    "no way leads there, says this host or a router: is that host up, and is the address right? "
    "`ip route get {}` shows the way"
)
NOT_SENT = "a firewall of this host forbids it: `nft list ruleset` shows it; allow UDP out"
LISTENS = (
    "datagrams get there, as its host refuses other ports. Likely it has another key or name for "
    "this pair, or is of another version: `netpunch key id PAIR FILE` must print the same at both; "
    "control's own output says `rejected`. Else a firewall there drops this port alone: open it"
)
OVER_IPV6 = (
    "only an IPv6 address of it is known here, and nothing comes back from there: either IPv6 is "
    "broken here or there (`ping -6 {}` tells; give it an IPv4 address, too), or control is down, "
    "firewalled, or has another key or name for this pair (`netpunch key id PAIR FILE` must print "
    "the same at both; then control's own output says `rejected`)"
)
ANSWERS_OTHERS = (
    "it answers another pair of this host, so it has another key or name for this one "
    "(`netpunch key id PAIR FILE` must print the same at both)"
)
ANSWERS_ELSEWHERE = (
    "it answers other ports of this host. Either this pair begins too often (some ten times are "
    "answered at once, then one each 4 s: wait), or a firewall or router drops what comes for this "
    "port: choose another `local`"
)


class Look(NamedTuple):
    """What a look found: who was `answered` by control (see `asker`), the `error` that the network
    or this host reported (an errno, 0 for none), or that control's host `refuses` another port."""

    answered: str = ""
    error: int = 0
    refuses: bool = False

    def explain(self, control: Address, who: str) -> str:
        """Why control is silent to an asker, and what to do; empty if that is not known."""
        if self.answered:
            return ANSWERS_ELSEWHERE if self.answered == who else ANSWERS_OTHERS
        if self.error == errno.ECONNREFUSED:
            return REFUSED
        if self.error in WAYLESS:
            return NO_WAY.format(control.host)
        if self.error in FORBIDDEN:
            return NOT_SENT
        if self.refuses:
            return LISTENS
        return OVER_IPV6.format(control.host) if control.family == 6 else ""


def asker(settings: EndSettings) -> str:
    """The pair, and which key of it: one process may have two, of which control knows one."""
    return f"{settings.pair} {fingerprint(control_key(settings.secret, settings.pair))}"


class _Latest(NamedTuple):
    looking: asyncio.Task[Look]
    good_until: float


_looks: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Address, _Latest]] = WeakKeyDictionary()
"""The latest at each control."""


def begin_to_look(control: Address, settings: EndSettings) -> asyncio.Task[Look] | None:
    """Looks, unless that is under way, or was done lately (None). The caller has to end what it has
    begun. v2 only: a classic question would register the wrong port."""
    loop = asyncio.get_running_loop()
    looks = _looks.setdefault(loop, {})
    latest = looks.get(control)
    good = latest is not None and not latest.looking.cancelled()
    if latest is not None and good and latest.good_until >= loop.time():
        return None
    looking = loop.create_task(look(control, settings))
    looks[control] = _Latest(looking, loop.time() + FRESH_FOR)
    return looking


def explanation(control: Address, settings: EndSettings) -> str:
    """What the latest look says to this end; empty if there is none, or nothing is known."""
    latest = _looks.get(asyncio.get_running_loop(), {}).get(control)
    if latest is None or not latest.looking.done() or latest.looking.cancelled():
        return ""
    return latest.looking.result().explain(control, asker(settings))


async def look(control: Address, settings: EndSettings) -> Look:
    """At control, and at a port of its host where nothing listens."""
    key = control_key(settings.secret, settings.pair)
    channel = ControlChannel(key, settings.pair, settings.end)
    question = channel.to_control.seal(Observe(os.urandom(ECHO_LENGTH)), os.urandom(NONCE_LENGTH))
    bind, unused = binder(settings), control._replace(port=UNUSED_PORT)
    heard, elsewhere = await asyncio.gather(_ask(control, question, bind), _ask(unused, b"", bind))
    if isinstance(heard, bytes):
        is_control = not isinstance(channel.from_control.open(heard), Drop)
        return Look(asker(settings) if is_control else "")
    return Look(error=heard, refuses=elsewhere == errno.ECONNREFUSED)


async def refuses_others(control: Address, settings: EndSettings) -> bool:
    """Whether control's host refuses another port than control's."""
    answer = await _ask(control._replace(port=UNUSED_PORT), b"", binder(settings))
    return answer == errno.ECONNREFUSED


async def _ask(place: Address, data: bytes, bind: Bind) -> bytes | int:
    """The answer, or the errno of what was reported instead, 0 for nothing."""
    try:
        sock = connected(place, bind)
    except NetpunchError:
        return 0
    except OSError as error:
        return error.errno or 0
    with sock:
        return await _send(sock, data)


async def _send(sock: socket.socket, data: bytes) -> bytes | int:
    sock.setblocking(False)
    for patience in (REPEAT_AFTER, PATIENCE - REPEAT_AFTER):
        try:
            sock.send(data)
            async with asyncio.timeout(patience):
                return await asyncio.get_running_loop().sock_recv(sock, CONTROL_DATAGRAM)
        except TimeoutError:
            continue
        except OSError as error:
            return error.errno or 0
    return 0
