"""When an end announces itself to one control, and which answers count."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netpunch.core.end.registration import Registration, RegistrationState
from netpunch.wire.v2 import NO_ATTEMPT, NO_COOKIE
from tests.core.v2_pair import CHANNELS, CONTROL, A

BEGAN = 100.0
PARTNER = b"attempt2"
FIRST = [0.0, 0.06, 0.16, 0.26, 0.46, 0.66, 1.06, 1.46, 1.86]
"""When an end announces that nobody answers."""


@pytest.fixture
def registration() -> Registration:
    return Registration(CONTROL, 0, CHANNELS, BEGAN)


def announcements(
    registration: Registration,
    until: float,
    answer: Callable[[float], None] = lambda now: None,
) -> list[float]:
    """When it announces, seconds from the beginning; `answer(now)` is what control does."""
    times = []
    while registration.next_at <= BEGAN + until:
        now = registration.next_at
        registration.announcing(registration.counter + 1, now)
        times.append(now - BEGAN)
        answer(now)
    return times


def test_an_unheard_end_announces_often_at_first(registration: Registration) -> None:
    times = announcements(registration, 5.0)
    assert times == pytest.approx([*FIRST, 2.86, 3.86, 4.86])
    assert registration.state is RegistrationState.UNANSWERED


def test_a_waiting_end_announces_every_15_s(registration: Registration) -> None:
    def answer(now: float) -> None:
        registration.waiting(registration.counter, A, NO_ATTEMPT, NO_COOKIE, now)

    assert announcements(registration, 50.0, answer) == pytest.approx([0.0, 15.0, 30.0, 45.0])
    assert registration.state is RegistrationState.REGISTERED
    assert registration.observed == A


def test_an_end_announces_often_again_in_another_network(registration: Registration) -> None:
    announcements(registration, 10.0)
    registration.repeat_anew(BEGAN + 10.0)
    times = announcements(registration, 11.5)
    assert times == pytest.approx([10.0 + each for each in FIRST[:-1]])


def test_a_control_that_owes_an_answer_is_spared_while_another_one_answers(
    registration: Registration,
) -> None:
    times = []
    while registration.next_at <= BEGAN + 60.0:
        times.append(registration.next_at - BEGAN)
        registration.announcing(registration.counter + 1, registration.next_at, alone=False)
    assert times[:9] == pytest.approx(FIRST)
    assert times[9:] == pytest.approx([*(2.86 + n for n in range(9)), 25.86, 40.86, 55.86])
    registration.announcing(registration.counter + 1, BEGAN + 60.0)
    assert registration.next_at == BEGAN + 61.0, "nobody else answers any more"
    assert not registration.answers(BEGAN + 60.0)
    registration.waiting(registration.counter, A, NO_ATTEMPT, NO_COOKIE, BEGAN + 60.1)
    assert registration.answers(BEGAN + 75.0)
    registration.announcing(registration.counter + 1, BEGAN + 75.1, alone=False)
    assert registration.next_at == BEGAN + 76.1, "it owes an answer for a moment only"


def test_an_unanswered_one_is_repeated_after_a_second(registration: Registration) -> None:
    def answer(now: float) -> None:
        if not 14.0 < now - BEGAN < 17.5:
            registration.waiting(registration.counter, A, NO_ATTEMPT, NO_COOKIE, now)

    times = announcements(registration, 40.0, answer)
    assert times == pytest.approx([0.0, 15.0, 16.0, 17.0, 18.0, 33.0])


def test_an_introduced_end_announces_every_100_ms_for_2_s_and_every_200_ms_until_5_s(
    registration: Registration,
) -> None:
    def answer(now: float) -> None:
        registration.introduced(registration.counter, A, PARTNER, NO_COOKIE, now)

    times = announcements(registration, 9.5, answer)
    assert times[:2] == [0.0, 0.0], "the first one after the introduction goes out at once"
    assert len([time for time in times if time < 2.0]) == pytest.approx(21, abs=1)
    assert len([time for time in times if 2.0 <= time < 5.0]) == pytest.approx(15, abs=1)
    assert times[-4:] == pytest.approx([times[-4] + n for n in range(4)])
    assert registration.state is RegistrationState.INTRODUCED


def test_over_a_stream_it_does_so_every_200_ms_until_5_s() -> None:
    over_stream = Registration(CONTROL, 0, CHANNELS, BEGAN, over_stream=True)

    def answer(now: float) -> None:
        over_stream.introduced(over_stream.counter, A, PARTNER, NO_COOKIE, now)

    assert announcements(over_stream, 0.9, answer) == pytest.approx([0, 0, 0.2, 0.4, 0.6, 0.8])
    assert announcements(over_stream, 7.1, answer)[-3:] == pytest.approx([5.0, 6.0, 7.0])


def test_a_push_begins_it_too(registration: Registration) -> None:
    registration.announcing(1, BEGAN)
    registration.waiting(1, A, NO_ATTEMPT, NO_COOKIE, BEGAN)
    registration.introduced(0, A, PARTNER, NO_COOKIE, BEGAN + 7.0)
    assert registration.next_at == BEGAN + 7.0


def test_the_same_partner_again_only_counts_from_the_answer(registration: Registration) -> None:
    registration.introduced(0, A, PARTNER, NO_COOKIE, BEGAN)
    registration.announcing(1, BEGAN)
    due = registration.next_at
    registration.introduced(0, A, PARTNER, NO_COOKIE, BEGAN + 0.04)
    assert registration.next_at == due, "a push is no answer"
    registration.introduced(1, A, PARTNER, NO_COOKIE, BEGAN + 0.05)
    assert registration.next_at == pytest.approx(BEGAN + 0.15)
    registration.introduced(0, A, b"attempt3", NO_COOKIE, BEGAN + 0.1)
    assert registration.next_at == BEGAN + 0.1, "but a new one hears from us at once"


def test_a_partner_that_came_back_is_new(registration: Registration) -> None:
    registration.introduced(0, A, PARTNER, NO_COOKIE, BEGAN)
    registration.announcing(1, BEGAN)
    registration.waiting(1, A, NO_ATTEMPT, NO_COOKIE, BEGAN + 1.0)
    registration.introduced(0, A, PARTNER, NO_COOKIE, BEGAN + 2.0)
    assert registration.next_at == BEGAN + 2.0


def test_a_partner_on_standby_is_told_of_us_at_once_then_each_second(
    registration: Registration,
) -> None:
    def answer(now: float) -> None:
        registration.waiting(registration.counter, A, PARTNER, NO_COOKIE, now)

    times = announcements(registration, 3.5, answer)
    assert times == pytest.approx([0.0, 0.0, 1.0, 2.0, 3.0])


def test_a_challenged_end_announces_at_once_with_the_cookie(registration: Registration) -> None:
    assert registration.cookie == NO_COOKIE
    registration.announcing(1, BEGAN)
    registration.challenged(1, b"c" * 16, BEGAN + 0.03)
    assert registration.next_at == BEGAN + 0.03
    assert registration.cookie == b"c" * 16


def test_answers_count_once_and_only_for_what_was_sent(registration: Registration) -> None:
    assert not registration.is_fresh(0)
    assert not registration.is_fresh(1)
    registration.announcing(1, BEGAN)
    registration.announcing(2, BEGAN)
    assert [registration.is_fresh(counter) for counter in (0, 1, 2, 3)] == [
        False,
        True,
        True,
        False,
    ]
    registration.waiting(1, A, NO_ATTEMPT, NO_COOKIE, BEGAN)
    assert [registration.is_fresh(counter) for counter in (1, 2)] == [False, True]
    registration.challenged(2, b"c" * 16, BEGAN)
    assert not registration.is_fresh(2)


def test_a_push_makes_no_answer_stale(registration: Registration) -> None:
    registration.announcing(1, BEGAN)
    registration.introduced(0, A, PARTNER, NO_COOKIE, BEGAN)
    assert registration.is_fresh(1)
    registration.introduced(1, A, PARTNER, NO_COOKIE, BEGAN)
    assert not registration.is_fresh(1)
    registration.introduced(0, A, PARTNER, NO_COOKIE, BEGAN)
    assert not registration.is_fresh(1), "nor fresh again"


def test_a_cookie_is_brought_back_at_once_and_as_often_as_at_first(
    registration: Registration,
) -> None:
    answers = [b"k" * 15]

    def answer(now: float) -> None:
        if answers:
            registration.waiting(registration.counter, A, NO_ATTEMPT, answers.pop(), now)

    times = announcements(registration, 3.0, answer)
    soon, later = [0.0, 0.02, 0.04], [0.14, 0.34, 0.54, 0.94, 1.34, 1.74, 2.74]
    assert times == pytest.approx([0.0, *soon, *later]), "that control is near"
    registration.waiting(registration.counter, A, NO_ATTEMPT, NO_COOKIE, BEGAN + 3.0)
    assert registration.next_at == BEGAN + 18.0


@pytest.mark.parametrize(("round_trip", "gap"), [(0.001, 0.02), (0.05, 0.06), (0.5, 0.1)])
def test_a_lost_proof_is_repeated_after_a_round_trip_to_control(
    registration: Registration, round_trip: float, gap: float
) -> None:
    registration.announcing(1, BEGAN)
    now = BEGAN + round_trip
    registration.waiting(1, A, NO_ATTEMPT, b"k" * 15, now)
    assert registration.next_at == now
    registration.announcing(2, now)
    assert registration.next_at == pytest.approx(now + gap)


def test_a_knock_is_no_introduction(registration: Registration) -> None:
    registration.announcing(1, BEGAN)
    registration.waiting(1, A, NO_ATTEMPT, NO_COOKIE, BEGAN)
    registration.knocked(0, A, NO_COOKIE, BEGAN + 1.0)
    assert registration.state is RegistrationState.REGISTERED
    assert registration.next_at == BEGAN + 15.0
