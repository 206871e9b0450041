"""A control behind a name gets another address: whoever waits for a partner finds it there."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from netpunch.core.end.lookups import REVIEW, REVIEW_SPREAD
from netpunch.core.endpoints import LOOKUP_INTERVAL, ControlEndpoints
from netpunch.core.events import Introduced
from tests.sim.hosts import LOOKUP_TIME
from tests.sim.machines import V2, Classic, Protocol
from tests.sim.nat import HARD_STEP, PORT_RESTRICTED_CONE, RANDOM_CONE, NatBehavior
from tests.sim.promises import TALLY, one_path, seeds
from tests.sim.scenarios import Scenario, Setup, Side

WAITING = 3600.0
"""Seconds that one end waits alone, at most."""
LINKING = 30.0
"""From when both know the control until they are linked, with what is lost on the way."""
FOUND_WITHIN = LOOKUP_INTERVAL + LOOKUP_TIME + 1.0
"""From when a control has moved, at the worst time."""
FOLLOWED_WITHIN = REVIEW + LOOKUP_TIME + 1.0
"""The same while the old one still answers."""
ONE_ROUND = 1.5
"""A first word to the new place takes one port of a NAT that steps, maybe amid a bracket: the next
one is offered a second later."""
PUT_OFF = 2 * LOOKUP_INTERVAL
"""A partner that has gone is forgotten after one interval; so long a lookup may be put off."""


def setup(protocol: Protocol, **more: Any) -> Setup:
    """Ends that wait for their partner as long as it takes."""
    usual = {"nat_a": (RANDOM_CONE,), "nat_b": (PORT_RESTRICTED_CONE,), "named": True}
    patient = {"deadline_from_start": False}
    return Setup(protocol=protocol, deadline=60.0, settings=patient, **{**usual, **more})


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("protocol", [V2(), Classic()], ids=["v2", "classic"])
def test_an_end_that_waits_finds_it(protocol: Protocol, loss: float) -> None:
    """Moved once or several times; then the partner comes, before or after the first end knows."""
    for seed in range(20):
        TALLY.runs += 1
        run = Scenario(seed, setup(protocol, loss=loss))
        run.start_control()
        run.start_end(run.a)
        random = run.network.random
        for _ in range(random.randint(1, 3)):
            run.run(random.uniform(0.0, WAITING / 3))
            run.move_control()
        run.run(random.uniform(0.0, FOUND_WITHIN))
        run.start_end(run.b)
        assert run.run_until_linked(FOUND_WITHIN + LINKING), f"seed {seed}"
        assert not list(one_path(run)), f"seed {seed}"


def test_its_nat_is_surveyed_at_the_new_place() -> None:
    """Two hard NATs that step: nothing but what observers see links them."""
    for seed in range(5):
        TALLY.runs += 1
        run = Scenario(seed, setup(V2(), nat_a=(HARD_STEP,), nat_b=(HARD_STEP,)))
        run.start_control()
        run.start_end(run.a)
        run.run(FOUND_WITHIN)
        run.move_control()
        run.run(FOUND_WITHIN)
        run.start_end(run.b)
        assert run.run_until_linked(LINKING), f"seed {seed}"


def test_a_control_that_is_given_by_its_address_is_not_looked_up() -> None:
    """However long it is silent: the host of this network would fail if it were asked."""
    run = Scenario(1, setup(V2(), named=False))
    run.a.host.look_up = None
    run.start_end(run.a)
    run.run(WAITING)


@pytest.mark.parametrize("protocol", [V2(), Classic()], ids=["v2", "classic"])
def test_one_that_stays_silent_is_looked_up_once_a_minute(protocol: Protocol) -> None:
    run = Scenario(1, setup(protocol))
    asked = lookups_of(run, run.a)
    run.start_end(run.a)
    run.run(WAITING + 2 * LOOKUP_TIME)
    assert len(asked) == int(WAITING / LOOKUP_INTERVAL)
    assert min(b - a for a, b in pairwise(asked)) >= LOOKUP_INTERVAL - 0.001


def test_one_that_answers_is_looked_up_now_and_then() -> None:
    """Ends that start together don't ask together."""
    first = set()
    for seed in range(20):
        run = Scenario(seed, setup(V2()))
        asked = lookups_of(run, run.a)
        run.start_control()
        run.start_end(run.a)
        run.run(WAITING)
        pauses = [b - a for a, b in pairwise([0.0, *asked])]
        assert min(pauses) >= REVIEW * (1 - REVIEW_SPREAD)
        assert max(pauses) <= FOLLOWED_WITHIN
        first.add(round(asked[0]))
    assert len(first) > 10


def lookups_of(run: Scenario, side: Side) -> list[float]:
    """When a side gets answers of name servers."""
    asked: list[float] = []

    def look_up() -> ControlEndpoints:
        asked.append(run.network.now)
        return run.look_up()

    side.host.look_up = look_up
    return asked


# A control that is moved while the old one still answers.


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("protocol", [V2(), Classic()], ids=["v2", "classic"])
def test_an_end_that_waits_follows_one_that_still_answers(protocol: Protocol, loss: float) -> None:
    """Its partner, which comes at any time, asks the new one alone."""
    for seed in seeds(15):
        TALLY.runs += 1
        run = Scenario(seed, setup(protocol, loss=loss))
        run.start_control()
        run.start_end(run.a)
        random = run.network.random
        run.run(random.uniform(0.0, WAITING / 3))
        run.move_control(old_one_stays=True)
        moved = run.network.now
        run.run(random.uniform(0.0, FOLLOWED_WITHIN))
        run.start_end(run.b)
        latest = max(0.0, moved + FOLLOWED_WITHIN - run.network.now)
        assert run.run_until_linked(latest + LINKING), f"seed {seed}"
        assert not list(one_path(run)), f"seed {seed}"


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_ends_that_hear_of_it_at_different_times_find_each_other(loss: float) -> None:
    """The later end's name servers still tell of the old place, for a while; the first one may be
    there, elsewhere, or between."""
    for seed in seeds(15):
        TALLY.runs += 1
        run = Scenario(seed, setup(V2(), loss=loss))
        random = run.network.random
        stale = run.look_up()
        run.start_control()
        run.start_end(run.a)
        run.run(random.uniform(0.0, WAITING / 10))
        run.move_control(old_one_stays=True)
        fresh_at = run.network.now + random.uniform(0.0, FOLLOWED_WITHIN)
        run.b.host.look_up = lambda: stale if run.network.now < fresh_at else run.look_up()  # noqa: B023
        run.run(random.uniform(0.0, FOLLOWED_WITHIN))
        run.start_end(run.b, controls=run.b.host.look_up().controls)
        latest = max(fresh_at, run.network.now) + FOLLOWED_WITHIN + PUT_OFF - run.network.now
        assert run.run_until_linked(latest + LINKING), f"seed {seed}"
        assert not list(one_path(run)), f"seed {seed}"


@pytest.mark.parametrize("nat", [RANDOM_CONE, HARD_STEP], ids=["easy", "hard"])
def test_news_in_the_midst_of_punching_cost_a_round_at_most(nat: NatBehavior) -> None:
    """One of the ends hears of the new place at any instant from its introduction on; what they
    have begun at the old one they finish there."""

    def link_time(seed: int, hears_after: float | None) -> float:
        """From when both are introduced; one hears of the move so much later, or never."""
        TALLY.runs += 1
        run = Scenario(seed, setup(V2(), nat_a=(nat,), nat_b=(nat,)))
        run.start()
        assert run.run_until(lambda: introduced(run.a) and introduced(run.b), LINKING)
        began = run.network.now
        if hears_after is not None:
            run.move_control(old_one_stays=True)
            run.network.call_at(began + hears_after, hear, run, run.sides[seed % 2])
        assert run.run_until_linked(LINKING), f"seed {seed}"
        linked = run.network.now
        assert not list(one_path(run)), f"seed {seed}"
        return linked - began

    usual = max(link_time(seed, None) for seed in range(20))
    runs = seeds(20)
    for seed in runs:
        assert link_time(seed, usual * seed / len(runs)) <= usual + ONE_ROUND, f"seed {seed}"


def introduced(side: Side) -> bool:
    return side.host.first(Introduced) is not None


def hear(run: Scenario, side: Side) -> None:
    found = run.look_up()
    side.host.ask(lambda end, now: end.controls_found(found, now))
