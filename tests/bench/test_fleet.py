"""The arithmetic of a fleet, on small ones."""

from __future__ import annotations

from random import Random

import pytest

from tests.bench.fleet import controls_of, die_and_return, spread

ENDS = 150_000
"""Ten thousand announcements a second."""


def test_a_pair_has_two_controls_and_all_nodes_have_as_many_pairs() -> None:
    for one, other in controls_of("home-office", [2, 3, 10]):
        assert one != other
    (of_node,) = spread(10_000, [10])
    assert sum(of_node.values()) == 20_000
    assert min(of_node.values()) > 1_800
    assert max(of_node.values()) < 2_200


def test_a_further_node_takes_over_its_share_and_moves_no_other_pair() -> None:
    for number in range(1000):
        before, after = map(set, controls_of(f"pair-{number}", [10, 11]))
        assert after - before <= {10}


def test_a_node_with_spare_cpu_has_all_its_ends_back_within_a_retry() -> None:
    back = die_and_return(ENDS, cost=4.0, retry=1.0, random=Random(1))
    assert back.before == pytest.approx(10_000, rel=0.1)
    assert back.dead == pytest.approx(ENDS, rel=0.1)
    assert back.all_back <= 1.0
    assert back.busiest == pytest.approx(ENDS * 4.0 / 1e6, rel=0.1)


def test_a_busy_node_has_its_ends_back_when_it_has_registered_them() -> None:
    """33,333 a second."""
    back = die_and_return(ENDS, cost=30.0, retry=1.0, random=Random(1))
    assert back.busiest == 1.0
    assert 4.0 <= back.all_back <= 6.0


def test_an_overloaded_node_never_recovers_from_a_restart() -> None:
    back = die_and_return(ENDS, cost=150.0, retry=1.0, random=Random(1))
    assert back.later == 1.0
    assert back.all_back > 15.0


def test_ends_that_retry_slowly_do_not_overload_a_returning_node() -> None:
    back = die_and_return(ENDS, cost=30.0, retry=15.0, random=Random(1))
    assert back.dead == pytest.approx(10_000, rel=0.1)
    assert back.busiest < 0.5
