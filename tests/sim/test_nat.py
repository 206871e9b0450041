"""The NAT models, each property of RFC 4787 on its own, with plain sockets."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from netpunch.address import Address
from tests.sim.hosts import SimHost
from tests.sim.nat import (
    BLOCKS_UDP,
    FIRST_PORT,
    FULL_CONE,
    HARD_RANDOM,
    HARD_STEP,
    LAST_PORT,
    LINUX,
    PORT_RESTRICTED_CONE,
    RANDOM_CONE,
    RESTRICTED_CONE,
    By,
    Firewall,
    Nat,
    NatBehavior,
    Ports,
)
from tests.sim.network import Datagram, Network, Segment

PUBLIC = "198.51.100.1"
SERVER, SAME_HOST, OTHER = (
    Address("192.0.2.1", 1000),
    Address("192.0.2.1", 2000),
    Address("192.0.2.9", 1000),
)
CLIENT = Address("10.0.0.2", 5000)


class Bench:
    """A client behind a NAT, and hosts outside that note what they get."""

    def __init__(self, behavior: NatBehavior, seed: int = 1) -> None:
        self.network = Network(seed)
        self.nat = Nat(behavior, self.network.internet, PUBLIC)
        self.client = self.host("client", self.nat.inside, CLIENT.host)
        self.client.bind(CLIENT.port)
        self.outside = {
            host: self.host(host, self.network.internet, host) for host in (SERVER.host, OTHER.host)
        }

    def host(self, name: str, segment: Segment, address: str) -> SimHost:
        host = SimHost(self.network, name)
        host.attach(segment, address)
        return host

    def wait(self, seconds: float) -> None:
        self.network.run_until(self.network.now + seconds)

    def out(self, remote: Address, via: int = 0, client: SimHost | None = None) -> Address | None:
        """Sends to `remote`; the source that it sees, None when nothing arrives."""
        arrived = self._arrivals()
        (client or self.client).send(b"out", remote, via)
        self.wait(0.0)
        new = self._arrivals()[len(arrived) :]
        return new[0].source if new else None

    def reaches(self, source: Address, destination: Address) -> bool:
        """Whether a datagram from outside gets to a host inside."""
        arrived = len(self._arrivals())
        self.network.inject(b"in", source, destination)
        self.wait(0.0)
        return len(self._arrivals()) > arrived

    def mapped(self, remote: Address, via: int = 0) -> Address:
        source = self.out(remote, via)
        assert source is not None
        return source

    def _arrivals(self) -> list[Datagram]:
        return [record.datagram for record in self.network.received]


@pytest.mark.parametrize(
    ("mapping", "same_host", "other_host"),
    [
        (By.NOTHING, True, True),
        (By.ADDRESS, True, False),
        (By.ADDRESS_AND_PORT, False, False),
    ],
)
@pytest.mark.parametrize("ports", [Ports.STEPPING, Ports.RANDOM])
def test_a_mapping_depends_on_as_much_of_the_remote_as_it_says(
    mapping: By, same_host: bool, other_host: bool, ports: Ports
) -> None:
    bench = Bench(NatBehavior(mapping=mapping, ports=ports))
    first = bench.mapped(SERVER)
    assert first.host == PUBLIC
    assert bench.mapped(SERVER) == first
    assert (bench.mapped(SAME_HOST) == first) is same_host
    assert (bench.mapped(OTHER) == first) is other_host


@pytest.mark.parametrize(
    ("filtering", "same_host", "other_host"),
    [
        (By.NOTHING, True, True),
        (By.ADDRESS, True, False),
        (By.ADDRESS_AND_PORT, False, False),
    ],
)
@pytest.mark.parametrize("ports", list(Ports))
def test_a_filter_depends_on_as_much_of_the_remote_as_it_says(
    filtering: By, same_host: bool, other_host: bool, ports: Ports
) -> None:
    bench = Bench(NatBehavior(filtering=filtering, ports=ports))
    mapped = bench.mapped(SERVER)
    assert bench.reaches(SERVER, mapped)
    assert bench.reaches(SAME_HOST, mapped) is same_host
    assert bench.reaches(OTHER, mapped) is other_host


def test_nothing_enters_before_something_left() -> None:
    bench = Bench(FULL_CONE)
    assert not bench.reaches(SERVER, Address(PUBLIC, CLIENT.port))


def test_translation_is_undone_on_the_way_in() -> None:
    bench = Bench(RANDOM_CONE)
    assert bench.reaches(SERVER, bench.mapped(SERVER))
    assert bench.network.received[-1].datagram[:3] == (b"in", SERVER, CLIENT)


def test_a_preserving_nat_keeps_the_local_port_until_it_is_taken() -> None:
    bench = Bench(PORT_RESTRICTED_CONE)
    rival = bench.host("rival", bench.nat.inside, "10.0.0.3")
    via = rival.bind(CLIENT.port)
    assert bench.mapped(SERVER).port == CLIENT.port
    taken = bench.out(SERVER, via, rival)
    assert taken is not None
    assert taken.port != CLIENT.port


def test_a_linux_nat_shares_a_port_among_remotes() -> None:
    bench = Bench(LINUX)
    rival = bench.host("rival", bench.nat.inside, "10.0.0.3")
    via = rival.bind(CLIENT.port)
    assert bench.mapped(SERVER).port == CLIENT.port
    assert bench.out(OTHER, via, rival) == Address(PUBLIC, CLIENT.port)
    clash = bench.out(SERVER, via, rival)
    assert clash is not None
    assert clash.port != CLIENT.port
    assert bench.reaches(SERVER, Address(PUBLIC, CLIENT.port))
    assert bench.network.received[-1].host == "client"
    assert bench.reaches(OTHER, Address(PUBLIC, CLIENT.port))
    assert bench.network.received[-1].host == "rival"


@pytest.mark.parametrize("step", [1, 2, -1])
def test_a_stepping_nat_steps(step: int) -> None:
    bench = Bench(dataclasses.replace(HARD_STEP, step=step))
    ports = [bench.mapped(Address(SERVER.host, port)).port for port in range(1, 5)]
    assert {
        (after - before - step) % (LAST_PORT - FIRST_PORT + 1)
        for before, after in itertools.pairwise(ports)
    } == {0}


def test_other_hosts_allocate_ports_of_a_busy_nat() -> None:
    bench = Bench(dataclasses.replace(HARD_STEP, foreign=100.0))
    before = bench.mapped(SERVER).port
    bench.wait(0.5)
    assert bench.mapped(OTHER).port - before == 51


def test_random_ports_are_within_the_range_and_differ() -> None:
    bench = Bench(HARD_RANDOM)
    ports = [bench.mapped(Address(SERVER.host, port)).port for port in range(1, 200)]
    assert len(set(ports)) == len(ports)
    assert min(ports) >= FIRST_PORT
    assert max(ports) <= LAST_PORT
    assert max(ports) - min(ports) > 40_000


@pytest.mark.parametrize("hairpin", [True, False])
def test_a_hairpin_reaches_a_neighbour_only_where_there_is_one(hairpin: bool) -> None:
    bench = Bench(dataclasses.replace(FULL_CONE, hairpin=hairpin))
    neighbour = bench.host("neighbour", bench.nat.inside, "10.0.0.3")
    via = neighbour.bind(6000)
    mapped = bench.out(SERVER, via, neighbour)
    assert mapped is not None
    source = bench.out(mapped)
    assert source == (Address(PUBLIC, CLIENT.port) if hairpin else None)


def test_a_hairpin_filters_like_any_other_way_in() -> None:
    bench = Bench(dataclasses.replace(RESTRICTED_CONE, hairpin=True))
    neighbour = bench.host("neighbour", bench.nat.inside, "10.0.0.3")
    via = neighbour.bind(6000)
    mapped = bench.out(SERVER, via, neighbour)
    assert mapped is not None
    assert bench.out(mapped) is None
    bench.out(Address(PUBLIC, CLIENT.port), via, neighbour)
    assert bench.out(mapped) is not None


def test_a_mapping_dies_of_silence() -> None:
    bench = Bench(dataclasses.replace(RANDOM_CONE, timeout=30.0))
    mapped = bench.mapped(SERVER)
    bench.wait(29.0)
    assert bench.reaches(SERVER, mapped)
    bench.wait(2.0)
    assert not bench.reaches(SERVER, mapped)
    assert bench.mapped(SERVER) != mapped


def test_outbound_traffic_keeps_a_mapping_alive_but_not_a_permission() -> None:
    bench = Bench(dataclasses.replace(RANDOM_CONE, timeout=30.0))
    mapped = bench.mapped(SERVER)
    for _ in range(3):
        bench.wait(20.0)
        assert bench.mapped(OTHER) == mapped
    assert bench.reaches(OTHER, mapped)
    assert not bench.reaches(SERVER, mapped)


def test_inbound_traffic_keeps_nothing_alive() -> None:
    bench = Bench(dataclasses.replace(RANDOM_CONE, timeout=30.0))
    mapped = bench.mapped(SERVER)
    bench.wait(20.0)
    assert bench.reaches(SERVER, mapped)
    bench.wait(20.0)
    assert not bench.reaches(SERVER, mapped)


def test_a_rebinding_nat_forgets_and_can_move() -> None:
    bench = Bench(RANDOM_CONE)
    mapped = bench.mapped(SERVER)
    bench.nat.rebind()
    assert not bench.reaches(SERVER, mapped)
    assert bench.mapped(SERVER).port != mapped.port
    bench.nat.rebind("198.51.100.2")
    moved = bench.mapped(SERVER)
    assert moved.host == "198.51.100.2"
    assert bench.reaches(SERVER, moved)
    assert not bench.reaches(SERVER, Address(PUBLIC, moved.port))


def test_an_unsolicited_datagram_takes_the_port_of_a_linux_nat_for_a_while() -> None:
    bench = Bench(LINUX)
    assert not bench.reaches(OTHER, Address(PUBLIC, CLIENT.port))
    assert bench.mapped(SERVER).port == CLIENT.port
    assert bench.mapped(OTHER).port != CLIENT.port
    assert not bench.reaches(OTHER, Address(PUBLIC, CLIENT.port))


def test_the_port_that_an_unsolicited_datagram_took_is_given_back() -> None:
    bench = Bench(LINUX)
    assert not bench.reaches(OTHER, Address(PUBLIC, CLIENT.port))
    bench.wait(31.0)
    assert bench.mapped(OTHER).port == CLIENT.port


def test_a_nat_may_limit_its_mappings() -> None:
    bench = Bench(dataclasses.replace(HARD_RANDOM, max_mappings=2, timeout=30.0))
    assert bench.out(SERVER) is not None
    assert bench.out(SAME_HOST) is not None
    assert bench.out(OTHER) is None
    assert bench.out(SERVER) is not None
    bench.wait(31.0)
    assert bench.out(OTHER) is not None


def test_udp_is_blocked_wholly_or_but_for_some() -> None:
    assert Bench(BLOCKS_UDP).out(SERVER) is None
    partly = Bench(NatBehavior(only_to=frozenset({SERVER.host})))
    assert partly.out(SERVER) is not None
    assert partly.out(OTHER) is None


def test_nats_nest() -> None:
    network = Network(1)
    carrier = Nat(RANDOM_CONE, network.internet, PUBLIC)
    home = Nat(RANDOM_CONE, carrier.inside, "100.64.0.2")
    client = SimHost(network, "client")
    client.attach(home.inside, CLIENT.host)
    client.bind(CLIENT.port)
    server = SimHost(network, "server")
    server.attach(network.internet, SERVER.host)
    server.bind(SERVER.port)
    client.send(b"out", SERVER, 0)
    network.run_until(1.0)
    seen = network.received[-1].datagram.source
    assert seen.host == PUBLIC
    (outer,) = carrier.external_ports(
        Address("100.64.0.2", next(iter(home.external_ports(CLIENT))))
    )
    assert seen.port == outer
    server.send(b"back", seen, 0)
    network.run_until(1.0)
    assert network.received[-1].datagram[:3] == (b"back", SERVER, CLIENT)


def test_a_datagram_of_few_hops_opens_its_nat_and_no_other() -> None:
    bench = Bench(PORT_RESTRICTED_CONE)
    bench.client.send(b"opener", SERVER, 0, ttl=3)
    bench.wait(0.0)
    assert not bench.network.received
    assert bench.reaches(SERVER, Address(PUBLIC, CLIENT.port))


def test_a_firewall_lets_in_only_answers_and_translates_nothing() -> None:
    network = Network(1)
    lan = Segment(network, "lan")
    firewall = Firewall(network.internet, lan, timeout=30.0)
    inside, outside, third = (
        Address("2001:db8:1::2", 5000),
        Address("2001:db8:2::2", 5000),
        Address("2001:db8:3::2", 5000),
    )
    client, server = SimHost(network, "client"), SimHost(network, "server")
    client.attach(lan, inside.host)
    firewall.protect(inside.host)
    server.attach(network.internet, outside.host)
    client.bind(5000, family=6)
    server.bind(5000, family=6)

    def arrivals_at_client() -> int:
        network.run_until(network.now)
        return sum(record.host == "client" for record in network.received)

    server.send(b"unsolicited", inside, 0)
    assert arrivals_at_client() == 0
    client.send(b"out", outside, 0)
    network.run_until(network.now)
    assert network.received[-1].datagram[:3] == (b"out", inside, outside)
    server.send(b"answer", inside, 0)
    assert arrivals_at_client() == 1
    network.inject(b"third", third, inside)
    assert arrivals_at_client() == 1
    network.run_until(31.0)
    server.send(b"late", inside, 0)
    assert arrivals_at_client() == 1
