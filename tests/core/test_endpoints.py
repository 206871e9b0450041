"""When an end wants its controls' names looked up again, and what it does when they have moved."""

from __future__ import annotations

import pytest

from netpunch.address import Address
from netpunch.core.end.lookups import REVIEW, REVIEW_SPREAD, SILENCE, Lookups
from netpunch.core.end.registration import Registration
from netpunch.core.endpoints import LOOKUP_INTERVAL, NO_NAMES, ControlEndpoints, Names
from netpunch.core.events import Event, LookupWanted, Waiting
from netpunch.core.machine import NEVER
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from tests.core.v2_bench import Bench, linked
from tests.core.v2_pair import CHANNELS, CONTROL, A

BEGAN = 100.0
SECOND = Address("192.0.2.2", 10001)
MOVED = Address("192.0.2.77", 10001)
BOTH_NAMED = Names(frozenset((CONTROL, SECOND)))
ONE_NAMED = Names(frozenset((CONTROL,)))


class Watched:
    """Lookups, and the dialogues with two controls that they watch over. `chance` is the random
    byte by which an end is early."""

    def __init__(self, names: Names, chance: int = 0) -> None:
        self.told: list[Event] = []
        self.lookups = Lookups(names, self.told.append, lambda n: bytes([chance]) * n, BEGAN)
        self.one, self.second = (
            Registration(each, 0, CHANNELS, BEGAN) for each in (CONTROL, SECOND)
        )
        for each in (self.one, self.second):
            each.announcing(1, BEGAN)

    @property
    def next_timer(self) -> float:
        return self.lookups.next_timer((self.one, self.second)) - BEGAN

    def at(self, seconds: float, *, punching: bool = False) -> list[Event]:
        """What is told at a time."""
        self.told.clear()
        registrations = (self.one, self.second)
        self.lookups.handle_timer(registrations, BEGAN + seconds, punching=punching)
        return self.told

    def answer(self, registration: Registration, seconds: float) -> None:
        registration.waiting(registration.counter, A, v2.NO_ATTEMPT, v2.NO_COOKIE, BEGAN + seconds)

    def announce(self, registration: Registration, seconds: float) -> None:
        registration.announcing(registration.counter + 1, BEGAN + seconds)


class TestWhen:
    def test_controls_that_never_answer(self) -> None:
        watched = Watched(BOTH_NAMED)
        assert watched.next_timer == LOOKUP_INTERVAL, "they were looked up just before"
        assert watched.at(LOOKUP_INTERVAL - 1.0) == []
        assert watched.at(LOOKUP_INTERVAL) == [LookupWanted(frozenset((CONTROL, SECOND)))]
        assert watched.next_timer == 2 * LOOKUP_INTERVAL
        assert watched.at(2 * LOOKUP_INTERVAL) == [LookupWanted(frozenset((CONTROL, SECOND)))]

    def test_one_that_falls_silent(self) -> None:
        watched = Watched(BOTH_NAMED)
        for each in (watched.one, watched.second):
            watched.answer(each, 0.0)
        assert watched.next_timer == REVIEW
        for seconds in (100.0, 101.0, 102.0):
            watched.announce(watched.one, seconds)
        assert watched.next_timer == 100.0 + SILENCE
        assert watched.at(100.0 + SILENCE - 0.1) == []
        assert watched.at(100.0 + SILENCE) == [LookupWanted(frozenset((CONTROL,)))]

    def test_one_that_is_heard_again(self) -> None:
        watched = Watched(BOTH_NAMED)
        for each in (watched.one, watched.second):
            watched.answer(each, SILENCE + 1.0)
        assert watched.next_timer == REVIEW
        assert watched.at(REVIEW - 1.0) == []

    def test_only_names_are_looked_up(self) -> None:
        watched = Watched(ONE_NAMED)
        watched.answer(watched.one, 0.0)
        assert watched.next_timer == REVIEW, "the other one, which is silent, has none"
        assert Watched(NO_NAMES).next_timer == NEVER
        assert Watched(NO_NAMES).at(1e9) == []

    def test_a_name_without_an_address_is_looked_up_whatever_others_say(self) -> None:
        watched = Watched(Names(frozenset((CONTROL,)), unresolved=True))
        for each in (watched.one, watched.second):
            watched.answer(each, 0.0)
        assert watched.at(LOOKUP_INTERVAL) == [LookupWanted()]
        assert watched.next_timer == 2 * LOOKUP_INTERVAL

    @pytest.mark.parametrize(("chance", "earlier"), [(0, 0.0), (128, REVIEW * REVIEW_SPREAD / 2)])
    def test_one_that_answers_may_be_about_to_be_moved(self, chance: int, earlier: float) -> None:
        watched = Watched(BOTH_NAMED, chance)
        for each in (watched.one, watched.second):
            watched.answer(each, 0.0)
        due = REVIEW - earlier
        assert watched.next_timer == due
        assert watched.at(due) == [LookupWanted()]
        assert watched.next_timer == 2 * due

    def test_a_review_waits_while_both_punch(self) -> None:
        watched = Watched(BOTH_NAMED)
        for each in (watched.one, watched.second):
            watched.answer(each, 0.0)
        assert watched.at(REVIEW, punching=True) == []
        assert watched.next_timer == REVIEW + LOOKUP_INTERVAL
        assert watched.at(REVIEW + LOOKUP_INTERVAL) == [LookupWanted()]

    def test_silence_does_not_wait_for_that(self) -> None:
        watched = Watched(BOTH_NAMED)
        assert watched.at(REVIEW, punching=True) == [LookupWanted(frozenset((CONTROL, SECOND)))]


class TestSilence:
    """What counts as an answer."""

    @pytest.fixture
    def silent(self) -> Registration:
        registration = Registration(CONTROL, 0, CHANNELS, BEGAN)
        assert registration.silent_since == NEVER, "nothing was asked yet"
        registration.announcing(1, BEGAN)
        registration.announcing(2, BEGAN + 1.0)
        assert registration.silent_since == BEGAN
        return registration

    def test_a_challenge(self, silent: Registration) -> None:
        silent.challenged(1, b"c" * 16, BEGAN)
        assert silent.silent_since == NEVER

    def test_that_there_is_nobody(self, silent: Registration) -> None:
        silent.waiting(1, A, v2.NO_ATTEMPT, v2.NO_COOKIE, BEGAN)
        assert silent.silent_since == NEVER

    def test_an_introduction(self, silent: Registration) -> None:
        silent.introduced(1, A, b"attempt2", v2.NO_COOKIE, BEGAN)
        assert silent.silent_since == NEVER

    def test_no_pushed_introduction(self, silent: Registration) -> None:
        """It may be a recording."""
        silent.introduced(0, A, b"attempt2", v2.NO_COOKIE, BEGAN)
        assert silent.silent_since == BEGAN


def moved_to(*controls: Address) -> ControlEndpoints:
    return ControlEndpoints(controls, names=Names(frozenset(controls)))


def asks(bench: Bench) -> list[Address]:
    """Whom the end tells of itself within the next seconds."""
    sent = [sent for _, sent in bench.run(20.0) if isinstance(sent.message, v2.Announce)]
    return list(dict.fromkeys(each.destination for each in sent))


class TestMoving:
    def test_an_end_whose_control_is_silent_wants_a_lookup(self) -> None:
        bench = Bench(names=ONE_NAMED, deadline=None)
        bench.run(LOOKUP_INTERVAL - 1.0)
        assert not bench.events(LookupWanted)
        bench.run(1.0)
        assert bench.event(LookupWanted).silent == {CONTROL}

    def test_the_new_one_is_asked_at_once_and_the_old_one_no_more(self) -> None:
        bench = Bench(names=ONE_NAMED)
        bench.wait()
        bench.end.controls_found(moved_to(MOVED), bench.now)
        assert [each.sent.destination for each in bench.run(0.0)] == [MOVED]
        assert asks(bench) == [MOVED]

    def test_an_answer_counts_only_from_where_the_control_is_now(self) -> None:
        bench = Bench(names=ONE_NAMED)
        last = v2.Waiting(bench.attempt, bench.counter(), A, v2.NEVER_HEARD, v2.NO_ATTEMPT)
        bench.end.controls_found(moved_to(MOVED), bench.now)
        bench.run(0.0)
        bench.control_says(last)
        assert bench.drops(Drop.UNEXPECTED_SOURCE) == 1
        assert not bench.events(Waiting)
        bench.wait(control=MOVED)
        assert bench.event(Waiting).observed == A

    def test_a_dialogue_with_one_that_has_not_moved_goes_on(self) -> None:
        bench = Bench(controls=(CONTROL, SECOND), names=BOTH_NAMED)
        bench.wait(control=SECOND)
        bench.end.controls_found(moved_to(MOVED, SECOND), bench.now)
        assert [each.sent.destination for each in bench.run(0.0)] == [MOVED]
        bench.wait(control=MOVED)
        assert set(asks(bench)) == {SECOND, MOVED}, "both after their 15 s"

    def test_one_that_is_introducing_goes_on_with_that(self) -> None:
        """The partner may still be known, and know us, at the old place only."""
        bench = Bench(names=ONE_NAMED, deadline=None)
        bench.introduce(bench.puppet())
        bench.end.controls_found(moved_to(MOVED), bench.now)
        assert set(asks(bench)) == {MOVED, CONTROL}
        bench.wait()  # the partner has gone from there
        assert asks(bench) == [MOVED]

    def test_one_that_returns_to_where_it_was(self) -> None:
        bench = Bench(names=ONE_NAMED, deadline=None)
        bench.introduce(bench.puppet())
        bench.end.controls_found(moved_to(MOVED), bench.now)
        bench.run(0.0)
        bench.end.controls_found(moved_to(CONTROL), bench.now)
        bench.wait()
        assert asks(bench) == [CONTROL]

    def test_one_that_has_moved_is_told_nothing_more_once_linked(self) -> None:
        bench, _ = linked("a", holds=True, names=ONE_NAMED)
        bench.introduce(bench.puppet(b"partner2"))
        bench.end.controls_found(moved_to(MOVED), bench.now)
        assert asks(bench) == [MOVED]

    def test_names_are_not_reviewed_while_both_punch(self) -> None:
        bench = Bench(names=ONE_NAMED, deadline=None)
        puppet = bench.puppet()
        for _ in range(int(REVIEW)):
            bench.control_says(bench.introduction(puppet, counter=bench.counter()))
            bench.run(1.0)
        assert not bench.events(LookupWanted)
        for _ in range(int(2 * LOOKUP_INTERVAL)):
            bench.wait()
            bench.run(1.0)
        assert bench.events(LookupWanted) == [LookupWanted()]

    def test_names_that_are_found_later_are_asked_too(self) -> None:
        bench = Bench(names=Names(unresolved=True))
        bench.wait()
        bench.end.controls_found(ControlEndpoints((CONTROL, MOVED)), bench.now)
        assert asks(bench) == [MOVED, CONTROL]
        assert bench.end.next_timer() != NEVER

    def test_a_later_attempt_of_the_same_end_asks_the_new_one(self) -> None:
        bench = Bench(names=ONE_NAMED, deadline=None)
        bench.end.controls_found(moved_to(MOVED), bench.now)
        bench.run(0.0)
        first, puppet = bench.attempt, bench.puppet()
        bench.control_says(bench.introduction(puppet), MOVED)
        bench.validate(puppet)
        bench.run_until(lambda: bench.attempt != first, step=0.5)  # the nomination was in vain
        last = [each.sent for each in bench.sent if isinstance(each.sent.message, v2.Announce)][-1]
        assert last.destination == MOVED

    def test_a_held_link_does_not_notice(self) -> None:
        bench, puppet = linked("a", holds=True, names=ONE_NAMED)
        bench.end.controls_found(moved_to(MOVED), bench.now)
        before = bench.end.state
        assert MOVED in asks(bench)
        assert bench.end.state is before
        assert bench.ping(puppet), "it answers its partner"

    def test_one_that_leaves_wants_none(self) -> None:
        bench = Bench(names=Names(frozenset((CONTROL,)), unresolved=True))
        bench.close()
        bench.run(2 * LOOKUP_INTERVAL)
        assert bench.finished
        assert not bench.events(LookupWanted)
