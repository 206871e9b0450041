"""The v2 control as its ends see it: registering, introducing, expiring, reloading."""

from __future__ import annotations

import pytest

from netpunch.address import Address
from netpunch.core.control.absences import Absences, Absent
from netpunch.core.control.control import ControlV2
from netpunch.core.events import Expired, PortChanged, Registered
from netpunch.core.machine import NEVER
from netpunch.core.timing import EXPIRE
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import ControlChannel
from netpunch.wire.keys import control_key, pair_tag
from tests.core.v2_pair import (
    CONTROL_CHANNELS,
    CONTROL_KEY,
    ELSEWHERE,
    PAIR,
    SECRET,
    A,
    B,
    Voice,
    make_control,
    only,
    say,
    seal,
    seeded,
    sent_by,
    told_by,
)

A_V6 = Address("2001:db8::1", 5000)


@pytest.fixture
def control() -> ControlV2:
    return make_control()


@pytest.fixture
def a() -> Voice:
    return Voice("a", A, b"attempt1")


@pytest.fixture
def b() -> Voice:
    return Voice("b", B, b"attempt2")


class TestRegistering:
    def test_first_end_waits_and_gets_a_cookie(self, control: ControlV2, a: Voice) -> None:
        (answer,) = a.announce(control, 0.0)
        waiting = v2.Waiting(a.attempt, 1, A, v2.NEVER_HEARD, v2.NO_ATTEMPT, a.cookie)
        assert a.cookie != v2.NO_COOKIE
        assert answer[:3] == (waiting, A, 0)
        assert told_by(control) == []
        (answer,) = a.announce(control, 0.1)
        assert answer.message == waiting._replace(counter=2, cookie=v2.NO_COOKIE)
        assert told_by(control) == [Registered(PAIR, "a", A)]

    def test_second_end_is_introduced_and_knocks_at_the_first(
        self, control: ControlV2, a: Voice, b: Voice
    ) -> None:
        a.register(control, 0.0)
        to_b, to_a = b.announce(control, 1.0)
        introduce = v2.Introduce(b.attempt, 1, B, a.attempt, A, a.card, b.cookie)
        assert (type(to_b.message), *to_b[:2]) == (v2.Introduce, introduce, B)
        knock = v2.Knock(a.attempt, 0, A, b.attempt, B, b.card)
        assert (type(to_a.message), *to_a[:2]) == (v2.Knock, knock, A)

    def test_proved_end_is_introduced_to_its_partner(
        self, control: ControlV2, a: Voice, b: Voice
    ) -> None:
        for voice, via in ((a, 3), (b, 5)):
            voice.announce(control, 0.0)
            control.receive_datagram(voice.announcement(), voice.source, 0.1, via)
        *_, to_b, to_a = sent_by(control)
        assert to_b[:3] == (v2.Introduce(b.attempt, 2, B, a.attempt, A, a.card), B, 5)
        assert to_a[:3] == (v2.Introduce(a.attempt, 0, A, b.attempt, B, b.card), A, 3)
        assert {type(each.message) for each in (to_a, to_b)} == {v2.Introduce}

    def test_two_unproved_ends_knock_at_each_other_once(
        self, control: ControlV2, a: Voice, b: Voice
    ) -> None:
        a.announce(control, 0.0)
        to_b, to_a = b.announce(control, 0.01)
        knock = v2.Knock(b.attempt, 1, B, a.attempt, A, a.card, b.cookie)
        assert (type(to_b.message), to_b.message) == (v2.Knock, knock)
        knock = v2.Knock(a.attempt, 0, A, b.attempt, B, b.card)
        assert (type(to_a.message), to_a.message) == (v2.Knock, knock)
        for voice in (a, b):
            voice.cookie = v2.NO_COOKIE
            (answer,) = voice.announce(control, 0.02)
            assert isinstance(answer.message, v2.Waiting)

    def test_no_end_is_introduced_to_an_unproved_partner(
        self, control: ControlV2, a: Voice, b: Voice
    ) -> None:
        a.announce(control, 0.0)
        a.cookie = v2.NO_COOKIE
        b.register(control, 0.1)
        for now in (0.2, 0.3):
            (answer,) = b.announce(control, now)
            assert isinstance(answer.message, v2.Waiting)
            (answer,) = say(control, a.announcement(), A, now)
            assert answer.destination == A
            assert a.cookie == v2.NO_COOKIE

    def test_each_new_card_reaches_the_partner(
        self, control: ControlV2, a: Voice, b: Voice
    ) -> None:
        a.register(control, 0.0)
        for now in (0.1, 0.3):
            answers = b.register(control, now)
            assert [each.destination for each in answers] == [B, A]

    def test_announcement_counter_is_accepted_once(self, control: ControlV2, a: Voice) -> None:
        a.announce(control, 0.0, counter=5)
        for counter in (5, 4, 0):
            assert a.announce(control, 0.1, counter=counter) == []
        assert control.drops == {Drop.STALE: 3}
        assert a.announce(control, 0.2, counter=6)

    def test_moved_end_proves_its_new_address(self, control: ControlV2, a: Voice, b: Voice) -> None:
        b.register(control, 0.0)
        a.register(control, 0.0)
        told_by(control)
        a.source = ELSEWHERE
        (challenge,) = a.announce(control, 1.0)
        assert challenge.message == v2.Challenge(a.attempt, 3, a.cookie)
        assert challenge.destination == ELSEWHERE
        assert not told_by(control)
        to_a, to_b = a.announce(control, 1.1)
        assert to_a.destination == ELSEWHERE
        (pushed,) = only(v2.Introduce, [to_b])
        assert pushed.partner_observed == ELSEWHERE
        assert told_by(control) == [Registered(PAIR, "a", ELSEWHERE)]

    @pytest.mark.parametrize(
        ("to", "kind"), [(Address(A.host, 9), PortChanged), (ELSEWHERE, Registered)]
    )
    def test_move_to_another_port_of_the_same_host_is_told_apart(
        self, control: ControlV2, a: Voice, to: Address, kind: type[Registered]
    ) -> None:
        a.register(control, 0.0)
        a.source = to
        a.register(control, 1.0)
        assert [type(event) for event in told_by(control)] == [Registered, kind]

    def test_card_of_an_end_on_standby_is_not_kept_until_it_punches(
        self, control: ControlV2, a: Voice, b: Voice
    ) -> None:
        a.purpose = v2.Purpose.STANDBY
        a.register(control, 0.0)
        record = control._pairs.by_tag[pair_tag(PAIR)].record(0)
        assert record.is_registered
        assert control._cards.of(record) is None
        b.register(control, 1.0)
        a.purpose = v2.Purpose.PUNCH
        to_b = [each for each in a.announce(control, 2.0) if each.destination == b.source]
        (introduced,) = only(v2.Introduce, to_b)
        assert introduced.card == a.card != b""

    def test_new_attempt_displaces_the_old_one_with_a_cookie(
        self, control: ControlV2, a: Voice
    ) -> None:
        a.register(control, 0.0)
        anew = Voice("a", A, b"attempt9")
        assert only(v2.Challenge, anew.announce(control, 1.0))
        assert only(v2.Waiting, anew.announce(control, 1.0))
        a.cookie = v2.NO_COOKIE
        assert only(v2.Challenge, a.announce(control, 2.0)), "the old one is now the disputed one"

    def test_waiting_says_when_the_partner_was_last_heard(
        self, control: ControlV2, a: Voice, b: Voice
    ) -> None:
        b.register(control, 0.0)
        say(control, b.leave(), B, 1.0)
        (waiting,) = only(v2.Waiting, a.register(control, 2.5))
        assert waiting.partner_age == 2500
        (waiting,) = only(v2.Waiting, a.register(control, 1e9))
        assert waiting.partner_age == v2.NEVER_HEARD, "bounded by its field"


class TestLeaving:
    def test_no_end_is_introduced_to_a_partner_that_has_left(
        self, control: ControlV2, a: Voice, b: Voice
    ) -> None:
        a.register(control, 0.0)
        told_by(control)
        assert say(control, a.leave(), A, 1.0) == []
        assert told_by(control) == [Expired(PAIR, "a", left=True)]
        assert only(v2.Waiting, b.register(control, 2.0))

    def test_leave_is_sent_three_times_and_accepted_once(
        self, control: ControlV2, a: Voice
    ) -> None:
        a.register(control, 0.0)
        for _ in range(3):
            say(control, a.leave(), A, 1.0)
        assert control.drops == {Drop.STALE: 2}

    def test_leave_from_another_address_is_accepted(self, control: ControlV2, a: Voice) -> None:
        a.register(control, 0.0)
        say(control, a.leave(), ELSEWHERE, 1.0)
        assert told_by(control)[1:] == [Expired(PAIR, "a", left=True)]

    def test_end_that_left_returns_with_a_cookie(self, control: ControlV2, a: Voice) -> None:
        a.register(control, 0.0)
        say(control, a.leave(), A, 1.0)
        a.cookie = v2.NO_COOKIE
        assert only(v2.Challenge, a.announce(control, 2.0))
        assert only(v2.Waiting, a.announce(control, 2.0))


def test_absent_ends_of_present_partners_are_awaited() -> None:
    control = make_control()
    assert control.absences() == Absences(2, ())
    Voice("a", A, b"attempt1").register(control, 0.0)
    assert control.absences() == Absences(1, (Absent(PAIR, "b", is_awaited=True),))
    Voice("b", B, b"attempt2").register(control, 0.0)
    assert control.absences() == Absences(0, ())


def test_absent_ends_were_last_heard_or_never_there() -> None:
    control = make_control()
    assert control.absences(2) == Absences(2, (Absent(PAIR, "a"), Absent(PAIR, "b")))
    a = Voice("a", A, b"attempt1")
    a.register(control, 0.0)
    a.announce(control, 5.0)
    say(control, a.leave(), A, 7.0)
    assert control.absences(2) == Absences(2, (Absent(PAIR, "a", 5.0), Absent(PAIR, "b")))
    assert control.absences(1) == Absences(2, (Absent(PAIR, "a", 5.0),))


class TestExpiry:
    def test_silent_end_expires(self, control: ControlV2, a: Voice, b: Voice) -> None:
        a.register(control, 10.0)
        told_by(control)
        assert control.next_timer() == 10.0 + EXPIRE
        control.handle_timer(10.0 + EXPIRE - 0.001)
        assert told_by(control) == []
        control.handle_timer(10.0 + EXPIRE)
        assert told_by(control) == [Expired(PAIR, "a")]
        assert control.next_timer() == NEVER
        assert only(v2.Waiting, b.register(control, 80.0))

    def test_announcement_restarts_the_expiry_time(
        self, control: ControlV2, a: Voice, b: Voice
    ) -> None:
        a.register(control, 0.0)
        b.register(control, 10.0)
        a.register(control, 20.0)
        control.handle_timer(EXPIRE)
        assert control.next_timer() == 10.0 + EXPIRE
        told_by(control)
        control.handle_timer(10.0 + EXPIRE)
        assert told_by(control) == [Expired(PAIR, "b")]
        assert control.next_timer() == 20.0 + EXPIRE

    @pytest.mark.parametrize("seconds", [5.0, 200.0], ids=["sooner", "later"])
    def test_new_expiry_time_holds_for_present_registrations(
        self, control: ControlV2, a: Voice, b: Voice, seconds: float
    ) -> None:
        a.register(control, 10.0)
        control.expire_after(seconds)
        assert control.registered == 1
        b.register(control, 11.0)
        told_by(control)
        assert control.next_timer() == 10.0 + seconds
        control.handle_timer(10.0 + seconds - 0.001)
        assert told_by(control) == []
        control.handle_timer(10.0 + seconds)
        assert told_by(control) == [Expired(PAIR, "a")]
        assert control.next_timer() == 11.0 + seconds

    def test_shorter_expiry_time_expires_a_registration_at_once(
        self, control: ControlV2, a: Voice
    ) -> None:
        a.register(control, 10.0)
        control.expire_after(5.0)
        told_by(control)
        control.handle_timer(20.0)
        assert told_by(control) == [Expired(PAIR, "a")]

    def test_both_ends_may_expire_at_once(self, a: Voice, b: Voice) -> None:
        control = make_control(expire=5.0)
        a.register(control, 0.0)
        b.register(control, 1.0)
        told_by(control)
        control.handle_timer(100.0)
        assert told_by(control) == [Expired(PAIR, "a"), Expired(PAIR, "b")]

    def test_end_that_left_and_returned_has_one_expiry(self, control: ControlV2, a: Voice) -> None:
        for now in (0.0, 10.0, 20.0):
            a.register(control, now)
            say(control, a.leave(), A, now + 1.0)
        a.register(control, 30.0)
        told_by(control)
        control.handle_timer(30.0 + EXPIRE)
        assert told_by(control) == [Expired(PAIR, "a")]
        assert control.registered == 0
        assert control.next_timer() == NEVER

    def test_end_that_left_does_not_expire(self, control: ControlV2, a: Voice) -> None:
        a.register(control, 0.0)
        say(control, a.leave(), A, 1.0)
        told_by(control)
        control.handle_timer(EXPIRE)
        assert told_by(control) == []


class TestRegistered:
    def test_registered_ends_are_counted(self, control: ControlV2, a: Voice, b: Voice) -> None:
        a.register(control, 0.0)
        a.register(control, 1.0)
        b.register(control, 1.0)
        assert control.registered == 2
        Voice("a", ELSEWHERE, b"attempt3").register(control, 2.0)
        assert control.registered == 2
        say(control, b.leave(), B, 3.0)
        assert control.registered == 1
        control.replace_pairs({PAIR: CONTROL_KEY})
        assert control.registered == 1
        control.replace_pairs({})
        assert control.registered == 0


class TestPresent:
    def test_an_end_is_present_since_it_came_to_its_address(
        self, control: ControlV2, a: Voice, b: Voice
    ) -> None:
        a.register(control, 1.0)
        b.announce(control, 1.0)
        assert list(control.present()) == [(PAIR, "a", (A, 1.0))], "the other has proved nothing"
        a.register(control, 2.0)
        restarted = Voice("a", A, b"attempt3")
        restarted.register(control, 3.0)
        assert control.find(PAIR, "a") == (A, 1.0)
        restarted.source = ELSEWHERE
        restarted.register(control, 4.0)
        assert control.find(PAIR, "a") == (ELSEWHERE, 4.0)
        assert control.find(PAIR, "b") is control.find("other", "a") is None


class TestStandby:
    @pytest.fixture
    def standing_by(self, control: ControlV2, b: Voice) -> Voice:
        b.purpose = v2.Purpose.STANDBY
        b.register(control, 0.0)
        return b

    def test_end_on_standby_is_never_introduced(
        self, control: ControlV2, a: Voice, standing_by: Voice
    ) -> None:
        to_a, _ = a.register(control, 1.0)
        assert to_a.message == v2.Waiting(a.attempt, 2, A, 1000, standing_by.attempt)

    def test_end_on_standby_hears_of_a_partner_that_punches(
        self, control: ControlV2, a: Voice, standing_by: Voice
    ) -> None:
        _, to_b = a.register(control, 1.0)
        assert to_b.destination == B
        assert to_b.message == v2.Introduce(standing_by.attempt, 0, B, a.attempt, A, a.card)

    def test_announcement_on_standby_causes_no_push(
        self, control: ControlV2, a: Voice, standing_by: Voice
    ) -> None:
        a.register(control, 1.0)
        (answer,) = standing_by.register(control, 2.0)
        assert answer.message == v2.Waiting(standing_by.attempt, 3, B, 1000, v2.NO_ATTEMPT)

    def test_waiting_end_learns_of_a_partner_that_comes_on_standby(
        self, control: ControlV2
    ) -> None:
        a, b = Voice("a", A, b"attempt1"), Voice("b", B, b"attempt2")
        a.register(control, 1.0)
        b.purpose = v2.Purpose.STANDBY
        to_b, to_a = b.register(control, 2.0)
        assert to_b.message == v2.Waiting(b.attempt, 2, B, 1000, v2.NO_ATTEMPT)
        assert to_a.message == v2.Waiting(a.attempt, 0, A, 0, b.attempt)
        assert len(b.register(control, 3.0)) == 1, "once"

    def test_waiting_end_learns_of_a_partner_that_goes_on_standby_in_its_attempt(
        self, control: ControlV2, a: Voice, b: Voice
    ) -> None:
        a.register(control, 1.0)
        b.register(control, 2.0)
        b.purpose = v2.Purpose.STANDBY
        _, to_a = b.register(control, 3.0)
        assert to_a.message == v2.Waiting(a.attempt, 0, A, 0, b.attempt)

    def test_two_ends_on_standby_are_not_introduced(
        self, control: ControlV2, a: Voice, standing_by: Voice
    ) -> None:
        a.purpose = v2.Purpose.STANDBY
        (answer,) = a.register(control, 1.0)
        assert isinstance(answer.message, v2.Waiting)


class TestOwnHosts:
    LOCAL = Address("127.0.0.1", 5000)

    def introduced(
        self, control: ControlV2, one: Address, other: Address
    ) -> tuple[Address, Address]:
        """The addresses at which a, at `one`, and b, at `other`, are introduced to each other."""
        Voice("a", one, b"attempt1").register(control, 0.0)
        to_b, to_a = Voice("b", other, b"attempt2").register(control, 0.0)
        ((for_b,), (for_a,)) = (only(v2.Introduce, [each]) for each in (to_b, to_a))
        return for_a.partner_observed, for_b.partner_observed

    def test_end_on_controls_host_is_introduced_at_controls_address(self) -> None:
        control = make_control(own_hosts={4: "192.0.2.1"})
        assert self.introduced(control, A, self.LOCAL) == (Address("192.0.2.1", 5000), A)

    def test_two_ends_on_controls_host_are_introduced_on_loopback(self) -> None:
        control = make_control(own_hosts={4: "192.0.2.1"})
        other = Address("127.0.0.1", 6000)
        assert self.introduced(control, self.LOCAL, other) == (other, self.LOCAL)

    def test_own_host_is_chosen_by_family(self) -> None:
        control = make_control(own_hosts={4: "192.0.2.1", 6: "2001:db8::9"})
        for_a, _ = self.introduced(control, A_V6, Address("::1", 5000))
        assert for_a == Address("2001:db8::9", 5000)

    def test_without_an_own_host_the_loopback_address_stays(self, control: ControlV2) -> None:
        assert self.introduced(control, A, self.LOCAL)[0] == self.LOCAL

    LAN = Address("192.168.1.10", 5000)

    def test_end_in_controls_network_is_introduced_at_its_public_address(
        self,
    ) -> None:
        control = make_control(own_hosts={4: "192.0.2.1"})
        assert self.introduced(control, A, self.LAN) == (Address("192.0.2.1", 5000), A)

    @pytest.mark.parametrize("neighbour", [Address("192.168.1.11", 7), Address("127.0.0.1", 7)])
    def test_neighbours_of_control_are_introduced_at_the_private_address(
        self, neighbour: Address
    ) -> None:
        control = make_control(own_hosts={4: "192.0.2.1"})
        assert self.introduced(control, neighbour, self.LAN) == (self.LAN, neighbour)

    def test_end_is_told_its_own_address_as_control_sees_it(self) -> None:
        control = make_control(own_hosts={4: "192.0.2.1"})
        (waiting,) = only(v2.Waiting, Voice("a", self.LOCAL, b"attempt1").register(control, 0.0))
        assert waiting.observed == self.LOCAL


class TestObserving:
    def test_observe_is_answered_and_registers_nothing(self, control: ControlV2) -> None:
        observe = seal(CONTROL_CHANNELS["a"].to_control, v2.Observe(b"echoecho"))
        (answer,) = say(control, observe, A, 0.0, via=7)
        assert answer[:3] == (v2.Observed(b"echoecho", A), A, 7)
        assert told_by(control) == []
        assert control.next_timer() == NEVER


class TestReplacingPairs:
    OTHER_KEY = control_key(bytes(32), PAIR)

    def test_unchanged_pair_keeps_its_registrations_at_a_reload(
        self, control: ControlV2, a: Voice, b: Voice
    ) -> None:
        a.register(control, 0.0)
        control.replace_pairs({PAIR: CONTROL_KEY, "new": self.OTHER_KEY})
        assert control.next_timer() == EXPIRE
        assert only(v2.Introduce, b.register(control, 1.0))

    def test_removed_pair_is_forgotten(self, control: ControlV2, a: Voice) -> None:
        a.register(control, 0.0)
        control.replace_pairs({})
        assert control.next_timer() == NEVER
        assert a.register(control, 1.0) == []
        assert control.drops == {Drop.UNKNOWN_PAIR: 1}
        control.replace_pairs({PAIR: CONTROL_KEY})
        assert only(v2.Waiting, a.register(control, 2.0))

    def test_registered_ends_of_a_removed_pair_expire(
        self, control: ControlV2, a: Voice, b: Voice
    ) -> None:
        for voice in (a, b):
            voice.register(control, 0.0)
        told_by(control)
        control.replace_pairs({PAIR: CONTROL_KEY})
        assert told_by(control) == []
        control.replace_pairs({PAIR: self.OTHER_KEY})
        assert told_by(control) == [
            Expired(PAIR, "a", removed=True),
            Expired(PAIR, "b", removed=True),
        ]
        control.replace_pairs({})
        assert told_by(control) == [], "nobody was there any more"

    def test_pair_with_a_changed_key_begins_anew(self, control: ControlV2, a: Voice) -> None:
        a.register(control, 0.0)
        control.replace_pairs({PAIR: self.OTHER_KEY})
        assert control.next_timer() == NEVER
        assert a.register(control, 1.0) == []
        assert control.drops == {Drop.BAD_MAC: 1}
        channel = ControlChannel(self.OTHER_KEY, PAIR, "a")
        announce = v2.Announce(a.attempt, 9, v2.NO_COOKIE, v2.Purpose.PUNCH, a.card)
        control.receive_datagram(seal(channel.to_control, announce), A, 2.0, 0)
        assert len(control.datagrams_to_send()) == 1

    def test_pairs_are_kept_apart(self) -> None:
        other = control_key(SECRET, "other")
        control = ControlV2({PAIR: CONTROL_KEY, "other": other}, random=seeded(1))
        Voice("a", A, b"attempt1").register(control, 0.0)
        channel = ControlChannel(other, "other", "b")
        announce = v2.Announce(b"attempt2", 1, v2.NO_COOKIE, v2.Purpose.PUNCH, bytes(268))
        control.receive_datagram(seal(channel.to_control, announce), B, 0.0, 0)
        (transmit,) = control.datagrams_to_send()
        assert isinstance(channel.from_control.open(transmit.data), v2.Waiting)


def test_control_datagram_is_described(control: ControlV2, a: Voice) -> None:
    said = control.describe(a.announcement())
    assert said == f"ANNOUNCE attempt={a.attempt.hex()} counter=1 purpose=0"
    answer = a.register(control, 0.0)[0]
    assert control.describe(answer.data).startswith("WAITING ")
    assert control.describe(b"") == "0 bytes: malformed"
    assert control.describe(bytes(384)) == "384 bytes: malformed"
