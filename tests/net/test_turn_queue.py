"""Ends of a process take turns."""

from __future__ import annotations

import pytest

from netpunch.core.events import Turn
from netpunch.core.traversal import budget
from netpunch.net.turn_queue import TurnQueue


class Queue:
    """Ends by name, and their turns in order."""

    def __init__(self) -> None:
        self.turns = TurnQueue()
        self.granted: list[str] = []

    def want(self, name: str, turn: Turn = Turn.SPRAY, *, ready: bool = True) -> bool:
        return self.turns.want(name, lambda: self.granted.append(name), turn, ready)


@pytest.fixture
def queue() -> Queue:
    return Queue()


def test_turns_are_given_one_at_a_time_in_the_order_of_asking(queue: Queue) -> None:
    assert [queue.want(name) for name in "abc"] == [True, False, False]
    queue.turns.over("a")
    queue.turns.over("b")
    assert queue.granted == ["b", "c"]


def test_an_end_that_opens_sockets_does_not_keep_others_from_spraying(queue: Queue) -> None:
    """Otherwise two processes whose ends wait for each other crosswise would deadlock."""
    assert queue.want("a", Turn.OPEN)
    assert queue.want("b", Turn.SPRAY)


def test_several_ends_survey_at_a_time(queue: Queue) -> None:
    names = [str(n) for n in range(budget.SURVEYS_AT_ONCE + 1)]
    assert [queue.want(name, Turn.SURVEY) for name in names].count(True) == budget.SURVEYS_AT_ONCE


def test_a_turn_goes_on_until_another_end_waits(queue: Queue) -> None:
    assert queue.want("a")
    assert queue.want("a")
    queue.want("b")
    assert not queue.want("a")
    queue.turns.over("a")
    assert not queue.want("a"), "it is at the end of the queue"
    assert queue.granted == ["b"]


def test_an_end_that_is_not_ready_lets_others_pass_and_keeps_its_place(queue: Queue) -> None:
    queue.want("a")
    queue.want("b", ready=False)
    queue.want("c")
    queue.want("d")
    queue.turns.over("a")
    queue.want("b")
    queue.turns.over("c")
    assert queue.granted == ["c", "b"]


def test_the_turn_stays_free_while_no_waiting_end_is_ready(queue: Queue) -> None:
    assert not queue.want("a", ready=False)
    assert queue.want("b")


def test_an_end_that_left_the_queue_gets_no_turn(queue: Queue) -> None:
    for name in "abc":
        queue.want(name)
    queue.turns.over("b")
    queue.turns.over("b")
    queue.turns.over("a")
    assert queue.granted == ["c"]
    assert queue.turns.has_turn("c")


@pytest.mark.parametrize("ends", [1, 30, 100])
def test_all_sockets_of_a_process_stay_within_the_bound(ends: int) -> None:
    turns = TurnQueue()
    turns.first_sockets = dict.fromkeys(range(ends), 1)
    surveys = min(ends, budget.SURVEYS_AT_ONCE) * budget.SURVEY_SOCKETS
    assert ends + surveys + turns.sockets <= budget.MOST_SOCKETS


def test_a_turn_has_a_minimum_of_sockets_however_many_ends_there_are() -> None:
    turns = TurnQueue()
    turns.first_sockets = {0: 1000}
    assert turns.sockets == budget.TURN_LEAST_SOCKETS
