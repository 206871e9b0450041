"""A few runs of `python -m tests.sim.moves`, and how long each event may interrupt traffic."""

from __future__ import annotations

from functools import partial

import pytest

from netpunch.core.events import PathKind
from tests.sim.held import Watch
from tests.sim.movement import EVENTS, cut
from tests.sim.moves import Fixed, run_seed
from tests.sim.nat import PORT_RESTRICTED_CONE
from tests.sim.promises import TALLY, seeds
from tests.sim.scenarios import Scenario, Setup

HELD = Fixed(then="nothing", phase="holding", loss=0.0, delay=0.02, relay=False)
AT_ONCE = 0.1
"""Seconds: nothing but jitter and the distance of two datagrams."""
LIMITS = {
    "host's address changes": 0.5,
    "host goes to another uplink": 0.5,
    "host's default route changes": 1.0,
    "host gets another address, the old one goes later": 0.5,
    "NAT's address changes": 2.5,
    "NAT reboots": 2.5,
    "suspend": 1.0,
    "suspend, wakes elsewhere": 1.0,
    "process restarts": 1.0,
}
"""Seconds without payload; AT_ONCE for all other events."""


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_interrupts_traffic_for_no_longer_than_it_may(event: str) -> None:
    for seed in range(4):
        TALLY.runs += 1
        outcome = run_seed(seed, HELD._replace(event=event))
        assert not outcome.broken, f"seed {seed}"
        assert (outcome.outage or 0.0) <= LIMITS.get(event, AT_ONCE), f"seed {seed}"


@pytest.mark.parametrize(("relay", "runs"), [(False, 30), (True, 12)], ids=["direct", "relay"])
def test_whatever_happens_at_whatever_moment_both_ends_hold_one_path_again(
    relay: bool, runs: int
) -> None:
    for seed in seeds(runs):
        TALLY.runs += 1
        outcome = run_seed(seed, Fixed(relay=relay))
        assert not outcome.broken, f"{outcome} {outcome.trace}"


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_a_relayed_link_turns_direct_soon_after_it_can(loss: float) -> None:
    """Once the way between both is open, before the first look for a better path."""
    for seed in range(5):
        TALLY.runs += 1
        nat, settings = (PORT_RESTRICTED_CONE,), {"holds": True}
        run = Scenario(seed, Setup(nat_a=nat, nat_b=nat, loss=loss, relay=True, settings=settings))
        watch = Watch(run)
        here, there = (run.at_the_internet(side) for side in run.sides)
        cut(run, [here], [there], 4.0)
        run.start()
        assert run.run_until(partial(getattr, watch, "same"), 4.0), f"seed {seed}"
        assert kinds(run) == {PathKind.RELAY}, f"seed {seed}"
        assert run.run_until(partial(is_direct, run, watch), 10.0), f"seed {seed}"


def is_direct(run: Scenario, watch: Watch) -> bool:
    return watch.same and PathKind.RELAY not in kinds(run)


def kinds(run: Scenario) -> set[PathKind]:
    """What both ends call their path."""
    return {side.link.path for side in run.sides if side.link is not None}


def test_a_path_is_not_doubted_in_vain_because_a_ping_is_lost() -> None:
    """An old path that still works is kept, at 5 % loss each way."""
    event = "host gets a second address"
    outages = [run_seed(seed, HELD._replace(event=event, loss=0.05)).outage for seed in range(60)]
    TALLY.runs += len(outages)
    assert max(outage or 0.0 for outage in outages) < 0.5


def test_a_restarted_end_that_is_pinged_through_a_relay_uses_it_at_once() -> None:
    """Its old binding still passes the partner's pings: it must know them for what they are."""
    fixed = Fixed("process restarts", "nothing", "holding", 0.0, relay=True)
    outcome = run_seed(4015, fixed)
    assert not outcome.broken
    assert outcome.outage is not None
    assert outcome.outage < 1.0


def test_a_partner_whose_acceptance_was_lost_is_found_before_its_nomination_ends() -> None:
    outcome = run_seed(700017, Fixed(relay=False))
    assert not outcome.broken


def test_a_socket_is_closed_once_however_links_and_fresh_ports_took_turns_on_it() -> None:
    assert not run_seed(1017235, Fixed()).broken
