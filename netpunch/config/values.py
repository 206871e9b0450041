"""Texts to values: addresses, durations, names. Each function raises ValueError with the reason why
a text is wrong, for `complaint`; empty if there is nothing to say beyond what is expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from netpunch.address import canonical_host, is_loopback, is_private
from netpunch.mesh import mesh_pair, pair_of

_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
"""Nine digits are more than any value here needs, and cheap to convert."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

LONGEST_DURATION = 365 * 86400.0
"""Seconds. Nobody waits longer, and timers overflow somewhere above."""

LOWEST_RATE = 10.0
"""Datagrams a second. At this rate, a scan of 64 ports takes 6 s; a slower one ends after the NAT
has moved on, and only keeps other pairs from their turn."""

HIGHEST_RATE = 10_000.0
"""Datagrams a second. More would be an attack on one's own uplink."""

LOWEST_BIT_RATE, HIGHEST_BIT_RATE = 64e3, 100e9
"""Bits a second. At the lowest, a relayed link still answers pings; no host has more than the
highest."""

HIGHEST_PORT = 65535

HIGHEST_MARK = 0xFFFFFFFF
"""SO_MARK has 32 bits."""

FEWEST_KEEPALIVES = 2
"""How many are due within `hold_for` at least: one that is lost ends no link."""

ONE_PORT = "expected one port for all addresses: ends learn a single one"
"""What is wrong with a relay at several."""

MOST_RELAY_PORTS = 256
"""As many pairs of one host may be relayed that share a port of it; each port takes a socket or
two."""

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
"""Of a mesh, or of a pair that belongs to none."""
NAME_RULE = "up to 32 of a-z, 0-9 and '-', not starting with '-'"
_MESH_NODE = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
"""One label of a host name: dots separate the nodes in the name of a pair."""
PAIR_NAME = re.compile(rf"{NAME.pattern}(\.{_MESH_NODE.pattern}\.{_MESH_NODE.pattern})?")
_NODE = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
"""A host name, up to the length that DNS allows."""

_WIREGUARD_KEY = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
"""32 bytes in base64."""

_INTERFACE = re.compile(r"[!-.0-9;-~]{1,15}")
"""On Linux: 15 bytes without spaces, slashes and colons."""

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE | re.ASCII)
"""ASCII, as otherwise a long s and the Kelvin sign would match as letters."""

_LONGEST_HOST = 253
"""Characters of a DNS name; a label has 63."""

_SWITCH = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}

_BITS = {"bit/s": 1.0, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9}

_LOCALHOST = frozenset({"localhost", "127.0.0.1", "::1"})

WILDCARDS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared only


class HostPort(NamedTuple):
    """An address as written: `host` is a DNS name, an IP literal without brackets, or empty
    (every address of both families)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Counted(HostPort):
    """An address of each pair of a mesh's node, `host:52000+`: the port is counted by the place of
    the partner in the mesh's `nodes`, from 0."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{HostPort(*self)}+"

    def towards(self, place: int) -> HostPort:
        """The address for the partner at a place."""
        return HostPort(self.host, self.port + place)


class Auto(HostPort):
    """An address of this host whose port netpunch is to choose."""

    __slots__ = ()

    def __str__(self) -> str:
        return AUTO_WORD


class Chosen(HostPort):
    """An address whose port netpunch has chosen: if somebody has it, another one does."""

    __slots__ = ()


AUTO_WORD = "auto"
AUTO = Auto("127.0.0.1", 0)


def complaint(wanted: str, got: str, reason: str = "") -> str:
    """The message about a wrong value: `expected a duration such as 10s, got '10': no unit`."""
    return f"expected {wanted}, got {got}" + (reason and f": {reason}")


def duration(text: str) -> float:
    """`500ms`, `10s`, `1.5h` in seconds, above zero."""
    seconds = _quantity(text, _SECONDS)
    if not 0 < seconds <= LONGEST_DURATION:
        raise ValueError("must be above zero and up to 365d")
    return seconds


def rate(text: str) -> float:
    """`200/s` in datagrams a second."""
    datagrams = _quantity(text, {"/s": 1.0})
    if not LOWEST_RATE <= datagrams <= HIGHEST_RATE:
        raise ValueError(f"must be from {LOWEST_RATE:.0f}/s to {HIGHEST_RATE:.0f}/s")
    return datagrams


def bit_rate(text: str) -> float:
    """`20Mbit/s` in bits a second."""
    bits = _quantity(text, _BITS)
    if not LOWEST_BIT_RATE <= bits <= HIGHEST_BIT_RATE:
        raise ValueError("must be from 64kbit/s to 100Gbit/s")
    return bits


def _quantity(text: str, units: dict[str, float]) -> float:
    number = _NUMBER.match(text)
    unit = text[number.end() :].strip() if number else ""
    if number and not unit:
        raise ValueError("no unit")
    if number is None or unit not in units:
        raise ValueError
    return float(number[0]) * units[unit]


def host_port(text: str) -> HostPort:
    """`host:port`, `:port` (both families) or `[IPv6]:port`; IP literals become canonical."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        raise ValueError("no colon before the port" if _is_number(text) else "no port")
    bracketed = host.startswith("[") and host.endswith("]")
    if ":" in host and not bracketed:
        raise ValueError("more than one colon (write an IPv6 address in brackets)")
    return HostPort(_bracketed_host(host[1:-1]) if bracketed else _host(host), _port(port))


def bound_host_port(text: str) -> HostPort:
    """An address that others must find, so its port is not 0."""
    address = host_port(text)
    if address.port == 0:
        raise ValueError("port 0 is not allowed")
    return address


def counting(read: Callable[[str], HostPort]) -> Callable[[str], HostPort]:
    """What `read` accepts, or the same with a plus behind it, as Counted."""

    def read_counted(text: str) -> HostPort:
        if not text.endswith("+"):
            return read(text)
        address = read(text[:-1])
        if address.port == 0:
            raise ValueError("port 0 can't be counted from")
        return Counted(*address)

    return read_counted


def listening_host_port(text: str) -> HostPort:
    """The same, or `auto`."""
    return AUTO if text == AUTO_WORD else bound_host_port(text)


def reachable_host_port(text: str) -> HostPort:
    """An address to send to: neither port 0 nor a wildcard host."""
    address = bound_host_port(text)
    if address.host in WILDCARDS:
        raise ValueError("no host")
    return address


def reaches(destination: HostPort, bound: HostPort) -> bool:
    """Whether a datagram to `destination` may arrive at a socket of this host bound to `bound`.
    Looks up no names, except that `localhost` is either loopback address."""
    if destination.port != bound.port:
        return False
    hosts = _LOCALHOST if destination.host.lower() == "localhost" else {destination.host}
    if bound.host in WILDCARDS:
        return any(is_loopback(host) for host in hosts)
    return bound.host in hosts


def share_family(one: HostPort, other: HostPort) -> bool:
    """Whether both may be IPv4, or both IPv6, as far as they are no names."""
    return not (_is_literal(one.host) and _is_literal(other.host)) or (
        (":" in one.host) == (":" in other.host)
    )


def _is_literal(host: str) -> bool:
    return ":" in host or _is_number(host.rpartition(".")[2])


def public_host(text: str) -> str:
    """A host name, or a public IP address."""
    try:
        host = canonical_host(text) if ":" in text else _host(text)
    except ValueError:
        raise ValueError("neither an IP address nor a host name") from None
    if not host or host in WILDCARDS:
        raise ValueError("no host")
    if _is_literal(host) and is_private(host):
        raise ValueError("a private address, which is unreachable from elsewhere")
    return host


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def tcp_port(text: str) -> int:
    """The number of a port that can be connected to."""
    port = _port(text)
    if port == 0:
        raise ValueError("port 0 can't be reached")
    return port


def _port(text: str) -> int:
    if not _is_number(text) or len(text) > len(str(HIGHEST_PORT)) or int(text) > HIGHEST_PORT:
        raise ValueError(f"no port from 1 to {HIGHEST_PORT} after the last colon")
    return int(text)


def _bracketed_host(text: str) -> str:
    try:
        if "%" not in text:
            return canonical_host(text)
    except ValueError:
        pass
    raise ValueError("no IPv6 address (without a scope such as %eth0) in brackets")


def _host(text: str) -> str:
    if not text:
        return ""
    labels = text.removesuffix(".").split(".")
    if len(text) > _LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("no host name or IP address before the port")
    if not _is_number(labels[-1]):
        return text
    try:
        return canonical_host(text)
    except ValueError:
        raise ValueError("no valid IPv4 address before the port") from None


def node_name(text: str) -> str:
    """The name of a node or a control, in lower case, as host names ignore case."""
    name = text.lower()
    if not _NODE.fullmatch(name):
        raise ValueError(
            "1 to 253 of a-z, 0-9, '.', '_' and '-', not starting or ending with '.' or '-'"
        )
    return name


def mesh_node_name(text: str) -> str:
    """The name of a mesh's node, likewise; without dots."""
    name = node_name(text)
    if "." in name:
        short = name.partition(".")[0]
        raise ValueError(
            f"a node of a mesh is named without dots, such as {short}, by which that host finds "
            "itself, too"
        )
    if not _MESH_NODE.fullmatch(name):
        raise ValueError("more than 63 characters")
    return name


def pair_name(text: str) -> str:
    """The name of a pair: of its own, or MESH.NODE.NODE."""
    mesh = mesh_pair(text)
    if not PAIR_NAME.fullmatch(text):
        raise ValueError(NAME_RULE + (", then .NODE.NODE for a pair of a mesh" if mesh else ""))
    if mesh and mesh.a >= mesh.b:
        wanted = "two nodes" if mesh.a == mesh.b else str(pair_of(*mesh))
        raise ValueError(f"{wanted}: a mesh's pair has its nodes in alphabetical order")
    return text


def wireguard_key(text: str) -> str:
    """A key of WireGuard, as `wg pubkey` prints it."""
    if not _WIREGUARD_KEY.fullmatch(text):
        raise ValueError("it has 43 characters of base64 and an =")
    return text


def mark(text: str) -> int:
    """A firewall mark as `ip rule` and `wg` accept it: `51820` or `0xca6c`."""
    if not re.fullmatch("0x[0-9a-fA-F]{1,8}|[1-9][0-9]{0,9}", text):
        raise ValueError
    number = int(text, 0)
    if not 0 < number <= HIGHEST_MARK:
        raise ValueError(f"must be from 1 to {HIGHEST_MARK}")
    return number


def relay_ports(text: str) -> int:
    """How many ports a relay has."""
    if not re.fullmatch("[1-9][0-9]{0,2}", text) or int(text) > MOST_RELAY_PORTS:
        raise ValueError
    return int(text)


def interface(text: str) -> str:
    """The name of a network interface, as Linux allows it."""
    if not _INTERFACE.fullmatch(text) or text in (".", ".."):
        raise ValueError("up to 15 characters without spaces, '/' and ':'")
    return text


def slots(text: str) -> str:
    """The classic slots `a-b` as `ab`."""
    first, dash, second = text.partition("-")
    letters = len(first) == len(second) == 1 and "a" <= first <= "z" and "a" <= second <= "z"
    if not (letters and dash):
        raise ValueError
    if ord(first) - ord("a") ^ 1 != ord(second) - ord("a"):
        raise ValueError("the classic protocol does not pair these letters")
    return first + second


def switch(text: str) -> bool:
    """`on` or `off`."""
    if text.lower() not in _SWITCH:
        raise ValueError
    return _SWITCH[text.lower()]


def file_mode(text: str) -> int:
    """Permission bits in octal, `0640`."""
    if not re.fullmatch("0[0-7]{3}|[1-7][0-7]{2}", text):
        raise ValueError
    return int(text, 8)
