"""The successor beside a held link: when it begins, when it takes over, how often it may."""

from __future__ import annotations

from itertools import pairwise

import pytest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.end import EndState
from netpunch.core.events import (
    CloseSocket,
    FollowRoutes,
    Lost,
    Moved,
    MoveReason,
    OpenSockets,
    Payload,
)
from netpunch.core.settings import USUAL_CANDIDATES
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import EndName
from tests.core.v2_bench import Bench, Puppet, linked
from tests.core.v2_pair import ELSEWHERE, ENDS, VIA, A, only

SETTLED = 3.0
"""Seconds after which an end has said all that it says at the start of a link."""
RTT = 0.02


def held(end: EndName = "b", **settings: object) -> tuple[Bench, Puppet]:
    bench, puppet = linked(end, holds=True, **settings)
    if end == "b":
        bench.done(puppet)
    bench.wait(standby=b"standby2")
    bench.run(SETTLED)
    return bench, puppet


def purposes(bench: Bench) -> list[int]:
    return [each.purpose for each in bench.all(v2.Announce)]


def asks(bench: Bench, attempt: bytes = b"standby2") -> Puppet:
    """The partner's successor, introduced with its proof, from another address."""
    puppet = bench.puppet(attempt, at=ELSEWHERE, holds=True)
    bench.introduce(puppet)
    return puppet


def moved(bench: Bench, puppet: Puppet) -> Moved:
    """The puppet's path is agreed; only for end b, whose puppet nominates."""
    bench.validate(puppet)
    agreed = puppet.attempt, bench.attempt, sequence(puppet)
    bench.receive(puppet.says(v2.Nominate(*agreed, 3, 0)), puppet.at)
    bench.receive(puppet.says(v2.Done(*agreed)), puppet.at)
    return bench.events(Moved)[-1]


def sequence(puppet: Puppet) -> bytes:
    return puppet.number.to_bytes(4, "big") + b"rand"


class TestWhenItBegins:
    @pytest.mark.parametrize("end", ENDS)
    def test_a_path_whose_own_address_is_gone_begins_it_at_once(self, end: EndName) -> None:
        bench, _ = held(end)
        bench.end.network_changed(["192.0.2.77"], bench.now, gone=True)
        [announced] = [
            each.sent.message
            for each in bench.run(0.0)
            if isinstance(each.sent.message, v2.Announce)
        ]
        assert announced.purpose == v2.Purpose.PUNCH
        assert bench.event(FollowRoutes)

    def test_a_changed_network_is_a_reason_only_if_a_ping_stays_unanswered(self) -> None:
        bench, puppet = held()
        for _ in range(20):
            bench.end.network_changed(["192.0.2.77"], bench.now)
            bench.pong_all(puppet, [timed.sent for timed in bench.run(RTT)])
            bench.run(1.0)
        assert set(purposes(bench)[-3:]) == {v2.Purpose.STANDBY}
        bench.end.network_changed(["192.0.2.77"], bench.now)
        bench.run(1.0)
        assert purposes(bench)[-1] == v2.Purpose.PUNCH

    @pytest.mark.parametrize("woke", [False, True])
    def test_the_partner_hears_nothing_of_the_reason_but_users_do(self, woke: bool) -> None:
        bench, _ = held()
        bench.end.network_changed(["192.0.2.77"], bench.now, gone=True, woke=woke)
        bench.run(0.0)
        expected = MoveReason.WOKE if woke else MoveReason.NETWORK_CHANGED
        assert moved(bench, asks(bench)).reason is expected

    def test_a_program_that_is_not_answered_has_the_path_pinged_and_then_begins_it(
        self,
    ) -> None:
        bench, _ = held(keepalive=600.0)
        began = bench.now
        bench.end.send_payload(b"hello?", bench.now)
        bench.end.datagrams_to_send()
        bench.run_until(lambda: purposes(bench)[-1] == v2.Purpose.PUNCH)
        pings = [t for t in bench.sent if isinstance(t.sent.message, v2.Ping) and t.time > began]
        assert len(pings) >= timing.SILENCE_PINGS
        assert pings[0].time - began == pytest.approx(timing.SILENCE_LEAST, abs=0.02)
        assert bench.now - began < 2.0

    def test_programs_that_talk_both_ways_cause_no_ping(self) -> None:
        bench, puppet = held(keepalive=600.0)
        before = len(bench.all(v2.Ping))
        for _ in range(100):
            bench.end.send_payload(b"hello?", bench.now)
            bench.end.datagrams_to_send()
            bench.receive(b"hello!", puppet.at)
            bench.run(0.1)
        assert len(bench.all(v2.Ping)) == before

    def test_a_control_that_sees_this_end_elsewhere_has_the_path_pinged(self) -> None:
        bench, puppet = held(keepalive=600.0)
        before = len(bench.all(v2.Ping))
        elsewhere = A._replace(port=A.port + 1)
        bench.run(timing.WAITING_INTERVAL)
        counter = bench.counter()
        bench.control_says(
            v2.Waiting(bench.registered, counter, elsewhere, v2.NEVER_HEARD, v2.NO_ATTEMPT)
        )
        assert len(bench.all(v2.Ping)) == before + 1
        bench.run(1.0)
        assert purposes(bench)[-1] == v2.Purpose.PUNCH
        assert puppet

    def test_another_socket_of_ours_that_is_seen_elsewhere_is_no_reason(self) -> None:
        """As behind a hard NAT, when another socket has won than the one that announces."""
        bench, _ = held(candidates=USUAL_CANDIDATES, keepalive=600.0)
        asks(bench)
        bench.run_until(lambda: bench.events(OpenSockets))
        bench.open_sockets({55: Address("0.0.0.0", 20055)})
        bench.run(0.1)
        assert moved(bench, asks(bench, b"partner3")).via == VIA
        before = len(bench.all(v2.Ping))
        elsewhere = A._replace(port=A.port + 1)
        waiting = v2.Waiting(bench.registered, bench.counter(), elsewhere, 0, v2.NO_ATTEMPT)
        bench.control_says(waiting)
        bench.run(0.0)
        assert len(bench.all(v2.Ping)) == before
        bench.run(timing.WAITING_INTERVAL)
        bench.control_says(waiting._replace(counter=bench.counter(), observed=A))
        assert len(bench.all(v2.Ping)) == before + 1, "later it is"

    def test_only_a_proved_introduction_begins_it(self) -> None:
        bench, _ = held()
        stranger = bench.puppet(b"standby2", at=ELSEWHERE, holds=True)
        assert bench.introduce(stranger, proof=False) == []
        assert only(v2.Ping, bench.introduce(stranger))

    def test_a_partner_that_pings_it_directly_is_not_answered(self) -> None:
        """It has to ask by way of a control: then the card shows that it is no recording."""
        bench, _ = held()
        stranger = bench.puppet(b"standby2", at=ELSEWHERE, holds=True)
        ping = v2.Ping(stranger.attempt, bench.registered, stranger.new_sequence(), 0)
        assert bench.receive(stranger.says(ping), ELSEWHERE) == []

    def test_the_partner_that_never_heard_of_the_link_is_agreed_with_beside_it(self) -> None:
        """Our ACCEPT was lost, and the path died: the partner's attempt is still the link's own."""
        bench, puppet = held()
        assert bench.introduce(puppet) == [], "on standby it may only not have heard yet"
        bench.end.network_changed(["192.0.2.77"], bench.now, gone=True)
        bench.run(0.0)
        assert only(v2.Ping, bench.introduce(puppet))


class TestTakingOver:
    def test_the_link_is_on_the_new_path_in_one_step(self) -> None:
        bench, _ = held()
        event = moved(bench, asks(bench))
        assert event.remote == ELSEWHERE
        assert event.reason is MoveReason.PARTNER_ASKED
        assert bench.end.state is EndState.HOLDING
        bench.end.send_payload(b"hello", bench.now)
        assert bench.end.datagrams_to_send()[-1].destination == ELSEWHERE

    def test_the_old_socket_may_win_when_a_fresh_port_was_taken(self) -> None:
        """A NAT's mapping of it lives on, or a relay's binding."""
        bench, _ = held(candidates=USUAL_CANDIDATES)
        asks(bench)
        bench.run_until(lambda: bench.events(OpenSockets))
        bench.open_sockets({55: Address("0.0.0.0", 20055)})
        bench.run(0.1)
        assert moved(bench, asks(bench, b"partner3")).via == VIA
        assert CloseSocket(55) in bench.told

    def test_what_comes_on_the_old_path_is_delivered_for_a_while(self) -> None:
        bench, puppet = held()
        moved(bench, asks(bench))
        bench.receive(b"late", puppet.at)
        assert bench.event(Payload) == Payload(b"late")
        bench.run(timing.RETIRED_FOR + 0.1)
        bench.receive(b"too late", puppet.at)
        assert len(bench.events(Payload)) == 1

    def test_pings_on_the_old_path_are_not_answered(self) -> None:
        """A partner that still holds it, as it has agreed with us on nothing else, finds out."""
        bench, puppet = held()
        ping = v2.Ping(puppet.attempt, bench.attempt, puppet.new_sequence(), 0)
        moved(bench, asks(bench))
        assert bench.receive(puppet.says(ping), puppet.at) == []
        assert bench.drops(Drop.WRONG_ATTEMPT) == 1

    def test_the_figures_are_those_of_the_new_path_but_programs_datagrams_count_on(self) -> None:
        """Also those that still come on the old path."""
        bench, puppet = held()
        bench.end.send_payload(b"1234", bench.now)
        bench.end.datagrams_to_send()
        moved(bench, asks(bench))
        bench.end.send_payload(b"56", bench.now)
        bench.end.datagrams_to_send()
        bench.receive(b"late", puppet.at)
        bench.receive(b"new", ELSEWHERE)
        figures = bench.end.figures
        assert figures is not None
        assert (figures.moves, figures.since) == (1, bench.now)
        assert (figures.sent_datagrams, figures.sent_bytes) == (2, 6)
        assert (figures.received_datagrams, figures.received_bytes) == (2, 7)

    def test_every_move_has_a_session_key_of_its_own(self) -> None:
        bench, _ = held()
        keys = set()
        for number in range(5):
            keys.add(moved(bench, asks(bench, b"attempt%d" % number)).session_key)
            bench.run(timing.MOVE_INTERVAL)
        assert len(keys) == 5

    def test_no_recording_of_an_earlier_move_begins_another(self) -> None:
        bench, _ = held()
        asked = asks(bench)
        recorded = list(bench.received)
        moved(bench, asked)
        bench.run(SETTLED)
        before = len(bench.all(v2.Announce))
        for data, source in recorded:
            bench.receive(data, source)
        bench.run(0.5)
        assert v2.Purpose.PUNCH not in purposes(bench)[before:]


class TestFailing:
    def test_a_living_link_stays_as_it_was(self) -> None:
        bench, puppet = held(keepalive=600.0)
        asks(bench)
        bench.run(timing.MOVE_FOR + 1.0)
        assert bench.end.state is EndState.HOLDING
        assert not bench.events(Moved)
        assert purposes(bench)[-1] == v2.Purpose.STANDBY
        bench.receive(b"still here", puppet.at)
        assert bench.event(Payload)

    def test_a_path_that_works_again_calls_it_off_if_no_partner_is_there(self) -> None:
        bench, puppet = held(keepalive=600.0)
        bench.end.network_changed(["192.0.2.77"], bench.now, gone=True)
        pings = [t.sent for t in bench.run(1.5) if isinstance(t.sent.message, v2.Ping)]
        assert purposes(bench)[-1] == v2.Purpose.PUNCH
        number = puppet.attempt
        for ping in pings:
            pong = v2.Pong(number, linked_attempt(bench), ping.message.sequence, A)  # type: ignore[union-attr]
            bench.receive(puppet.says(pong), puppet.at)
        bench.run(1.0)
        assert purposes(bench)[-1] == v2.Purpose.STANDBY
        assert not bench.events(Lost)

    def test_a_dead_link_is_given_up_after_hold_for(self) -> None:
        bench, _ = held(hold_for=20.0)
        bench.end.network_changed(["192.0.2.77"], bench.now, gone=True)
        bench.run(20.0 + SETTLED)
        assert bench.events(Lost)


class TestBounds:
    def test_it_begins_at_most_once_a_second_and_ten_times_a_minute(self) -> None:
        """Whoever asks: here a partner that asks anew as soon as one has failed."""
        bench, _ = held(keepalive=3600.0)
        starts: list[float] = []
        until = bench.now + 300.0
        while bench.now < until:
            before = bench.attempt
            anew = bench.puppet(b"%08d" % len(starts), at=ELSEWHERE, holds=False)
            bench.introduce(anew)
            bench.run(0.2)
            if bench.attempt != before:
                starts.append(bench.now)
        assert len(starts) > 10
        assert min(b - a for a, b in pairwise(starts)) >= 0.8
        for first, eleventh in zip(starts, starts[10:], strict=False):
            assert eleventh - first >= 59.0

    def test_attempts_that_it_begins_anew_count_too(self) -> None:
        """Here with a partner that never answers a nomination, so that each leads nowhere."""
        bench, _ = held("a", keepalive=3600.0)
        before = len(bench.sent)
        number, until = 0, bench.now + 240.0
        while bench.now < until:
            number += 1
            partner = bench.puppet(b"%08d" % number, at=ELSEWHERE, holds=True)
            bench.introduce(partner)
            if bench.attempt == bench.registered:
                bench.validate(partner)
            ours, latest = bench.registered, bench.now + 20.0
            while bench.registered == ours and bench.now < latest:
                bench.run(0.5)
        first_sent: dict[bytes, float] = {}
        for timed in bench.sent[before:]:
            message = timed.sent.message
            if isinstance(message, v2.Announce) and message.purpose == v2.Purpose.PUNCH:
                first_sent.setdefault(message.attempt, timed.time)
        times = list(first_sent.values())
        assert bench.all(v2.Nominate)
        assert len(times) > 10
        for first, eleventh in zip(times, times[10:], strict=False):
            assert eleventh - first >= 59.0


def linked_attempt(bench: Bench) -> bytes:
    """The attempt that the link was agreed by."""
    announced = [each for each in bench.all(v2.Announce) if each.purpose == v2.Purpose.PUNCH]
    return announced[0].attempt
