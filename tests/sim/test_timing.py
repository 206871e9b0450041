"""How long a link takes, from the later end's first datagram until both ends are linked."""

from __future__ import annotations

from random import Random

import pytest

from tests.sim.nat import PORT_RESTRICTED_CONE, RANDOM_CONE, NatBehavior
from tests.sim.promises import punch
from tests.sim.scenarios import Setup
from tests.sim.setups import CONES, EASY, Place

ONE_WAY = 0.05
ROUND_TRIPS = 3
OWN_SHARE = 0.005
"""What an end may add: it waits so long for a better path."""
ROUNDING = 1e-6
"""Of clocks that count from some other time."""
AT_MOST = ROUND_TRIPS * 2 * ONE_WAY + OWN_SHARE + ROUNDING
SKEWS = (0.0, 0.1, 0.15, 0.3, 0.7, 1.0, 5.0, 14.95, 15.0, 15.05, 29.9, 45.0, 60.0)

LOSSY_RUNS = 3000
PATIENCE = 5.0
SHARE = 0.999


def link_time(seed: int, nat_a: tuple[NatBehavior, ...], nat_b: Place, skew: float) -> float:
    setup = Setup(nat_a=nat_a, nat_b=nat_b, skew=skew, delay=ONE_WAY, lan_delay=0.0, deadline=90.0)
    run = punch(seed, setup)
    assert run.linked
    return run.link_time


@pytest.mark.parametrize("nat_b", EASY.values(), ids=EASY.keys())
@pytest.mark.parametrize("nat_a", EASY.values(), ids=EASY.keys())
def test_three_round_trips_whoever_is_where_and_first(nat_a: Place, nat_b: Place) -> None:
    for skew in SKEWS:
        assert link_time(1, nat_a, nat_b, skew) <= AT_MOST, f"a first by {skew} s"
        assert link_time(2, nat_a, nat_b, -skew) <= AT_MOST, f"b first by {skew} s"


def test_three_round_trips_for_any_skew() -> None:
    for seed in range(500):
        skew = Random(seed).uniform(-60.0, 60.0)
        time = link_time(seed, (PORT_RESTRICTED_CONE,), (RANDOM_CONE,), skew)
        assert time <= AT_MOST, f"seed {seed}, skew {skew}"


def test_twenty_percent_loss_costs_at_most_five_seconds() -> None:
    late = []
    for seed in range(LOSSY_RUNS):
        random = Random(seed)
        setup = Setup(
            nat_a=random.choice(list(CONES.values())),
            nat_b=random.choice(list(CONES.values())),
            loss=0.2,
            delay=ONE_WAY,
            skew=random.uniform(-3.0, 3.0),
        )
        run = punch(seed, setup)
        if not run.linked or run.link_time > PATIENCE:
            late.append(seed)
    assert len(late) <= LOSSY_RUNS * (1 - SHARE), f"seeds {late}"
