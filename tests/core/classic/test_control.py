"""The classic control node: slots, answers, pushes, expiry, and what it never answers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from netpunch.address import Address
from netpunch.core.classic.control import EXPIRE, PUSH_DELAY, ClassicControl
from netpunch.core.control.absences import Absent
from netpunch.core.events import AuthRejected, Event, Expired, PortChanged, Registered
from netpunch.core.machine import NEVER, Transmit
from netpunch.errors import ConfigurationError
from netpunch.wire import classic
from netpunch.wire.drop import Drop

SECRET = b"correct horse battery staple"
OTHER_SECRET = b"another secret"
ALL = dict.fromkeys(classic.LETTERS, SECRET)
A = Address("192.0.2.1", 5000)
B = Address("198.51.100.1", 6000)
B_MOVED = Address("198.51.100.1", 6001)
A_V6 = Address("2001:db8::1", 5000)


def announce(
    control: ClassicControl,
    letter: str,
    source: Address,
    now: float,
    *,
    via: int = 0,
    secret: bytes = SECRET,
) -> list[Transmit]:
    """What control sends at once because of an announcement."""
    control.receive_datagram(classic.sign(secret, letter.encode()), source, now, via)
    return control.datagrams_to_send()


def introduction(letter: str, address: Address, secret: bytes = SECRET) -> bytes:
    return classic.sign(secret, classic.introduction_payload(letter, address))


def at(control: ClassicControl, now: float) -> list[Transmit]:
    control.handle_timer(now)
    return control.datagrams_to_send()


def events(control: ClassicControl) -> list[Event]:
    return list(iter(control.next_event, None))


@pytest.fixture
def control() -> ClassicControl:
    return ClassicControl(ALL)


def test_absent_ends_were_last_heard_or_never_there(control: ClassicControl) -> None:
    announce(control, "a", A, 0.0)
    announce(control, "b", B, 1.0)
    announce(control, "b", B, 2.0)
    assert control.absences().number == 24
    at(control, EXPIRE)
    absences = control.absences()
    assert absences.number == 25
    assert absences.ends[0] == Absent("a-b", "a", 0.0, is_awaited=True)
    at(control, EXPIRE + 2.0)
    assert control.absences().ends[:3] == (
        Absent("a-b", "a", 0.0),
        Absent("a-b", "b", 2.0),
        Absent("c-d", "a"),
    )


class TestAnswers:
    def test_first_end_of_a_pair_gets_no_answer(self, control: ClassicControl) -> None:
        assert announce(control, "a", A, 0.0) == []

    def test_introduction_equals_the_golden_datagram(self, control: ClassicControl) -> None:
        announce(control, "a", Address("127.0.0.1", 15000), 0.0)
        (answer,) = announce(control, "b", Address("127.0.0.1", 15001), 0.0, via=3)
        assert answer == Transmit(
            rb""""^X:D"3TKg)Y,@\M13DB<G>5!bK)!='u.NC_#`h^ i|a|127.0.0.1:15000""",
            Address("127.0.0.1", 15001),
            3,
        )

    def test_each_announcement_is_answered_once(self, control: ClassicControl) -> None:
        announce(control, "a", A, 0.0)
        for now in (0.1, 0.2, 0.3):
            assert announce(control, "b", B, now) == [Transmit(introduction("a", A), B, 0)]

    def test_answer_names_the_partners_newest_address(self, control: ClassicControl) -> None:
        announce(control, "b", B, 0.0)
        announce(control, "a", A, 0.0)
        announce(control, "b", B_MOVED, 1.0)
        assert announce(control, "a", A, 1.1) == [Transmit(introduction("b", B_MOVED), A, 0)]

    def test_answer_leaves_by_the_socket_of_the_announcement(self, control: ClassicControl) -> None:
        announce(control, "a", A, 0.0, via=1)
        announce(control, "b", B, 0.0, via=2)
        assert [sent.via for sent in announce(control, "b", B, 0.1, via=5)] == [5]
        assert [sent.via for sent in announce(control, "b", B, 0.1, via=5)] == [5]

    def test_ipv6_address_of_an_introduction_is_in_brackets(self, control: ClassicControl) -> None:
        announce(control, "a", A_V6, 0.0)
        (answer,) = announce(control, "b", Address("2001:db8::2", 6000), 0.0)
        assert answer.data.endswith(b" i|a|[2001:db8::1]:5000")

    def test_classic_pairs_are_kept_apart(self, control: ClassicControl) -> None:
        announce(control, "a", A, 0.0)
        assert announce(control, "c", B, 0.0) == []
        assert announce(control, "y", B, 0.0) == []
        assert len(announce(control, "d", A, 0.0)) == 1

    def test_each_slot_letter_has_its_own_secret(self) -> None:
        control = ClassicControl({"a": SECRET, "b": SECRET, "c": OTHER_SECRET, "d": OTHER_SECRET})
        announce(control, "c", A, 0.0, secret=OTHER_SECRET)
        (answer,) = announce(control, "d", B, 0.0, secret=OTHER_SECRET)
        assert answer.data == introduction("c", A, OTHER_SECRET)
        assert announce(control, "d", B, 0.0, secret=SECRET) == []
        assert control.drops == {Drop.BAD_MAC: 1}

    def test_letter_without_its_partner_is_never_answered(self) -> None:
        control = ClassicControl({"a": SECRET})
        assert announce(control, "a", A, 0.0) == []
        assert events(control) == [Registered("a-b", "a", A)]
        assert at(control, EXPIRE) == []
        assert events(control) == [Expired("a-b", "a")]


class TestAddresses:
    """An address that cannot be sent to ends a Go process."""

    def test_ends_of_different_families_are_not_introduced(self, control: ClassicControl) -> None:
        announce(control, "a", A_V6, 0.0)
        assert announce(control, "b", B, 0.0) == []
        assert at(control, PUSH_DELAY) == []

    @pytest.mark.parametrize(
        "source",
        [
            Address("192.0.2.1", 0),
            Address("0.0.0.0", 5000),
            Address("224.0.0.1", 5000),
            Address("255.255.255.255", 5000),
            Address("fe80::1", 5000),
        ],
    )
    def test_unpingable_source_fills_no_slot(
        self, control: ClassicControl, source: Address
    ) -> None:
        announce(control, "a", A, 0.0)
        assert announce(control, "a", source, 1.0) == []
        assert control.drops == {Drop.HOSTILE_ADDRESS: 1}
        assert announce(control, "b", B, 2.0) == [Transmit(introduction("a", A), B, 0)]

    def test_loopback_address_is_introduced_on_loopback_only(self, control: ClassicControl) -> None:
        local = Address("127.0.0.1", 5000)
        announce(control, "a", local, 0.0)
        assert announce(control, "b", B, 0.0) == []
        assert announce(control, "a", local, 0.0) == [Transmit(introduction("b", B), local, 0)]

    def test_end_on_this_host_is_introduced_elsewhere_at_the_own_host(self) -> None:
        control = ClassicControl(ALL, own_host="::ffff:203.0.113.1")
        announce(control, "a", Address("127.0.0.1", 5000), 0.0)
        (answer,) = announce(control, "b", B, 0.0)
        assert answer.data == introduction("a", Address("203.0.113.1", 5000))
        (answer,) = announce(control, "b", Address("127.0.0.1", 6000), 0.0)
        assert answer.data == introduction("a", Address("127.0.0.1", 5000))

    def test_own_host_is_used_for_its_family_only(self) -> None:
        control = ClassicControl(ALL, own_host="203.0.113.1")
        announce(control, "a", Address("::1", 5000), 0.0)
        assert announce(control, "b", A_V6, 0.0) == []

    def test_unsignable_answer_is_left_out(self, control: ClassicControl) -> None:
        # The digest of `i|b|203.0.157.95:39689` has a zero word; Go's control would end here.
        announce(control, "b", Address("203.0.157.95", 39689), 0.0)
        assert announce(control, "a", A, 0.0) == []
        announce(control, "b", Address("203.0.157.95", 39690), 1.0)
        assert len(announce(control, "a", A, 1.0)) == 1


class TestPush:
    def test_first_end_gets_a_push_400_ms_after_its_partner_came(
        self, control: ClassicControl
    ) -> None:
        announce(control, "a", A, 0.0, via=7)
        announce(control, "b", B, 10.0)
        due = 10.0 + PUSH_DELAY
        assert control.next_timer() <= due
        assert at(control, due - 0.001) == []
        assert at(control, due) == [Transmit(introduction("b", B), A, 7)]

    def test_push_is_sent_once(self, control: ClassicControl) -> None:
        announce(control, "a", A, 0.0)
        announce(control, "b", B, 10.0)
        announce(control, "b", B, 10.1)
        assert len(at(control, 10.4)) == 1
        announce(control, "b", B, 11.0)
        assert at(control, 20.0) == []

    def test_push_is_sent_when_both_ends_came_at_once(self, control: ClassicControl) -> None:
        announce(control, "a", A, 0.0)
        announce(control, "b", B, 0.0)
        assert at(control, PUSH_DELAY) == [Transmit(introduction("b", B), A, 0)]

    def test_move_of_an_end_is_pushed(self, control: ClassicControl) -> None:
        announce(control, "a", A, 0.0)
        announce(control, "b", B, 0.0)
        at(control, 1.0)
        announce(control, "b", B_MOVED, 5.0)
        assert at(control, 5.0 + PUSH_DELAY) == [Transmit(introduction("b", B_MOVED), A, 0)]

    def test_push_names_the_last_of_several_addresses(self, control: ClassicControl) -> None:
        announce(control, "a", A, 0.0)
        announce(control, "b", B, 1.0)
        announce(control, "b", B_MOVED, 1.25)
        assert at(control, 1.5) == []
        assert at(control, 1.75) == [Transmit(introduction("b", B_MOVED), A, 0)]

    def test_end_that_was_answered_gets_no_push(self, control: ClassicControl) -> None:
        announce(control, "a", A, 0.0)
        announce(control, "b", B, 0.1)
        assert len(announce(control, "a", A, 0.2)) == 1
        assert at(control, 1.0) == []

    def test_announcement_at_another_socket_is_no_move(self, control: ClassicControl) -> None:
        announce(control, "a", A, 0.0)
        announce(control, "b", B, 0.0)
        at(control, 1.0)
        events(control)
        announce(control, "b", B, 2.0, via=1)
        assert at(control, 3.0) == []
        assert events(control) == []

    def test_expired_end_gets_no_push(self, control: ClassicControl) -> None:
        announce(control, "a", A, 0.0)
        announce(control, "b", B, EXPIRE - 0.1)
        assert at(control, EXPIRE + 1.0) == []


class TestExpiry:
    def test_slot_is_emptied_95_s_after_its_last_announcement(
        self, control: ClassicControl
    ) -> None:
        announce(control, "a", A, 0.0)
        announce(control, "a", A, 50.0)
        events(control)
        at(control, 50.0 + EXPIRE - 0.001)
        assert events(control) == []
        at(control, 50.0 + EXPIRE)
        assert events(control) == [Expired("a-b", "a")]
        assert announce(control, "b", B, 146.0) == []

    def test_partner_of_an_expired_end_gets_no_answer(self, control: ClassicControl) -> None:
        announce(control, "a", A, 0.0)
        assert len(announce(control, "b", B, 90.0)) == 1
        at(control, EXPIRE)
        assert announce(control, "b", B, 100.0) == []

    def test_slot_expires_when_a_datagram_overtakes_the_timer(
        self, control: ClassicControl
    ) -> None:
        announce(control, "a", A, 0.0)
        assert announce(control, "b", B, EXPIRE) == []

    def test_timer_is_never_later_than_what_is_due(self, control: ClassicControl) -> None:
        assert control.next_timer() == NEVER
        announce(control, "a", A, 0.0)
        at(control, PUSH_DELAY)
        assert control.next_timer() == EXPIRE
        announce(control, "a", A, 60.0)
        at(control, control.next_timer())
        assert control.next_timer() == 60.0 + EXPIRE
        at(control, control.next_timer())
        assert control.next_timer() == NEVER

    def test_expiry_time_can_be_set(self) -> None:
        control = ClassicControl(ALL, expire=40.0)
        announce(control, "a", A, 0.0)
        at(control, 40.0)
        assert events(control)[1:] == [Expired("a-b", "a")]


class TestEvents:
    def test_new_and_moved_ends_are_reported_refreshed_ones_are_not(self) -> None:
        control = ClassicControl(ALL, names={"c": "home-office", "d": "home-office"})
        announce(control, "c", A, 0.0)
        announce(control, "c", A, 0.1)
        announce(control, "d", B, 0.2)
        announce(control, "d", B_MOVED, 0.3)
        told = events(control)
        assert told == [
            Registered("home-office", "a", A),
            Registered("home-office", "b", B),
            Registered("home-office", "b", B_MOVED),
        ]
        assert [type(each) for each in told] == [Registered, Registered, PortChanged]

    def test_repr_of_a_classic_control_hides_secrets(self, control: ClassicControl) -> None:
        announce(control, "a", A, 0.0)
        assert "horse" not in repr(control) + repr(vars(control)) + repr(events(control))


class TestRejected:
    @pytest.mark.parametrize(
        ("data", "reason", "pair"),
        [
            (b"", Drop.MALFORMED, None),
            (b"x", Drop.MALFORMED, None),
            (b"!" * 41, Drop.MALFORMED, None),
            (b"!" * 40 + b" A", Drop.MALFORMED, None),
            (b"!" * 40 + b" \xff", Drop.MALFORMED, None),
            (b"!" * 40 + b" ab", Drop.MALFORMED, None),
            (b"!" * 40 + b" c", Drop.UNKNOWN_PAIR, None),
            (b"!" * 40 + b" b", Drop.BAD_MAC, "a-b"),
            (classic.sign(OTHER_SECRET, b"b"), Drop.BAD_MAC, "a-b"),
            (classic.sign(SECRET, b"i|a|192.0.2.1:5000"), Drop.MALFORMED, None),
        ],
    )
    def test_rejected_datagram_is_counted_reported_and_not_answered(
        self, data: bytes, reason: Drop, pair: str | None
    ) -> None:
        control = ClassicControl({"a": SECRET, "b": SECRET})
        announce(control, "a", A, 0.0)
        events(control)
        control.receive_datagram(data, B, 1.0, 0)
        assert control.datagrams_to_send() == []
        assert control.drops == {reason: 1}
        assert events(control) == [AuthRejected(reason.value, 1, pair, B)]
        assert announce(control, "a", A, 2.0) == []

    def test_flood_of_forgeries_is_reported_once_a_minute(self, control: ClassicControl) -> None:
        for _ in range(1000):
            control.receive_datagram(b"junk", B, 1.0, 0)
        assert len(events(control)) == 1
        assert control.next_timer() == 61.0
        at(control, 61.0)
        assert events(control) == [AuthRejected("malformed", 999, None, B)]

    @given(
        st.lists(
            st.tuples(
                st.one_of(
                    st.binary(max_size=60),
                    st.sampled_from("abyz").map(
                        lambda letter: classic.sign(SECRET, letter.encode())
                    ),
                ),
                st.sampled_from([A, B, A_V6, Address("192.0.2.1", 0)]),
                st.floats(0.0, 50.0),
            ),
            max_size=20,
        )
    )
    def test_any_datagrams_raise_nothing_and_get_one_answer_at_most(
        self, datagrams: Sequence[tuple[bytes, Address, float]]
    ) -> None:
        control, now = ClassicControl(ALL), 0.0
        for data, source, gap in datagrams:
            now += gap
            control.handle_timer(now)
            control.datagrams_to_send()
            dropped = control.drops.total()
            control.receive_datagram(data, source, now, 0)
            control.describe(data)
            assert len(control.datagrams_to_send()) + control.drops.total() - dropped <= 1


class TestReload:
    def test_unchanged_letters_keep_their_slots_at_a_reload(self, control: ClassicControl) -> None:
        announce(control, "a", A, 0.0)
        events(control)
        control.replace_secrets(ALL, names={"a": "home-office", "b": "home-office"})
        assert events(control) == []
        assert announce(control, "b", B, 1.0) == [Transmit(introduction("a", A), B, 0)]
        assert events(control) == [Registered("home-office", "b", B)]

    def test_changed_secret_empties_the_slot(self, control: ClassicControl) -> None:
        announce(control, "a", A, 0.0)
        announce(control, "b", B, 0.0)
        events(control)
        control.replace_secrets({**ALL, "a": OTHER_SECRET})
        assert events(control) == [Expired("a-b", "a", removed=True)]
        assert announce(control, "b", B, 1.0) == []
        (answer,) = announce(control, "a", A, 2.0, secret=OTHER_SECRET)
        assert answer.data == introduction("b", B, OTHER_SECRET)

    def test_removed_letter_is_unknown(self, control: ClassicControl) -> None:
        control.replace_secrets({"a": SECRET, "b": SECRET})
        announce(control, "c", A, 0.0)
        assert control.drops == {Drop.UNKNOWN_PAIR: 1}

    def test_reload_with_a_bad_secret_changes_nothing(self, control: ClassicControl) -> None:
        announce(control, "a", A, 0.0)
        with pytest.raises(ConfigurationError):
            control.replace_secrets({"a": OTHER_SECRET, "p": b"zero-4515748"})
        assert announce(control, "b", B, 1.0) == [Transmit(introduction("a", A), B, 0)]

    def test_invalid_slot_letter_of_a_control_raises(self) -> None:
        with pytest.raises(ValueError, match="slot letter"):
            ClassicControl({"ab": SECRET})


class TestDescribe:
    def test_classic_announcements_and_answers_are_described(self) -> None:
        control = ClassicControl({"a": SECRET, "b": SECRET, "x": OTHER_SECRET})
        assert control.describe(classic.sign(SECRET, b"b")) == "announce b"
        assert control.describe(classic.sign(OTHER_SECRET, b"x")) == "announce x"
        assert control.describe(introduction("a", A)) == "introduce a 192.0.2.1:5000"

    def test_forgery_at_a_classic_control_is_described_as_not_authentic(
        self, control: ClassicControl
    ) -> None:
        assert control.describe(classic.sign(OTHER_SECRET, b"b")) == "not authentic"


class SlotsMachine(RuleBasedStateMachine):
    """Two pairs that come, move and go, against a model of what each end must be sent."""

    ADDRESSES = (A, B, B_MOVED, Address("203.0.113.9", 7000))
    LETTERS = "abcd"

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.control = ClassicControl(dict.fromkeys(self.LETTERS, SECRET))
        self.slots: dict[str, tuple[Address, float]] = {}
        self.news: dict[str, float] = {}
        """When a letter gets a push."""

    @rule(letter=st.sampled_from(LETTERS), address=st.sampled_from(ADDRESSES))
    def announce(self, letter: str, address: Address) -> None:
        partner = classic.partner_letter(letter)
        if self.slots.get(letter, (None,))[0] != address:
            self.news[partner] = self.now + PUSH_DELAY
        self.slots[letter] = (address, self.now)
        self.news.pop(letter, None)
        known = self.slots.get(partner)
        expected = [Transmit(introduction(partner, known[0]), address, 0)] if known else []
        assert announce(self.control, letter, address, self.now) == expected

    @rule(gap=st.sampled_from([0.1, 0.4, 1.0, 30.0, 94.0, 95.0]))
    def wait(self, gap: float) -> None:
        until = self.now + gap
        pushed: list[Transmit] = []
        while self.control.next_timer() <= until:
            pushed += at(self.control, self.control.next_timer())
        self.now = until
        assert sorted(pushed) == sorted(self.expected_pushes(until))
        self.expire(until)

    def expected_pushes(self, until: float) -> list[Transmit]:
        pushes = []
        for letter, due in list(self.news.items()):
            if due > until:
                continue
            del self.news[letter]
            partner = classic.partner_letter(letter)
            if self.is_live(letter, due) and self.is_live(partner, due):
                data = introduction(partner, self.slots[partner][0])
                pushes.append(Transmit(data, self.slots[letter][0], 0))
        return pushes

    def is_live(self, letter: str, now: float) -> bool:
        return letter in self.slots and now < self.slots[letter][1] + EXPIRE

    def expire(self, now: float) -> None:
        for letter in list(self.slots):
            if not self.is_live(letter, now):
                del self.slots[letter]
                self.news.pop(letter, None)

    @precondition(lambda self: self.slots)
    @rule()
    def forge(self) -> None:
        letter = min(self.slots)
        assert announce(self.control, letter, B, self.now, secret=OTHER_SECRET) == []

    @invariant()
    def events_tell_who_is_there(self) -> None:
        if not hasattr(self, "told"):
            self.told: dict[tuple[str, str], Address] = {}
        for event in events(self.control):
            if isinstance(event, Registered):
                self.told[event.pair, event.end] = event.address
            elif isinstance(event, Expired):
                del self.told[event.pair, event.end]
        assert self.told == {
            (classic.pair_of(letter), classic.end_of(letter)): address
            for letter, (address, _) in self.slots.items()
        }


TestSlots = SlotsMachine.TestCase
TestSlots.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
