"""The user-space NATs do to real packets what their models say (the models' own tests are
tests/sim/test_nat.py); proved with plain sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from netpunch.address import Address
from tests.lab.datagrams import (
    ARRIVAL_SECONDS,
    is_dropped,
    local_address,
    observed,
    passes,
    punched,
    receive,
)
from tests.lab.namespace import NETNS_DIRECTORY
from tests.lab.tun_network import TunLab, missing_for_tun
from tests.sim.nat import (
    ADDRESS_HARD_RANDOM,
    BLOCKS_UDP,
    FIRST_PORT,
    FULL_CONE,
    HARD_RANDOM,
    HARD_STEP,
    LAST_PORT,
    PORT_RESTRICTED_CONE,
    RANDOM_CONE,
    RESTRICTED_CONE,
    NatBehavior,
)
from tests.sim.network import INTERNET_HOPS, PERFECT, Link
from tests.sim.setups import CONES

pytestmark = [
    pytest.mark.lab,
    pytest.mark.usefixtures("_namespaces"),
    pytest.mark.skipif(bool(missing_for_tun()), reason=f"needs {missing_for_tun()}"),
]

LOCAL_PORT = 5000
TWO_PORTS_AND_A_HOST = ((0, 0), (0, 1), (1, 0))
"""Where a mapping or filter may make a difference: host and socket of `Servers`."""
HICCUP = 0.29
"""Seconds that a busy machine may take on top of a delay; less than the other direction's."""
LOSES_ALL = Link(loss=1.0)
LONGEST_PAYLOAD = 1472
"""In a packet of 1500 bytes."""
SO_RCVBUFFORCE = 33
"""socket(7): more than users may have."""
SPACE_PER_DATAGRAM = 1024
"""What the kernel counts for a small one is below this."""
SPRAY = 1280
"""As many datagrams as one round against a random NAT: 256 of one end, 1,024 of the other."""
SPRAY_PACE = 0.0005
"""Ten times as fast as the program sends them."""


@pytest.fixture
def lab() -> Iterator[TunLab]:
    with TunLab() as lab:
        yield lab


class Bench:
    """A client somewhere, and two public hosts with two sockets each."""

    def __init__(
        self, lab: TunLab, behavior: NatBehavior, *, up: Link = PERFECT, down: Link = PERFECT
    ) -> None:
        self.nat = lab.nat(behavior, up=up, down=down)
        self.client = lab.udp_socket(lab.host("client", self.nat), LOCAL_PORT)
        hosts = [lab.host(label) for label in ("one", "other")]
        self.servers = [[lab.udp_socket(host) for _ in range(2)] for host in hosts]
        self.server = self.servers[0][0]

    def mapped(self) -> list[Address]:
        """The client's address as two ports of a host and another host see it."""
        return [observed(self.client, self.servers[i][j]) for i, j in TWO_PORTS_AND_A_HOST]

    def admitted(self, outside: Address) -> list[bool]:
        """Which of the same three get through to it."""
        return [
            not is_dropped(self.servers[i][j], outside, self.client)
            for i, j in TWO_PORTS_AND_A_HOST
        ]


@pytest.mark.parametrize(
    ("behavior", "distinct"),
    [(RANDOM_CONE, 1), (ADDRESS_HARD_RANDOM, 2), (HARD_RANDOM, 3), (HARD_STEP, 3)],
)
def test_the_tun_nats_mappings_depend_on_the_destination(
    lab: TunLab, behavior: NatBehavior, distinct: int
) -> None:
    bench = Bench(lab, behavior)
    mapped = bench.mapped()
    assert {address.host for address in mapped} == {bench.nat.public}
    assert len({address.port for address in mapped}) == distinct
    assert bench.mapped() == mapped


@pytest.mark.parametrize(
    ("behavior", "admitted"),
    [
        (FULL_CONE, [True, True, True]),
        (RESTRICTED_CONE, [True, True, False]),
        (PORT_RESTRICTED_CONE, [True, False, False]),
    ],
)
def test_the_tun_nats_filters_depend_on_the_source(
    lab: TunLab, behavior: NatBehavior, admitted: list[bool]
) -> None:
    bench = Bench(lab, behavior)
    outside = observed(bench.client, bench.server)
    assert outside == Address(bench.nat.public, LOCAL_PORT)
    assert bench.admitted(outside) == admitted


def test_the_tun_nats_ports_step_by_a_constant(lab: TunLab) -> None:
    step = 3
    first, second, third = Bench(lab, replace(HARD_STEP, step=step)).mapped()
    range_size = LAST_PORT - FIRST_PORT + 1
    assert (second.port - first.port) % range_size == step
    assert (third.port - second.port) % range_size == step


def test_the_seed_determines_the_tun_nats_random_ports() -> None:
    seen = []
    for seed in (1, 2, 1):
        with TunLab(seed) as lab:
            server = lab.udp_socket(lab.host("server"))
            client = lab.udp_socket(lab.host("client", lab.nat(RANDOM_CONE)))
            seen.append(observed(client, server))
    assert seen[0] == seen[2] != seen[1]


def test_a_tun_network_that_blocks_udp_passes_no_datagram(lab: TunLab) -> None:
    bench = Bench(lab, BLOCKS_UDP)
    assert is_dropped(bench.client, local_address(bench.server), bench.server)


def test_a_host_without_nat_is_open(lab: TunLab) -> None:
    here, there = (lab.udp_socket(lab.host(label)) for label in ("here", "there"))
    assert passes(here, local_address(there), there) == local_address(here)
    assert passes(there, local_address(here), here) == local_address(there)


@pytest.mark.parametrize("hairpin", [True, False])
def test_neighbours_meet_on_their_lan_but_by_the_outside_only_by_hairpin(
    lab: TunLab, hairpin: bool
) -> None:
    nat = lab.nat(replace(RANDOM_CONE, hairpin=hairpin))
    server = lab.udp_socket(lab.host("server"))
    one, two = (lab.udp_socket(lab.host(label, nat)) for label in ("one", "two"))
    one_outside, two_outside = observed(one, server), observed(two, server)
    assert punched(one, one_outside, two, two_outside) is hairpin
    assert passes(one, local_address(two), two) == local_address(one)


@pytest.mark.parametrize("cone", ["port-restricted", "random-port", "double"])
def test_two_hosts_behind_cone_nats_punch(lab: TunLab, cone: str) -> None:
    place = CONES[cone]
    server = lab.udp_socket(lab.host("server"))
    home, office = (lab.udp_socket(lab.host_at(label, place)) for label in ("home", "office"))
    assert punched(home, observed(home, server), office, observed(office, server))


def test_two_hosts_behind_hard_nats_do_not_punch_without_probing(lab: TunLab) -> None:
    server = lab.udp_socket(lab.host("server"))
    home, office = (
        lab.udp_socket(lab.host_at(label, (HARD_RANDOM,))) for label in ("home", "office")
    )
    assert not punched(home, observed(home, server), office, observed(office, server))


@pytest.mark.parametrize(("up", "down"), [(0.3, 0.0), (0.0, 0.3)])
def test_each_direction_of_a_tun_host_has_its_delay(lab: TunLab, up: float, down: float) -> None:
    bench = Bench(lab, FULL_CONE, up=Link(up), down=Link(down))
    begun = time.monotonic()
    outside = passes(bench.client, local_address(bench.server), bench.server)
    there = time.monotonic()
    passes(bench.server, outside, bench.client)
    back = time.monotonic()
    assert up <= there - begun < up + HICCUP
    assert down <= back - there < down + HICCUP


@pytest.mark.parametrize("lossy", ["up", "down"])
def test_each_direction_of_a_tun_host_has_its_loss(lab: TunLab, lossy: str) -> None:
    up, down = (LOSES_ALL, PERFECT) if lossy == "up" else (PERFECT, LOSES_ALL)
    bench = Bench(lab, FULL_CONE, up=up, down=down)
    there = local_address(bench.server)
    if lossy == "up":
        assert is_dropped(bench.client, there, bench.server)
    else:
        outside = passes(bench.client, there, bench.server)
        assert is_dropped(bench.server, outside, bench.client)
    with lab.faultless():
        observed(bench.client, bench.server)


def test_a_nat_that_forgets_closes_its_holes(lab: TunLab) -> None:
    bench = Bench(lab, RANDOM_CONE)
    outside = observed(bench.client, bench.server)
    lab.flush()
    assert is_dropped(bench.server, outside, bench.client)
    assert observed(bench.client, bench.server).port != outside.port


def test_a_nat_that_moves_has_another_address(lab: TunLab) -> None:
    bench = Bench(lab, PORT_RESTRICTED_CONE)
    outside = observed(bench.client, bench.server)
    bench.nat.move()
    assert is_dropped(bench.server, outside, bench.client)
    assert observed(bench.client, bench.server) == Address(bench.nat.public, LOCAL_PORT)
    assert bench.nat.public != outside.host


def test_a_mapping_dies_of_silence(lab: TunLab) -> None:
    timeout = 0.7
    bench = Bench(lab, replace(RANDOM_CONE, timeout=timeout))
    begun = time.monotonic()
    outside = observed(bench.client, bench.server)
    while not is_dropped(bench.server, outside, bench.client):
        assert time.monotonic() - begun < timeout + ARRIVAL_SECONDS
    assert time.monotonic() - begun > timeout
    assert observed(bench.client, bench.server).port != outside.port


def test_each_tun_router_decrements_the_ttl(lab: TunLab) -> None:
    server = lab.udp_socket(lab.host("server"))
    home, office = (
        lab.udp_socket(lab.host_at(label, (FULL_CONE,))) for label in ("home", "office")
    )
    outside = observed(office, server)
    home.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, INTERNET_HOPS + 2)
    assert is_dropped(home, outside, office)
    home.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, INTERNET_HOPS + 3)
    passes(home, outside, office)


def test_a_hole_is_opened_by_what_dies_on_the_way_but_not_at_the_nat(lab: TunLab) -> None:
    bench = Bench(lab, PORT_RESTRICTED_CONE)
    outside = Address(bench.nat.public, LOCAL_PORT)
    opens = []
    for ttl in (1, 2):
        bench.client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        assert is_dropped(bench.client, local_address(bench.server), bench.server)
        opens.append(not is_dropped(bench.server, outside, bench.client))
    assert opens == [False, True]


def test_payloads_pass_the_tun_network_unchanged(lab: TunLab) -> None:
    """The kernel drops what has a wrong checksum or length."""
    bench = Bench(lab, RANDOM_CONE)
    for length in (0, 1, LONGEST_PAYLOAD - 1, LONGEST_PAYLOAD):
        payload = bytes(length)
        bench.client.sendto(payload, local_address(bench.server))
        outside = receive(bench.server, payload, ARRIVAL_SECONDS)
        assert outside is not None
        bench.server.sendto(payload, outside)
        assert receive(bench.client, payload, ARRIVAL_SECONDS) == local_address(bench.server)


def test_a_spray_passes_the_tun_network(lab: TunLab) -> None:
    bench = Bench(lab, FULL_CONE, up=Link(0.02), down=Link(0.02))
    bench.server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, SPRAY * SPACE_PER_DATAGRAM)
    for number in range(SPRAY):
        bench.client.sendto(b"%d" % number, local_address(bench.server))
        time.sleep(SPRAY_PACE)
    bench.server.settimeout(ARRIVAL_SECONDS)
    arrived = [int(bench.server.recv(LONGEST_PAYLOAD)) for _ in range(SPRAY)]
    assert arrived == list(range(SPRAY))


def test_a_tun_lab_that_fails_leaves_nothing_behind() -> None:
    names: list[str] = []

    def fail_half_way() -> None:
        with TunLab() as lab:
            names.append(lab.host_at("host", (FULL_CONE,)).namespace.name)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert names
    assert not [name for name in names if (NETNS_DIRECTORY / name).exists()]
