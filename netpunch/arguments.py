"""Checks of the arguments of the library's calls.

Each check returns what netpunch works with, or raises UsageError: it names the argument, what is
expected, what was passed and, where that can be guessed, what was probably meant. It never repeats
what may be a secret. What is right for an argument is right for the key of that name in a site
file: both are read by `config.values`.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import ParamSpec, TypeVar

from netpunch.address import canonical_host
from netpunch.config import values
from netpunch.config.secrets import KEY_PREFIXES
from netpunch.core.settings import ControlAt
from netpunch.errors import UsageError
from netpunch.mesh import mesh_pair

P = ParamSpec("P")
T = TypeVar("T")

LISTENING = ("listen", "observe", "relay", "tls")
"""Arguments that are addresses of this host, one or several: a number is a port."""
HERE = (*LISTENING, "local")

SYNONYMS = {
    "address": ("local", "listen"),
    "host": ("control", "listen"),
    "key": ("secret", "pairs"),
    "name": ("pair",),
    "on_event": ("observer",),
    "password": ("secret", "pairs"),
    "port": ("local", "listen"),
    "psk": ("secret", "pairs"),
    "server": ("control",),
    "timeout": ("deadline",),
}
"""What others call arguments, with what they are called here: the first that a call has."""

MOST_COMPARED = 1000
"""Words among which a misspelt one is looked for: each takes 10 µs, and callers pass on what
strangers send them."""


def checked(call: Callable[P, T]) -> Callable[P, T]:
    """A call whose argument names are checked, too: an unknown or missing one raises UsageError.
    Python's own TypeError would not say what the names are."""
    signature = inspect.signature(call)

    @functools.wraps(call)
    def checked_call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise _misnamed(call.__name__, signature, args, kwargs, str(error)) from None
        return call(*args, **kwargs)

    return checked_call


def _misnamed(
    call: str,
    signature: inspect.Signature,
    args: Sequence[object],
    passed: Iterable[str],
    complaint: str,
) -> UsageError:
    names = [name for name in signature.parameters if name != "self"]
    unknown = next((name for name in passed if name not in names), None)
    if unknown is not None:
        meant = (name for name in SYNONYMS.get(unknown, ()) if name in names)
        guess = next(meant, None) or _closest(unknown, names)
        hint = f"did you mean {guess}?" if guess else f"it takes {', '.join(names)}"
        return UsageError(f"{call}(): there is no argument {unknown!r}; {hint}")
    by_name = [
        name
        for name, each in signature.parameters.items()
        if each.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    positions = len(signature.parameters) - len(by_name)
    if by_name and len(args) > positions:
        shown = f"{by_name[0]}={shown_value(args[positions])}"
        return UsageError(f"{call}(): arguments are passed by name, such as {shown}")
    return UsageError(f"{call}(): {complaint}; it takes {', '.join(names) or 'none'}")


def wrong(name: str, value: object, wanted: str, meant: object = None) -> UsageError:
    """The error for an argument. `meant`: what the caller probably wanted to pass."""
    guess = "" if meant is None else f" (did you mean {meant!r}?)"
    return UsageError(f"{name}: expected {wanted}, got {shown_value(value)}{guess}")


def shown_value(value: object) -> str:
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


def _closest(text: str, words: Iterable[str]) -> str | None:
    from netpunch.config.kinds import closest  # only needed for errors

    return closest(text, list(islice(words, MOST_COMPARED)))


def listed(allowed: Sequence[str]) -> str:
    """`'a', 'b' or 'c'`."""
    quoted = [repr(each) for each in allowed]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"


# Words and names.


def word(name: str, value: object, allowed: Sequence[str]) -> str:
    """One of these words."""
    if isinstance(value, str) and value in allowed:
        return value
    guess = _closest(value, allowed) if isinstance(value, str) else None
    raise wrong(name, value, listed(allowed), guess)


def words(name: str, value: object, allowed: Sequence[str]) -> frozenset[str]:
    """A collection of these words."""
    if isinstance(value, str) or not isinstance(value, Collection):
        parts = re.findall("[a-z-]+", value) if isinstance(value, str) else []
        meant = parts if parts and set(parts) <= set(allowed) else None
        raise wrong(name, value, f"a list of {listed(allowed)}", meant)
    return frozenset(word(name, each, allowed) for each in value)


def known(name: str, value: object, names: Collection[str], what: str) -> str:
    """One of the names that are in use now; `what` they are, such as `a pair that is served`."""
    if isinstance(value, str) and value in names:
        return value
    guess = None
    if isinstance(value, str) and not _holds_key(value):
        guess = _closest(value, names)
    raise wrong(name, value, what if names else f"{what}, but there is none", guess)


def pair_name(name: str, value: object) -> str:
    """A v2 pair's name, by the rule of site files."""
    wanted = "a pair's name, the same on control and both ends"
    if not isinstance(value, str):
        raise wrong(name, value, f"{wanted}: {values.NAME_RULE}")
    try:
        return values.pair_name(value)
    except ValueError as error:
        guess = None
        if not _holds_key(value) and not mesh_pair(value):
            guess = re.sub("[^a-z0-9]+", "-", value.lower()).strip("-")[:32].strip("-") or None
        raise wrong(name, value, f"{wanted}: {error}", guess) from None


# Numbers.


def seconds(name: str, value: object) -> float:
    """A duration above zero."""
    number = _number(value)
    if 0 < number <= values.LONGEST_DURATION:
        return float(number)
    wanted = f"seconds, a number above 0 and up to {values.LONGEST_DURATION:.0f}"
    raise wrong(name, value, wanted, _meant(values.duration, value, "s"))


def bit_rate(name: str, value: object) -> float:
    """A rate in bits a second."""
    number = _number(value)
    if values.LOWEST_BIT_RATE <= number <= values.HIGHEST_BIT_RATE:
        return float(number)
    wanted = "bits a second, a number from 64e3 to 100e9"
    raise wrong(name, value, wanted, _meant(values.bit_rate, value, "bit/s"))


def count(name: str, value: object) -> int:
    """A number of things, at least one."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    meant = (
        int(value) if isinstance(value, str) and re.fullmatch("[1-9][0-9]{0,8}", value) else None
    )
    raise wrong(name, value, "a whole number above 0", meant)


def _number(value: object) -> int | float:
    """0 if it is none."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _meant(read: Callable[[str], float], value: object, unit: str) -> float | None:
    """The number that a text stands for, with its unit or without."""
    for text in (value, f"{value}{unit}") if isinstance(value, str) else ():
        try:
            return read(text)
        except ValueError:
            continue
    return None


# Addresses.


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


def local_addresses(name: str, value: object) -> list[tuple[str, int]]:
    """One, or a list with at least one."""
    return [local_address(name, each) for each in several(name, value)]


def public_hosts(name: str, value: object) -> list[str]:
    """Names, or public IP addresses: one, or a list with at least one."""
    wanted = "a host name or a public IP address, such as 'vps.example.net', or a list of them"
    hosts = []
    for each in several(name, value, wanted):
        try:
            hosts.append(values.public_host(each if isinstance(each, str) else ""))
        except ValueError as error:
            message = values.complaint(wanted, shown_value(each), str(error))
            raise UsageError(f"{name}: {message}") from None
    return hosts


def control_at(name: str, value: object) -> ControlAt:
    """`host:port` of a control, with the port that it observes at by default."""
    wanted = "a control's host:port, such as 'vps.example.net:10001'"
    host, port = _host_port(name, value, wanted)
    if not port or host in values.WILDCARDS:
        raise wrong(name, value, f"{wanted}, with a host and a port above 0")
    return ControlAt(host, port, port + 1 if port < values.HIGHEST_PORT else None)


def controls(name: str, value: object) -> tuple[ControlAt, ...]:
    """One, or a list with at least one."""
    return tuple(control_at(name, each) for each in several(name, value))


def _host_port(name: str, value: object, wanted: str) -> tuple[str, int]:
    try:
        return values.host_port(value if isinstance(value, str) else "")
    except ValueError as error:
        reason = str(error) if isinstance(value, str) else ""
    message = values.complaint(wanted, shown_value(value), reason)
    meant = None if isinstance(value, str) and _holds_key(value) else _meant_address(name, value)
    guess = "" if meant is None else f" (did you mean {meant!r}?)"
    raise UsageError(f"{name}: {message}{guess}")


def _meant_address(name: str, value: object) -> str | list[str] | None:
    """The address, or several, that was probably meant."""
    match value:
        case (str(host), int(port)):  # as of sockets
            text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case (str(_), _):
            return None
        case int() | str() if re.fullmatch("[0-9]{1,5}", str(value)):
            text = f":{int(value)}"
        case None | "":
            text = ":0"
        case str():
            text = re.sub(r"^\w+://|^\*(?=:)|/+$", "", value.strip())
        case _:
            return None
    each = [_in_brackets(part) for part in re.split(r"[\s,]+", text)]
    for part in each:
        try:
            host, port = values.host_port(part)
        except ValueError:
            return None
        if not (name in HERE or (host and port)):
            return None
    return each[0] if len(each) == 1 else each


def _in_brackets(text: str) -> str:
    """`::1:5000` as `[::1]:5000`, if that is meant."""
    host, _, port = text.rpartition(":")
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else text


def several(
    name: str, value: object, wanted: str = "one host:port, or a list with at least one"
) -> list[object]:
    """One text, or a list with at least one."""
    if isinstance(value, str):
        return [value]
    is_address = isinstance(value, tuple) and name in (*HERE, "control")  # as sockets have
    if is_address and (meant := _meant_address(name, value)):
        raise wrong(name, value, wanted, meant)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray) and value:
        return list(value)
    port = name in LISTENING and type(value) is int
    raise wrong(name, value, wanted, _meant_address(name, value) if port else None)


# Others.


def mapping(name: str, value: object, wanted: str) -> Mapping[object, object]:
    """A mapping; None is an empty one."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    raise wrong(name, value, wanted)


def callback(name: str, value: object) -> None:
    """A function, or None."""
    if value is not None:
        function(name, value, "a function, or None")


def function(name: str, value: object, wanted: str = "a function") -> None:
    """One that is called, and not awaited."""
    if inspect.iscoroutinefunction(value):
        raise UsageError(
            f"{name}: expected {wanted}, got a coroutine function, which nobody would await: let a "
            "plain one call asyncio.create_task()"
        )
    if not callable(value):
        raise wrong(name, value, wanted)


def switch(name: str, value: object) -> bool:
    """True or False."""
    if isinstance(value, bool):
        return value
    raise wrong(name, value, "True or False")


def file(name: str, value: object) -> Path | None:
    """The Path of a file, or None."""
    if value is None or isinstance(value, Path):
        return value
    meant = Path(value) if isinstance(value, str) and not _holds_key(value) else None
    raise wrong(name, value, "the pathlib.Path of a file, or None", meant)
