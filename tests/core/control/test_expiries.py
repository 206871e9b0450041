"""Things come back in their second, and none is forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netpunch.core.control.expiries import Expiries
from netpunch.core.machine import NEVER


def test_empty_expiries_have_no_timer() -> None:
    expiries: Expiries[str] = Expiries()
    assert expiries.next_timer() == NEVER
    assert expiries.take(1e9) == []


def test_timer_of_expiries_is_that_of_the_earliest() -> None:
    expiries: Expiries[str] = Expiries()
    expiries.add("late", 70.0)
    expiries.add("early", 60.2)
    assert expiries.next_timer() == 61
    assert expiries.take(60.0) == []
    assert expiries.take(60.1) == ["early"]
    assert expiries.next_timer() == 70
    assert expiries.take(1000.0) == ["late"]
    assert expiries.next_timer() == NEVER


@given(st.lists(st.floats(-1e6, 1e6), max_size=30), st.lists(st.floats(-1e6, 1e6), max_size=10))
def test_expiries_return_each_thing_in_time_and_once(dues: list[float], looks: list[float]) -> None:
    expiries: Expiries[int] = Expiries()
    for thing, due in enumerate(dues):
        expiries.add(thing, due)
    left = set(range(len(dues)))
    for now in sorted(looks):
        taken = expiries.take(now)
        assert len(taken) == len(set(taken))
        assert set(taken) <= left
        left -= set(taken)
        assert all(dues[thing] > now for thing in left), "forgotten"
        assert all(dues[thing] <= now + 1 for thing in taken), "a second early at most"
        assert expiries.next_timer() > now
