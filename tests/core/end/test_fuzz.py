"""Whatever partner and reflectors say, even authentically: nothing raises, no forbidden address is
pinged, and the bounds hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netpunch.address import Address, is_pingable
from netpunch.core import timing
from netpunch.core.settings import USUAL_CANDIDATES
from netpunch.core.traversal.budget import PROBE_RATE
from netpunch.wire import v2
from netpunch.wire.card import Card, NatClass
from tests.core.v2_bench import Bench
from tests.core.v2_pair import CONTROL, ENDS, VIA, B
from tests.wire.v2_strategies import addresses, cards

REFLECTORS = (CONTROL, Address(CONTROL.host, CONTROL.port + 1))
SOCKETS = {VIA: Address("0.0.0.0", 5000), 1: Address("::", 5000)}
HOSTILE = [
    Address("127.0.0.1", 53),
    Address("224.0.0.251", 5353),
    Address("169.254.169.254", 80),
    Address("::1", 53),
    Address("ff02::fb", 5353),
    Address("10.0.0.1", 0),
]


def make(end: str = "a") -> Bench:
    return Bench(
        "a" if end == "a" else "b",
        sockets=SOCKETS,
        reflectors=[REFLECTORS],
        candidates=USUAL_CANDIDATES,
        drives=True,
    )


def targets(bench: Bench) -> set[Address]:
    """But control's own host, which it may name: it does so by calling it loopback, too."""
    destinations = (each.sent.destination for each in bench.sent)
    return {destination for destination in destinations if destination.host != CONTROL.host}


@settings(max_examples=60, deadline=None)
@given(
    end=st.sampled_from(ENDS),
    offers=st.lists(st.tuples(cards, addresses), min_size=1, max_size=4),
    seen=st.lists(addresses, min_size=1, max_size=6),
)
def test_a_partner_and_reflectors_that_say_anything(
    end: str, offers: list[tuple[Card, Address]], seen: list[Address]
) -> None:
    bench = make(end)
    for card, at in offers:
        puppet = bench.puppet(at=at, holds=False)
        ours = puppet.card(bench.attempt)
        card = card._replace(public_key=ours.public_key, partner_attempt=bench.attempt, holds=False)
        bench.control_says(bench.introduction(puppet, card=card))
        for _ in range(4):
            bench.run(0.3)
            bench.reflectors_see(*seen)
    assert all(is_pingable(target, loopback=False) for target in targets(bench))
    seconds = bench.now - 1000.0
    pings = len(bench.all(v2.Ping))
    assert pings <= (seconds + 1.0) * (timing.PING_RATE + PROBE_RATE)


@pytest.mark.parametrize("step", [0, 1, 5000], ids=["easy", "step", "random"])
@pytest.mark.parametrize("nat_class", NatClass)
@pytest.mark.parametrize("hostile", HOSTILE, ids=str)
def test_no_strategy_aims_at_an_address_that_is_never_pinged(
    hostile: Address, nat_class: NatClass, step: int
) -> None:
    """Control relays the card of a live partner, and lies about where it is."""
    bench = make()
    puppet = bench.puppet(at=hostile)
    card = puppet.card(bench.attempt)._replace(
        nat_class=nat_class, bracket_port=52, bracket_step=1, bracket_count=9, bracket_round=1
    )
    for _ in range(8):
        bench.control_says(bench.introduction(puppet, card=card))
        bench.run(0.5)
        bench.reflectors_see(*(Address("198.51.100.1", 20000 + n * step) for n in range(6)))
    assert targets(bench) == set()


def test_an_observed_address_that_was_good_outlives_one_that_is_not() -> None:
    bench = make()
    puppet = bench.puppet()
    card = puppet.card(bench.attempt)._replace(nat_class=NatClass.HARD_RANDOM)
    bench.control_says(bench.introduction(puppet, card=card))
    puppet.at = HOSTILE[1]
    bench.control_says(bench.introduction(puppet, card=card))
    for _ in range(30):
        bench.run(0.1)
    assert {target.host for target in targets(bench)} == {B.host}
    assert len(targets(bench)) > 100, "it is sprayed all the same"
