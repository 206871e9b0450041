"""Streams to controls: when an end wants them, and what it says and believes over them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.events import Failed, Introduced, Reason, StreamsWanted, Via, Waiting
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from tests.core.v2_bench import Bench
from tests.core.v2_pair import CONTROL, CONTROL_CHANNELS, VIA, A, Sent, only, seal

STREAM: Via = 7
FAR = Address(CONTROL.host, 443)
NEAR = Address("192.168.1.10", 40000)
WITH_RELAY = frozenset({"host", "observed", "relay"})
PEER = Address("198.51.100.1", 41234)
"""Our TCP address, as control sees it."""


class Streamed(Bench):
    """An end whose controls are silent on UDP, and which a stream is open for."""

    def __init__(self, *, holds: bool = True, **settings: object) -> None:
        super().__init__(holds=holds, **{"deadline": None, **settings})  # type: ignore[arg-type]
        self.run(timing.SILENCE_NOTICE + 0.1)
        self.open()

    def open(self, via: Via = STREAM) -> None:
        self.end.control_connected(via, FAR, NEAR, self.now)
        self.run(0.0)

    def over_stream(self, message: v2.FromControl, via: Via = STREAM) -> list[Sent]:
        return self.receive(seal(CONTROL_CHANNELS[self.name].from_control, message), FAR, via)

    def said(self, via: Via = STREAM) -> list[v2.Message]:
        return [each.sent.message for each in self.sent if each.sent.via == via]

    def answer(self, cookie: bytes = v2.NO_COOKIE) -> list[Sent]:
        """Control answers the last announcement over the stream: there is nobody."""
        counter = self.counter(FAR)
        return self.over_stream(
            v2.Waiting(self.registered, counter, PEER, 0, v2.NO_ATTEMPT, cookie)
        )


def wanted(bench: Bench) -> list[bool]:
    return [event.wanted for event in bench.events(StreamsWanted)]


# When.


def test_streams_are_wanted_once_no_control_has_answered_for_a_second() -> None:
    bench = Bench(deadline=None)
    bench.run(timing.STREAMS_AFTER_FIRST - 0.01)
    assert wanted(bench) == []
    bench.run(100.0)
    assert wanted(bench) == [True]


def test_one_control_that_answers_is_enough() -> None:
    second = Address("192.0.2.2", 10001)
    bench = Bench(deadline=None, controls=(CONTROL, second))
    for _ in range(60):
        bench.wait(control=second)
        bench.run(1.0)
    assert wanted(bench) == []


def test_a_control_that_falls_silent_later_is_noticed_within_3_s_of_its_first_missing_answer() -> (
    None
):
    bench = Bench(deadline=None)
    bench.wait()
    bench.run(timing.WAITING_INTERVAL + timing.STREAMS_AFTER - 0.01)
    assert wanted(bench) == []
    bench.run(0.1)
    assert wanted(bench) == [True]


def test_streams_are_wanted_no_longer_once_a_control_answers_on_udp() -> None:
    bench = Streamed()
    bench.answer()
    assert wanted(bench) == [True]
    bench.run(timing.ANNOUNCE_RETRY)
    bench.wait()
    assert wanted(bench) == [True, False]


def test_a_recorded_answer_does_not_bring_udp_back() -> None:
    bench = Bench(deadline=None, holds=True)
    answer = v2.Waiting(bench.registered, bench.counter(), A, 0, v2.NO_ATTEMPT)
    bench.control_says(answer)
    bench.run(timing.WAITING_INTERVAL + timing.STREAMS_AFTER + 0.1)
    bench.control_says(answer)
    assert bench.drops(Drop.STALE) == 1
    assert wanted(bench) == [True]


def test_controls_that_move_are_looked_for_again() -> None:
    bench = Streamed()
    bench.end.controls_found(bench.end._resources.endpoints, bench.now)
    bench.run(0.0)
    assert wanted(bench) == [True, True]


# What is said.


def test_an_end_that_holds_announces_itself_over_the_stream_at_once() -> None:
    bench = Streamed()
    (announce,) = bench.said()
    assert isinstance(announce, v2.Announce)
    assert announce.attempt == bench.registered
    assert announce.purpose == v2.Purpose.PUNCH


def test_a_cookie_is_brought_back_over_the_stream() -> None:
    bench = Streamed()
    (proof,) = only(v2.Announce, bench.answer(b"c" * v2.COOKIE_LENGTH))
    assert proof.cookie == b"c" * v2.COOKIE_LENGTH


def test_over_a_stream_an_announcement_is_repeated_often_at_first() -> None:
    """What follows a lost segment and arrives lets TCP repeat it at once."""
    bench = Streamed()
    often = [gap for gap in timing.STREAM_RETRIES if gap < timing.ANNOUNCE_RETRY]
    bench.run(sum(often) + 0.01)
    assert [type(message) for message in bench.said()] == [v2.Announce] * (1 + len(often))
    bench.run(timing.ANNOUNCE_RETRY - 0.02)
    assert len(bench.said()) == 1 + len(often)
    bench.run(10 * timing.ANNOUNCE_RETRY)
    assert len(bench.said()) == 11 + len(often)


def test_an_end_binds_at_the_relay_of_a_stream_before_it_has_a_partner() -> None:
    """Nothing but a relay will help it, whoever the partner is."""
    bench = Streamed(candidates=WITH_RELAY)
    bench.answer()
    bench.run(0.0)
    (bind,) = bench.all(v2.Bind)
    assert bind.attempt == bench.registered
    challenge = v2.Challenge(bench.registered, bind.counter, b"c" * v2.COOKIE_LENGTH)
    (proof,) = only(v2.Bind, bench.over_stream(challenge))
    assert proof.cookie == b"c" * v2.COOKIE_LENGTH
    bench.over_stream(v2.Bound(bench.registered, proof.counter, PEER, 0, 120))
    before = len(bench.all(v2.Bind))
    bench.run(timing.RELAY_RENEWAL - 0.1)
    assert len(bench.all(v2.Bind)) == before
    bench.run(0.2)
    assert len(bench.all(v2.Bind)) == before + 1


def test_an_end_that_may_not_be_relayed_binds_nowhere() -> None:
    bench = Streamed()
    bench.answer()
    bench.run(60.0)
    assert not bench.all(v2.Bind)


def test_a_new_stream_is_bound_at_once_instead_of_the_old_one() -> None:
    bench = Streamed(candidates=WITH_RELAY)
    bench.answer()
    bench.end.control_disconnected(STREAM, bench.now)
    bench.open(via=8)
    bench.over_stream(
        v2.Waiting(bench.registered, bench.counter(FAR), PEER, 0, v2.NO_ATTEMPT), via=8
    )
    bench.run(0.0)
    assert v2.Bind in [type(message) for message in bench.said(8)]


def test_udp_that_works_again_ends_that() -> None:
    """With UDP a relay is asked only when nothing else has helped."""
    bench = Streamed(candidates=WITH_RELAY)
    bench.answer()
    bench.run(timing.ANNOUNCE_RETRY)
    bench.wait()
    before = len(bench.all(v2.Bind))
    bench.run(60.0)
    assert len(bench.all(v2.Bind)) == before


def test_udp_is_tried_on_meanwhile_and_ever_more_seldom() -> None:
    bench = Streamed()
    for _ in range(4):
        bench.answer()
        bench.run(timing.WAITING_INTERVAL)
    on_udp = [time for time, sent in bench.sent if sent.via == VIA]
    last = [round(later - sooner, 3) for sooner, later in pairwise(on_udp)]
    assert last[-2:] == [timing.WAITING_INTERVAL] * 2


def test_the_card_names_no_address_of_a_stream() -> None:
    """Nobody could send UDP there."""
    bench = Streamed()
    bench.answer()
    bench.run(timing.WAITING_INTERVAL)
    assert PEER not in bench.own_card().observed


def test_nothing_is_said_over_a_stream_that_has_ended() -> None:
    bench = Streamed()
    bench.end.control_disconnected(STREAM, bench.now)
    before = len(bench.said())
    bench.run(60.0)
    assert len(bench.said()) == before


def test_a_stream_made_anew_is_announced_on_anew() -> None:
    bench = Streamed()
    bench.answer()
    bench.end.control_disconnected(STREAM, bench.now)
    bench.open(via=8)
    assert [type(message) for message in bench.said(8)] == [v2.Announce]


def test_when_udp_works_again_nothing_more_is_said_over_streams_not_even_farewell() -> None:
    """LEAVE would clear the registration that was just made on UDP: it is the same attempt's."""
    bench = Streamed()
    bench.answer()
    bench.wait()
    before = len(bench.said())
    bench.run(timing.SILENCE_NOTICE - 0.1)
    bench.close()
    bench.run(1.0)
    assert len(bench.said()) == before


def test_an_end_that_stops_takes_leave_over_the_stream() -> None:
    bench = Streamed()
    bench.answer()
    bench.close()
    bench.run(1.0)
    assert [type(message) for message in bench.said()[-3:]] == [v2.Leave] * 3


# What is believed.


def test_a_partner_is_introduced_over_the_stream() -> None:
    bench = Streamed()
    puppet = bench.puppet(holds=True)
    bench.over_stream(bench.introduction(puppet))
    assert bench.event(Introduced).remote == puppet.at


@pytest.mark.parametrize("via", [VIA, 8])
def test_what_comes_from_there_by_another_way_is_no_answer(via: Via) -> None:
    """A control's stream and its UDP port may have the same number."""
    bench = Streamed()
    answer = v2.Waiting(bench.registered, bench.counter(FAR), PEER, 0, v2.NO_ATTEMPT)
    bench.over_stream(answer, via)
    assert bench.drops(Drop.UNEXPECTED_SOURCE) == 1


def test_an_answer_on_udp_is_none_over_a_stream() -> None:
    bench = Streamed()
    answer = v2.Waiting(bench.registered, bench.counter(CONTROL), A, 0, v2.NO_ATTEMPT)
    bench.receive(seal(CONTROL_CHANNELS["a"].from_control, answer), CONTROL, STREAM)
    assert bench.drops(Drop.UNEXPECTED_SOURCE) == 1
    assert wanted(bench) == [True]


def test_that_udp_is_blocked_is_told_once_before_what_control_says() -> None:
    bench = Streamed()
    bench.answer()
    bench.run(60.0)
    reasons = [event.reason for event in bench.events(Waiting)]
    silent, blocked = Reason.SECRET_REJECTED_OR_SILENT, Reason.UDP_BLOCKED
    assert reasons[:3] == [silent, blocked, Reason.PARTNER_ABSENT]
    assert "relayed over TLS" in bench.events(Waiting)[1].detail


# An end that hands its port over.


class HandingOver(Streamed):
    def __init__(self) -> None:
        super().__init__(holds=False, deadline=20.0)

    def answer_probe(self, echo: bytes | None = None, via: Via = STREAM) -> None:
        (probe,) = self.said()
        assert isinstance(probe, v2.Observe)
        self.over_stream(v2.Observed(echo or probe.echo, PEER), via)


def test_an_end_that_hands_over_only_asks_whether_control_is_there() -> None:
    bench = HandingOver()
    bench.run(10.0)
    assert [type(message) for message in bench.said()] == [v2.Observe]


def test_an_answer_over_a_stream_tells_that_udp_is_blocked() -> None:
    bench = HandingOver()
    bench.answer_probe()
    bench.run(30.0)
    told = [event.reason for event in bench.events(Waiting)]
    assert told == [Reason.SECRET_REJECTED_OR_SILENT, Reason.UDP_BLOCKED]
    failed = bench.event(Failed)
    assert failed.reason is Reason.UDP_BLOCKED
    assert "a firewall here drops UDP" in failed.detail


@pytest.mark.parametrize(("echo", "via"), [(b"forgotten"[:8], STREAM), (None, VIA)])
def test_another_answer_does_not(echo: bytes | None, via: Via) -> None:
    bench = HandingOver()
    bench.answer_probe(echo, via)
    bench.run(30.0)
    assert bench.event(Failed).reason is Reason.SECRET_REJECTED_OR_SILENT


def test_streams_that_have_answered_are_not_wanted_any_more() -> None:
    """Connecting again and again would only cost control."""
    bench = HandingOver()
    bench.answer_probe()
    bench.run(10.0)
    assert wanted(bench) == [True, False]


def test_udp_that_works_again_is_reported() -> None:
    bench = HandingOver()
    bench.answer_probe()
    bench.wait()
    assert bench.events(Waiting)[-1].reason is Reason.PARTNER_ABSENT
    bench.run(30.0)
    assert bench.event(Failed).reason is Reason.PARTNER_ABSENT
