"""What the system's routing tables say: the way to an address, and the default gateways."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from netpunch.address import Address, canonical_host
from netpunch.errors import NetpunchError
from netpunch.net import netlink
from netpunch.net.sockets import DEFAULT_OPTIONS, SocketOptions, open_socket

IPV4_ROUTES = Path("/proc/net/route")
IPV6_ROUTES = Path("/proc/net/ipv6_route")

# Flags of routes, linux/route.h.
RTF_UP = 0x1
RTF_GATEWAY = 0x2

SOMEWHERE = "2001:db8::1"
"""A documentation address. Nothing is sent to it: connect() only asks the routing table."""
RTVIA_FAMILY = 2
"""Bytes before the address in struct rtvia, which names a router of another family."""


class Route(NamedTuple):
    """The interface that datagrams leave by, the address of this host that an unbound socket sends
    from (empty if the system doesn't say), and the router, empty if there is none. Both are
    canonical IPs."""

    interface: str
    source: str
    gateway: str = ""


class Gateway(NamedTuple):
    """A router on the network of `interface`. `source` is the address by which it knows this host.
    Both are canonical IPs of one family."""

    host: str
    source: str
    interface: str


class _DefaultRoute(NamedTuple):
    metric: int
    host: str
    interface: str


def route_to(
    destination: Address,
    *,
    port: int = 0,
    source: str = "",
    options: SocketOptions = DEFAULT_OPTIONS,
) -> Route | None:
    """The route of UDP datagrams to `destination` from a wildcard socket on `port` with these
    options, maybe pinned to a `source`, by the rules of policy routing, too. None if there is none,
    or on other systems than Linux.

    By a certain interface IPv4 has a route to everywhere: without any other one, no gateway."""
    if sys.platform != "linux":
        return None
    family = socket.AF_INET6 if destination.family == 6 else socket.AF_INET
    host = socket.inet_pton(family, destination.host)
    try:
        details = _details(destination.port, port, source, options)
        answer = netlink.route_attributes(family, host, details)
        index = answer.get(netlink.RTA_OIF)
        interface = socket.if_indextoname(int.from_bytes(index, sys.byteorder)) if index else ""
    except OSError:
        return None
    if not interface:
        return None
    gateway = answer.get(netlink.RTA_GATEWAY) or answer.get(netlink.RTA_VIA, b"")[RTVIA_FAMILY:]
    return Route(interface, source or _host(answer.get(netlink.RTA_PREFSRC, b"")), _host(gateway))


def source_towards(destination: Address, options: SocketOptions = DEFAULT_OPTIONS) -> str:
    """The address of this host (canonical) that a wildcard socket with these options sends to
    `destination` from; empty without a route. Works on every system; nothing is sent."""
    family = socket.AF_INET6 if destination.family == 6 else socket.AF_INET
    try:
        with open_socket(family, options) as sock:
            sock.connect(destination)
            host: str = sock.getsockname()[0]
    except (OSError, NetpunchError):
        return ""
    return canonical_host(host)


def default_gateways(interface: str = "") -> list[Gateway]:
    """The gateway of the best default route of each family, IPv4 first, or of an `interface`'s
    best.

    Default routes without a gateway (VPNs) don't count. None on other systems than Linux."""
    families = (
        _ipv4_default_routes(_lines(IPV4_ROUTES)),
        _ipv6_default_routes(_lines(IPV6_ROUTES)),
    )
    usable = ([r for r in routes if interface in ("", r.interface)] for routes in families)
    gateways = (_gateway_of(min(routes)) for routes in usable if routes)
    return [gateway for gateway in gateways if gateway is not None]


def ipv4_networks() -> list[ipaddress.IPv4Network]:
    """Those that this host has routes to, without default routes; none on other systems than
    Linux."""
    networks = []
    for line in _lines(IPV4_ROUTES)[1:]:
        _, destination, _, _, _, _, _, mask, *_ = line.split()
        packed, bits = int(destination, 16).to_bytes(4, sys.byteorder), int(mask, 16).bit_count()
        if bits:
            networks.append(ipaddress.IPv4Network((packed, bits)))
    return networks


def bind_to_interface(sock: socket.socket, interface: str) -> None:
    """Lets a socket send to link-local addresses of the interface without their scope, and receive
    from nowhere else. Linux before 5.7 allows that to root only; otherwise nothing changes, and
    just gateways with link-local addresses are out of reach."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())


def _details(
    to_port: int, from_port: int, source: str, options: SocketOptions
) -> Iterator[tuple[int, bytes]]:
    """What else decides about the route of a datagram."""
    if source:
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        yield netlink.RTA_SRC, socket.inet_pton(family, source)
    yield netlink.RTA_IP_PROTO, bytes((socket.IPPROTO_UDP,))
    yield netlink.RTA_DPORT, struct.pack("!H", to_port)
    if from_port:
        yield netlink.RTA_SPORT, struct.pack("!H", from_port)
    if options.mark:
        yield netlink.RTA_MARK, struct.pack("=I", options.mark)
    if options.interface:
        yield netlink.RTA_OIF, struct.pack("=I", socket.if_nametoindex(options.interface))


def _host(packed: bytes) -> str:
    if not packed:
        return ""
    return socket.inet_ntop(socket.AF_INET6 if len(packed) == 16 else socket.AF_INET, packed)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").splitlines()
    except OSError:
        return []


def _ipv4_default_routes(lines: list[str]) -> Iterator[_DefaultRoute]:
    """From /proc/net/route, after its heading: interface, destination, gateway, flags, two
    counters, metric, mask. Addresses are network order, printed as the host's integers."""
    for line in lines[1:]:
        interface, destination, gateway, flags, _, _, metric, mask, *_ = line.split()
        if int(destination, 16) == int(mask, 16) == 0 and _leads_to_gateway(flags):
            packed = int(gateway, 16).to_bytes(4, sys.byteorder)
            yield _DefaultRoute(int(metric), str(ipaddress.IPv4Address(packed)), interface)


def _ipv6_default_routes(lines: list[str]) -> Iterator[_DefaultRoute]:
    """From /proc/net/ipv6_route: destination, prefix length, source, prefix length, gateway,
    metric, two counters, flags, interface; all numbers in hex."""
    for line in lines:
        destination, length, _, _, gateway, metric, _, _, flags, interface = line.split()
        if int(destination, 16) == int(length, 16) == 0 and _leads_to_gateway(flags):
            host = canonical_host(str(ipaddress.IPv6Address(bytes.fromhex(gateway))))
            yield _DefaultRoute(int(metric, 16), host, interface)


def _leads_to_gateway(flags: str) -> bool:
    return int(flags, 16) & (RTF_UP | RTF_GATEWAY) == RTF_UP | RTF_GATEWAY


def _gateway_of(route: _DefaultRoute) -> Gateway | None:
    """None if this host has no address that the gateway can know it by: in IPv6 that is a global
    one, while the gateway's own is mostly link-local."""
    ipv6 = ":" in route.host
    destination = SOMEWHERE if ipv6 else route.host
    try:
        with socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            bind_to_interface(sock, route.interface)
            sock.connect((destination, 1))
            source = canonical_host(sock.getsockname()[0])
    except OSError:
        return None
    if ipaddress.ip_address(source).is_link_local:
        return None
    return Gateway(route.host, source, route.interface)
