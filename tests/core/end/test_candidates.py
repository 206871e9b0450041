"""What is offered to a partner, and what of its offer is tried."""

from __future__ import annotations

import pytest
from hypothesis import given

from netpunch.address import Address, is_pingable, parse_address
from netpunch.core.end.candidates import (
    RANK,
    best_hosts,
    direct_kind,
    host_candidates,
    partner_candidates,
    reflexive_candidates,
    reflexive_kind,
    reflexive_target,
)
from netpunch.core.events import PathKind
from netpunch.wire.card import Card
from netpunch.wire.v2 import NO_ATTEMPT
from tests.wire.v2_strategies import addresses, cards

OBSERVED = Address("203.0.113.1", 40000)
WILDCARDS = {0: Address("0.0.0.0", 5000), 1: Address("::", 5001)}


def card(
    hosts: tuple[str, ...] = (), observed: tuple[str, ...] = (), mapped: tuple[str, ...] = ()
) -> Card:
    return Card(
        bytes(32),
        NO_ATTEMPT,
        False,
        hosts=tuple(map(parse_address, hosts)),
        observed=tuple(map(parse_address, observed)),
        mapped=tuple(map(parse_address, mapped)),
    )


class TestOwn:
    def test_a_wildcard_socket_is_reached_at_each_address_of_its_family(self) -> None:
        hosts = ["10.0.0.1", "2001:db8::1", "192.168.0.1"]
        assert host_candidates(WILDCARDS, hosts, loopback=False) == (
            ("10.0.0.1", 5000),
            ("2001:db8::1", 5001),
            ("192.168.0.1", 5000),
        )

    def test_many_addresses_of_one_family_leave_room_for_the_other(self) -> None:
        bridges = [f"172.{n}.0.1" for n in range(17, 32)]
        offered = host_candidates(
            WILDCARDS, ["192.168.1.2", *bridges, "2001:db8::1"], loopback=False
        )
        assert offered == (
            ("192.168.1.2", 5000),
            ("2001:db8::1", 5001),
            *((bridge, 5000) for bridge in bridges[:4]),
        )

    def test_of_thousands_only_those_are_looked_at_that_a_card_has_room_for(self) -> None:
        hosts = [f"10.0.{n // 250}.{n % 250 + 1}" for n in range(2000)] + ["2001:db8::1"]
        assert best_hosts(hosts) == (*hosts[:6], "2001:db8::1")

    def test_a_bound_socket_is_reached_only_there(self) -> None:
        sockets = {0: Address("10.0.0.1", 5000)}
        assert host_candidates(sockets, ["192.168.0.1"], loopback=False) == (("10.0.0.1", 5000),)

    def test_loopback_is_offered_where_control_is_on_it(self) -> None:
        many = [f"172.{n}.0.1" for n in range(17, 32)]
        assert host_candidates(WILDCARDS, many, loopback=True)[:3] == (
            ("127.0.0.1", 5000),
            ("::1", 5001),
            ("172.17.0.1", 5000),
        )
        bound = {0: Address("127.0.0.1", 5000)}
        assert host_candidates(bound, [], loopback=True) == (("127.0.0.1", 5000),)
        assert host_candidates(bound, [], loopback=False) == ()

    def test_nothing_is_offered_twice_or_in_vain(self) -> None:
        hosts = ["10.0.0.1", "10.0.0.1", "169.254.1.1", "fe80::1", "224.0.0.1"]
        assert host_candidates(WILDCARDS, hosts, loopback=False) == (("10.0.0.1", 5000),)


class TestReflexive:
    """A card has room for four mapped and observed addresses."""

    MAPPED = tuple(Address("198.51.100.1", port) for port in range(1, 5))
    SEEN = tuple(Address("198.51.100.2", port) for port in range(1, 5))
    IPV6 = Address("2001:db8::1", 9)
    PRIVATE = Address("192.168.1.2", 5000)

    @pytest.mark.parametrize(
        ("mapped", "seen", "offered"),
        [
            (MAPPED, (), MAPPED),
            (MAPPED[:1], SEEN, MAPPED[:1] + SEEN[:3]),
            (MAPPED, SEEN, MAPPED[:2] + SEEN[:2]),
            (MAPPED, SEEN[:1], MAPPED[:3] + SEEN[:1]),
            ((), (*SEEN, IPV6), (SEEN[0], IPV6, *SEEN[1:3])),
            ((*MAPPED, IPV6), SEEN, (MAPPED[0], IPV6, *SEEN[:2])),
            ((), (PRIVATE, *SEEN), SEEN),
            ((PRIVATE, *MAPPED), SEEN, MAPPED[:2] + SEEN[:2]),
        ],
    )
    def test_no_kind_and_no_family_displaces_another(
        self, mapped: tuple[Address, ...], seen: tuple[Address, ...], offered: tuple[Address, ...]
    ) -> None:
        by_gateways, by_controls = reflexive_candidates(mapped, seen, ())
        assert by_gateways + by_controls == offered

    def test_what_is_offered_as_a_host_address_takes_no_second_place(self) -> None:
        assert reflexive_candidates((), self.SEEN, self.SEEN[:2]) == ((), self.SEEN[2:])


class TestPartners:
    def tried(self, offer: Card, *, loopback: bool = False) -> list[tuple[str, PathKind]]:
        found = partner_candidates(offer, OBSERVED, loopback=loopback)
        return [(str(address), kind) for address, kind in found]

    def test_hosts_come_first_then_what_was_observed_then_its_ip_with_the_local_port(self) -> None:
        offer = card(("10.0.0.1:5000", "[2001:db8::1]:5001"), ("198.51.100.9:4000",))
        assert self.tried(offer) == [
            ("10.0.0.1:5000", PathKind.HOST),
            ("[2001:db8::1]:5001", PathKind.IPV6),
            ("203.0.113.1:40000", PathKind.OBSERVED),
            ("198.51.100.9:4000", PathKind.OBSERVED),
            ("203.0.113.1:5000", PathKind.OBSERVED),
        ], "and not with the port of the other family's socket"

    def test_what_a_gateway_maps_comes_between(self) -> None:
        offer = card(("10.0.0.1:5000",), mapped=("198.51.100.9:4000",))
        assert self.tried(offer)[:3] == [
            ("10.0.0.1:5000", PathKind.HOST),
            ("198.51.100.9:4000", PathKind.MAPPED),
            ("203.0.113.1:40000", PathKind.OBSERVED),
        ]

    def test_nothing_reflexive_is_tried_twice(self) -> None:
        offer = card(("10.0.0.1:40000", "10.0.0.2:40000"), (str(OBSERVED), str(OBSERVED)))
        assert [address for address, _ in self.tried(offer)] == [
            "10.0.0.1:40000",
            "10.0.0.2:40000",
            "203.0.113.1:40000",
        ]

    @pytest.mark.parametrize(
        "hostile",
        [
            "127.0.0.1:53",
            "127.9.9.9:53",
            "[::1]:53",
            "224.0.0.251:5353",
            "[ff02::fb]:5353",
            "169.254.169.254:80",
            "[fe80::1]:80",
            "255.255.255.255:9",
            "0.0.0.0:53",
            "[::]:53",
            "10.0.0.1:0",
            "[::ffff:127.0.0.1]:53",
            "[::ffff:224.0.0.1]:53",
            "[::ffff:0.0.0.0]:53",
        ],
    )
    def test_a_hostile_address_is_never_tried(self, hostile: str) -> None:
        address = parse_address(hostile)
        for offer in (card((hostile,)), card((), (hostile,)), card(mapped=(hostile,))):
            tried = [c.address for c in partner_candidates(offer, OBSERVED, loopback=False)]
            assert address not in tried
        assert not list(partner_candidates(card(), address, loopback=False))

    def test_loopback_is_tried_where_control_is_on_it(self) -> None:
        tried = self.tried(card(("127.0.0.1:5000",)), loopback=True)
        assert tried[0] == ("127.0.0.1:5000", PathKind.HOST)

    @given(cards, addresses)
    def test_whatever_is_offered_the_policy_holds(self, offer: Card, observed: Address) -> None:
        found = list(partner_candidates(offer, observed, loopback=False))
        assert all(is_pingable(address, loopback=False) for address, _ in found)
        assert len(found) <= 6 + 1 + 4 + 6, "hosts, observed, named in the card, host ports"


class TestWhereStrategiesAim:
    PRIVATE = Address("192.168.1.2", 5000)

    def target(self, observed: Address, *named: str) -> Address | None:
        return reflexive_target(card(observed=named), observed, loopback=False)

    def test_where_control_sees_the_partner(self) -> None:
        assert self.target(OBSERVED, "198.51.100.9:4000") == OBSERVED
        assert self.target(self.PRIVATE) == self.PRIVATE

    def test_not_in_controls_own_network_if_another_control_is_outside(self) -> None:
        named = ("[2001:db8::1]:1", "192.168.1.2:5000", "198.51.100.9:4000")
        assert self.target(self.PRIVATE, *named) == Address("198.51.100.9", 4000)

    def test_never_where_nothing_may_be_sent(self) -> None:
        assert self.target(Address("127.0.0.1", 5000), "224.0.0.1:4000") is None


@pytest.mark.parametrize(
    ("host", "direct", "reflexive"),
    [
        ("10.0.0.1", PathKind.HOST, PathKind.OBSERVED),
        ("203.0.113.1", PathKind.HOST, PathKind.OBSERVED),
        ("127.0.0.1", PathKind.HOST, PathKind.HOST),
        ("::1", PathKind.HOST, PathKind.HOST),
        ("fd00::1", PathKind.HOST, PathKind.IPV6),
        ("2001:db8::1", PathKind.IPV6, PathKind.IPV6),
    ],
)
def test_what_kind_of_path_an_address_makes(
    host: str, direct: PathKind, reflexive: PathKind
) -> None:
    assert direct_kind(Address(host, 1)) is direct
    assert reflexive_kind(Address(host, 1)) is reflexive


def test_the_most_direct_path_is_the_best() -> None:
    ranked = sorted(RANK, key=RANK.__getitem__)
    assert ranked[:2] == [PathKind.HOST, PathKind.IPV6]
    assert ranked.index(PathKind.OBSERVED) < ranked.index(PathKind.SPRAY)
    assert set(ranked) == set(PathKind)
