"""What strangers, recordings and doubles can do to a control: as good as nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.address import Address
from netpunch.core.allowances import TO_STRANGER
from netpunch.core.control.address_proof import NEWCOMERS
from netpunch.core.control.control import CONFLICT_INTERVAL, ControlV2
from netpunch.core.control.registrations import ANNOUNCE_RATE
from netpunch.core.events import AuthRejected, Event, Expired, Registered, RoleConflict
from netpunch.core.timing import COOKIE_BUCKET, EXPIRE, REMEMBERED_ATTEMPTS
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import END_B, ControlChannel
from netpunch.wire.keys import control_key, pair_tag
from tests.core.v2_pair import (
    CONTROL_CHANNELS,
    CONTROL_KEY,
    ELSEWHERE,
    PAIR,
    PEER_CHANNELS,
    A,
    B,
    Voice,
    make_control,
    only,
    say,
    seal,
    seeded,
    told_by,
)

A_MOVED = Address(A.host, 5001)
SOURCES = [A, A_MOVED, B, ELSEWHERE]


@pytest.fixture
def control() -> ControlV2:
    return make_control()


class Recording(NamedTuple):
    """All that an attacker has seen: of attempts that are over and of those that live, all of
    which proved their addresses."""

    datagrams: list[bytes]
    a: Voice
    b: Voice


def conversation(control: ControlV2) -> Recording:
    """An attempt of a that left, one that moved, and b: the latter two live on."""
    datagrams = []

    def tell(voice: Voice, data: bytes, now: float) -> None:
        datagrams.append(data)
        voice.take_cookie(say(control, data, voice.source, now))

    early, a, b = (
        Voice("a", A, b"early..."),
        Voice("a", A, b"attempt1"),
        Voice("b", B, b"attempt2"),
    )
    for voice in (early, b, early, b):
        tell(voice, voice.announcement(), 1.0)
    tell(early, early.leave(), 2.0)
    for _ in range(2):
        tell(a, a.announcement(), 3.0)
    a.source, a.cookie = A_MOVED, v2.NO_COOKIE
    for _ in range(3):
        tell(a, a.announcement(), 4.0)
    tell(b, b.announcement(), 4.0)
    return Recording(datagrams, a, b)


def read_kind(data: bytes) -> str:
    """Which end says this."""
    return "b" if data[1] & END_B else "a"


def partner_of_b(control: ControlV2, b: Voice, now: float) -> tuple[bytes, Address] | None:
    """Whom b is introduced to: what the slot of a holds."""
    introductions = [
        message
        for message in only(v2.Introduce, b.register(control, now))
        if message.attempt == b.attempt
    ]
    return next(((each.partner_attempt, each.partner_observed) for each in introductions), None)


class TestReplays:
    @pytest.mark.parametrize("later", [0.0, 20.0, 40.0])
    @pytest.mark.parametrize("source", SOURCES)
    def test_no_recording_displaces_a_proved_registration(
        self, control: ControlV2, source: Address, later: float
    ) -> None:
        recording = conversation(control)
        told_by(control)
        for number, data in enumerate(recording.datagrams * 2):
            now = 4.0 + later + number / ANNOUNCE_RATE
            say(control, data, source, now)
            assert told_by(control) == []
            live = partner_of_b(control, recording.b, now)
            assert live == (recording.a.attempt, A_MOVED)

    @pytest.mark.parametrize("source", SOURCES)
    def test_no_recording_registers_an_end_that_has_left(
        self, control: ControlV2, source: Address
    ) -> None:
        recording = conversation(control)
        say(control, recording.a.leave(), A_MOVED, 5.0)
        for data in recording.datagrams:
            say(control, data, source, 6.0)
            assert partner_of_b(control, recording.b, 6.0) is None

    def test_no_recording_registers_an_end_that_has_expired(self, control: ControlV2) -> None:
        recording = conversation(control)
        control.handle_timer(4.0 + EXPIRE)
        for data in recording.datagrams:
            say(control, data, ELSEWHERE, 5.0 + EXPIRE)
            assert partner_of_b(control, recording.b, 5.0 + EXPIRE) is None

    def test_restarted_control_takes_a_ghost_until_the_end_is_heard(self) -> None:
        """The one thing a recording does: direct answers to where it seems to come from, and a
        knock at the partner."""
        recording = conversation(make_control("first boot"))
        control = make_control("second boot")
        recording.b.register(control, 99.0)
        told_by(control)
        replays = [each for each in recording.datagrams if read_kind(each) == "a"]
        answers = [each for data in replays for each in say(control, data, ELSEWHERE, 100.0)]
        elsewhere = [each for each in answers if each.destination == ELSEWHERE]
        assert len(elsewhere) <= len(replays)
        assert len(answers) - len(elsewhere) == len(only(v2.Knock, answers)) == 2, "two attempts"
        assert told_by(control) == []
        assert partner_of_b(control, recording.b, 100.0) is None
        assert only(v2.Introduce, recording.a.announce(control, 101.0)), "its cookie is worthless"
        assert told_by(control) == []
        recording.a.announce(control, 101.1)
        assert told_by(control) == [Registered(PAIR, "a", A_MOVED)]
        assert partner_of_b(control, recording.b, 101.2) == (recording.a.attempt, A_MOVED)
        for data in recording.datagrams:
            say(control, data, ELSEWHERE, 102.0)
            assert partner_of_b(control, recording.b, 102.0) == (recording.a.attempt, A_MOVED)

    def test_recorded_leave_ends_no_registration(self, control: ControlV2) -> None:
        old, new = Voice("a", A, b"attempt1"), Voice("a", A, b"attempt2")
        old.announce(control, 0.0)
        departure = old.leave()
        say(control, departure, A, 1.0)
        new.announce(control, 2.0)
        told_by(control)
        say(control, departure, A, 3.0)
        assert told_by(control) == []

    @pytest.mark.parametrize("newer", [REMEMBERED_ATTEMPTS - 1, REMEMBERED_ATTEMPTS])
    def test_bounded_number_of_earlier_attempts_is_remembered(
        self, control: ControlV2, newer: int
    ) -> None:
        first = Voice("a", A, b"attempt!")
        recorded = first.announcement()
        first.take_cookie(say(control, recorded, A, 0.0))
        recorded = first.announcement()
        say(control, recorded, A, 0.0)
        say(control, first.leave(), A, 0.0)
        for number in range(newer):
            voice = Voice("a", A, b"attempt%d" % number)
            assert only(v2.Waiting, voice.register(control, 1.0 + 2 * number))
            say(control, voice.leave(), A, 1.0 + 2 * number)
        answers = say(control, recorded, ELSEWHERE, 20.0)
        remembered = newer < REMEMBERED_ATTEMPTS
        assert len(only(v2.Waiting, answers)) == (0 if remembered else 1)

    def test_ghosts_do_not_crowd_out_the_memory_of_proved_attempts(
        self, control: ControlV2
    ) -> None:
        first = Voice("a", A, b"attempt!")
        recorded = [first.announcement() for _ in range(3)]
        first.register(control, 0.0)
        say(control, first.leave(), A, 0.0)
        for number in range(3 * REMEMBERED_ATTEMPTS):
            ghost = Voice("a", ELSEWHERE, b"%08d" % number)
            ghost.announce(control, 1.0 + number)
            say(control, ghost.leave(), ELSEWHERE, 1.0 + number)
        for data in recorded:
            assert say(control, data, ELSEWHERE, 100.0) == []


class TestAllowances:
    """What addresses that never echoed a cookie get."""

    VICTIM = Address("192.0.2.99", 53)

    def ghosts(self) -> Iterator[bytes]:
        """Recorded announcements, each of another attempt."""
        for number in count():
            yield Voice("a", A, b"%08d" % number).announcement()

    def test_unproved_host_gets_few_datagrams_from_any_replays(self, control: ControlV2) -> None:
        Voice("b", B, b"attempt2").register(control, 0.0)
        sent = []
        for number, data in enumerate(islice(self.ghosts(), 20_000)):
            source = Address(self.VICTIM.host, 1 + number)
            sent += say(control, data, source, 1.0 + number / 100)
        to_victim = [each for each in sent if each.destination.host == self.VICTIM.host]
        assert len(to_victim) <= TO_STRANGER.burst + 200 / TO_STRANGER.interval
        knocks = only(v2.Knock, (each for each in sent if each.destination == B))
        assert len(knocks) <= NEWCOMERS.burst + 200 / NEWCOMERS.interval

    def test_end_whose_address_is_forged_is_proved_all_the_same(self, control: ControlV2) -> None:
        """Its own host's allowance may be spent: seconds later there is some again."""
        for data in islice(self.ghosts(), 1000):
            say(control, data, A, 0.0)
        voice = Voice("a", A, b"attempt1")
        answers = [voice.announce(control, 1.0 + second) for second in range(5)]
        assert [len(each) for each in answers].count(1) >= 2
        assert told_by(control) == [Registered(PAIR, "a", A)]

    def test_few_recordings_replayed_often_spend_no_allowance(self, control: ControlV2) -> None:
        recorded = list(islice(self.ghosts(), TO_STRANGER.burst // 2))
        for _ in range(1000):
            for data in recorded:
                say(control, data, A, 0.0)
        voice = Voice("a", A, b"attempt1")
        assert len(voice.register(control, 1.0)) == 1
        assert told_by(control) == [Registered(PAIR, "a", A)]

    def test_registered_end_may_start_again_during_an_attack(self, control: ControlV2) -> None:
        """Its own host is proved, so an attack on it spends another allowance."""
        Voice("a", A, b"attempt0").register(control, 0.0)
        for number, data in enumerate(islice(self.ghosts(), 1000)):
            say(control, data, A, 1.0 + number / 40)
        voice = Voice("a", A, b"attempt1")
        voice.register(control, 26.0)
        assert only(v2.Waiting, voice.announce(control, 27.0))
        assert told_by(control) == [Registered(PAIR, "a", A)], "it is where it was"

    def test_honest_end_among_many_ghosts_needs_only_a_cookie(self, control: ControlV2) -> None:
        for number, data in enumerate(islice(self.ghosts(), 5000)):
            source = Address(f"10.0.{number // 250}.{number % 250}", 53)
            say(control, data, source, number / 2000)
        voice = Voice("a", A, b"attempt1")
        (answer,) = voice.announce(control, 2.5)
        assert isinstance(answer.message, v2.Challenge)
        voice.announce(control, 2.6)
        assert told_by(control) == [Registered(PAIR, "a", A)]

    def test_observe_from_an_unproved_host_is_answered_as_seldom(self, control: ControlV2) -> None:
        question = seal(CONTROL_CHANNELS["a"].to_control, v2.Observe(b"an echo!"))
        sent = []
        for number in range(20_000):
            source = Address(self.VICTIM.host, 1 + number)
            sent += say(control, question, source, 1.0 + number / 100)
        assert len(sent) <= TO_STRANGER.burst + 200 / TO_STRANGER.interval
        assert control.drops == {Drop.OVER_LIMIT: 20_000 - len(sent)}

    def test_observe_from_a_proved_host_is_answered_often_enough_for_a_survey(
        self, control: ControlV2
    ) -> None:
        Voice("a", A, b"attempt1").register(control, 0.0)
        question = seal(CONTROL_CHANNELS["a"].to_control, v2.Observe(b"an echo!"))
        for survey in range(8):
            for number in range(72):
                now = 1.0 + survey * 1.5 + number / 60
                assert say(control, question, Address(A.host, 1000 + number), now)

    def test_each_pair_has_its_own_allowance(self) -> None:
        names = [f"pair-{number}" for number in range(1000)]
        control = ControlV2(dict.fromkeys(names, CONTROL_KEY), random=seeded("many"))
        answered = 0
        for name in names:
            announce = v2.Announce(b"attempt1", 1, v2.NO_COOKIE, v2.Purpose.PUNCH, bytes(268))
            channel = ControlChannel(CONTROL_KEY, name, "a")
            for _ in range(3):
                announce = announce._replace(counter=announce.counter + 1)
                data = seal(channel.to_control, announce)
                control.receive_datagram(data, A, 0.0, 0)
                answered += len(control.datagrams_to_send())
        assert 2900 < answered <= 3000, "few share a cell"


class TestCookies:
    def disputed(self, control: ControlV2) -> Voice:
        """A new attempt of a proved end, with the cookie that it was given at 1 s."""
        Voice("a", A, b"attempt1").register(control, 0.0)
        voice = Voice("a", A_MOVED, b"attempt3")
        voice.announce(control, 1.0)
        return voice

    @pytest.mark.parametrize(
        ("now", "accepted"),
        [
            (1.0, True),
            (COOKIE_BUCKET, True),
            (2 * COOKIE_BUCKET - 0.1, True),
            (2 * COOKIE_BUCKET, False),
        ],
    )
    def test_cookie_lives_for_this_and_the_next_bucket(
        self, control: ControlV2, now: float, accepted: bool
    ) -> None:
        voice = self.disputed(control)
        answer = voice.announce(control, now)[0].message
        assert isinstance(answer, v2.Waiting if accepted else v2.Challenge)

    def test_cookie_is_of_no_use_from_another_address(self, control: ControlV2) -> None:
        voice = self.disputed(control)
        voice.source = ELSEWHERE
        assert only(v2.Challenge, voice.announce(control, 1.0))

    def test_cookie_is_of_no_use_to_another_attempt(self, control: ControlV2) -> None:
        stolen = self.disputed(control).cookie
        thief = Voice("a", A_MOVED, b"attempt4", cookie=stolen)
        assert only(v2.Challenge, thief.announce(control, 1.0))

    def test_cookie_is_of_no_use_to_the_other_end(self, control: ControlV2) -> None:
        cookie = self.disputed(control).cookie
        Voice("b", B, b"attempt2").register(control, 1.0)
        other = Voice("b", A_MOVED, b"attempt3", cookie=cookie)
        assert only(v2.Challenge, other.announce(control, 1.0))

    def test_unknown_cookie_changes_nothing_where_none_is_needed(self, control: ControlV2) -> None:
        voice = Voice("a", A, b"attempt1", cookie=b"of another boot")
        assert only(v2.Waiting, voice.announce(control, 0.0))

    def test_challenges_without_end_cost_no_memory(self, control: ControlV2) -> None:
        Voice("a", A, b"attempt1").register(control, 0.0)
        for number in range(1000):
            voice = Voice("a", Address(f"10.0.0.{number % 250}", 53), b"%08d" % number)
            (answer,) = voice.announce(control, 1.0)
            assert isinstance(answer.message, v2.Challenge)
        assert told_by(control) == [Registered(PAIR, "a", A)]
        assert only(v2.Waiting, Voice("a", A, b"attempt1").announce(control, 2.0, counter=3))


def forgeries() -> dict[str, bytes]:
    announce = v2.Announce(b"attempt1", 1, v2.NO_COOKIE, v2.Purpose.PUNCH, bytes(268))
    wrong_secret = ControlChannel(control_key(bytes(32), PAIR), PAIR, "a")
    other_pair = ControlChannel(control_key(bytes(32), "other"), "other", "a")
    good = seal(CONTROL_CHANNELS["a"].to_control, announce)
    as_b = good[:1] + bytes([good[1] | 0x80]) + good[2:]
    challenge = v2.Challenge(b"attempt1", 1, bytes(16))
    ping = v2.Ping(b"attempt1", b"attempt2", b"sequence", 0)
    return {
        "empty": b"",
        "classic": b"x" * 42,
        "short": good[:-1],
        "long": good + b"\0",
        "noise": bytes(384),
        "noise under a good tag": b"\xf2\x01" + pair_tag(PAIR) + bytes(374),
        "wrong secret": seal(wrong_secret.to_control, announce),
        "other pair": seal(other_pair.to_control, announce),
        "damaged": good[:-1] + bytes([good[-1] ^ 1]),
        "of a as if of b": as_b,
        "reflected": seal(CONTROL_CHANNELS["a"].from_control, challenge),
        "of the other direction, as if to control": seal(
            CONTROL_CHANNELS["b"].from_control, challenge
        ),
        "between ends": seal(PEER_CHANNELS["a"].outgoing, ping),
    }


class TestSilence:
    @pytest.mark.parametrize("forgery", forgeries().values(), ids=forgeries().keys())
    def test_datagram_that_fails_authentication_is_not_answered(
        self, control: ControlV2, forgery: bytes
    ) -> None:
        assert say(control, forgery, ELSEWHERE, 0.0) == []
        assert control.drops.total() == 1
        (told,) = told_by(control)
        assert isinstance(told, AuthRejected)

    @given(st.binary(max_size=500))
    def test_control_does_not_answer_arbitrary_bytes(self, data: bytes) -> None:
        control = make_control()
        assert say(control, data, ELSEWHERE, 0.0) == []
        assert control.describe(data)

    def test_message_of_a_control_is_not_answered(self, control: ControlV2) -> None:
        """Not even opened, though it is authentic: its sender holds the control key."""
        challenge = v2.Challenge(b"attempt1", 1, bytes(16))
        data = seal(CONTROL_CHANNELS["a"].to_control, challenge)
        assert say(control, data, ELSEWHERE, 0.0) == []
        assert control.drops == {Drop.MALFORMED: 1}

    def test_wrong_secret_is_reported_once_a_minute(self, control: ControlV2) -> None:
        wrong = forgeries()["wrong secret"]
        for second in range(130):
            say(control, wrong, ELSEWHERE, float(second))
            control.handle_timer(float(second))
        events = told_by(control)
        assert [(e.reason, e.count, e.pair) for e in events if isinstance(e, AuthRejected)] == [
            ("bad_mac", 1, PAIR),
            ("bad_mac", 59, PAIR),
            ("bad_mac", 60, PAIR),
        ]
        assert control.next_timer() == 180.0

    def test_no_answer_is_longer_than_its_question(self, control: ControlV2) -> None:
        recording = conversation(control)
        for now, data in enumerate(recording.datagrams):
            for source in SOURCES:
                answers = say(control, data, source, 5.0 + now)
                assert all(len(each.data) <= len(data) for each in answers)
        for voice in (recording.a, recording.b):
            answers = voice.register(control, 30.0)
            assert 0 < len(answers) <= 2
            assert all(len(each.data) == 384 for each in answers)


class TestRate:
    def test_end_cannot_flood_its_partner_through_control(self, control: ControlV2) -> None:
        a, b = Voice("a", A, b"attempt1"), Voice("b", B, b"attempt2")
        a.register(control, -1.0)
        b.register(control, -1.0)
        pushed = 0
        for number in range(1000):
            pushed += sum(each.destination == A for each in b.announce(control, number / 1000))
        assert ANNOUNCE_RATE < pushed <= 2 * ANNOUNCE_RATE + 1
        assert control.drops == {Drop.OVER_LIMIT: 1000 - pushed}

    def test_each_end_has_its_own_rate_limit(self, control: ControlV2) -> None:
        a, b = Voice("a", A, b"attempt1"), Voice("b", B, b"attempt2")
        for _ in range(100):
            b.announce(control, 0.0)
        assert only(v2.Introduce, a.announce(control, 0.0))

    def test_forgeries_and_recordings_use_up_no_rate_limit(self, control: ControlV2) -> None:
        voice = Voice("a", A, b"attempt1")
        recorded = voice.announcement()
        say(control, recorded, A, 0.0)
        for _ in range(1000):
            say(control, recorded, A, 1.0)
            say(control, forgeries()["damaged"], A, 1.0)
        assert only(v2.Waiting, voice.announce(control, 1.0))


class TestDoubles:
    def test_both_machines_learn_of_a_conflict_with_each_registration(
        self, control: ControlV2
    ) -> None:
        Voice("b", B, b"attempt2").register(control, 0.0)
        one, other = Voice("a", A, b"attempt1"), Voice("a", ELSEWHERE, b"attempt3")
        told = []
        for second in range(3):
            for voice in (one, other):
                voice.register(control, float(second))
                (answer,) = only(v2.Introduce, voice.register(control, float(second))[:1])
                told.append(answer.conflict)
        assert told[:2] == [0, 0]
        answers = one.announce(control, 3.0)
        assert [each.conflict for each in only(v2.Introduce, answers)] == [1, 0], "not b"

    def test_both_machines_learn_of_a_conflict_when_challenged(self, control: ControlV2) -> None:
        one, other = Voice("a", A, b"attempt1"), Voice("a", ELSEWHERE, b"attempt3")
        told = []
        for second in range(3):
            for voice in (one, other):
                voice.cookie = v2.NO_COOKIE
                answers = voice.announce(control, float(second))
                told += [challenge.conflict for challenge in only(v2.Challenge, answers)]
                voice.announce(control, float(second))
        assert told == [0, 0, 1, 1, 1]

    def conflicts(self, events: list[Event]) -> list[RoleConflict]:
        return [event for event in events if isinstance(event, RoleConflict)]

    def test_role_conflict_is_reported_once_a_minute(self, control: ControlV2) -> None:
        one, other = Voice("a", A, b"attempt1"), Voice("a", ELSEWHERE, b"attempt3")
        told = []
        for second in range(int(2 * CONFLICT_INTERVAL)):
            one.register(control, float(second))
            other.register(control, second + 0.5)
            told += [(second, event) for event in self.conflicts(told_by(control))]
        assert [second for second, _ in told] == [1, 61]
        assert {event.addresses for _, event in told} == {(ELSEWHERE, A)}

    def test_displaced_machine_is_roused_twice_a_minute(self, control: ControlV2) -> None:
        """If it is still there, it announces itself at once, and the conflict shows."""
        one, other = Voice("a", A, b"attempt1"), Voice("a", ELSEWHERE, b"attempt3")
        one.register(control, 0.0)
        for displaced, rival in ((one, other), (other, one)):
            answers = rival.register(control, 1.0)
            to_displaced = [each for each in answers if each.destination == displaced.source]
            (nudge,) = only(v2.Waiting, to_displaced)
            assert (nudge.attempt, nudge.counter) == (displaced.attempt, 0)
            assert nudge.standby_attempt == rival.attempt
        assert len(self.conflicts(told_by(control))) == 1
        for second in range(2, 60):
            rival = (other, one)[second % 2]
            answers = rival.register(control, float(second))
            assert {each.destination for each in answers} == {rival.source}

    def test_restarted_end_is_no_role_conflict(self, control: ControlV2) -> None:
        for number in range(20):
            Voice("a", A, b"%08d" % number).register(control, float(number))
        assert not self.conflicts(told_by(control))

    def test_moving_end_is_no_role_conflict(self, control: ControlV2) -> None:
        voice = Voice("a", A, b"attempt1")
        for number in range(20):
            voice.source = SOURCES[number % 2]
            voice.register(control, 2.0 * number)
        events = told_by(control)
        assert not self.conflicts(events)
        assert len(events) == 20

    def test_role_conflict_expires_neither_machine(self, control: ControlV2) -> None:
        one, other = Voice("a", A, b"attempt1"), Voice("a", ELSEWHERE, b"attempt3")
        for second in range(30):
            one.register(control, float(second))
            other.register(control, second + 0.5)
        assert not [event for event in told_by(control) if isinstance(event, Expired)]
