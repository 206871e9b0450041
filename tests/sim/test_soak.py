"""A day of held links, whatever happens to their control and NATs: see `tests.bench.soak`, which
makes it a month."""

from __future__ import annotations

import pytest

from tests.bench.soak import DAY, soak
from tests.sim.promises import TALLY

PAIRS = 4


@pytest.mark.parametrize("seed", range(PAIRS))
def test_no_link_gets_stuck(seed: int) -> None:
    TALLY.runs += 1
    report = soak(seed, DAY / PAIRS)
    assert not report.stuck, report
    assert report.disturbances.total() > 0
    assert report.links >= 2 + 2 * report.disturbances["an end is killed and restarted"], report
    assert report.heard > 0
