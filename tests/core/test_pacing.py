"""Bounds on how fast and how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.core.machine import NEVER
from netpunch.core.pacing import Repeat, Retries, TokenBucket

RATE, BURST = 40.0, 8


@given(st.lists(st.floats(0.0, 0.2), min_size=1, max_size=300))
def test_no_second_sees_more_than_the_rate(gaps: list[float]) -> None:
    bucket, now, taken = TokenBucket(RATE, BURST), 0.0, []
    for gap in gaps:
        now += gap
        if bucket.take(now):
            taken.append(now)
    for begin in taken:
        assert sum(begin <= time < begin + 1.0 for time in taken) <= RATE


def test_a_burst_is_let_through_at_once_and_no_more() -> None:
    bucket = TokenBucket(RATE, BURST)
    assert [bucket.take(5.0) for _ in range(BURST + 1)] == [True] * BURST + [False]


def test_rest_fills_it_up_to_a_burst() -> None:
    bucket = TokenBucket(RATE, BURST)
    while bucket.take(0.0):
        pass
    assert sum(bucket.take(1e6) for _ in range(100)) == BURST


def test_after_a_no_it_says_when_to_ask_again() -> None:
    bucket, now = TokenBucket(RATE, BURST), 0.0
    for _ in range(50):
        while bucket.take(now):
            pass
        due = now + bucket.refill
        assert due > now
        assert not bucket.take((now + due) / 2)
        now = due + 1e-9
        assert bucket.take(now)


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0, 1.3, 1.9, 2.0, 2.5])
def test_a_low_rate_lets_something_through_and_is_kept(rate: float) -> None:
    bucket, now, taken = TokenBucket(rate, min(BURST, rate / 2)), 0.0, []
    while now < 200.0:
        if bucket.take(now):
            taken.append(now)
        else:
            now += bucket.refill + 1e-9
    assert len(taken) >= 200.0 * min(rate, 1.0)
    window = max(1.0, 1.0 / rate) - 1e-6
    for begin in taken:
        assert sum(begin <= time < begin + window for time in taken) <= max(rate, 1.0)


def test_asking_in_vain_costs_nothing() -> None:
    bucket = TokenBucket(RATE, BURST)
    while bucket.take(0.0):
        pass
    for step in range(1000):
        bucket.take(step / 1e6)
    assert bucket.take(1.0 / (RATE - BURST) + 1e-9)


def test_a_thing_is_repeated_so_often_and_so_far_apart() -> None:
    repeat, done = Repeat(3, 0.5, 10.0), []
    for tenth in range(30):
        now = 10.0 + tenth / 10
        if repeat.due(now):
            done.append(now)
    assert done == pytest.approx([10.0, 10.5, 11.0])
    assert repeat.left == 0
    assert repeat.next_at == NEVER


def test_nothing_to_repeat_is_never_due() -> None:
    assert not Repeat(0, 0.5, 10.0).due(1e9)


def test_a_thing_is_retried_at_its_gaps_until_it_is_answered() -> None:
    retries, done = Retries((0.1, 0.2, 1.0), 10.0), []
    for tenth in range(40):
        now = 10.0 + tenth / 10
        if retries.due(now + 1e-9):
            done.append(now)
    assert done == pytest.approx([10.0, 10.1, 10.3, 11.3, 12.3, 13.3])
    retries.stop()
    assert not retries.due(1e9)
