"""How programs' datagrams are received: alone while they come alone, at once when they don't."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from random import Random

import pytest

if sys.platform != "linux":
    pytest.skip("recvmmsg(2) is Linux's", allow_module_level=True)

from netpunch.net import bulk
from netpunch.net.batch import BATCH, TURN
from netpunch.net.bulk import ALONE, Inlet
from netpunch.net.driver import MAX_PAYLOAD
from netpunch.net.segments import UDP_SEGMENT, join_on_arrival

SOON = 3 * ALONE
"""Datagrams: more than are received before the next check."""

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    sender, receiver = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with sender, receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        sender.connect(receiver.getsockname())
        yield sender, receiver


class Clock:
    """Stands still, but for what a test adds."""

    def __init__(self) -> None:
        self.now = 1.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(bulk, "clock", clock)
    return clock


def taking(inlet: Inlet, clock: Clock, seconds: float) -> int:
    """How many messages one call receives, if it takes so many seconds to pass each on."""
    received = inlet.receive()
    count = len(received.lengths)
    clock.now += count * seconds
    inlet.done(received)
    return count


def next_of(inlet: Inlet) -> tuple[list[bytes], bool]:
    """What one call receives, and whether that was of the kind that looks for many."""
    if inlet.alone:
        inlet.alone -= 1
        return [inlet.receive_one(MAX_PAYLOAD)[0]], False
    received = inlet.receive()
    got = list(map(bytes, inlet.datagrams(received, 0, len(received.lengths)).each))
    inlet.done(received)
    return got, True


def all_of(inlet: Inlet) -> list[bytes]:
    """What waits."""
    got: list[bytes] = []
    while True:
        try:
            got += next_of(inlet)[0]
        except BlockingIOError:
            return got


def together(sender: socket.socket, datagrams: list[bytes]) -> None:
    """As one message of segments."""
    cut = (socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("@H", len(datagrams[0])))
    sender.sendmsg(datagrams, [cut])


@pytest.mark.parametrize("joins", [True, False])
def test_datagrams_that_come_alone_are_soon_received_alone(pair: Pair, joins: bool) -> None:
    sender, receiver = pair
    inlet, checks = Inlet(receiver, joins=joins), 0
    for number in range(SOON):
        sender.send(b"%d" % number)
        got, checked = next_of(inlet)
        assert got == [b"%d" % number]
        checks += checked
    assert checks <= (ALONE if joins else 1) + SOON // ALONE
    sender.send(b"who")
    if not inlet.alone:
        inlet.receive()
        sender.send(b"who")
    assert inlet.receive_one(MAX_PAYLOAD) == (b"who", sender.getsockname())
    with pytest.raises(BlockingIOError):
        inlet.receive()


def test_no_more_messages_of_segments_are_received_than_fit_into_a_turn(
    pair: Pair, clock: Clock
) -> None:
    """Other sockets and timers wait meanwhile."""
    sender, receiver = pair
    inlet = Inlet(receiver)
    for _ in range(36):
        together(sender, [bytes(100)] * 10)
    assert [taking(inlet, clock, TURN / 3.5) for _ in range(3)] == [4, 3, 3], "as if sealed"
    assert [taking(inlet, clock, TURN / 50) for _ in range(4)] == [3, 6, 8, 8]
    assert taking(inlet, clock, TURN) == 1, "what is left"


def test_single_datagrams_are_received_in_ever_larger_batches(pair: Pair, clock: Clock) -> None:
    sender, receiver = pair
    inlet = Inlet(receiver)
    for number in range(130):
        sender.send(bytes(1 + number % 7))
    assert [taking(inlet, clock, TURN / 100) for _ in range(6)] == [4, 8, 16, 32, 64, 6]


def test_after_a_pause_few_messages_are_received_as_each_may_have_many_segments(
    pair: Pair, clock: Clock
) -> None:
    sender, receiver = pair
    inlet = Inlet(receiver)
    for _ in range(124):
        sender.send(b"single")
    assert [taking(inlet, clock, TURN / 100) for _ in range(5)] == [4, 8, 16, 32, 64]
    clock.now += 2 * TURN
    for _ in range(12):
        together(sender, [bytes(100)] * 10)
    assert [taking(inlet, clock, TURN / 4) for _ in range(3)] == [4, 4, 4]


def test_many_that_wait_are_soon_received_at_once(pair: Pair, clock: Clock) -> None:
    sender, receiver = pair
    inlet = Inlet(receiver, joins=False)
    sender.send(b"alone")
    assert next_of(inlet) == ([b"alone"], True), "the first look is a check"
    for _ in range(SOON):
        sender.send(bytes(100))
    calls = left = 0
    while left < SOON:
        left += len(next_of(inlet)[0])
        calls += 1
    assert calls == ALONE + 1
    for _ in range(BATCH):
        sender.send(bytes(100))
    assert next_of(inlet) == ([bytes(100)] * BATCH, True), "the last ones were many"


def test_datagrams_come_alone_no_more_once_another_one_waits(pair: Pair) -> None:
    sender, receiver = pair
    inlet = Inlet(receiver, joins=False)
    assert inlet.still_alone() == ALONE
    sender.send(b"first")
    sender.send(b"second")
    assert inlet.still_alone() == 0
    assert next_of(inlet) == ([b"first", b"second"], True)


def test_whatever_comes_alone_or_together_arrives_in_order(pair: Pair) -> None:
    """Also around each change, when both kinds wait."""
    sender, receiver = pair
    random, inlet = Random("mixed"), Inlet(receiver)
    sent: list[bytes] = []
    got: list[bytes] = []
    for number in range(120):
        for _ in range(random.choice([1, 1, SOON])):
            sent.append(b"%d alone" % number)
            sender.send(sent[-1])
            if random.random() < 0.9:
                got += all_of(inlet)
        for _ in range(random.choice([0, 1, 3])):
            length = random.randrange(20, 1400)
            many = [b"%d" % each + random.randbytes(length) for each in range(10, 10 + number % 40)]
            if many:
                sent += many
                together(sender, many)
        if random.random() < 0.7:
            got += all_of(inlet)
    assert got + all_of(inlet) == sent


def test_what_was_joined_just_before_that_ends_is_still_taken_apart(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, receiver = pair
    late = [b"one", b"two", b"six"]

    def joined_meanwhile(sock: socket.socket, *, on: bool = True) -> None:
        if not on and late_ones:
            together(sender, late_ones.pop())
        join_on_arrival(sock, on=on)

    late_ones = [late]
    inlet = Inlet(receiver)
    monkeypatch.setattr(bulk, "join_on_arrival", joined_meanwhile)
    got = []
    for _ in range(2 * ALONE):
        sender.send(b"alone")
        got += all_of(inlet)
    assert late_ones == []
    assert [each for each in got if each != b"alone"] == late
