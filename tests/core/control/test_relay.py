"""The relay: who is bound to it, what it passes on, and how much of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netpunch.address import Address
from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.core.control.registrations import Pairs
from netpunch.core.control.relay import (
    HEADERS,
    LARGEST,
    TRANSITIONS,
    Relay,
    State,
    burst,
)
from netpunch.core.machine import Transmit
from netpunch.core.timing import BIND_RATE, BINDING_LIFETIME, EXPIRE
from netpunch.wire import classic, v2
from netpunch.wire.drop import Drop
from netpunch.wire.v2 import pack_address
from tests.core.control.relaying import RELAY_PORT, RELAY_VIA, Binder, make_relay, registered
from tests.core.v2_pair import (
    CONTROL_CHANNELS,
    CONTROL_KEY,
    ELSEWHERE,
    PAIR,
    PEER_CHANNELS,
    A,
    B,
    Voice,
    only,
    say,
    seal,
)

A_MOVED = Address(A.host, 5001)
PAYLOADS = [b"", b"\xf2", b"hello", bytes(384), b"\xf2\x09".ljust(384, b"x"), bytes(65507)]
SLOW = 64_000.0
"""Bits a second: 8,000 bytes."""


@pytest.fixture
def control() -> ControlV2:
    return make_relay()


@pytest.fixture
def a(control: ControlV2) -> Binder:
    return registered(control, "a", A, 0.0)


@pytest.fixture
def b(control: ControlV2) -> Binder:
    return registered(control, "b", B, 0.0)


class TestBinding:
    def test_an_end_binds_with_a_cookie(self, control: ControlV2, a: Binder) -> None:
        (challenge,) = a.ask(control, 1.0)
        assert challenge.message == v2.Challenge(a.attempt, 1, a.cookie)
        assert (challenge.destination, challenge.via) == (A, RELAY_VIA)
        assert control.relay.bound == 0
        (bound,) = a.ask(control, 1.1)
        assert bound.message == v2.Bound(a.attempt, 2, A, 0, int(BINDING_LIFETIME))
        assert control.relay.bound == 1

    def test_bound_tells_whether_the_partner_is_bound(
        self, control: ControlV2, a: Binder, b: Binder
    ) -> None:
        assert a.bind(control, 1.0).partner_bound == 0
        assert b.bind(control, 1.0).partner_bound == 1
        assert a.bind(control, 1.0).partner_bound == 1

    def test_a_bound_address_needs_no_cookie_again(self, control: ControlV2, a: Binder) -> None:
        a.bind(control, 1.0)
        a.cookie = v2.NO_COOKIE
        (bound,) = a.ask(control, 100.0)
        assert only(v2.Bound, [bound])
        control.handle_timer(100.0 + BINDING_LIFETIME - 1.0)
        assert control.relay.bound == 1

    def test_another_address_needs_a_cookie_of_its_own(self, control: ControlV2, a: Binder) -> None:
        a.bind(control, 1.0)
        a.source = A_MOVED
        (challenge,) = a.ask(control, 1.1)
        assert only(v2.Challenge, [challenge])
        assert control.relay.sources[RELAY_VIA].keys() == {v2.pack_address(A)}
        a.bind(control, 1.2)
        assert control.relay.sources[RELAY_VIA].keys() == {v2.pack_address(A_MOVED)}

    def test_a_cookie_for_announcements_binds_nothing(self, control: ControlV2) -> None:
        voice = Voice("a", A, b"attemptb")
        voice.register(control, 0.0)
        a = Binder("a", voice.attempt, A, cookie=voice.cookie)
        assert only(v2.Challenge, a.ask(control, 0.1))

    def test_a_cookie_of_one_socket_binds_nothing_at_another(
        self, control: ControlV2, a: Binder
    ) -> None:
        a.ask(control, 1.0)
        control.relay.serve(RELAY_VIA + 1)
        a.via = RELAY_VIA + 1
        assert only(v2.Challenge, a.ask(control, 1.0))

    def test_only_the_registered_and_proved_attempt_binds(self, control: ControlV2) -> None:
        a = Binder("a", b"attempta", A)
        assert a.ask(control, 0.0) == []
        voice = Voice("a", A, a.attempt)
        voice.announce(control, 0.0)
        assert a.ask(control, 0.0) == []
        assert control.drops == {Drop.WRONG_ATTEMPT: 2}
        voice.announce(control, 0.0)
        a.bind(control, 0.0)

    def test_a_later_attempt_displaces_the_binding_only_when_it_binds(
        self, control: ControlV2, a: Binder
    ) -> None:
        a.bind(control, 1.0)
        later = registered(control, "a", A_MOVED, 2.0, b"attempt2")
        assert only(v2.Bound, a.ask(control, 2.0)), "the earlier attempt keeps its binding"
        later.bind(control, 3.0)
        assert a.ask(control, 3.1) == []
        assert control.drops[Drop.WRONG_ATTEMPT] == 1

    def test_a_binding_outlives_its_registration(
        self, control: ControlV2, a: Binder, b: Binder
    ) -> None:
        b.bind(control, 1.0)
        a.bind(control, 1.0)
        for each in (a, b):
            leave = v2.Leave(each.attempt, 100)
            say(control, seal(CONTROL_CHANNELS[each.end].to_control, leave), each.source, 2.0)
        assert control.registered == 0
        assert a.send(control, b"hello", 2.0) == [Transmit(b"hello", B, RELAY_VIA)]
        assert a.bind(control, 3.0).partner_bound == 1

    def test_a_binding_ends_after_silence(self, control: ControlV2, a: Binder, b: Binder) -> None:
        a.bind(control, 0.0)
        b.bind(control, 0.0)
        a.send(control, b"hello", 100.0)
        control.handle_timer(BINDING_LIFETIME + 1.0)
        assert control.relay.sources[RELAY_VIA].keys() == {v2.pack_address(A)}
        assert a.send(control, b"hello", BINDING_LIFETIME + 1.0) == []
        assert control.relay.total.no_partner == 1
        assert control.next_timer() <= BINDING_LIFETIME + 1.0 + BINDING_LIFETIME
        control.handle_timer(2 * BINDING_LIFETIME + 2.0)
        assert control.relay.bound == 0

    def test_a_counter_counts_once(self, control: ControlV2, a: Binder) -> None:
        a.bind(control, 0.0)
        for counter in (a.counter, a.counter - 1, 0):
            assert a.ask(control, 0.1, counter) == []
        assert control.drops == {Drop.STALE: 3}

    def test_an_end_refreshes_its_binding_so_many_times_a_second(
        self, control: ControlV2, a: Binder
    ) -> None:
        a.bind(control, 0.0)
        answered = sum(len(a.ask(control, 0.001 * number)) for number in range(1000))
        assert BIND_RATE <= answered <= 2 * BIND_RATE + 1
        assert control.drops[Drop.OVER_LIMIT] == 1000 - answered

    def test_a_socket_that_does_not_relay_takes_no_bind(
        self, control: ControlV2, a: Binder
    ) -> None:
        a.via = 0
        assert a.ask(control, 0.0) == []
        assert control.drops == {Drop.UNEXPECTED: 1}

    def test_an_address_is_bound_for_one_pair(self, control: ControlV2, a: Binder) -> None:
        other = CONTROL_KEY[::-1]
        control.replace_pairs({PAIR: CONTROL_KEY, "other": other})
        a.bind(control, 0.0)
        b = registered(control, "b", B, 0.0)
        b.source = A
        b.ask(control, 0.0)
        assert b.ask(control, 0.0) == []
        assert control.drops == {Drop.UNEXPECTED_SOURCE: 1}
        assert control.relay.bound == 1

    def test_pairs_with_one_source_are_told_by_the_port_of_the_relay(self) -> None:
        """As those are that share a port of their host."""
        relay, source = Relay(), pack_address(A)
        for via in (1, 2):
            relay.serve(via)
        pairs = Pairs({"one": CONTROL_KEY, "two": CONTROL_KEY})
        one, two = (pair.record(0) for pair in pairs.by_tag.values())
        first = relay.bind(one, b"attempt1", 1, source, A, 1, 0.0)
        assert relay.bind(two, b"attempt2", 1, source, A, 1, 0.0) is None
        second = relay.bind(two, b"attempt2", 1, source, A, 2, 0.0)
        assert (relay.sources[1][source], relay.sources[2][source]) == (first, second)
        assert relay.bind(one, b"attempt1", 2, source, A, 2, 0.0) is None
        assert relay.sources[1][source] is first, "nor is it moved there"

    def test_a_pair_that_is_no_longer_served_is_unbound(
        self, control: ControlV2, a: Binder, b: Binder
    ) -> None:
        a.bind(control, 0.0)
        b.bind(control, 0.0)
        control.replace_pairs({PAIR: CONTROL_KEY})
        assert control.relay.bound == 2
        control.replace_pairs({PAIR: CONTROL_KEY[::-1]})
        assert control.relay.bound == 0
        assert control.relay.busiest(10) == []
        assert a.send(control, b"hello", 0.0) == []
        control.handle_timer(BINDING_LIFETIME + 1.0)

    def test_a_stream_that_ends_is_unbound(self, control: ControlV2, a: Binder) -> None:
        a.bind(control, 0.0)
        control.relay.forget(RELAY_VIA, ELSEWHERE)
        control.relay.forget(RELAY_VIA + 1, A)
        assert control.relay.bound == 1
        control.relay.forget(RELAY_VIA, A)
        assert control.relay.bound == 0
        a.cookie = v2.NO_COOKIE
        assert only(v2.Challenge, a.ask(control, 0.1))

    def test_observed_tells_the_port(self, control: ControlV2) -> None:
        question = seal(CONTROL_CHANNELS["a"].to_control, v2.Observe(b"echoecho"))
        (answer,) = say(control, question, A, 0.0)
        assert answer.message == v2.Observed(b"echoecho", A, RELAY_PORT)


class TestPassing:
    @pytest.mark.parametrize("data", PAYLOADS, ids=len)
    def test_what_is_no_bind_reaches_the_partner_verbatim(
        self, control: ControlV2, a: Binder, b: Binder, data: bytes
    ) -> None:
        node = ControlNode(control, ClassicControl({"a": b"secret"}))
        control.relay.serve(RELAY_VIA + 1)
        b.via = RELAY_VIA + 1
        a.bind(node, 0.0)
        b.bind(node, 0.0)
        assert a.send(node, data, 1.0) == [Transmit(data, B, RELAY_VIA + 1)]
        assert b.send(node, data, 2.0) == [Transmit(data, A, RELAY_VIA)]
        figures = control.relay.busiest(1)[0]
        assert (figures.datagrams, figures.octets) == (2, 2 * len(data))
        assert node.drops == {}

    def test_datagrams_of_netpunch_pass(self, control: ControlV2, a: Binder, b: Binder) -> None:
        a.bind(control, 0.0)
        b.bind(control, 0.0)
        ping = seal(PEER_CHANNELS["a"].outgoing, v2.Ping(a.attempt, b.attempt, bytes(8), 0))
        answer = seal(CONTROL_CHANNELS["a"].from_control, v2.Observed(b"echoecho", A))
        for data in (ping, answer, classic.sign(b"secret", b"x")):
            node = ControlNode(control, ClassicControl({"a": b"secret"}))
            assert a.send(node, data, 1.0) == [Transmit(data, B, RELAY_VIA)]

    def test_strangers_are_dropped_and_counted(
        self, control: ControlV2, a: Binder, b: Binder
    ) -> None:
        node = ControlNode(control, ClassicControl({"a": b"secret"}))
        a.bind(node, 0.0)
        b.bind(node, 0.0)
        stranger = replace(a, source=ELSEWHERE)
        for data in PAYLOADS:
            assert stranger.send(node, data, 1.0) == []
        assert control.relay.strangers == len(PAYLOADS)
        assert node.next_event() is None or node.drops == {}

    def test_nothing_passes_before_the_partner_is_bound(
        self, control: ControlV2, a: Binder
    ) -> None:
        a.bind(control, 0.0)
        assert a.send(control, b"hello", 1.0) == []
        (pair,) = control.relay.busiest(10)
        assert (pair.datagrams, pair.no_partner) == (0, 1)

    def test_announcements_work_on_a_socket_of_the_relay(self, control: ControlV2) -> None:
        """As they must where a stream carries everything."""
        a = Binder("a", b"attempta", A)
        announcement = Voice("a", A, a.attempt)
        for now in (0.0, 0.1):
            answers = say(control, announcement.announcement(), A, now, RELAY_VIA)
            announcement.take_cookie(answers)
            assert {(each.destination, each.via) for each in answers} == {(A, RELAY_VIA)}
        assert control.registered == 1
        a.bind(control, 0.2)
        control.handle_timer(EXPIRE + 1.0)
        assert control.registered == 0


class TestRates:
    def test_a_pair_gets_its_rate_and_one_burst(
        self, control: ControlV2, a: Binder, b: Binder
    ) -> None:
        a.bind(control, 0.0)
        b.bind(control, 0.0)
        control.relay.limit(SLOW, 100 * SLOW)
        sent = [(0.01 * number, (a, b)[number % 2]) for number in range(6000)]
        passed = sum(len(each.send(control, bytes(1000), now)) for now, each in sent)
        most = (burst(SLOW) + 60.0 * SLOW / 8) / (1000 + HEADERS)
        assert 0.99 * most < passed <= most
        (pair,) = control.relay.busiest(1)
        assert (pair.datagrams, pair.over_rate) == (passed, 6000 - passed)
        assert control.relay.total.over_rate == pair.over_rate

    def test_all_pairs_together_get_the_total_and_one_burst(
        self, control: ControlV2, a: Binder, b: Binder
    ) -> None:
        a.bind(control, 0.0)
        b.bind(control, 0.0)
        control.relay.limit(100 * SLOW, SLOW)
        passed = sum(len(a.send(control, bytes(1000), 0.01 * number)) for number in range(6000))
        most = (burst(SLOW) + 60.0 * SLOW / 8) / (1000 + HEADERS)
        assert 0.99 * most < passed <= most

    def test_the_longest_datagram_passes_at_any_rate(
        self, control: ControlV2, a: Binder, b: Binder
    ) -> None:
        a.bind(control, 0.0)
        b.bind(control, 0.0)
        control.relay.limit(1000.0, 1000.0)
        assert a.send(control, bytes(LARGEST), 1.0)
        assert not a.send(control, b"", 1.0)

    def test_of_a_batch_the_first_pass_as_far_as_the_rate_goes(
        self, control: ControlV2, a: Binder, b: Binder
    ) -> None:
        a.bind(control, 0.0)
        b.bind(control, 0.0)
        control.relay.limit(SLOW, SLOW)
        sender = control.relay.sources[RELAY_VIA][v2.pack_address(A)]
        room = int(burst(SLOW)) // (1000 + HEADERS)
        assert control.relay.admit(sender, [1000] * (room + 5), 1.0) == room
        assert control.relay.admit(sender, [1000] * 3, 1.0) == 0
        (pair,) = control.relay.busiest(1)
        assert (pair.datagrams, pair.octets, pair.over_rate) == (room, 1000 * room, 8)


def test_every_state_of_a_binding_is_left_and_reached() -> None:
    assert {before for before, _ in TRANSITIONS} == set(TRANSITIONS.values()) == set(State)
