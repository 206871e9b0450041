"""What asyncio programs call: `punch` for one link, `serve_control` for a control node.

Both check every argument before they open anything. An error names the argument, what is expected,
what was passed and, where that can be guessed, what was probably meant; it never repeats what may
be a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import reprlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from netpunch.address import Address, canonical_host
from netpunch.config import values
from netpunch.config.kinds import closest
from netpunch.config.secrets import KEY_PREFIXES
from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.core.settings import CandidateKind, ControlAt, EndName, EndSettings, Protocol
from netpunch.errors import UsageError
from netpunch.keys import read_key, read_secret_file, value_for_control
from netpunch.net.driver import Observer
from netpunch.net.listener import Listener
from netpunch.net.punch import Punch
from netpunch.wire.classic import LETTERS

ADDRESSES = ("observed", "host", "mapped")
"""Candidates that are addresses, of which at least one is needed."""
CANDIDATES = (*ADDRESSES, "any-port", "relay")


@dataclass(frozen=True, slots=True)
class Link:
    """A punched hole: datagrams sent from `local` to `remote` reach the partner.

    `local` may be a wildcard address (`0.0.0.0` or `::`). `path` is a `PathKind`. `rtt`, None if
    unknown, and `duration`, from the call to the link, are in seconds. `session_key`, 32 bytes, is
    equal on both ends and new for every link; classic links have none."""

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
    protocol: Protocol = "v2",
    candidates: Sequence[str] = ("observed", "host", "any-port", "relay"),
    deadline: float | None = 60.0,
    observer: Observer | None = None,
) -> Link:
    """Link one end of a pair with its partner, then free the local port for its user.

    `pair`: its name, the same at control and both ends; none for classic.
    `end`: `a` or `b`; for classic the slot, a letter.
    `secret`: the pair's key, as 32 bytes, as text (`npk1:...`) or as the Path of its file, which
    only its owner may read. For classic any bytes, or a Path.
    `control`: one `host:port`, or several. If all stay silent on UDP they are asked over TLS, at
    TCP port 443, whether they are there: then the reason is `udp_blocked`.
    `local`: the address to punch from, `IP:port` or `:port`; port 0 is a free one.
    `candidates`: which addresses to try: `observed` by control, `host` (this host's own), `mapped`
    by the router; `any-port` lets the link use another local port; `relay` lets a control's relay
    carry it if nothing else can.
    `deadline`: seconds, None for no limit.
    `observer`: is called with every `Datagram` and every event.

    Bind the returned `local` soon: NATs forget a path that is silent for half a minute.
    Cancelling the call closes its sockets.

    Raises UsageError for an argument, before anything is opened; MissingFileError,
    PermissionsError and ConfigurationError for a key's file; PortInUseError,
    NetworkNotReadyError, PermissionsError or ConfigurationError for `local`;
    ControlUnreachableError or NotLinkedError, with the reason, if there is no link; and
    ResourcesError."""
    protocol = cast(Protocol, _word("protocol", protocol, ("v2", "classic")))
    if protocol == "classic":
        if pair != "":
            raise _wrong("pair", pair, "'' with protocol='classic': its ends are letters")
        slot = _slot("end", end)
        role = "ab"[LETTERS.index(slot) % 2]
        value = _classic_secret("secret", secret)
    else:
        pair, slot = _pair_name("pair", pair), ""
        role = _word("end", end, ("a", "b"))
        value = read_key("secret", secret, "end").value
    settings = EndSettings(
        pair=pair,
        end=cast(EndName, role),
        secret=value,
        controls=tuple(_control_at(each) for each in _several("control", control)),
        protocol=protocol,
        slot=slot,
        local=_local_address("local", local),
        candidates=_candidates(candidates),
        deadline=None if deadline is None else _seconds("deadline", deadline),
    )
    _callback("observer", observer)
    attempt = Punch(settings, observer)
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
    """Run a control node until the call is cancelled.

    `listen`: `IP:port` or `:port`, one or several.
    `pairs`: control's key for each pair's name, as 32 bytes, as text (`npc1:...`; from a pair's
    own `npk1:...` control's is derived) or as the Path of its file.
    `classic`: the secret for each set of slot letters (`ab`, or all 26), as bytes or as a Path.
    `expire`: seconds after which a silent end is forgotten.
    `own_hosts`: this node's public addresses by family (4, 6), for the partners of ends that reach
    it over loopback.
    `observer`: is called with every `Datagram` and every event.
    `on_ready`: is called once with the bound addresses.

    Raises UsageError for an argument, before anything is opened; MissingFileError,
    PermissionsError and ConfigurationError for a key's file; PortInUseError,
    NetworkNotReadyError, PermissionsError and ConfigurationError for `listen`; and
    ResourcesError."""
    keys = _control_keys(pairs)
    letters = _classic_secrets(classic)
    hosts = _own_hosts(own_hosts)
    expires = _seconds("expire", expire)
    addresses = [_local_address("listen", each) for each in _several("listen", listen)]
    _callback("observer", observer)
    _callback("on_ready", on_ready)
    machine = ControlNode(
        ControlV2(keys, own_hosts=hosts, expire=expires, random=os.urandom),
        ClassicControl(letters),
    )
    listener = Listener(machine, addresses, observer=observer)
    listener.open()
    try:
        if on_ready is not None:
            on_ready(listener.addresses)
        await asyncio.get_running_loop().create_future()  # the loop serves the sockets
    finally:
        listener.close()


# Each check returns what netpunch works with, or raises UsageError.


def _wrong(name: str, value: object, wanted: str, meant: object = None) -> UsageError:
    """The error for an argument. `meant`: what the caller probably wanted to pass."""
    guess = "" if meant is None else f" (did you mean {meant!r}?)"
    return UsageError(f"{name}: expected {wanted}, got {_shown(value)}{guess}")


def _shown(value: object) -> str:
    """The value, unless it may hold a key: then its type."""
    match value:
        case str() if _holds_key(value):
            return "a key"
        case float() if not math.isfinite(value):
            return str(float(value))
        case [] | ():
            return "an empty list"
    if type(value) in (str, int, float, type(None)):
        return reprlib.repr(value)
    return f"a value of type {type(value).__name__}"


def _holds_key(text: str) -> bool:
    return any(prefix in text for prefix in KEY_PREFIXES)


def _listed(allowed: Sequence[str]) -> str:
    quoted = [repr(each) for each in allowed]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _word(name: str, value: object, allowed: Sequence[str]) -> str:
    """One of these words."""
    if isinstance(value, str) and value in allowed:
        return value
    guess = closest(value, allowed) if isinstance(value, str) else None
    raise _wrong(name, value, _listed(allowed), guess)


def _candidates(value: object) -> frozenset[CandidateKind]:
    """A collection of the words, with at least one kind of address."""
    if isinstance(value, str) or not isinstance(value, Collection):
        meant = [value] if value in CANDIDATES else None
        raise _wrong("candidates", value, f"a list of {_listed(CANDIDATES)}", meant)
    chosen = frozenset(_word("candidates", each, CANDIDATES) for each in value)
    if chosen.isdisjoint(ADDRESSES):
        raise UsageError(f"candidates: no address is left to try: add {_listed(ADDRESSES)}")
    return cast(frozenset[CandidateKind], chosen)


def _pair_name(name: str, value: object) -> str:
    """A v2 pair's name, by the rule of site files."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return values.pair_name(value)
    guess = None
    if isinstance(value, str) and not _holds_key(value):
        guess = re.sub("[^a-z0-9]+", "-", value.lower()).strip("-")[:32].strip("-") or None
    wanted = "a pair's name, the same on control and both ends: up to 32 of a-z, 0-9 and '-'"
    raise _wrong(name, value, f"{wanted}, not starting with '-'", guess)


def _slot(name: str, value: object) -> str:
    """A classic slot."""
    if isinstance(value, str) and len(value) == 1 and value in LETTERS:
        return value
    raise _wrong(name, value, "a classic slot, a letter from 'a' to 'z'")


def _seconds(name: str, value: object) -> float:
    """A duration above zero."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else 0
    if 0 < number <= values.LONGEST_DURATION:
        return float(number)
    wanted = f"seconds, a number above 0 and up to {values.LONGEST_DURATION:.0f}"
    raise _wrong(name, value, wanted, _seconds_meant(value))


def _seconds_meant(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    for text in (value, f"{value}s"):
        try:
            return values.duration(text)
        except ValueError:
            continue
    return None


def _local_address(name: str, value: object) -> tuple[str, int]:
    """`IP:port`, `[IPv6]:port` or `:port`, where port 0 is a free one."""
    wanted = "an address of this host, such as ':5000', '192.0.2.1:5000' or '[2001:db8::1]:5000'"
    host, port = _host_port(name, value, wanted)
    if host:
        try:
            host = canonical_host(host)
        except ValueError:
            raise _wrong(name, value, f"{wanted}; not a host name", f":{port}") from None
    return host, port


def _control_at(value: object) -> ControlAt:
    """`host:port` of a control, with the port that it observes at by default."""
    wanted = "a control's host:port, such as 'vps.example.net:10001'"
    host, port = _host_port("control", value, wanted)
    if not port or host in values.WILDCARDS:
        raise _wrong("control", value, f"{wanted}, with a host and a port above 0")
    return ControlAt(host, port, port + 1 if port < values.HIGHEST_PORT else None)


def _host_port(name: str, value: object, wanted: str) -> tuple[str, int]:
    digits = value if isinstance(value, str) else str(value) if type(value) is int else ""
    if re.fullmatch("[0-9]{1,5}", digits):
        raise _wrong(name, value, wanted, None if name == "control" else f":{int(digits)}")
    if not isinstance(value, str):
        raise _wrong(name, value, wanted)
    try:
        return values.host_port(value)
    except ValueError as error:
        message = values.complaint(wanted, _shown(value), str(error))
        raise UsageError(f"{name}: {message}") from None


def _several(name: str, value: object) -> list[object]:
    """One text, or a list with at least one."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray) and value:
        return list(value)
    meant = f":{value}" if name == "listen" and type(value) is int else None
    raise _wrong(name, value, "one host:port, or a list with at least one", meant)


def _mapping(name: str, value: object, wanted: str) -> Mapping[object, object]:
    """A mapping; None is an empty one."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    raise _wrong(name, value, wanted)


def _own_hosts(value: object) -> dict[int, str]:
    """IP addresses by family."""
    wanted = "a mapping of the families 4 and 6 to IP addresses, such as {4: '192.0.2.1'}"
    hosts: dict[int, str] = {}
    for family, host in _mapping("own_hosts", value, wanted).items():
        try:
            found = canonical_host(host) if isinstance(host, str) else ""
        except ValueError:
            found = ""
        if family not in (4, 6) or not found or (":" in found) != (family == 6):
            raise _wrong("own_hosts", host, wanted)
        hosts[6 if ":" in found else 4] = found
    return hosts


def _callback(name: str, value: object) -> None:
    if value is not None and not callable(value):
        raise _wrong(name, value, "a function, or None")


def _control_keys(pairs: object) -> dict[str, bytes]:
    wanted = "a mapping of pair names to keys, such as {'home-office': 'npc1:...'}"
    keys = {}
    for pair, key in _mapping("pairs", pairs, wanted).items():
        name = _pair_name("pairs", pair)
        keys[name] = value_for_control(read_key(f"pairs[{name!r}]", key, "control"), name)
    return keys


def _classic_secrets(classic: object) -> dict[str, bytes]:
    wanted = "a mapping of slot letters to their secret, such as {'ab': b'...'}"
    secrets: dict[str, bytes] = {}
    for slots, value in _mapping("classic", classic, wanted).items():
        if not isinstance(slots, str) or not slots:
            raise _wrong("classic", slots, wanted)
        secret = _classic_secret(f"classic[{slots!r}]", value)
        for letter in slots:
            if _slot("classic", letter) in secrets:
                raise UsageError(f"classic: slot {letter!r} is given twice: remove one")
            secrets[letter] = secret
    return secrets


def _classic_secret(name: str, value: object) -> bytes:
    if isinstance(value, Path):
        return read_secret_file(value, "classic", "end").value
    if isinstance(value, bytes) and value:
        return value
    wanted = "a classic secret: bytes, at least one, or the pathlib.Path of its file"
    got = "a text: encode it" if isinstance(value, str) else type(value).__name__
    raise UsageError(f"{name}: expected {wanted}, got {'none' if value == b'' else got}")
