"""A few runs of `python -m tests.sim.moves`, and how long each event may interrupt traffic."""

from __future__ import annotations

import pytest

from tests.sim.movement import EVENTS
from tests.sim.moves import Fixed, run_seed
from tests.sim.promises import TALLY

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


def test_whatever_happens_at_whatever_moment_both_ends_hold_one_path_again() -> None:
    for seed in range(80):
        TALLY.runs += 1
        outcome = run_seed(seed, Fixed(relay=False))
        assert not outcome.broken, f"{outcome} {outcome.trace}"


def test_a_path_is_not_doubted_in_vain_because_a_ping_is_lost() -> None:
    """An old path that still works is kept, at 5 % loss each way."""
    event = "host gets a second address"
    outages = [run_seed(seed, HELD._replace(event=event, loss=0.05)).outage for seed in range(60)]
    TALLY.runs += len(outages)
    assert max(outage or 0.0 for outage in outages) < 0.5
