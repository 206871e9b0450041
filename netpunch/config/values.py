"""Texts of a site file to values. Each function raises ValueError with what is wrong with the
text, to be read after it: `'10' has no unit`."""

from __future__ import annotations

import re

from netpunch.address import canonical_host, is_loopback, is_private
from netpunch.config.model import HostPort

_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
"""Nine digits are more than anything here needs, and no work to convert."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

LONGEST_DURATION = 365 * 86400.0
"""Nobody waits longer, and timers overflow somewhere above."""

LOWEST_RATE = 10.0
"""Datagrams a second. At that, one scan of 64 ports takes 6 s; slower, a NAT has moved on before
the scan ends, and probing only keeps other pairs from their turn."""

HIGHEST_RATE = 10_000.0
"""Datagrams a second. More than that is an attack on one's own uplink."""

HIGHEST_PORT = 65535

HIGHEST_MARK = 0xFFFFFFFF
"""SO_MARK has 32 bits."""

PAIR_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_NODE = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
"""A host name, as long as DNS takes one."""

_INTERFACE = re.compile(r"[!-.0-9;-~]{1,15}")
"""Linux: 15 bytes without spaces, slashes and colons."""

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE | re.ASCII)
"""Without ASCII, a long s and the sign of Kelvin are letters, too."""

_LONGEST_HOST = 253
"""DNS: 63 characters a label, 253 a name."""

_SWITCH = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}

_LOCALHOST = frozenset({"localhost", "127.0.0.1", "::1"})

WILDCARDS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - names them, binds nothing


def duration(text: str) -> float:
    """`500ms`, `10s`, `1.5h` in seconds, above zero."""
    seconds = _quantity(text, _SECONDS, "duration")
    if not 0 < seconds <= LONGEST_DURATION:
        raise ValueError("is not above zero and up to 365d")
    return seconds


def rate(text: str) -> float:
    """`200/s` in datagrams a second."""
    datagrams = _quantity(text, {"/s": 1.0}, "rate")
    if not LOWEST_RATE <= datagrams <= HIGHEST_RATE:
        raise ValueError(f"is not from {LOWEST_RATE:.0f}/s to {HIGHEST_RATE:.0f}/s")
    return datagrams


def _quantity(text: str, units: dict[str, float], what: str) -> float:
    number = _NUMBER.match(text)
    unit = text[number.end() :].strip() if number else ""
    if number and not unit:
        raise ValueError("has no unit")
    if number is None or unit not in units:
        raise ValueError(f"is no {what}")
    return float(number[0]) * units[unit]


def host_port(text: str) -> HostPort:
    """`host:port`, `:port` (both families) or `[IPv6]:port`; IP literals become canonical."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        raise ValueError("is a port without its colon" if _is_number(text) else "has no port")
    bracketed = host.startswith("[") and host.endswith("]")
    if ":" in host and not bracketed:
        raise ValueError("has a colon in its host (an IPv6 address stands in brackets)")
    return HostPort(_bracketed_host(host[1:-1]) if bracketed else _host(host), _port(port))


def bound_host_port(text: str) -> HostPort:
    """An address that others must find, or to which something is sent: port 0 is no port."""
    address = host_port(text)
    if address.port == 0:
        raise ValueError("has port 0")
    return address


def reachable_host_port(text: str) -> HostPort:
    """An address to send to: neither port 0 nor a wildcard."""
    address = bound_host_port(text)
    if address.host in WILDCARDS:
        raise ValueError("names no host")
    return address


def reaches(destination: HostPort, bound: HostPort) -> bool:
    """Whether what is sent to `destination` may arrive at a socket of this host bound to `bound`.
    No name is looked up but `localhost`, which is either loopback."""
    if destination.port != bound.port:
        return False
    hosts = _LOCALHOST if destination.host.lower() == "localhost" else {destination.host}
    if bound.host in WILDCARDS:
        return any(is_loopback(host) for host in hosts)
    return bound.host in hosts


def public_host(text: str) -> str:
    """A host name, or an IP address that is seen across the Internet."""
    try:
        host = canonical_host(text) if ":" in text else _host(text)
    except ValueError:
        raise ValueError("is no IP address and no host name") from None
    if not host or host in WILDCARDS:
        raise ValueError("names no host")
    is_name = ":" not in host and not _is_number(host.rpartition(".")[2])
    if not is_name and is_private(host):
        raise ValueError("is a private address, which nobody elsewhere can send to")
    return host


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _port(text: str) -> int:
    if not _is_number(text) or len(text) > len(str(HIGHEST_PORT)) or int(text) > HIGHEST_PORT:
        raise ValueError(f"has no port from 1 to {HIGHEST_PORT} behind its last colon")
    return int(text)


def _bracketed_host(text: str) -> str:
    try:
        if "%" not in text:
            return canonical_host(text)
    except ValueError:
        pass
    raise ValueError("has no IPv6 address in its brackets (a scope such as %eth0 is none)")


def _host(text: str) -> str:
    if not text:
        return ""
    labels = text.removesuffix(".").split(".")
    if len(text) > _LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("has no host name or IP address before its port")
    if not _is_number(labels[-1]):
        return text
    try:
        return canonical_host(text)
    except ValueError:
        raise ValueError("has no valid IPv4 address before its port") from None


def node_name(text: str) -> str:
    """A node's or a control's name. Host names ignore case, so it is kept in lower case."""
    name = text.lower()
    if not _NODE.fullmatch(name):
        raise ValueError("is no name")
    return name


def mark(text: str) -> int:
    """A firewall mark as `ip rule` and `wg` take it: `51820` or `0xca6c`."""
    if not re.fullmatch("0x[0-9a-fA-F]{1,8}|[1-9][0-9]{0,9}", text):
        raise ValueError("is no mark")
    number = int(text, 0)
    if not 0 < number <= HIGHEST_MARK:
        raise ValueError(f"is not from 1 to {HIGHEST_MARK}")
    return number


def interface(text: str) -> str:
    """A network interface's name, as Linux takes it."""
    if not _INTERFACE.fullmatch(text) or text in (".", ".."):
        raise ValueError("is no interface's name")
    return text


def slots(text: str) -> str:
    """The classic slots `a-b` as `ab`."""
    first, dash, second = text.partition("-")
    letters = len(first) == len(second) == 1 and "a" <= first <= "z" and "a" <= second <= "z"
    if not (letters and dash):
        raise ValueError("are no slots")
    if ord(first) - ord("a") ^ 1 != ord(second) - ord("a"):
        raise ValueError("are no neighbours that the classic protocol pairs")
    return first + second


def switch(text: str) -> bool:
    """`on` or `off`."""
    if text.lower() not in _SWITCH:
        raise ValueError("is not known")
    return _SWITCH[text.lower()]


def file_mode(text: str) -> int:
    """Permission bits in octal, `0640`."""
    if not re.fullmatch("0[0-7]{3}|[1-7][0-7]{2}", text):
        raise ValueError("is no mode")
    return int(text, 8)
