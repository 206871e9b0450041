"""What programs that embed netpunch call: one link, or a control node."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from netpunch.address import Address
from netpunch.core.classic_control import ClassicControl
from netpunch.core.control import ControlNode
from netpunch.core.control_v2 import ControlV2
from netpunch.errors import UsageError
from netpunch.net.controls import ControlAt
from netpunch.net.listener import Listener
from netpunch.net.observer import Observer
from netpunch.net.punch import Punch, PunchSpec
from netpunch.wire.keys import KEY_LENGTH

CLASSIC_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Link:
    """A punched hole: send from `local` to `remote`. `local` may be a wildcard; `rtt` and
    `duration` are in seconds; `session_key` is equal on both ends and new for every link (v2)."""

    local: Address
    remote: Address
    path: str
    rtt: float | None
    duration: float
    session_key: bytes | None = field(default=None, repr=False)


def split_host_port(text: str) -> tuple[str, int]:
    """`host:port`, `:port` or `[v6]:port`. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise UsageError(f"no HOST:PORT: {text!r}")
    if (":" in host) and not bracketed:
        raise UsageError(f"an IPv6 address needs brackets, like [2001:db8::1]:10001: {text!r}")
    return (host[1:-1] if bracketed else host), int(port)


async def punch(
    *,
    pair: str = "",
    end: str,
    secret: bytes,
    control: str | Sequence[str],
    local: str = ":0",
    protocol: Literal["v2", "classic"] = "v2",
    candidates: Sequence[str] = ("observed", "host", "any-port"),
    deadline: float | None = 60.0,
    observer: Observer | None = None,
) -> Link:
    """Links one end with its partner and frees the port for whatever shall use the hole.

    `end` is `a` or `b`, for classic the slot letter; `secret` the pair's 32 bytes, for classic
    any bytes; `control` one or several `host:port`. `observer` is called with every datagram and
    event. Raises NetpunchError: PortInUseError, ControlUnreachableError, NotLinkedError, …"""
    controls = [control] if isinstance(control, str) else list(control)
    if not controls:
        raise UsageError("no control is given: `control` takes one or several host:port")
    classic = protocol == "classic"
    role = _classic_end(end) if classic else end
    if role not in ("a", "b"):
        raise UsageError(f"an end is 'a' or 'b', not {end!r}")
    if not classic:
        _check_key(pair, secret)
    spec = PunchSpec(
        pair=pair,
        end=cast(Literal["a", "b"], role),
        secret=secret,
        controls=tuple(_control_at(text) for text in controls),
        protocol=protocol,
        slot=end if classic else "",
        local=split_host_port(local),
        candidates=frozenset(candidates),
        deadline=deadline,
    )
    attempt = Punch(spec, observer)
    released = False
    try:
        await attempt.open()
        linked = await attempt.linked()
        await attempt.released()
        released = True
    finally:
        await attempt.close(keep_mapping=released)
    return Link(
        linked.local,
        linked.remote,
        linked.path,
        linked.rtt,
        linked.duration,
        linked.session_key,
    )


def _check_key(pair: str, key: bytes) -> None:
    if not pair:
        raise UsageError("a v2 pair has a name, the same on control and both ends")
    if len(key) != KEY_LENGTH:
        raise UsageError(f"a v2 key has {KEY_LENGTH} bytes, not {len(key)}: `netpunch key new`")


def _control_at(text: str) -> ControlAt:
    """A control with its second port where that is by default."""
    host, port = split_host_port(text)
    return ControlAt(host, port, port + 1 if port < 65535 else None)


def _classic_end(letter: str) -> str:
    if len(letter) != 1 or letter not in CLASSIC_LETTERS:
        raise UsageError(f"a classic slot is a letter from a to z, not {letter!r}")
    return "ab"[CLASSIC_LETTERS.index(letter) % 2]


async def serve_control(
    *,
    listen: str | Sequence[str] = ":10001",
    pairs: Mapping[str, bytes] | None = None,
    classic: Mapping[str, bytes] | None = None,
    expire: float = 60.0,
    own_hosts: Mapping[int, str] | None = None,
    observer: Observer | None = None,
    on_ready: Callable[[list[Address]], None] | None = None,
) -> None:
    """Runs a control node until it is cancelled.

    `pairs` maps names to control keys (v2); `classic` maps slot letters (`ab`, or all 26) to the
    secret that they share; `own_hosts` are this node's public addresses by family (4, 6), given
    to partners of ends that reach it over loopback. `on_ready` gets the bound addresses.
    Raises PortInUseError, PermissionsError, ConfigurationError, UsageError."""
    texts = [listen] if isinstance(listen, str) else list(listen)
    letters = {letter: secret for slots, secret in (classic or {}).items() for letter in slots}
    for letter in letters:
        _classic_end(letter)
    for pair, key in (pairs or {}).items():
        _check_key(pair, key)
    machine = ControlNode(
        ControlV2(pairs or {}, own_hosts=own_hosts, expire=expire, random=os.urandom),
        ClassicControl(letters),
    )
    addresses = [split_host_port(text) for text in texts]
    listener = Listener(machine, addresses, observer=observer)
    listener.open()
    try:
        if on_ready is not None:
            on_ready(listener.addresses)
        await asyncio.get_running_loop().create_future()  # the sockets work by themselves
    finally:
        listener.close()
