"""Several controls: ends announce to all, any one is enough, and whichever may go at any moment.

What the loss of controls costs is told against the same network in which only those that were
left were ever there: to the millisecond where nothing is lost on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from netpunch.core.classic.end import LONGEST_ANNOUNCE_GAP
from netpunch.core.control.node import ControlNode
from netpunch.core.events import Lost, RoleConflict
from netpunch.core.traversal import budget
from tests.sim.hosts import SimHost
from tests.sim.machines import Classic, Protocol
from tests.sim.nat import HARD_RANDOM, HARD_STEP, PORT_RESTRICTED_CONE, RANDOM_CONE, NatBehavior
from tests.sim.promises import one_path, promising, seeds
from tests.sim.scenarios import Scenario, Setup
from tests.sim.setups import any_setup, easy_setup
from tests.sim.test_hold import HELD, held, linked_anew
from tests.sim.test_standby import EVENTUALLY, SOON, hears, on_standby

SEEDS = seeds(40)
WAITING_INTERVAL, ANNOUNCE_RETRY = 15.0, 1.0
"""Seconds between an end's announcements, and after one without an answer (docs/protocol.md)."""
USUAL = 1.0
"""Seconds; what any of these networks needs at most once both ends are registered."""
SILENT_SURVEY = 3.5
"""A control that dies between its introduction and the survey: the class stays unknown, and both
ends begin anew from fresh ports, after FRESH_PORT_AFTER and with a traversal of their own."""
LONGEST_SKEW = 12.0
STANDING_BY = Setup(nat_a=(PORT_RESTRICTED_CONE,), nat_b=(RANDOM_CONE,), controls=2, deadline=None)

Fate = Callable[[Scenario, SimHost], None]
Happening = tuple[float, Fate, int]
"""When, what, and to which control."""


def dies(_: Scenario, control: SimHost) -> None:
    control.stop()


def restarts(run: Scenario, control: SimHost) -> None:
    run.restart_control(control)


FATES: dict[str, Fate] = {"dies": dies, "restarts": restarts}


def network(random: Random, controls: int, **fixed: Any) -> Setup:
    """Controls and ends at any distance; nothing is lost."""
    skews = [0.0, random.uniform(-0.3, 0.3), random.uniform(-LONGEST_SKEW, LONGEST_SKEW)]
    setup: dict[str, Any] = {
        "nat_a": (PORT_RESTRICTED_CONE,),
        "nat_b": (RANDOM_CONE,),
        "controls": controls,
        "skew": random.choice(skews),
        "delay_controls": tuple(random.uniform(0.0, 0.1) for _ in range(controls)),
        "delay_a": random.uniform(0.0, 0.1),
        "delay_b": random.uniform(0.0, 0.1),
        "lan_delay": 0.0,
        "deadline": 60.0,
    }
    return Setup(**{**setup, **fixed})


def moment(random: Random, setup: Setup) -> float:
    """From the start, before either end is registered, between the two, or in the dialogue."""
    later = abs(setup.skew)
    return random.choice(
        [0.0, random.uniform(0.0, 0.3), random.uniform(0.0, later), later + random.uniform(0, 0.6)]
    )


def link(seed: int, setup: Setup, *fates: Happening) -> Scenario:
    """A run in which all of that happens; both ends link."""
    with promising(Scenario(seed, setup)) as run:
        run.start()
        for at, fate, number in fates:
            run.network.call_at(at, fate, run, run.controls[number])
        assert run.run_to_the_end().linked
        for control in run.controls:
            assert control.first(RoleConflict) is None
    return run


def link_time_without(seed: int, setup: Setup, *numbers: int) -> float:
    """Where these controls never were."""
    return link(seed, setup, *((0.0, dies, number) for number in numbers)).link_time


@pytest.mark.parametrize("fate", FATES.values(), ids=FATES.keys())
@pytest.mark.parametrize("controls", [2, 3])
def test_what_happens_to_one_costs_no_more_than_being_without_it(controls: int, fate: Fate) -> None:
    for seed in SEEDS:
        random = Random(seed)
        setup, victim = network(random, controls), random.randrange(controls)
        run = link(seed, setup, (moment(random, setup), fate, victim))
        assert run.link_time <= link_time_without(seed, setup, victim) + 1e-6, f"seed {seed}"


def test_one_of_three_is_enough() -> None:
    for seed in SEEDS:
        random = Random(seed)
        setup = network(random, 3)
        one, other = random.sample(range(3), 2)
        fates = [(moment(random, setup), dies, number) for number in (one, other)]
        alone = link_time_without(seed, setup, one, other)
        assert link(seed, setup, *fates).link_time <= alone + 1e-6, f"seed {seed}"


@pytest.mark.parametrize("controls", [2, 3])
def test_all_of_them_restarted_in_turn_cost_an_announcement_at_most(controls: int) -> None:
    """An end that waits says itself where it is only when its time comes."""
    for seed in SEEDS:
        random = Random(seed)
        setup = network(random, controls)
        fates: list[Happening] = [
            (moment(random, setup), restarts, number) for number in range(controls)
        ]
        run = link(seed, setup, *fates)
        assert run.link_time < WAITING_INTERVAL + USUAL, f"seed {seed}"


def test_all_of_them_away_at_once_cost_a_retry_once_one_is_back() -> None:
    """The later end begins while none is there; the earlier one's time came meanwhile, too."""
    for seed in SEEDS:
        random = Random(seed)
        setup = network(random, 2, skew=random.choice([-1, 1]) * random.uniform(16.0, 20.0))
        back = [20.0 + random.uniform(0.0, 10.0) for _ in range(2)]
        fates: list[Happening] = [(random.uniform(0.5, 15.0), dies, n) for n in range(2)]
        fates += [(at, restarts, number) for number, at in enumerate(back)]
        run = link(seed, setup, *fates)
        linked_at = run.link_time + abs(setup.skew)
        assert linked_at - min(back) < ANNOUNCE_RETRY + USUAL, f"seed {seed}"


@pytest.mark.parametrize("protocol", [None, Classic()], ids=["v2", "classic"])
@pytest.mark.parametrize("fate", FATES.values(), ids=FATES.keys())
def test_networks_of_tolerable_quality_link_all_the_same(
    protocol: Protocol | None, fate: Fate
) -> None:
    fixed: dict[str, Any] = {"controls": 2, "deadline": 60.0}
    if protocol is not None:  # an early ping takes the port from a Linux NAT for good
        fixed |= {"protocol": protocol, "nat_a": (PORT_RESTRICTED_CONE,), "nat_b": (RANDOM_CONE,)}
    for seed in SEEDS:
        random = Random(seed)
        setup = easy_setup(random, **fixed)
        link(seed, setup, (moment(random, setup), fate, random.randrange(2)))


def test_any_network_keeps_the_promises_whatever_happens_to_its_controls() -> None:
    for seed in seeds(60):
        random = Random(seed)
        setup = any_setup(random, controls=2, deadline=8.0)
        with promising(Scenario(seed, setup)) as run:
            run.start()
            for _ in range(4):
                fate = random.choice([dies, restarts, restarts])
                at = moment(random, setup)
                run.network.call_at(at, fate, run, random.choice(run.controls))
            run.run_to_the_end()


# Hard NATs: control also tells how they map.


@pytest.mark.parametrize("hard", [HARD_STEP, HARD_RANDOM], ids=["step", "random"])
@pytest.mark.parametrize("dead", [0, 1])
def test_a_dead_control_hides_no_hard_nat(dead: int, hard: NatBehavior) -> None:
    setup = Setup(nat_a=(PORT_RESTRICTED_CONE,), nat_b=(hard,), delay=0.05, deadline=60.0)
    for seed in range(10):
        one = link(seed, setup).link_time
        two = link(seed, replace(setup, controls=2), (0.0, dies, dead)).link_time
        if hard is HARD_STEP:  # no luck in it
            assert two == pytest.approx(one)
        else:
            longest = budget.OPEN_ROUNDS * budget.OPEN_MANY.patience
            assert two < longest, f"seed {seed}"


def test_a_control_that_dies_before_it_told_of_a_hard_nat_costs_a_second_attempt() -> None:
    setup = Setup(nat_a=(PORT_RESTRICTED_CONE,), nat_b=(HARD_STEP,), delay=0.05, deadline=60.0)
    usual = link(1, setup).link_time
    for number in range(30):
        run = link(1, replace(setup, controls=2), (0.02 + number * 0.03, dies, 0))
        assert run.link_time < usual + SILENT_SURVEY, f"number {number}"


# Classic: its control is silent until the partner is there, so its ends announce all the time.


@pytest.mark.parametrize("fate", FATES.values(), ids=FATES.keys())
def test_classic_ends_need_one_of_two(fate: Fate) -> None:
    for seed in SEEDS:
        random = Random(seed)
        setup = network(random, 2, protocol=Classic())
        victim = random.randrange(2)
        run = link(seed, setup, (moment(random, setup), fate, victim))
        assert run.link_time < LONGEST_ANNOUNCE_GAP + USUAL, f"seed {seed}"


def test_classic_ends_outlive_the_restart_of_both() -> None:
    for seed in SEEDS:
        random = Random(seed)
        setup = network(random, 2, protocol=Classic())
        fates = [(moment(random, setup), restarts, number) for number in range(2)]
        assert link(seed, setup, *fates).link_time < LONGEST_ANNOUNCE_GAP + USUAL, f"seed {seed}"


# After the link.


def registered(control: SimHost) -> int:
    assert isinstance(control.machine, ControlNode)
    return control.machine.registered


def outage(run: Scenario, controls: Sequence[SimHost], longest: float) -> None:
    """They die and come back when they like, all are gone for a while, in the end all are there."""
    random, now = run.network.random, run.network.now
    for control in controls:
        for fate in (dies, restarts, dies):
            at = now + random.uniform(0.0, longest / 2)
            run.network.call_at(at, fate, run, control)
        run.network.call_at(now + longest / 2, dies, run, control)
        run.network.call_at(now + longest, restarts, run, control)


@pytest.mark.parametrize("loss", [0.0, 0.02])
def test_held_links_survive_the_death_of_all_controls(loss: float) -> None:
    for seed in seeds(10):
        run = held(seed, replace(HELD, controls=2, loss=loss, jitter=0.05))
        outage(run, run.controls, 300.0)
        run.run(400.0)
        for side in run.sides:
            assert not list(side.host.told_of(Lost)), f"seed {seed}"
        assert not list(one_path(run)), f"seed {seed}"
        if not loss:
            assert [registered(control) for control in run.controls] == [2, 2], f"seed {seed}"


@pytest.mark.parametrize("dead", [0, 1])
def test_a_held_link_hears_of_its_restarted_partner_through_the_control_that_lives(
    dead: int,
) -> None:
    for seed in range(10):
        run = held(seed, replace(HELD, controls=2))
        run.controls[dead].stop()
        run.run(100.0)
        run.restart_end(run.b)
        again = run.network.now
        assert run.run_until(linked_anew(run.b, run.a), EVENTUALLY), f"seed {seed}"
        assert run.network.now - again < SOON
        run.run(0.5)
        assert not list(one_path(run)), f"seed {seed}"


@pytest.mark.parametrize("dead", [0, 1])
@pytest.mark.parametrize("when", [-100.0, -1.0, 0.0])
def test_standby_hears_of_its_partner_through_the_control_that_lives(
    dead: int, when: float
) -> None:
    for seed in range(5):
        run = on_standby(seed, STANDING_BY)
        run.network.call_at(run.network.now + 100.0 + when, run.controls[dead].stop)
        run.run(100.0)
        run.restart_end(run.b)
        assert hears(run, run.a), f"seed {seed}"
        assert run.network.now - run.b.started_at[-1] < SOON, f"seed {seed}"


def test_standby_outlives_the_restart_of_all_controls() -> None:
    """It says itself that it is there, when its time comes."""
    for seed in range(10):
        run = on_standby(seed, STANDING_BY)
        for control in run.controls:
            run.restart_control(control)
            run.run(run.network.random.uniform(0.0, 10.0))
        run.restart_end(run.b)
        assert hears(run, run.a), f"seed {seed}"
        waited = run.network.now - run.b.started_at[-1]
        assert waited < WAITING_INTERVAL + SOON, f"seed {seed}"
