"""The lab's routers do what the field calls them: mapping, filtering, hairpinning (RFC 4787).

Proved with plain sockets, so that a scenario which fails tells of netpunch, not of the lab.
"""

from __future__ import annotations

import shutil
import time

import pytest

from netpunch.address import Address
from tests.lab.datagrams import is_dropped, local_address, observed, passes, punched
from tests.lab.network import HOME_ROUTER, Lab, Nat, Ports, Router

pytestmark = pytest.mark.lab

LOCAL_PORT = 5000


def mappings(lab: Lab, router: Router, count: int) -> list[Address]:
    """The observed addresses of one socket at `count` ports of a public server."""
    server = lab.server("server")
    sock = lab.udp_socket(lab.host("host", router), LOCAL_PORT)
    return [observed(sock, lab.udp_socket(server)) for _ in range(count)]


def test_preserved_ports_are_mapped_independently_of_the_endpoint(lab: Lab) -> None:
    router = lab.router("router")
    assert set(mappings(lab, router, 3)) == {Address(router.wan.address, LOCAL_PORT)}


@pytest.mark.parametrize(
    ("ports", "lowest", "highest"),
    [(Ports.RANDOM, 1024, 65535), (Ports.FEW_RANDOM, 50000, 50127)],
)
def test_random_ports_differ_by_endpoint(lab: Lab, ports: Ports, lowest: int, highest: int) -> None:
    seen = [address.port for address in mappings(lab, lab.router("router", Nat(ports)), 8)]
    assert len(set(seen)) > 1
    assert all(lowest <= port <= highest for port in seen)


def test_sequential_ports_rise_by_one(lab: Lab) -> None:
    seen = [
        address.port for address in mappings(lab, lab.router("router", Nat(Ports.SEQUENTIAL)), 4)
    ]
    assert seen == list(range(seen[0], seen[0] + 4))


def test_a_second_host_with_the_same_port_gets_another_one(lab: Lab) -> None:
    router = lab.router("router")
    server = lab.udp_socket(lab.server("server"))
    first = observed(lab.udp_socket(lab.host("first", router), LOCAL_PORT), server)
    second = observed(lab.udp_socket(lab.host("second", router), LOCAL_PORT), server)
    assert first == Address(router.wan.address, LOCAL_PORT)
    assert second.host == router.wan.address
    assert second.port != LOCAL_PORT


@pytest.mark.parametrize("nat", [HOME_ROUTER, Nat(input_drop=False), Nat(Ports.RANDOM)])
def test_only_the_asked_address_and_port_may_answer(lab: Lab, nat: Nat) -> None:
    asked_host = lab.server("asked")
    asked, other_port = lab.udp_socket(asked_host), lab.udp_socket(asked_host)
    other_host = lab.udp_socket(lab.server("other"))
    sock = lab.udp_socket(lab.host("host", lab.router("router", nat)))
    outside = observed(sock, asked)
    assert is_dropped(other_port, outside, sock)
    assert is_dropped(other_host, outside, sock)
    assert passes(asked, outside, sock) == local_address(asked)


def test_a_dmz_host_hears_everybody(lab: Lab) -> None:
    server, stranger = (lab.udp_socket(lab.server(label)) for label in ("server", "stranger"))
    sock = lab.udp_socket(lab.host("host", lab.router("router", Nat(dmz=True))))
    assert passes(stranger, observed(sock, server), sock) == local_address(stranger)


def test_neighbours_meet_on_their_lan_but_not_by_the_outside(lab: Lab) -> None:
    router = lab.router("router")
    server = lab.udp_socket(lab.server("server"))
    one, two = (lab.udp_socket(lab.host(label, router)) for label in ("one", "two"))
    one_outside, two_outside = observed(one, server), observed(two, server)
    assert not punched(one, one_outside, two, two_outside)
    assert passes(one, local_address(two), two) == local_address(one)


def test_a_network_that_blocks_udp_passes_no_datagram(lab: Lab) -> None:
    server = lab.udp_socket(lab.server("server"))
    sock = lab.udp_socket(lab.host("host", lab.router("router", Nat(udp_blocked=True))))
    assert is_dropped(sock, local_address(server), server)


def test_private_addresses_are_lost_in_the_internet(lab: Lab) -> None:
    home, office = (
        lab.udp_socket(lab.host(label, lab.router(f"{label}_router")))
        for label in ("home", "office")
    )
    assert is_dropped(home, local_address(office), office)


@pytest.mark.parametrize(
    ("nat", "opens"),
    [
        (HOME_ROUTER, True),
        (Nat(input_drop=False), False),  # the early datagram has taken the port
        (Nat(Ports.RANDOM), False),
        (Nat(Ports.SEQUENTIAL), False),
    ],
)
def test_two_behind_equal_routers_punch(lab: Lab, nat: Nat, opens: bool) -> None:
    server = lab.udp_socket(lab.server("server"))
    home, office = (
        lab.udp_socket(lab.host(label, lab.router(f"{label}_router", nat)), LOCAL_PORT)
        for label in ("home", "office")
    )
    assert punched(home, observed(home, server), office, observed(office, server)) is opens


def test_an_early_datagram_takes_the_port_of_a_router_without_input_drop(lab: Lab) -> None:
    server_host = lab.server("server")
    early, other = lab.udp_socket(server_host), lab.udp_socket(server_host)
    router = lab.router("router", Nat(input_drop=False))
    sock = lab.udp_socket(lab.host("host", router), LOCAL_PORT)
    outside = observed(sock, other)
    assert is_dropped(early, outside, sock)
    assert observed(sock, early) != outside
    assert observed(sock, other) == outside


def test_two_behind_nested_routers_punch(lab: Lab) -> None:
    server = lab.udp_socket(lab.server("server"))
    carrier = lab.router("carrier")
    home = lab.udp_socket(lab.host("home", lab.router("home_router", behind=carrier)))
    office = lab.udp_socket(lab.host("office", lab.router("office_router")))
    home_outside = observed(home, server)
    assert home_outside.host == carrier.wan.address
    assert punched(home, home_outside, office, observed(office, server))


def test_a_slow_uplink_delays_both_ways(dual_lab: Lab) -> None:
    lab = dual_lab
    server = lab.udp_socket(lab.server("server"))
    sock = lab.udp_socket(lab.host("host", lab.router("router", latency=0.05)))
    observed(sock, server)  # the first one waits for neighbour discovery, too
    before = time.monotonic()
    observed(sock, server)
    assert 0.1 <= time.monotonic() - before < 1


def test_ipv6_is_firewalled_not_translated(ipv6_lab: Lab) -> None:
    lab = ipv6_lab
    server, stranger = (lab.udp_socket(lab.server(label)) for label in ("server", "stranger"))
    home, office = (
        lab.udp_socket(lab.host(label, lab.router(f"{label}_router")))
        for label in ("home", "office")
    )
    assert observed(home, server) == local_address(home)
    assert is_dropped(stranger, local_address(home), home)
    assert punched(home, local_address(home), office, local_address(office))


@pytest.mark.skipif(shutil.which("conntrack") is None, reason="needs conntrack")
def test_a_router_that_forgets_closes_its_holes(lab: Lab) -> None:
    server = lab.udp_socket(lab.server("server"))
    router = lab.router("router")
    sock = lab.udp_socket(lab.host("host", router))
    outside = observed(sock, server)
    router.forget_flows()
    assert is_dropped(server, outside, sock)
