"""A control behind a name gets another address: whoever waits for a partner finds it there."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from netpunch.core.lookups import INTERVAL, Whereabouts
from tests.sim.hosts import LOOKUP_TIME
from tests.sim.machines import V2, Classic, Protocol
from tests.sim.nat import HARD_STEP, PORT_RESTRICTED_CONE, RANDOM_CONE
from tests.sim.promises import TALLY, one_path
from tests.sim.scenarios import Scenario, Setup

WAITING = 3600.0
"""Seconds that one end waits alone, at most."""
LINKING = 30.0
"""From when both know the control until they are linked, with what is lost on the way."""
FOUND_WITHIN = INTERVAL + LOOKUP_TIME + 1.0
"""From when a control has moved, at the worst time."""


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
    asked: list[float] = []

    def look_up() -> Whereabouts:
        asked.append(run.network.now)
        return run.look_up()

    run.a.host.look_up = look_up
    run.start_end(run.a)
    run.run(WAITING + 2 * LOOKUP_TIME)
    assert len(asked) == int(WAITING / INTERVAL)
    assert min(b - a for a, b in pairwise(asked)) >= INTERVAL - 0.001


def test_one_that_answers_is_not_looked_up() -> None:
    run = Scenario(1, setup(V2()))
    run.a.host.look_up = None
    run.start_control()
    run.start_end(run.a)
    run.run(WAITING)
