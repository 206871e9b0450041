"""An end on standby, and what passes on a link that is held: neither is for strangers."""

from __future__ import annotations

import pytest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.end import EndState
from netpunch.core.end.standby import Standby
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import Finished, PartnerReturned, Payload
from netpunch.core.machine import NEVER
from netpunch.core.settings import EndSettings
from netpunch.wire import v2
from netpunch.wire.card import Card
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import (
    CONTROL_DATAGRAM,
    OTHER,
    PEER_DATAGRAM,
    TAG_SLICE,
    VERSION,
    EndName,
)
from tests.core.v2_bench import Bench, Puppet, linked
from tests.core.v2_pair import (
    CONTROL,
    CONTROL_CHANNELS,
    ELSEWHERE,
    ENDS,
    PAIR,
    PEER_CHANNELS,
    SECRET,
    VIA,
    A,
    B,
    Sent,
    only,
    say,
    seal,
    seeded,
    sent_by,
    told_by,
)

LOCAL = Address("0.0.0.0", 40000)
SECOND = Address("192.0.2.2", 10001)
LONGER_THAN_A_LEAVE = 1.0


class OnStandby:
    """An end on standby and its clock; the test plays its controls."""

    def __init__(self, end: EndName = "a", *controls: Address, holds: bool = False) -> None:
        self.name = end
        self.now = 1000.0
        self.machine = Standby(
            EndSettings(PAIR, end, SECRET, holds=holds),
            endpoints=ControlEndpoints(controls or (CONTROL,)),
            sockets={VIA: LOCAL},
            random=seeded("standby"),
            now=self.now,
        )
        self.sent = self.run(0.0)
        self.announce = only(v2.Announce, self.sent)[-1]

    def run(self, seconds: float) -> list[Sent]:
        """What is sent meanwhile."""
        until, sent = self.now + seconds, sent_by(self.machine)
        while self.machine.next_timer() <= until:
            self.now = max(self.now, self.machine.next_timer())
            self.machine.handle_timer(self.now)
            sent += sent_by(self.machine)
        self.now = until
        return sent

    def hears(self, message: v2.FromControl, source: Address = CONTROL) -> list[Sent]:
        return self.hears_data(seal(CONTROL_CHANNELS[self.name].from_control, message), source)

    def hears_data(self, data: bytes, source: Address = CONTROL) -> list[Sent]:
        return say(self.machine, data, source, self.now)

    def waits(self, standby: bytes = v2.NO_ATTEMPT) -> list[Sent]:
        return self.hears(v2.Waiting(self.announce.attempt, self.announce.counter, A, 0, standby))

    def introduction(self, *, proof: bool = True, partner: bytes = b"partner1") -> v2.Introduce:
        """What control pushes when the partner announces that it wants to punch."""
        puppet = Puppet(OTHER[self.name], partner, at=B)
        named = self.announce.attempt if proof else v2.NO_ATTEMPT
        sealed = puppet.seal_card(puppet.card(named))
        return v2.Introduce(self.announce.attempt, 0, A, partner, B, sealed)

    def drops(self, drop: Drop) -> int:
        return self.machine.drops[drop]


class TestStandby:
    @pytest.mark.parametrize("end", ENDS)
    def test_it_announces_itself_on_standby_from_its_socket(self, end: EndName) -> None:
        standby = OnStandby(end, holds=True)
        (first,) = standby.sent
        assert (first.destination, first.via) == (CONTROL, VIA)
        assert standby.announce.purpose == v2.Purpose.STANDBY
        sealed = standby.announce.card
        card = PEER_CHANNELS[end].own_card.open(sealed, standby.announce.attempt)
        assert isinstance(card, Card)
        assert (card.holds, card.hosts, card.partner_attempt) == (True, (), v2.NO_ATTEMPT)

    def test_it_stays_registered_with_every_control(self) -> None:
        standby = OnStandby("a", CONTROL, SECOND)
        assert {sent.destination for sent in standby.sent} == {CONTROL, SECOND}
        standby.waits()
        announced = [sent.destination for sent in standby.run(timing.EXPIRE)]
        assert announced.count(CONTROL) >= timing.EXPIRE // timing.WAITING_INTERVAL
        assert announced.count(SECOND) >= timing.EXPIRE // timing.ANNOUNCE_RETRY

    def test_a_challenge_is_answered_at_once(self) -> None:
        standby = OnStandby()
        cookie = b"c" * len(v2.NO_COOKIE)
        challenge = v2.Challenge(standby.announce.attempt, standby.announce.counter, cookie)
        (answer,) = only(v2.Announce, standby.hears(challenge))
        assert (answer.cookie, answer.purpose) == (cookie, v2.Purpose.STANDBY)

    def test_a_proved_partner_is_told_once(self) -> None:
        standby = OnStandby()
        assert standby.hears(standby.introduction()) == []
        assert told_by(standby.machine) == [PartnerReturned()]
        standby.hears(standby.introduction())
        standby.hears(standby.introduction(partner=b"partner2"))
        assert told_by(standby.machine) == []
        assert standby.drops(Drop.UNEXPECTED) == 2

    def test_a_partner_that_may_be_a_recording_is_not_told(self) -> None:
        standby = OnStandby()
        standby.hears(standby.introduction(proof=False))
        assert told_by(standby.machine) == []
        assert standby.drops(Drop.UNEXPECTED) == 1
        standby.hears(standby.introduction())
        assert told_by(standby.machine) == [PartnerReturned()]

    def test_a_recording_of_an_earlier_standby_is_nothing(self) -> None:
        standby = OnStandby()
        recorded = standby.introduction()
        standby.hears(recorded._replace(attempt=b"earlier."))
        assert told_by(standby.machine) == []
        assert standby.drops(Drop.WRONG_ATTEMPT) == 1

    def test_two_ends_on_standby_want_nothing_of_each_other(self) -> None:
        standby = OnStandby()
        assert standby.waits(standby=b"standby1") == []
        announced = only(v2.Announce, standby.run(timing.WAITING_INTERVAL + 0.1))
        assert len(announced) == 1, "not each second, as while punching"
        card = PEER_CHANNELS["a"].own_card.open(announced[0].card, announced[0].attempt)
        assert isinstance(card, Card)
        assert card.partner_attempt == v2.NO_ATTEMPT

    def test_nothing_is_ever_sent_to_a_partner(self) -> None:
        standby = OnStandby()
        sent = standby.hears(standby.introduction())
        ping = v2.Ping(b"partner1", standby.announce.attempt, b"sequence", 0)
        sent += standby.hears_data(seal(PEER_CHANNELS["b"].outgoing, ping), B)
        sent += standby.run(100.0)
        standby.machine.close(standby.now)
        sent += standby.run(LONGER_THAN_A_LEAVE)
        assert {each.destination for each in sent} == {CONTROL}
        assert standby.drops(Drop.MALFORMED) == 1

    @pytest.mark.parametrize(
        ("data", "source", "drop"),
        [
            (b"", CONTROL, Drop.MALFORMED),
            (b"x" * (CONTROL_DATAGRAM - 1), CONTROL, Drop.MALFORMED),
            (bytes((VERSION,)) * PEER_DATAGRAM, CONTROL, Drop.MALFORMED),
            (b"x" * CONTROL_DATAGRAM, CONTROL, Drop.MALFORMED),
            (b"x" * CONTROL_DATAGRAM, ELSEWHERE, Drop.UNEXPECTED_SOURCE),
        ],
    )
    def test_what_is_not_of_its_control_is_dropped(
        self, data: bytes, source: Address, drop: Drop
    ) -> None:
        standby = OnStandby()
        assert standby.hears_data(data, source) == []
        assert standby.machine.drops == {drop: 1}
        assert told_by(standby.machine) == []

    def test_forged_and_misdirected_introductions_are_dropped(self) -> None:
        standby = OnStandby()
        introduction = standby.introduction()
        authentic = seal(CONTROL_CHANNELS["a"].from_control, introduction)
        standby.hears_data(authentic[:-1] + bytes((authentic[-1] ^ 1,)))
        standby.hears_data(authentic, ELSEWHERE)
        standby.hears(introduction._replace(card=bytes(len(introduction.card))))
        assert told_by(standby.machine) == []
        assert standby.drops(Drop.BAD_MAC) == 2
        assert standby.drops(Drop.UNEXPECTED_SOURCE) == 1

    def test_closing_leaves_three_times_and_finishes(self) -> None:
        standby = OnStandby()
        standby.machine.close(standby.now)
        sent = standby.run(LONGER_THAN_A_LEAVE)
        assert len(only(v2.Leave, sent)) == timing.LEAVE_COUNT == len(sent)
        assert told_by(standby.machine) == [Finished()]
        assert standby.machine.next_timer() == NEVER

    def test_it_is_closed_though_datagrams_keep_coming(self) -> None:
        """Each of them comes just when the next LEAVE is due."""
        standby = OnStandby()
        standby.machine.close(standby.now)
        leaves = []
        for _ in range(timing.LEAVE_COUNT):
            leaves += only(v2.Leave, standby.hears(standby.introduction()))
            standby.now += timing.LEAVE_INTERVAL
        assert len(leaves) == timing.LEAVE_COUNT
        assert told_by(standby.machine) == [Finished()]
        standby.machine.handle_timer(standby.now)
        assert told_by(standby.machine) == []

    def test_it_says_in_words_what_passes(self) -> None:
        standby = OnStandby()
        assert "ANNOUNCE" in standby.machine.describe(standby.sent[0].data).upper()
        assert SECRET.hex() not in standby.machine.describe(standby.sent[0].data)


PROGRAMS_SAY = {
    "empty": b"",
    "short": b"hello",
    "long": bytes(60_000),
    "as long as a ping": b"p" * PEER_DATAGRAM,
    "as long as an announcement": b"c" * CONTROL_DATAGRAM,
    "of our version, as long as a ping": bytes((VERSION,)) * PEER_DATAGRAM,
    "of our version, as long as an announcement": bytes((VERSION,)) * CONTROL_DATAGRAM,
    "of the kind that observers answer": bytes((VERSION, v2.Kind.OBSERVED)).ljust(CONTROL_DATAGRAM),
}


def held(end: EndName = "a") -> tuple[Bench, Puppet]:
    bench, puppet = linked(end, holds=True)
    bench.wait()
    return bench, puppet


def test_on_standby_too_a_control_may_move() -> None:
    bench = OnStandby()
    bench.machine.controls_found(ControlEndpoints((SECOND,)), bench.now)
    assert [each.destination for each in bench.run(0.0)] == [SECOND]
    bench.hears(v2.Waiting(bench.announce.attempt, bench.announce.counter, A, 0, v2.NO_ATTEMPT))
    assert bench.machine.drops == {Drop.UNEXPECTED_SOURCE: 1}


class TestPayload:
    @pytest.mark.parametrize("data", PROGRAMS_SAY.values(), ids=PROGRAMS_SAY)
    @pytest.mark.parametrize("end", ENDS)
    def test_what_the_partners_program_says(self, end: EndName, data: bytes) -> None:
        bench, puppet = held(end)
        before = bench.end.drops.total()
        assert bench.receive(data, puppet.at) == []
        assert bench.event(Payload) == Payload(data)
        assert bench.end.drops.total() == before
        assert bench.end.state is EndState.HOLDING

    @pytest.mark.parametrize("data", PROGRAMS_SAY.values(), ids=PROGRAMS_SAY)
    def test_what_strangers_say_is_dropped(self, data: bytes) -> None:
        bench, puppet = held()
        before = bench.end.drops.total()
        bench.receive(data, ELSEWHERE)
        bench.receive(data, CONTROL)
        bench.receive(data, puppet.at, VIA + 1)
        assert not bench.events(Payload)
        assert bench.end.drops.total() == before + 3

    def test_a_forgery_from_the_partners_address_is_the_programs_business(self) -> None:
        """A ping of another secret: of our own pair as far as one can see, but not authentic."""
        bench, puppet = held()
        ping = puppet.says(v2.Ping(puppet.attempt, bench.attempt, puppet.new_sequence(), 0))
        unknown = bytearray(ping)
        unknown[TAG_SLICE] = bytes(8)
        for data in (ping[:-1] + bytes((ping[-1] ^ 1,)), bytes(unknown)):
            bench.receive(data, puppet.at)
            assert bench.told[-1] == Payload(data)

    @pytest.mark.parametrize("end", ENDS)
    def test_our_own_datagrams_are_no_payload_though_they_count_for_nothing(
        self, end: EndName
    ) -> None:
        bench, puppet = held(end)
        for data, source in list(bench.received):
            if source == puppet.at:
                bench.receive(data, source)
        late = v2.Pong(puppet.attempt, bench.attempt, b"unasked!", A)
        other = v2.Ping(puppet.attempt, b"earlier.", puppet.new_sequence(), 0)
        for message in (late, other):
            bench.receive(puppet.says(message), puppet.at)
        assert not bench.events(Payload)
        assert bench.drops(Drop.WRONG_ATTEMPT) == 1
        assert bench.end.drops.total() > 2

    def test_what_is_sent_goes_to_the_partner_as_it_is(self) -> None:
        bench, puppet = held()
        bench.end.send_payload(b"hello", bench.now)
        ((data, destination, via, ttl),) = bench.end.datagrams_to_send()
        assert (data, destination, via, ttl) == (b"hello", puppet.at, VIA, 0)

    @pytest.mark.parametrize("holds", [False, True])
    def test_nothing_is_sent_before_there_is_a_link(self, holds: bool) -> None:
        bench = Bench(holds=holds)
        bench.end.send_payload(b"hello", bench.now)
        assert bench.end.datagrams_to_send() == []

    def test_nothing_passes_on_a_link_that_is_handed_over(self) -> None:
        bench, puppet = linked("b")
        assert bench.end.state is EndState.HANDING_OVER
        bench.end.send_payload(b"hello", bench.now)
        assert bench.end.datagrams_to_send() == []
        bench.receive(b"hello", puppet.at)
        assert not bench.events(Payload)

    def test_nothing_passes_on_a_link_that_is_being_closed(self) -> None:
        bench, puppet = held()
        bench.close()
        bench.end.send_payload(b"hello", bench.now)
        assert bench.end.datagrams_to_send() == []
        bench.receive(b"hello", puppet.at)
        bench.receive(b"c" * CONTROL_DATAGRAM, puppet.at)
        assert not bench.events(Payload)

    def test_what_is_said_is_in_no_repr(self) -> None:
        assert "hello" not in repr(Payload(b"hello"))
