"""netpunch.core.observing: asks real controls, without a network between."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from netpunch.address import Address
from netpunch.core.control.control import ControlV2
from netpunch.core.machine import NEVER, Transmit
from netpunch.core.observing import PATIENCE, RETRIES, TOKENS, Observing, Question
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import CONTROL_DATAGRAM, ControlChannel
from netpunch.wire.keys import control_key

KEY = control_key(os.urandom(32), "p")
CONTROL, SECOND = Address("198.51.100.1", 10001), Address("198.51.100.1", 10002)
OUTSIDE = {0: Address("203.0.113.5", 40000), 1: Address("203.0.113.5", 40001)}
LONGEST = sum(RETRIES) + PATIENCE


class World:
    """A control that sees each socket of the machine at its OUTSIDE address."""

    def __init__(
        self,
        questions: Sequence[Question],
        *,
        key: bytes = KEY,
        relay_port: int = 0,
        streams: int = 0,
        loops_back: bool = False,
    ) -> None:
        self.done = 0
        self.control = ControlV2({"p": key}, random=os.urandom)
        self.control.relay.port = relay_port
        self.asking = Observing(
            ControlChannel(KEY, "p", "a"),
            questions,
            streams=streams,
            loops_back=loops_back,
            random=os.urandom,
            now=0.0,
            on_done=self._count,
        )

    def _count(self) -> None:
        self.done += 1

    def run_timer(self, now: float) -> list[Transmit]:
        self.asking.handle_timer(now)
        return self.asking.datagrams_to_send()

    def answer(self, asked: Sequence[Transmit], now: float) -> None:
        """Control hears these datagrams, and the machine its answers, at once."""
        for data, destination, via, _ in asked:
            self.control.receive_datagram(data, OUTSIDE[via], now, 0)
            for answer in self.control.datagrams_to_send():
                self.asking.receive_datagram(answer.data, destination, now, via)


def test_an_answer_tells_the_outside_address_the_round_trip_and_the_relay() -> None:
    world = World([Question(0, CONTROL)], relay_port=10003)
    asked = world.run_timer(0.0)
    world.answer(asked, 0.02)
    answer = world.asking.answers[Question(0, CONTROL)]
    assert answer == (OUTSIDE[0], 0.02, 10003)
    assert world.done == 1
    assert world.asking.next_timer() == NEVER


def test_it_registers_nobody() -> None:
    world = World([Question(0, CONTROL)])
    world.answer(world.run_timer(0.0), 0.0)
    assert world.control.registered == 0
    assert not world.control.absences().ends
    assert world.control.next_event() is None


def test_a_silent_control_is_given_up_in_time_and_asked_four_times() -> None:
    world = World([Question(0, CONTROL)])
    sent, now = 0, 0.0
    while not world.done:
        now = world.asking.next_timer()
        sent += len(world.run_timer(now))
    assert sent == 1 + len(RETRIES)
    assert now == pytest.approx(LONGEST)
    assert not world.asking.answers


def test_only_what_is_unanswered_is_asked_again() -> None:
    world = World([Question(0, CONTROL), Question(0, SECOND)])
    first = world.run_timer(0.0)
    world.answer(first[:1], 0.0)
    again = world.run_timer(world.asking.next_timer())
    assert [each.destination for each in again] == [SECOND]


def test_the_wrong_key_is_met_with_silence() -> None:
    world = World([Question(0, CONTROL)], key=control_key(os.urandom(32), "p"))
    world.answer(world.run_timer(0.0), 0.0)
    assert not world.asking.answers
    assert world.control.drops[Drop.BAD_MAC] == 1


def test_an_answer_from_elsewhere_or_to_another_socket_does_not_count() -> None:
    world = World([Question(0, CONTROL)])
    [asked] = world.run_timer(0.0)
    world.control.receive_datagram(asked.data, OUTSIDE[0], 0.0, 0)
    [answer] = world.control.datagrams_to_send()
    world.asking.receive_datagram(answer.data, SECOND, 0.0, 0)
    world.asking.receive_datagram(answer.data, CONTROL, 0.0, 1)
    world.asking.receive_datagram(os.urandom(CONTROL_DATAGRAM), CONTROL, 0.0, 0)
    assert not world.asking.answers
    assert world.asking.drops[Drop.UNEXPECTED] == 2


def test_a_stream_is_asked_about_once_it_is_connected() -> None:
    world = World([], streams=1)
    assert not world.run_timer(0.0)
    world.asking.control_connected(0, CONTROL, Address("192.168.1.2", 1), 0.1)
    world.answer(world.asking.datagrams_to_send(), 0.15)
    assert world.asking.answers[Question(0, CONTROL)].rtt == pytest.approx(0.05)
    assert world.done == 1


def both(*, control: Address = CONTROL) -> list[Question]:
    return [Question(0, control), Question(1, control)]


def test_a_router_that_turns_datagrams_around_is_noticed() -> None:
    world = World(both(), loops_back=True)
    world.answer(world.run_timer(0.0), 0.0)
    one, other = world.asking.datagrams_to_send()
    assert (one.via, one.destination) == (0, OUTSIDE[1])
    assert (other.via, other.destination) == (1, OUTSIDE[0])
    world.asking.receive_datagram(one.data, OUTSIDE[0], 0.0, 1)
    assert world.asking.looped_back
    assert world.done == 1


def test_a_router_that_does_not_is_given_up_soon() -> None:
    world = World(both(), loops_back=True)
    world.answer(world.run_timer(0.0), 0.0)
    sent = len(world.asking.datagrams_to_send())
    while not world.done:
        sent += len(world.run_timer(world.asking.next_timer()))
    assert world.asking.looped_back is False
    assert sent == 2 * TOKENS


def test_sockets_that_are_seen_at_several_ports_send_nothing_to_one_another() -> None:
    world = World([*both(), *both(control=SECOND)], loops_back=True)
    for number, asked in enumerate(world.run_timer(0.0)):
        world.control.receive_datagram(asked.data, Address("203.0.113.5", 41000 + number), 0.0, 0)
        for answer in world.control.datagrams_to_send():
            world.asking.receive_datagram(answer.data, asked.destination, 0.0, asked.via)
    assert world.done == 1
    assert world.asking.looped_back is None
    assert not world.asking.datagrams_to_send()


def test_it_is_done_once_whatever_comes_later() -> None:
    world = World([Question(0, CONTROL)])
    asked = world.run_timer(0.0)
    world.answer(asked, 0.0)
    world.answer(asked, 0.1)
    assert world.done == 1
    assert world.asking.answers[Question(0, CONTROL)].rtt == 0.0
