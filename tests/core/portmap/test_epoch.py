"""RFC 6887 section 8.5, example by example."""

from __future__ import annotations

import pytest

from netpunch.core.portmap.epoch import EpochClock


@pytest.mark.parametrize(
    ("epoch", "now", "restarted"),
    [
        (1000, 500.0, False),  # a second answer within the same second
        (999, 500.0, False),  # answers that overtook each other
        (998, 500.0, True),
        (1600, 1100.0, False),
        (1565, 1100.0, False),  # slower by less than a 16th
        (1555, 1100.0, True),
        (1635, 1100.0, False),  # faster by less than a 16th
        (1650, 1100.0, True),
        (1002, 500.0, False),
        (1003, 500.0, True),
        (0, 4100.0, True),
    ],
)
def test_an_epoch_that_does_not_fit_tells_of_a_restart(
    epoch: int, now: float, restarted: bool
) -> None:
    clock = EpochClock()
    assert not clock.restarted(1000, 500.0)
    assert clock.restarted(epoch, now) is restarted


def test_each_answer_is_compared_with_the_one_before() -> None:
    clock = EpochClock()
    assert not clock.restarted(1000, 0.0)
    assert clock.restarted(0, 100.0)
    assert not clock.restarted(100, 200.0)
