"""What callers pass, checked before anything is opened. Each function returns what netpunch works
with, or raises UsageError: it names the argument, what is allowed, what it got and, where that can
be told, what was probably meant. It never repeats what may be a secret."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

from netpunch.address import canonical_host
from netpunch.api import secret_file
from netpunch.config import values
from netpunch.config.readers import KEY_PREFIXES
from netpunch.config.schema import closest
from netpunch.config.secrets import KEY_SIZE, Role, Secret, decode
from netpunch.errors import UsageError
from netpunch.wire.classic import LETTERS

Protocol = Literal["v2", "classic"]

ENDS = ("a", "b")
ADDRESSES = ("observed", "host", "mapped")
"""Candidates that are addresses, of which at least one is needed."""
CANDIDATES = (*ADDRESSES, "any-port")

_SHOWN = (str, int, float, type(None))
"""What an error repeats; of anything else, which may hold a key, it names the type."""


def wrong(name: str, value: object, wanted: str, meant: object = None) -> UsageError:
    """The error for an argument. `meant`: what the caller probably wanted to pass."""
    guess = "" if meant is None else f" (did you mean {meant!r}?)"
    return UsageError(f"{name}: expected {wanted}, got {_shown(value)}{guess}")


def protocol(value: object) -> Protocol:
    """`v2` or `classic`."""
    return cast(Protocol, word("protocol", value, ("v2", "classic")))


def word(name: str, value: object, allowed: Sequence[str]) -> str:
    """One of these words."""
    if isinstance(value, str) and value in allowed:
        return value
    guess = closest(value, allowed) if isinstance(value, str) else None
    raise wrong(name, value, _listed(allowed), guess)


def words(name: str, value: object, allowed: Sequence[str]) -> frozenset[str]:
    """A list, or another collection, of these words."""
    if isinstance(value, str) or not isinstance(value, Collection):
        meant = [value] if value in allowed else None
        raise wrong(name, value, f"a list of {_listed(allowed)}", meant)
    return frozenset(word(name, each, allowed) for each in value)


def candidates(value: object) -> frozenset[str]:
    """Which addresses are tried; at least one."""
    chosen = words("candidates", value, CANDIDATES)
    if chosen.isdisjoint(ADDRESSES):
        raise UsageError(f"candidates: no address is left to try: add {_listed(ADDRESSES)}")
    return chosen


def pair_name(name: str, value: object) -> str:
    """A v2 pair's name, by the rule of site files."""
    if isinstance(value, str) and values.PAIR_NAME.fullmatch(value):
        return value
    guess = None
    if isinstance(value, str) and not _holds_key(value):
        guess = re.sub("[^a-z0-9]+", "-", value.lower()).strip("-")[:32].strip("-") or None
    wanted = "a pair's name, the same on control and both ends: up to 32 of a-z, 0-9 and '-'"
    raise wrong(name, value, f"{wanted}, not starting with '-'", guess)


def no_pair_name(value: object) -> None:
    """A classic pair is known by its letters only."""
    if value != "":
        raise wrong("pair", value, "'' with protocol='classic': its ends are letters")


def slot(name: str, value: object) -> str:
    """A classic slot."""
    if isinstance(value, str) and len(value) == 1 and value in LETTERS:
        return value
    raise wrong(name, value, "a classic slot, a letter from 'a' to 'z'")


def seconds(name: str, value: object) -> float:
    """A duration above zero."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else 0
    if 0 < number <= values.LONGEST_DURATION:
        return float(number)
    wanted = f"seconds, a number above 0 and up to {values.LONGEST_DURATION:.0f}"
    raise wrong(name, value, wanted, _seconds_meant(value))


def optional_seconds(name: str, value: object) -> float | None:
    """A duration above zero, or None for none."""
    return None if value is None else seconds(name, value)


def local_address(name: str, value: object) -> tuple[str, int]:
    """`IP:port`, `[IPv6]:port` or `:port`, where port 0 is a free one."""
    wanted = "an address of this host, such as ':5000', '192.0.2.1:5000' or '[2001:db8::1]:5000'"
    host, port = _host_port(name, value, wanted)
    if host:
        try:
            host = canonical_host(host)
        except ValueError:
            raise wrong(name, value, f"{wanted}; not a host name", f":{port}") from None
    return host, port


def control_address(value: object) -> tuple[str, int]:
    """`host:port` of a control."""
    wanted = "a control's host:port, such as 'vps.example.net:10001'"
    host, port = _host_port("control", value, wanted)
    if not port or host in values.WILDCARDS:
        raise wrong("control", value, f"{wanted}, with a host and a port above 0")
    return host, port


def several(name: str, value: object) -> list[object]:
    """One text, or a list with at least one."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray) and value:
        return list(value)
    meant = f":{value}" if name == "listen" and type(value) is int else None
    raise wrong(name, value, "one host:port, or a list with at least one", meant)


def mapping(name: str, value: object, wanted: str) -> Mapping[object, object]:
    """A mapping; None is an empty one."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    raise wrong(name, value, wanted)


def own_hosts(value: object) -> dict[int, str]:
    """IP addresses by family."""
    wanted = "a mapping of the families 4 and 6 to IP addresses, such as {4: '192.0.2.1'}"
    hosts: dict[int, str] = {}
    for family, host in mapping("own_hosts", value, wanted).items():
        try:
            found = canonical_host(host) if isinstance(host, str) else ""
        except ValueError:
            found = ""
        if family not in (4, 6) or not found or (":" in found) != (family == 6):
            raise wrong("own_hosts", host, wanted)
        hosts[6 if ":" in found else 4] = found
    return hosts


def callback(name: str, value: object) -> None:
    """A function, or None."""
    if value is not None and not callable(value):
        raise wrong(name, value, "a function, or None")


def end_secret(value: object, protocol: Protocol) -> bytes:
    """The secret of an end. Raises also what reading its file does."""
    if protocol == "classic":
        return classic_secret("secret", value)
    return _v2_secret("secret", value, "end").value


def control_key(name: str, value: object, pair: str) -> bytes:
    """The key of a pair for control: 32 bytes as they are, a text or a file by its kind. Raises
    also what reading its file does."""
    return secret_file.control_key(_v2_secret(name, value, "control"), pair)


def classic_secret(name: str, value: object) -> bytes:
    """What the ends of classic slots share. Raises also what reading its file does."""
    if isinstance(value, Path):
        return secret_file.read_secret_file(value, "classic", "end").value
    if isinstance(value, bytes) and value:
        return value
    wanted = "a classic secret: bytes, at least one, or the pathlib.Path of its file"
    got = "a text: encode it" if isinstance(value, str) else type(value).__name__
    raise UsageError(f"{name}: expected {wanted}, got {'none' if value == b'' else got}")


def _v2_secret(name: str, value: object, role: Role) -> Secret:
    """Of 32 bytes, which kind of key they are is not seen: they are what `role` needs."""
    if isinstance(value, Path):
        return secret_file.read_secret_file(value, "v2", role)
    if isinstance(value, bytes) and len(value) == KEY_SIZE:
        return Secret("pair" if role == "end" else "control", value)
    prefix = "npk1:" if role == "end" else "npc1:"
    wanted = f"a v2 key: {KEY_SIZE} bytes, its text ({prefix}...), or the pathlib.Path of its file"
    if isinstance(value, bytes):
        if not value.startswith(tuple(each.encode() for each in KEY_PREFIXES)):
            raise UsageError(
                f"{name}: expected {wanted}, got {len(value)} bytes; `netpunch key new` makes one"
            )
        value = value.decode("ascii", "replace")
    if not isinstance(value, str):
        raise UsageError(f"{name}: expected {wanted}, got {type(value).__name__}")
    try:
        return decode(value.encode(errors="replace"), "v2", role)
    except ValueError as error:
        raise UsageError(f"{name}: {error}; expected {wanted}") from None


def _host_port(name: str, value: object, wanted: str) -> tuple[str, int]:
    digits = value if isinstance(value, str) else str(value) if type(value) is int else ""
    if re.fullmatch("[0-9]{1,5}", digits):
        raise wrong(name, value, wanted, None if name == "control" else f":{int(digits)}")
    if not isinstance(value, str):
        raise wrong(name, value, wanted)
    try:
        return values.host_port(value)
    except ValueError as error:
        raise UsageError(f"{name}: {_shown(value)} {error}: expected {wanted}") from None


def _seconds_meant(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    for text in (value, f"{value}s"):
        try:
            return values.duration(text)
        except ValueError:
            continue
    return None


def _listed(allowed: Sequence[str]) -> str:
    quoted = [repr(each) for each in allowed]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _holds_key(text: str) -> bool:
    return any(prefix in text for prefix in KEY_PREFIXES)


def _shown(value: object) -> str:
    if isinstance(value, str) and _holds_key(value):
        return "a key"
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if isinstance(value, list | tuple) and not value:
        return "an empty list"
    if type(value) in _SHOWN:
        return reprlib.repr(value)
    return f"a value of type {type(value).__name__}"
