"""Rejected datagrams are reported at once, then once a minute, and cost no memory."""

from __future__ import annotations

import pytest

from netpunch.address import Address
from netpunch.core.control.rejections import WINDOW, Rejections
from netpunch.core.events import AuthRejected
from netpunch.core.machine import NEVER
from netpunch.wire.drop import Drop

HERE = Address("192.0.2.1", 5000)
THERE = Address("198.51.100.1", 5001)


@pytest.fixture
def told() -> list[AuthRejected]:
    return []


@pytest.fixture
def rejections(told: list[AuthRejected]) -> Rejections:
    return Rejections(told.append)


def test_first_rejection_is_reported_at_once(
    rejections: Rejections, told: list[AuthRejected]
) -> None:
    rejections.add(Drop.BAD_MAC, "home", HERE, 10.0)
    assert told == [AuthRejected("bad_mac", 1, "home", HERE)]
    assert rejections.next_timer() == 10.0 + WINDOW


def test_further_rejections_are_reported_after_a_minute(
    rejections: Rejections, told: list[AuthRejected]
) -> None:
    for second in range(30):
        rejections.add(Drop.BAD_MAC, "home", THERE if second else HERE, float(second))
    assert len(told) == 1
    rejections.handle_timer(WINDOW)
    assert told[1:] == [AuthRejected("bad_mac", 29, "home", THERE)]


def test_lasting_flood_of_rejections_is_reported_once_a_minute(
    rejections: Rejections, told: list[AuthRejected]
) -> None:
    for second in range(300):
        rejections.add(Drop.MALFORMED, None, HERE, float(second))
    assert [event.count for event in told] == [1, 59, 60, 60, 60]


def test_minute_without_rejections_ends_the_reports(
    rejections: Rejections, told: list[AuthRejected]
) -> None:
    rejections.add(Drop.MALFORMED, None, HERE, 0.0)
    rejections.handle_timer(WINDOW)
    assert rejections.next_timer() == NEVER
    rejections.add(Drop.MALFORMED, None, HERE, 200.0)
    assert [event.count for event in told] == [1, 1]


def test_rejections_are_counted_by_pair_and_reason(
    rejections: Rejections, told: list[AuthRejected]
) -> None:
    rejections.add(Drop.BAD_MAC, "home", HERE, 0.0)
    rejections.add(Drop.BAD_MAC, "office", HERE, 1.0)
    rejections.add(Drop.UNKNOWN_PAIR, None, HERE, 2.0)
    assert [(event.pair, event.reason) for event in told] == [
        ("home", "bad_mac"),
        ("office", "bad_mac"),
        (None, "unknown_pair"),
    ]
    rejections.add(Drop.BAD_MAC, "office", HERE, 3.0)
    assert rejections.next_timer() == WINDOW
    rejections.handle_timer(WINDOW + 1.0)
    assert told[3:] == [AuthRejected("bad_mac", 1, "office", HERE)]
    assert rejections.next_timer() == WINDOW + 2.0


def test_rejections_have_no_timer_before_the_minute(
    rejections: Rejections, told: list[AuthRejected]
) -> None:
    rejections.add(Drop.MALFORMED, None, HERE, 0.0)
    rejections.add(Drop.MALFORMED, None, HERE, 1.0)
    rejections.handle_timer(WINDOW - 0.001)
    assert len(told) == 1
