"""A control's registrations: the rule itself, and a whole control against a naive model of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from netpunch.address import Address
from netpunch.core.control.registrations import (
    ANNOUNCE_RATE,
    Cause,
    EndRecord,
    Pairs,
    Registration,
    Standing,
    Verdict,
)
from netpunch.core.events import Expired, Registered, RoleConflict
from netpunch.core.machine import Random
from netpunch.core.timing import COOKIE_BUCKET, EXPIRE, REMEMBERED_ATTEMPTS
from netpunch.wire import v2
from netpunch.wire.envelope import END_B
from netpunch.wire.keys import pair_tag
from netpunch.wire.v2 import pack_address
from tests.core.v2_pair import (
    CONTROL_CHANNELS,
    ELSEWHERE,
    GIVES_COOKIES,
    PAIR,
    A,
    B,
    Sent,
    Voice,
    make_control,
    say,
    seal,
    told_by,
)

SOURCES = [A, Address(A.host, 5001), ELSEWHERE]
AT_A, AT_B, AT_ELSEWHERE = map(pack_address, (A, B, ELSEWHERE))


KEY, OTHER_KEY = bytes(32), bytes(range(32))


def registration(attempt: bytes, counter: int = 1, source: bytes = AT_A) -> Registration:
    return Registration(attempt, source, v2.Purpose.PUNCH, counter, 0, heard=0.0, since=0.0)


def prove(record: EndRecord, proved: Registration) -> Registration | None:
    """Registers an attempt that has brought a good cookie."""
    return record.register(proved, Cause.COOKIE)


@pytest.fixture
def record() -> EndRecord:
    (pair,) = Pairs({"home": KEY}).by_tag.values()
    return pair.record(0)


class TestRule:
    @pytest.fixture(autouse=True)
    def proved(self, record: EndRecord) -> None:
        prove(record, registration(b"attempt1", 5))

    @pytest.mark.parametrize("source", [AT_A, AT_ELSEWHERE])
    @pytest.mark.parametrize("counter", [0, 4, 5])
    def test_announcement_with_a_used_counter_is_stale(
        self, record: EndRecord, counter: int, source: bytes
    ) -> None:
        assert record.judge(b"attempt1", counter, source) is Verdict.STALE
        record.clear(Cause.EXPIRY)
        assert record.judge(b"attempt1", counter, source) is Verdict.STALE

    @pytest.mark.parametrize(
        ("attempt", "source"),
        [(b"attempt1", AT_ELSEWHERE), (b"attempt2", AT_A), (b"attempt2", AT_B)],
    )
    def test_announcement_of_another_attempt_or_address_is_disputed(
        self, record: EndRecord, attempt: bytes, source: bytes
    ) -> None:
        assert record.judge(attempt, 6, source) is Verdict.DISPUTED

    def test_announcement_of_the_registered_attempt_is_a_refresh(self, record: EndRecord) -> None:
        assert record.judge(b"attempt1", 6, AT_A) is Verdict.REFRESH

    def test_absent_end_is_new_with_a_new_attempt_but_not_with_an_earlier_one(
        self, record: EndRecord
    ) -> None:
        record.clear(Cause.EXPIRY)
        assert record.judge(b"attempt2", 0, AT_ELSEWHERE) is Verdict.NEW
        assert record.judge(b"attempt1", 6, AT_A) is Verdict.DISPUTED

    def test_registering_returns_the_displaced_attempt(self, record: EndRecord) -> None:
        moved = registration(b"attempt1", 6, AT_ELSEWHERE)
        assert prove(record, moved) is None
        assert prove(record, registration(b"attempt2")) == moved._replace(standing=Standing.PROVED)

    def test_displaced_attempt_is_remembered(self, record: EndRecord) -> None:
        prove(record, registration(b"attempt2"))
        assert record.judge(b"attempt1", 5, AT_A) is Verdict.STALE
        assert record.judge(b"attempt1", 6, AT_A) is Verdict.DISPUTED

    def test_only_the_registered_attempt_leaves(self, record: EndRecord) -> None:
        assert not record.leave(b"attempt2", 9)
        assert not record.leave(b"attempt1", 5)
        assert record.leave(b"attempt1", 6)
        record.clear(Cause.LEAVE)
        assert record.judge(b"attempt1", 6, AT_A) is Verdict.STALE

    def test_clearing_an_absent_end_changes_nothing(self, record: EndRecord) -> None:
        record.clear(Cause.EXPIRY)
        record.clear(Cause.EXPIRY)
        assert record.last_heard == 0.0
        assert record.remembers(b"attempt1")

    def test_memory_of_earlier_attempts_is_bounded_and_keeps_the_last_used(
        self, record: EndRecord
    ) -> None:
        for number in range(3 * REMEMBERED_ATTEMPTS):
            prove(record, registration(b"%08d" % number))
            prove(record, registration(b"attempt1", 6 + number))
        record.clear(Cause.EXPIRY)
        remembered = [record.remembers(b"%08d" % each) for each in range(3 * REMEMBERED_ATTEMPTS)]
        assert sum(remembered) == REMEMBERED_ATTEMPTS - 1
        assert all(remembered[1 - REMEMBERED_ATTEMPTS :])
        assert record.remembers(b"attempt1")


class TestRate:
    @pytest.fixture(autouse=True)
    def proved(self, record: EndRecord) -> None:
        prove(record, registration(b"attempt1", 0))

    def taken(self, record: EndRecord, times: list[float]) -> int:
        """How many announcements at these times are taken."""
        heard = [
            record.hear(b"attempt1", number, AT_A, 0, v2.Purpose.PUNCH, now)
            for number, now in enumerate(times, start=1)
        ]
        taken = [each for each in heard if isinstance(each, Registration)]
        assert set(heard) - set(taken) <= {Verdict.LIMITED}
        return len(taken)

    def test_announcements_at_once_are_limited(self, record: EndRecord) -> None:
        assert self.taken(record, [0.0] * 100) == ANNOUNCE_RATE

    def test_announcements_a_second_are_limited(self, record: EndRecord) -> None:
        times = [number / 1000 for number in range(10_000)]
        assert self.taken(record, times) <= 11 * ANNOUNCE_RATE

    @pytest.mark.parametrize("interval", [0.051, 0.1, 0.2, 1.0, 15.0])
    def test_slower_announcements_are_never_limited(
        self, record: EndRecord, interval: float
    ) -> None:
        times = [number * interval for number in range(1000)]
        assert self.taken(record, times) == 1000

    def test_limited_announcement_changes_nothing(self, record: EndRecord) -> None:
        self.taken(record, [0.0] * ANNOUNCE_RATE)
        before = record.registration
        verdict = record.hear(b"attempt1", 99, AT_A, 9, v2.Purpose.STANDBY, 0.0)
        assert verdict is Verdict.LIMITED
        assert record.registration == before

    def test_announcement_that_is_no_refresh_changes_nothing(self, record: EndRecord) -> None:
        before = record.registration
        for attempt, counter, source, verdict in (
            (b"attempt1", 0, AT_A, Verdict.STALE),
            (b"attempt1", 9, AT_B, Verdict.DISPUTED),
            (b"attempt2", 9, AT_A, Verdict.DISPUTED),
        ):
            heard = record.hear(attempt, counter, source, 9, v2.Purpose.STANDBY, 9.0)
            assert heard is verdict
        assert record.registration == before


class TestPairs:
    def test_tag_leads_to_the_records_of_both_ends(self) -> None:
        pair = Pairs({"home": KEY}).by_tag[pair_tag("home")]
        assert (pair.name, pair.records) == ("home", ())
        b, a = pair.record(END_B), pair.record(0)
        assert pair.records == (pair.a, pair.b) == (a, b)
        assert (a.end, b.end) == ("a", "b")
        assert (a.partner, b.partner) == (b, a)
        assert a.pair is b.pair is pair

    def test_unchanged_pair_keeps_its_records_when_pairs_are_replaced(self) -> None:
        pairs = Pairs({"home": KEY, "office": KEY, "gone": KEY})
        before = dict(pairs.by_tag)
        pairs.replace({"home": KEY, "office": OTHER_KEY, "new": KEY})
        assert [pair.name for pair in pairs.by_tag.values()] == ["home", "office", "new"]
        assert pairs.by_tag[pair_tag("home")] is before[pair_tag("home")]
        assert pairs.by_tag[pair_tag("office")] is not before[pair_tag("office")]

    def test_repr_shows_no_key(self) -> None:
        pair = Pairs({"home": OTHER_KEY}).by_tag[pair_tag("home")]
        for each in (pair, pair.record(0)):
            assert OTHER_KEY.hex() not in repr(each)
            assert repr(OTHER_KEY) not in repr(each)


@dataclass
class Announced:
    """An announcement that was made, with what it holds."""

    data: bytes
    attempt: bytes
    counter: int
    cookie: bytes


@dataclass
class Model:
    """The rules of the protocol for one end, as simply as they can be written down."""

    live: tuple[bytes, Address] | None = None
    """The proved attempt and its address."""
    guest: tuple[bytes, Address, int] | None = None
    """The unproved attempt, with its counter, if no other is registered."""
    heard_before: set[tuple[bytes, Address]] = field(default_factory=set)
    """Announcements of unregistered attempts that were answered already, with their sources."""
    heard: float = 0.0
    remembered: list[tuple[bytes, int]] = field(default_factory=list)
    """Attempts with their highest counters, the last used last; never more than 8."""

    def highest(self, attempt: bytes) -> int | None:
        return dict(self.remembered).get(attempt)

    def remember(self, attempt: bytes, counter: int) -> None:
        others = [each for each in self.remembered if each[0] != attempt]
        self.remembered = [*others, (attempt, counter)][-8:]


class Fate(Enum):
    """What becomes of an announcement."""

    STALE = "stale"
    CHALLENGED = "challenged"
    GREETED = "greeted"
    """Taken, and given a cookie."""
    ACCEPTED = "accepted"


ANSWERS: dict[Fate, list[list[type]]] = {
    Fate.STALE: [[]],
    Fate.CHALLENGED: [[v2.Challenge]],
    Fate.GREETED: [[v2.Waiting], [v2.Introduce]],
    Fate.ACCEPTED: [[v2.Waiting], [v2.Introduce]],
}


class RemembersAll:
    """A table of replays in which no two things share a cell: which ones do depends on a key."""

    def __init__(self, cells: int, random: Random) -> None:
        self._seen: set[bytes] = set()

    def is_new(self, thing: bytes) -> bool:
        is_new = thing not in self._seen
        self._seen.add(thing)
        return is_new


class ControlAgainstModel(RuleBasedStateMachine):
    """Any end, any recording, any time: control answers as the model says, and introduces to the
    partner what the model has registered."""

    announced = Bundle("announced")
    departures = Bundle("departures")

    @initialize()
    def begin(self) -> None:
        with patch("netpunch.core.control.address_proof.Replays", RemembersAll):
            self.control = make_control()
        self.model = Model()
        self.now = 1000.0
        self.counter = 0
        self.cookies: dict[tuple[bytes, Address], list[tuple[int, bytes]]] = {}
        self.partner = Voice("b", B, b"partner!")

    # What happens.

    @rule(
        target=announced,
        attempt=st.integers(0, 11),
        source=st.sampled_from(SOURCES),
        cookie=st.sampled_from(["none", "newest", "oldest", "of another", "wrong"]),
        lost=st.booleans(),
    )
    def announce(self, attempt: int, source: Address, cookie: str, lost: bool) -> Announced:
        name = b"%08d" % attempt
        self.counter += 1
        chosen = self.choose_cookie(cookie, name, source)
        announce = v2.Announce(name, self.counter, chosen, v2.Purpose.PUNCH, bytes(268))
        data = seal(CONTROL_CHANNELS["a"].to_control, announce)
        announced = Announced(data, name, self.counter, chosen)
        if not lost:
            self.deliver(announced, source)
        return announced

    @rule(announced=announced, source=st.sampled_from(SOURCES))
    def replay(self, announced: Announced, source: Address) -> None:
        before = self.model.live
        self.deliver(announced, source)
        if before is not None and announced.cookie == v2.NO_COOKIE:
            assert self.model.live == before, "a recording displaced a live registration"

    @rule(target=departures, announced=announced, source=st.sampled_from(SOURCES))
    def leave(self, announced: Announced, source: Address) -> tuple[bytes, v2.Leave]:
        self.counter += 1
        leave = v2.Leave(announced.attempt, self.counter)
        data = seal(CONTROL_CHANNELS["a"].to_control, leave)
        self.deliver_departure(data, leave, source)
        return data, leave

    @rule(departure=departures, source=st.sampled_from(SOURCES))
    def replay_departure(self, departure: tuple[bytes, v2.Leave], source: Address) -> None:
        self.deliver_departure(*departure, source)

    @rule(seconds=st.sampled_from([0.1, 1.0, 20.0, COOKIE_BUCKET, EXPIRE - 5, EXPIRE, 300.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.control.handle_timer(self.now)
        over = self.now >= self.model.heard + EXPIRE
        expired = self.model.live is not None and over
        if over:
            self.model.live = self.model.guest = None
        told = [e for e in told_by(self.control) if isinstance(e, Expired) and e.end == "a"]
        assert told == ([Expired(PAIR, "a")] if expired else [])

    # What control must make of it.

    def deliver(self, announced: Announced, source: Address) -> None:
        answers = self.to_a(say(self.control, announced.data, source, self.now), source)
        fate = self.judge(announced, source)
        assert [type(each) for each in answers] in ANSWERS[fate]
        for answer in answers:
            assert isinstance(answer, GIVES_COOKIES)
            is_proved = fate is Fate.ACCEPTED
            assert (answer.cookie == v2.NO_COOKIE) == is_proved
            if not is_proved:
                known = self.cookies.setdefault((announced.attempt, source), [])
                known.append((self.bucket(), answer.cookie))
        self.check_events(fate, announced, source)

    def check_events(self, fate: Fate, announced: Announced, source: Address) -> None:
        events = [e for e in told_by(self.control) if not isinstance(e, RoleConflict)]
        moved = self.model.live != (announced.attempt, source)
        # A new attempt at the old place is no news.
        at_its_place = self.model.live is not None and self.model.live[1] == source
        told = fate is Fate.ACCEPTED and moved and not at_its_place
        assert events == ([Registered(PAIR, "a", source)] if told else [])
        if fate is Fate.ACCEPTED:
            self.model.live, self.model.heard = (announced.attempt, source), self.now
            self.model.guest = None
            self.model.remember(announced.attempt, announced.counter)
        elif fate is Fate.GREETED:
            self.model.guest = (announced.attempt, source, announced.counter)
            self.model.heard = self.now

    def judge(self, announced: Announced, source: Address) -> Fate:
        highest, guest = self.model.highest(announced.attempt), self.model.guest
        if highest is not None and announced.counter <= highest:
            return Fate.STALE
        if guest and guest[0] == announced.attempt:
            used_there = announced.counter == guest[2] and source == guest[1]
            if used_there or announced.counter < guest[2]:
                return Fate.STALE
        if self.model.live == (announced.attempt, source):
            return Fate.ACCEPTED
        given = self.cookies.get((announced.attempt, source), [])
        good = [cookie for bucket, cookie in given if self.bucket() - bucket <= 1]
        if announced.cookie in good:
            return Fate.ACCEPTED
        is_guest = guest is not None and guest[:2] == (announced.attempt, source)
        if not is_guest and (announced.data, source) in self.model.heard_before:
            return Fate.STALE
        if not is_guest:
            self.model.heard_before.add((announced.data, source))
        is_free = self.model.live is None and highest is None
        return Fate.GREETED if is_free or is_guest else Fate.CHALLENGED

    def deliver_departure(self, data: bytes, leave: v2.Leave, source: Address) -> None:
        assert say(self.control, data, source, self.now) == [], "a departure is never answered"
        highest = self.model.highest(leave.attempt)
        guest = self.model.guest
        if guest and guest[0] == leave.attempt and leave.counter > guest[2]:
            self.model.guest = None
        heard = self.model.live is not None and self.model.live[0] == leave.attempt
        left = heard and highest is not None and leave.counter > highest
        assert told_by(self.control) == ([Expired(PAIR, "a", left=True)] if left else [])
        if left:
            self.model.live = None
            self.model.remember(leave.attempt, leave.counter)

    @invariant()
    def the_partner_hears_what_the_model_holds(self) -> None:
        self.now += 2.0  # so that no rate limit and no allowance is reached
        answers = self.partner.register(self.control, self.now)
        told_by(self.control)
        (answer,) = [e.message for e in answers if getattr(e.message, "counter", 0)]
        if self.model.live is None:
            assert isinstance(answer, v2.Waiting)
        else:
            assert isinstance(answer, v2.Introduce)
            assert (answer.partner_attempt, answer.partner_observed) == self.model.live

    # Helpers.

    def to_a(self, sent: list[Sent], source: Address) -> list[v2.Message]:
        return [each.message for each in sent if each.destination == source]

    def bucket(self) -> int:
        return int(self.now // COOKIE_BUCKET)

    def choose_cookie(self, which: str, attempt: bytes, source: Address) -> bytes:
        own = [cookie for _, cookie in self.cookies.get((attempt, source), [])]
        others = [c for key, known in self.cookies.items() if key[1] != source for _, c in known]
        match which:
            case "newest":
                return own[-1] if own else v2.NO_COOKIE
            case "oldest":
                return own[0] if own else v2.NO_COOKIE
            case "of another":
                return others[0] if others else v2.NO_COOKIE
            case "wrong":
                return b"a cookie, no less"[:15]
            case _:
                return v2.NO_COOKIE


TestControlAgainstModel = ControlAgainstModel.TestCase
TestControlAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
