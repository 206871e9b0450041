"""Pairs that only a relay links: all of them, soon, and nothing is different for the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from netpunch.core import timing
from netpunch.core.events import Introduced, PathKind, Reason
from netpunch.core.settings import USUAL_CANDIDATES
from tests.sim.matrix import DELAY
from tests.sim.nat import (
    BLOCKS_UDP,
    HARD_RANDOM,
    HARD_STEP,
    PORT_RESTRICTED_CONE,
    RANDOM_CONE,
    NatBehavior,
)
from tests.sim.network import Datagram
from tests.sim.promises import promising, punch, seeds
from tests.sim.scenarios import CONTROL, RELAY_PORT, Scenario, Setup
from tests.sim.setups import Place

STEP, RANDOM = (HARD_STEP,), (HARD_RANDOM,)
ONLY_TO_CONTROL = (NatBehavior(only_to=frozenset({CONTROL[4].host})),)
"""A firewall that lets UDP out to no other host."""
PAIRINGS = {
    "random, random": (RANDOM, RANDOM),
    "step, random": (STEP, RANDOM),
    "random, step": (RANDOM, STEP),
    "firewall, cone": (ONLY_TO_CONTROL, (PORT_RESTRICTED_CONE,)),
}
WITHIN = {True: 3.0, False: 15.0}
"""Seconds from the introduction, for ends that hold their link and for those that hand it over."""
RUNS = seeds(2)


def setup(places: tuple[Place, Place], *, holds: bool = False, **fields: Any) -> Setup:
    settings = {"holds": holds, **fields.pop("settings", {})}
    fields = {"delay": DELAY, "deadline": 60.0, "relay": True, **fields}
    return Setup(nat_a=places[0], nat_b=places[1], settings=settings, **fields)


def held(seed: int, setup: Setup) -> Scenario:
    """A run until both ends hold the link, or one has failed; it has no end of its own."""
    run = Scenario(seed, setup).start()
    run.run_until(lambda: run.linked or any(side.failure for side in run.sides), 90.0)
    return run


def since_introduced(run: Scenario) -> float:
    """Seconds until both were linked."""
    assert run.a.linked_at is not None
    assert run.b.linked_at is not None
    introduced = [side.host.first(Introduced) for side in run.sides]
    return max(run.a.linked_at, run.b.linked_at) - min(told[0] for told in introduced if told)


def sent_to_relay(run: Scenario) -> Iterable[float]:
    return (r.time for r in run.network.sent if r.datagram.destination.port == RELAY_PORT)


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize("places", PAIRINGS.values(), ids=PAIRINGS.keys())
def test_what_nothing_else_links_a_relay_does_soon(
    places: tuple[Place, Place], holds: bool, loss: float
) -> None:
    for seed in RUNS:
        chosen = setup(places, holds=holds, loss=loss, skew=0.1 if seed % 2 else -0.1)
        run = held(seed, chosen) if holds else punch(seed, chosen)
        assert [side.link and side.link.path for side in run.sides] == [PathKind.RELAY] * 2
        assert since_introduced(run) <= WITHIN[holds], seed


def test_a_relay_whose_first_answers_are_all_lost_still_links_soon() -> None:
    run = Scenario(1, setup(((PORT_RESTRICTED_CONE,), (BLOCKS_UDP,)), holds=True, tls=True))
    lost = 0

    def loses(_: int, datagram: Datagram) -> bool:
        nonlocal lost
        answers = datagram.source.port == RELAY_PORT and lost < 12
        lost += answers
        return answers

    run.a.host.tap = loses
    run.start().run_until_linked(20.0)
    assert lost == 12
    assert run.link_time <= 6.0


def test_a_relayed_link_looks_for_a_direct_path_as_soon_as_both_ends_know_of_it() -> None:
    """Not by plain pings alone, which were in vain: the easy end sprays."""
    for seed in range(20):
        run = held(seed, setup(((PORT_RESTRICTED_CONE,), RANDOM), holds=True))
        if run.a.link is not None and run.a.link.path is PathKind.RELAY:
            break
    linked_at, public = run.network.now, run.b.nats[0].public
    run.run(0.5)
    ports = {
        each.datagram.destination.port
        for each in run.network.sent
        if each.time > linked_at and each.host == "a" and each.datagram.destination.host == public
    }
    assert len(ports) > 20


@pytest.mark.parametrize("delay", [0.15, 0.3])
def test_long_ways_are_relayed_too(delay: float) -> None:
    for places in PAIRINGS.values():
        run = held(1, setup(places, holds=True, delay=delay, loss=0.05))
        assert [side.link and side.link.path for side in run.sides] == [PathKind.RELAY] * 2


def test_several_controls_that_relay_are_as_good_as_one() -> None:
    for seed in RUNS:
        run = held(seed, setup(PAIRINGS["random, random"], holds=True, controls=3, loss=0.1))
        a, b = (side.link for side in run.sides)
        assert a is not None
        assert b is not None
        assert a.path is b.path is PathKind.RELAY
        assert a.remote == b.remote


def test_easy_pairs_neither_ask_for_a_relay_nor_use_it() -> None:
    for place in ((PORT_RESTRICTED_CONE,), (RANDOM_CONE,), ()):
        for loss in (0.0, 0.05):
            with_relay = punch(1, setup((place, place), loss=loss))
            without = punch(1, setup((place, place), loss=loss, relay=False))
            assert not any(sent_to_relay(with_relay))
            assert len(with_relay.network.sent) == len(without.network.sent)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"relay": False}, '`relay: ":10003"`'),
        ({"settings_b": {"candidates": USUAL_CANDIDATES - {"relay"}}}, "the partner is not bound"),
    ],
    ids=["control has none", "the partner does not want it"],
)
def test_without_a_relay_for_both_the_failure_says_why(settings: dict[str, Any], told: str) -> None:
    run = punch(1, setup(PAIRINGS["random, random"], **settings))
    failure = run.a.failure
    assert failure is not None
    assert failure.reason is Reason.INFEASIBLE
    assert told in failure.detail
    assert failure.duration < 6.0 + timing.RELAY_PATIENCE


def test_ends_that_hand_over_use_the_port_through_the_relay() -> None:
    scenario = Scenario(1, setup(PAIRINGS["random, random"]))
    scenario.begin_programs_when_finished()
    with promising(scenario) as run:
        run.start().run_to_the_end()
        assert run.linked
