"""What programs that embed netpunch call: one link, or a control node."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from netpunch.address import Address
from netpunch.api import arguments
from netpunch.config.values import HIGHEST_PORT
from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.errors import UsageError
from netpunch.net.controls import ControlAt
from netpunch.net.listener import Listener
from netpunch.net.observer import Observer
from netpunch.net.punch import Punch, PunchSpec
from netpunch.wire.classic import LETTERS


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


async def punch(
    *,
    pair: str = "",
    end: str,
    secret: bytes | str | Path,
    control: str | Sequence[str],
    local: str = ":0",
    protocol: Literal["v2", "classic"] = "v2",
    candidates: Sequence[str] = ("observed", "host", "any-port"),
    deadline: float | None = 60.0,
    observer: Observer | None = None,
) -> Link:
    """Links one end with its partner and frees the port for whatever shall use the hole.

    `end` is `a` or `b`, for classic the slot letter. `secret` is the pair's key: its 32 bytes, its
    text (`npk1:...`) or the Path of its file, which only its owner may read; for classic any bytes,
    or a Path. `control` is one `host:port` or several. `deadline` is in seconds, None for none.
    `observer` is called with every datagram and event.

    Raises NetpunchError: UsageError for an argument, at once; MissingFileError, PermissionsError
    and ConfigurationError for a key's file; PortInUseError, ControlUnreachableError,
    NotLinkedError, ..."""
    spec = _spec(pair, end, secret, control, local, protocol, candidates, deadline)
    arguments.callback("observer", observer)
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


def _spec(
    pair: object,
    end: object,
    secret: object,
    control: object,
    local: object,
    protocol: object,
    candidates: object,
    deadline: object,
) -> PunchSpec:
    """All arguments checked. Raises UsageError, and what reading a key's file does."""
    spoken = arguments.protocol(protocol)
    if spoken == "classic":
        arguments.no_pair_name(pair)
        name, slot = "", arguments.slot("end", end)
        role = "ab"[LETTERS.index(slot) % 2]
    else:
        name, slot = arguments.pair_name("pair", pair), ""
        role = arguments.word("end", end, arguments.ENDS)
    addresses = [arguments.control_address(each) for each in arguments.several("control", control)]
    return PunchSpec(
        pair=name,
        end=cast(Literal["a", "b"], role),
        secret=arguments.end_secret(secret, spoken),
        controls=tuple(_control_at(host, port) for host, port in addresses),
        protocol=spoken,
        slot=slot,
        local=arguments.local_address("local", local),
        candidates=arguments.candidates(candidates),
        deadline=arguments.optional_seconds("deadline", deadline),
    )


def _control_at(host: str, port: int) -> ControlAt:
    """A control with its second port where that is by default."""
    return ControlAt(host, port, port + 1 if port < HIGHEST_PORT else None)


async def serve_control(
    *,
    listen: str | Sequence[str] = ":10001",
    pairs: Mapping[str, bytes | str | Path] | None = None,
    classic: Mapping[str, bytes | Path] | None = None,
    expire: float = 60.0,
    own_hosts: Mapping[int, str] | None = None,
    observer: Observer | None = None,
    on_ready: Callable[[list[Address]], None] | None = None,
) -> None:
    """Runs a control node until it is cancelled.

    `pairs` maps names to control keys (v2): 32 bytes, a text (`npc1:...`, or the pair's `npk1:...`,
    from which it is derived) or the Path of a file; `classic` maps slot letters (`ab`, or all 26)
    to the secret that they share, bytes or a Path. `expire` is in seconds. `own_hosts` are this
    node's public addresses by family (4, 6), given to partners of ends that reach it over loopback.
    `on_ready` gets the bound addresses.

    Raises UsageError for an argument, at once; MissingFileError, PermissionsError and
    ConfigurationError for a key's file; PortInUseError, PermissionsError, ConfigurationError."""
    keys = _control_keys(pairs)
    letters = _classic_secrets(classic)
    hosts = arguments.own_hosts(own_hosts)
    expires = arguments.seconds("expire", expire)
    addresses = [
        arguments.local_address("listen", each) for each in arguments.several("listen", listen)
    ]
    arguments.callback("observer", observer)
    arguments.callback("on_ready", on_ready)
    machine = ControlNode(
        ControlV2(keys, own_hosts=hosts, expire=expires, random=os.urandom),
        ClassicControl(letters),
    )
    listener = Listener(machine, addresses, observer=observer)
    listener.open()
    try:
        if on_ready is not None:
            on_ready(listener.addresses)
        await asyncio.get_running_loop().create_future()  # the sockets work by themselves
    finally:
        listener.close()


def _control_keys(pairs: object) -> dict[str, bytes]:
    wanted = "a mapping of pair names to keys, such as {'home-office': 'npc1:...'}"
    keys = {}
    for pair, key in arguments.mapping("pairs", pairs, wanted).items():
        name = arguments.pair_name("pairs", pair)
        keys[name] = arguments.control_key(f"pairs[{name!r}]", key, name)
    return keys


def _classic_secrets(classic: object) -> dict[str, bytes]:
    wanted = "a mapping of slot letters to their secret, such as {'ab': b'...'}"
    secrets: dict[str, bytes] = {}
    for slots, value in arguments.mapping("classic", classic, wanted).items():
        if not isinstance(slots, str) or not slots:
            raise arguments.wrong("classic", slots, wanted)
        secret = arguments.classic_secret(f"classic[{slots!r}]", value)
        for letter in slots:
            if arguments.slot("classic", letter) in secrets:
                raise UsageError(f"classic: slot {letter!r} is given twice: remove one")
            secrets[letter] = secret
    return secrets
