"""Default gateways from routing tables in the format of Linux."""

from __future__ import annotations

import ipaddress
import socket
import sys
from pathlib import Path

import pytest

from netpunch.net import routes as gateway_module
from netpunch.net.routes import Gateway, bind_to_interface, default_gateways
from tests.net.machines import has_ipv6

HEADING = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
UP, UP_GATEWAY, REJECT = 0x1, 0x3, 0x200

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")


def ipv4_route(
    gateway: str,
    *,
    interface: str = "lo",
    metric: int = 0,
    flags: int = UP_GATEWAY,
    destination: str = "0.0.0.0/0",
) -> str:
    network = ipaddress.IPv4Network(destination)

    def printed(host: ipaddress.IPv4Address) -> str:
        return f"{int.from_bytes(host.packed, sys.byteorder):08X}"

    destination, mask = printed(network.network_address), printed(network.netmask)
    via = printed(ipaddress.IPv4Address(gateway))
    return f"{interface}\t{destination}\t{via}\t{flags:04X}\t0\t0\t{metric}\t{mask}\t0\t0\t0"


def ipv6_route(
    gateway: str,
    *,
    interface: str = "lo",
    metric: int = 1024,
    flags: int = UP_GATEWAY,
    destination: str = "::/0",
) -> str:
    network = ipaddress.IPv6Network(destination)
    target, via = network.network_address.packed.hex(), ipaddress.IPv6Address(gateway).packed.hex()
    return (
        f"{target} {network.prefixlen:02x} {'0' * 32} 00 {via} "
        f"{metric:08x} 00000003 00000000 {flags:08x} {interface:>8}"
    )


class Tables:
    """The routing tables that the code under test reads."""

    def __init__(self, directory: Path) -> None:
        self.ipv4, self.ipv6 = directory / "route", directory / "ipv6_route"
        self.write()

    def write(self, *, ipv4: list[str] | None = None, ipv6: list[str] | None = None) -> None:
        self.ipv4.write_text("\n".join([HEADING, *(ipv4 or [])]) + "\n")
        self.ipv6.write_text("".join(f"{line}\n" for line in ipv6 or []))


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tables:
    tables = Tables(tmp_path)
    monkeypatch.setattr(gateway_module, "IPV4_ROUTES", tables.ipv4)
    monkeypatch.setattr(gateway_module, "IPV6_ROUTES", tables.ipv6)
    # Only loopback is certain to have an address where the test runs.
    monkeypatch.setattr(gateway_module, "SOMEWHERE", "::1")
    return tables


def test_the_gateway_of_the_default_route_and_the_own_address_there(tables: Tables) -> None:
    tables.write(ipv4=[ipv4_route("127.0.0.2")])
    assert default_gateways() == [Gateway("127.0.0.2", "127.0.0.1", "lo")]


@needs_ipv6
def test_gateways_of_both_families_come_ipv4_first(tables: Tables) -> None:
    tables.write(ipv4=[ipv4_route("127.0.0.2")], ipv6=[ipv6_route("fe80::1")])
    assert default_gateways() == [
        Gateway("127.0.0.2", "127.0.0.1", "lo"),
        Gateway("fe80::1", "::1", "lo"),
    ]


def test_the_ipv4_gateway_with_the_lowest_metric_wins(tables: Tables) -> None:
    tables.write(
        ipv4=[
            ipv4_route("127.0.0.2", metric=600),
            ipv4_route("127.0.0.3", metric=100),
            ipv4_route("127.0.0.4", metric=200),
        ]
    )
    assert [gateway.host for gateway in default_gateways()] == ["127.0.0.3"]


def test_an_interface_has_a_gateway_of_its_own(tables: Tables) -> None:
    tables.write(
        ipv4=[
            ipv4_route("127.0.0.2", interface="elsewhere", metric=100),
            ipv4_route("127.0.0.3", metric=600),
        ]
    )
    assert [gateway.host for gateway in default_gateways("lo")] == ["127.0.0.3"]
    assert default_gateways("nowhere") == []


@needs_ipv6
def test_the_ipv6_gateway_with_the_lowest_metric_wins(tables: Tables) -> None:
    tables.write(
        ipv6=[ipv6_route("fe80::a", metric=0x400), ipv6_route("fe80::b", metric=0xFF)],
    )
    assert [gateway.host for gateway in default_gateways()] == ["fe80::b"]


@needs_ipv6
def test_routes_that_are_no_default_routes_have_no_gateway(tables: Tables) -> None:
    tables.write(
        ipv4=[
            ipv4_route("0.0.0.0", flags=UP),  # a VPN's
            ipv4_route("127.0.0.2", flags=REJECT),
            ipv4_route("127.0.0.2", flags=UP_GATEWAY & ~UP),
            ipv4_route("127.0.0.2", destination="10.0.0.0/8"),
            ipv4_route("127.0.0.2", destination="0.0.0.0/1"),
        ],
        ipv6=[
            ipv6_route("::", flags=UP),
            ipv6_route("::", metric=0xFFFFFFFF, flags=REJECT),
            ipv6_route("fe80::1", destination="2001:db8::/32"),
            ipv6_route("fe80::1", destination="::/1"),
        ],
    )
    assert default_gateways() == []


def test_a_router_behind_a_vpn_is_found(tables: Tables) -> None:
    tables.write(ipv4=[ipv4_route("0.0.0.0", flags=UP), ipv4_route("127.0.0.2", metric=100)])
    assert [gateway.host for gateway in default_gateways()] == ["127.0.0.2"]


def test_a_host_without_routes_has_no_gateway(tables: Tables) -> None:
    assert default_gateways() == []


def test_a_system_without_these_tables_has_no_gateway(
    tables: Tables,
) -> None:
    tables.ipv4.unlink()
    tables.ipv6.unlink()
    assert default_gateways() == []


def test_a_gateway_without_a_route_to_it_does_not_count(tables: Tables) -> None:
    tables.write(ipv4=[ipv4_route("255.255.255.255")])  # connect() refuses broadcast
    assert default_gateways() == []


def test_an_ipv6_gateway_does_not_count_without_a_global_address(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LinkLocalOnly(socket.socket):
        def connect(self, address: object) -> None:
            assert address == ("::1", 1)

        def getsockname(self) -> tuple[str, int, int, int]:
            return ("fe80::23%eth0", 40000, 0, 2)

    monkeypatch.setattr(socket, "socket", LinkLocalOnly)
    tables.write(ipv6=[ipv6_route("fe80::1")])
    assert default_gateways() == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads the tables of Linux")
def test_the_routing_tables_of_this_host_can_be_read() -> None:
    for gateway in default_gateways():
        host, source = ipaddress.ip_address(gateway.host), ipaddress.ip_address(gateway.source)
        assert host.version == source.version
        assert not source.is_unspecified
        assert gateway.interface in {name for _, name in socket.if_nameindex()}


def test_binding_to_an_interface_that_is_gone_is_no_error() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        bind_to_interface(sock, "gone0")
        sock.bind(("127.0.0.1", 0))
