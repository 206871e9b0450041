"""For how long an end waits: its deadline, which stands still while it queues for a turn."""

from __future__ import annotations

import pytest

from netpunch.core.end.waiting import Deadline
from netpunch.core.machine import NEVER
from netpunch.core.traversal.budget import LONGEST_QUEUE

BEGAN = 100.0


def deadline(seconds: float, *, from_start: bool = True) -> Deadline:
    return Deadline(seconds, BEGAN, from_start=from_start)


def test_a_deadline_from_the_start_begins_at_once_and_only_once() -> None:
    it = deadline(20.0)
    it.start(BEGAN + 5.0)
    assert it.next_timer() == BEGAN + 20.0
    assert not it.is_over(BEGAN + 19.9)
    assert it.is_over(BEGAN + 20.0)


@pytest.mark.parametrize(("seconds", "expected"), [(20.0, BEGAN + 25.0), (NEVER, NEVER)])
def test_a_deadline_from_the_first_proof_begins_with_it(seconds: float, expected: float) -> None:
    it = deadline(seconds, from_start=False)
    assert it.next_timer() == NEVER
    it.start(BEGAN + 5.0)
    assert it.next_timer() == expected


def test_a_deadline_stands_still_while_the_end_queues_for_a_turn() -> None:
    it = deadline(20.0)
    it.update(BEGAN + 5.0, queued=True)
    it.update(BEGAN + 12.0, queued=False)
    assert it.next_timer() == BEGAN + 27.0


def test_a_deadline_stands_still_for_the_longest_queue_and_no_longer() -> None:
    it = deadline(20.0)
    it.update(BEGAN, queued=True)
    it.update(BEGAN + 2 * LONGEST_QUEUE, queued=True)
    assert it.next_timer() == BEGAN + 20.0 + LONGEST_QUEUE
