"""The routers that this host sends to by default: whom to ask for a port mapping."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from netpunch.address import canonical_host

IPV4_ROUTES = Path("/proc/net/route")
IPV6_ROUTES = Path("/proc/net/ipv6_route")

# Flags of routes, linux/route.h.
RTF_UP = 0x1
RTF_GATEWAY = 0x2

SOMEWHERE = "2001:db8::1"
"""A documentation address, never sent to: connect() only asks the routing table."""


class Gateway(NamedTuple):
    """A router on the link of `interface`. `host` and `source`, the own address that it knows
    this host by, are canonical IPs of one family."""

    host: str
    source: str
    interface: str


class _DefaultRoute(NamedTuple):
    metric: int
    host: str
    interface: str


def default_gateways(interface: str = "") -> list[Gateway]:
    """The gateway of the best default route that has one, for each family: IPv4 first. With an
    `interface`, of its routes.

    A default route without gateway (a VPN) is passed over: the router behind it is asked. Empty
    where the system doesn't tell: anywhere but on Linux."""
    families = (
        _ipv4_default_routes(_lines(IPV4_ROUTES)),
        _ipv6_default_routes(_lines(IPV6_ROUTES)),
    )
    usable = ([r for r in routes if interface in ("", r.interface)] for routes in families)
    gateways = (_gateway_of(min(routes)) for routes in usable if routes)
    return [gateway for gateway in gateways if gateway is not None]


def bind_to_interface(sock: socket.socket, interface: str) -> None:
    """Lets a socket send to link-local addresses of the interface without naming their scope,
    and hear nothing from elsewhere. Linux before 5.7 keeps that for root: it then stays as it is,
    and only a gateway with a link-local address is out of reach."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())


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
    """None if the gateway can know this host by no address.

    In IPv6 that must be a global one, while the gateway's own is mostly link-local."""
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
