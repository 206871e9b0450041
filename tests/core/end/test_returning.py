"""How a link that is relayed by way of a stream returns to UDP, and what could lead it astray."""

from __future__ import annotations

from typing import Any

import pytest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.events import Linked, Moved, MoveReason, PathKind, Payload, Via
from netpunch.wire import v2
from tests.core.end.test_streams import FAR, STREAM, WITH_RELAY, Streamed
from tests.core.v2_pair import CONTROL, ELSEWHERE, VIA, A, Sent, only

RELAY = Address(CONTROL.host, 10003)
COOKIE = b"c" * v2.COOKIE_LENGTH


class Returner(Streamed):
    """An end linked by way of a stream, to which a control then answers on UDP."""

    def __init__(self, *, sealed: bool = False) -> None:
        super().__init__(candidates=WITH_RELAY, sealed=sealed)
        self.answer()
        self.partner = self.puppet(holds=True, sealed=sealed)
        self.over_stream(self.introduction(self.partner))
        self.hear(v2.Ping(self.partner.attempt, self.attempt, self.partner.new_sequence(), 0), FAR)
        bind = self.binds(FAR)[-1]
        self.over_stream(v2.Bound(bind.attempt, bind.counter, A, 1, 120))
        self.pong_all(self.partner, [sent for _, sent in self.sent if sent.via == STREAM])
        self.run(0.1)
        nominate = self.all(v2.Nominate)[-1]
        self.hear(v2.Accept(self.partner.attempt, self.attempt, nominate.sequence), FAR)
        self.link = self.attempt
        self.run(1.0)
        self.wait()

    def hear(self, message: v2.PeerMessage, source: Address) -> list[Sent]:
        """The partner says it, by way of the relay: at the stream's end, or on UDP."""
        return self.receive(self.partner.says(message), source, STREAM if source == FAR else VIA)

    def live(self, seconds: float) -> None:
        """So long, with a partner that answers on the link, and a control that does on UDP."""
        until = self.now + seconds
        while self.now < until:
            self.wait()
            for _, sent in self.run(0.5):
                if isinstance(sent.message, v2.Ping) and sent.via == STREAM:
                    pong = v2.Pong(self.partner.attempt, self.link, sent.message.sequence, A)
                    self.hear(pong, FAR)

    def binds(self, where: Address = RELAY) -> list[v2.Bind]:
        return [
            sent.message
            for _, sent in self.sent
            if isinstance(sent.message, v2.Bind) and sent.destination == where
        ]

    def ask(self) -> v2.Observe:
        """Until control is asked for its relay."""
        self.run(timing.RELAY_AFTER_HOLDING)
        return self.all(v2.Observe)[-1]

    def relays(self, port: int = RELAY.port) -> list[Sent]:
        """Control tells of it."""
        return self.control_says(v2.Observed(self.ask().echo, A, port))

    def challenge(self) -> list[Sent]:
        bind = self.binds()[-1]
        return self.control_says(v2.Challenge(bind.attempt, bind.counter, COOKIE), RELAY)

    def bound(self, source: Address = RELAY, **fields: Any) -> list[Sent]:
        bind = self.binds()[-1]
        bound = v2.Bound(bind.attempt, bind.counter, A, 1, 120)
        return self.control_says(bound._replace(**fields), source)

    def is_payload(self, source: Address, via: Via) -> bool:
        """Whether what comes from there is the program's."""
        before = len(self.events(Payload))
        self.receive(b"of the partner's program", source, via)
        return len(self.events(Payload)) > before


@pytest.fixture
def returner() -> Returner:
    return Returner()


def test_it_binds_at_the_relay_on_udp_as_the_attempt_that_is_linked(returner: Returner) -> None:
    returner.relays()
    returner.challenge()
    first, second = returner.binds()
    assert first.attempt == second.attempt == returner.link
    assert (first.cookie, second.cookie) == (v2.NO_COOKIE, COOKIE)
    assert second.counter > first.counter > max(bind.counter for bind in returner.binds(FAR))


def test_once_that_is_bound_the_link_goes_on_there(returner: Returner) -> None:
    linked = returner.event(Linked)
    returner.relays()
    returner.challenge()
    assert not returner.events(Moved)
    returner.bound()
    moved = returner.event(Moved)
    assert (moved.via, moved.remote, moved.path) == (VIA, RELAY, PathKind.RELAY)
    assert (moved.reason, moved.previous) == (MoveReason.BETTER_PATH, FAR)
    assert moved.session_key == linked.session_key
    assert returner.end.path is not None
    assert returner.end.path[:2] == (VIA, RELAY)
    assert returner.is_payload(RELAY, VIA)


def test_the_partners_pings_are_answered_there(returner: Returner) -> None:
    returner.relays()
    returner.bound()
    ping = v2.Ping(returner.partner.attempt, returner.link, returner.partner.new_sequence(), 0)
    (pong,) = only(v2.Pong, returner.hear(ping, RELAY))
    assert pong.sequence == ping.sequence


def test_what_is_under_way_over_the_stream_still_counts_for_a_while(returner: Returner) -> None:
    returner.relays()
    returner.bound()
    assert returner.is_payload(FAR, STREAM)
    returner.run(timing.RETIRED_FOR + 0.1)
    assert not returner.is_payload(FAR, STREAM)


def test_the_seal_goes_on_with_its_counters() -> None:
    """The key is the same: a counter that came again would seal two datagrams alike."""
    returner = Returner(sealed=True)
    sealing = returner.end.sealing
    assert sealing is not None
    before = sealing.seal_one(b"program")
    returner.relays()
    returner.bound()
    assert returner.event(Moved)
    after = sealing.seal_one(b"program")
    assert before[:2] == after[:2], "of the same key"
    assert before[2:10] < after[2:10]


def test_a_control_without_a_relay_is_left_alone(returner: Returner) -> None:
    returner.relays(0)
    returner.run(120.0)
    assert not returner.binds()
    assert not returner.events(Moved)


def test_a_silent_relay_is_asked_often_and_then_each_minute(returner: Returner) -> None:
    returner.relays()
    returner.live(10.0)
    often = len(returner.binds())
    assert often == len(timing.RELAY_RETRIES)
    returner.live(180.0)
    assert len(returner.binds()) == often + 3
    assert not returner.events(Moved)


def test_a_dead_path_has_nothing_to_return_with(returner: Returner) -> None:
    """Its successor tries the relay."""
    returner.ask()
    returner.end.control_disconnected(STREAM, returner.now)
    returner.run(5.0)
    assert returner.link not in {bind.attempt for bind in returner.binds()}


def test_a_direct_path_that_is_found_first_ends_it(returner: Returner) -> None:
    partner = returner.puppet(b"partner2", holds=True)
    returner.introduce(partner)
    returner.validate(partner)
    returner.run(0.1)
    returner.accept(partner)
    assert returner.event(Moved).path is PathKind.OBSERVED
    returner.run(30.0)
    assert not returner.binds()


# Attacks: of what was recorded, and of strangers.


@pytest.mark.parametrize(
    ("source", "fields"),
    [(ELSEWHERE, {}), (RELAY, {"attempt": b"attempt9"}), (RELAY, {"counter": 7})],
    ids=["from elsewhere", "of another attempt", "of another BIND"],
)
def test_no_other_answer_makes_it_return(
    returner: Returner, source: Address, fields: dict[str, Any]
) -> None:
    returner.relays()
    before = returner.end.drops.total()
    returner.bound(source, **fields)
    assert returner.end.drops.total() == before + 1
    assert not returner.events(Moved)
    assert not returner.is_payload(RELAY, VIA)


def test_an_answer_to_another_question_names_no_relay(returner: Returner) -> None:
    returner.ask()
    returner.control_says(v2.Observed(b"recorded", A, RELAY.port))
    assert not returner.binds()


def test_recordings_of_a_return_change_nothing(returner: Returner) -> None:
    returner.relays()
    returner.challenge()
    returner.bound()
    for data, source in list(returner.received):
        returner.receive(data, source)
        returner.receive(data, ELSEWHERE)
    assert len(returner.events(Moved)) == 1
    assert returner.end.path is not None
    assert returner.end.path[:2] == (VIA, RELAY)
