"""How a NAT maps, judged from what two reflectors saw of a few sockets."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.address import Address
from netpunch.core.traversal.nat import EASY_CLASSES, MAX_STEP, NatReport, Sample, classify
from netpunch.wire.card import NatClass
from tests.wire.v2_strategies import addresses

OWN, NAT = "192.0.2.1", "198.51.100.1"
OBSERVERS = (Address("203.0.113.1", 10001), Address("203.0.113.1", 10002))


def samples(*ports: tuple[int | None, ...], host: str = NAT) -> list[Sample]:
    """A socket for each tuple of the ports at which the reflectors saw it."""
    return [
        Sample(5000 + n, tuple(Address(host, port) if port else None for port in seen))
        for n, seen in enumerate(ports)
    ]


def test_the_local_address_seen_from_outside_is_open() -> None:
    seen = samples((5000, 5000), (5001, 5001), (5002, 5002), host=OWN)
    assert classify(seen, [OWN], OBSERVERS) == NatReport(NatClass.OPEN)


@pytest.mark.parametrize(
    "seen",
    [
        samples((5000, 5000), (5001, 5001)),
        samples((40000, 40000), (31337, 31337), (52000, 52000)),
        samples((40000, 40000), (None, 31337), (None, None)),
        samples((5001, 5001), host=OWN),
    ],
)
def test_the_same_address_at_both_reflectors_is_easy(seen: list[Sample]) -> None:
    assert classify(seen, [OWN], OBSERVERS) == NatReport(NatClass.EASY)


@pytest.mark.parametrize(
    ("ports", "step"),
    [
        (((40000, 40001), (40002, 40003), (40004, 40005)), 1),
        (((40000, 40002), (40004, 40006), (40008, 40010)), 2),
        (((40005, 40004), (40003, 40002), (40001, 40000)), -1),
        (((40000, 40001), (40009, 40010), (40013, 40014)), 1),
        (((40001, 40000), (40002, 40003), (40004, 40005)), 1),
        (((40000, 40002), (40007, None)), 2),
    ],
)
def test_a_steady_step_is_found_whatever_comes_between(
    ports: tuple[tuple[int | None, ...], ...], step: int
) -> None:
    assert classify(samples(*ports), [], OBSERVERS) == NatReport(NatClass.HARD_STEP, step)


@pytest.mark.parametrize(
    "ports",
    [
        ((40000, 51234), (1027, 33333), (60001, 22222)),
        ((40000, 40000 + MAX_STEP + 1),),
        ((40000, 40001), (40002, 50000)),
    ],
)
def test_anything_else_is_random(ports: tuple[tuple[int, ...], ...]) -> None:
    assert classify(samples(*ports), [], OBSERVERS).nat_class is NatClass.HARD_RANDOM


def test_random_ports_are_hardly_ever_taken_for_steps() -> None:
    random = Random(1)
    for _ in range(2000):
        ports = [(random.randint(1024, 65535), random.randint(1024, 65535)) for _ in range(3)]
        assert classify(samples(*ports), [], OBSERVERS).nat_class is NatClass.HARD_RANDOM


@pytest.mark.parametrize("ports", [(40000, 40001), (40000, 40000)])
def test_several_outer_addresses_are_random(ports: tuple[int, int]) -> None:
    seen = (Address(NAT, ports[0]), Address("198.51.100.2", ports[1]))
    assert classify([Sample(5000, seen)], [], OBSERVERS) == NatReport(NatClass.HARD_RANDOM)


@pytest.mark.parametrize("seen", [[], samples((None, None)), samples((40000, None), (None, 4))])
def test_too_few_answers_say_nothing(seen: list[Sample]) -> None:
    assert classify(seen, [OWN], OBSERVERS) == NatReport(NatClass.UNKNOWN)


INSIDE = (Address("192.168.1.20", 10001), Address("192.168.1.20", 10002))
GATEWAY = "172.17.0.1"


class TestTranslationsThatAreNotOurs:
    @pytest.mark.parametrize(
        "ports", [((40000, 51234), (1027, 33333)), ((40000, 40001), (40002, 40003)), ((7, 7),)]
    )
    def test_what_hides_us_from_control_says_nothing_of_our_nat(
        self, ports: tuple[tuple[int, ...], ...]
    ) -> None:
        assert classify(samples(*ports, host=GATEWAY), [OWN], OBSERVERS) == NatReport()

    def test_nor_does_a_control_in_our_own_network(self) -> None:
        seen = samples((5000, 5000), (5001, 5001), host="192.168.1.10")
        assert classify(seen, ["192.168.1.10"], INSIDE) == NatReport()

    def test_nor_do_one_control_in_it_and_one_outside(self) -> None:
        seen = [Sample(5000, (Address("192.168.1.10", 5000), Address(NAT, 5000)))]
        assert classify(seen, ["192.168.1.10"], (INSIDE[0], OBSERVERS[0])) == NatReport()

    def test_a_nat_between_private_networks_is_judged_like_any_other(self) -> None:
        seen = samples((40000, 51234), (1027, 33333), host="10.9.0.1")
        assert classify(seen, ["192.168.1.10"], INSIDE).nat_class is NatClass.HARD_RANDOM
        seen = samples((5000, 5000), (5001, 5001), host="10.9.0.1")
        assert classify(seen, ["192.168.1.10"], INSIDE).nat_class is NatClass.EASY


@given(
    st.lists(
        st.builds(
            Sample,
            st.integers(1, 65535),
            st.lists(st.none() | addresses, min_size=2, max_size=2).map(tuple),
        ),
        max_size=4,
    )
)
def test_whatever_reflectors_say_there_is_a_report(seen: list[Sample]) -> None:
    report = classify(seen, [OWN], OBSERVERS)
    assert bool(report.step) is (report.nat_class is NatClass.HARD_STEP)


def test_the_easy_classes() -> None:
    others = {NatClass.HARD_STEP, NatClass.HARD_RANDOM, NatClass.BLOCKED}
    assert set(NatClass) - EASY_CLASSES == others
