"""The TCP of the virtual network: when what is lost is sent again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random

import pytest

from netpunch.net.tls_client import ATTEMPT_INTERVAL, ATTEMPTS
from netpunch.net.tls_stream import SILENT_LOSS
from tests.sim.network import Network
from tests.sim.tcp import Flow, Losses, handshake_time

ROUND_TRIP = 0.05
TIMEOUT = 0.25


class LossyWay:
    """Loses the segments to the server with these numbers, in the order in which they are sent."""

    round_trip = ROUND_TRIP

    def __init__(self, network: Network, lost: Collection[int]) -> None:
        self._network = network
        self._lost = lost
        self.sent = 0

    def carry(self, arrived: Callable[[], object], *, to_server: bool) -> None:
        if to_server:
            self.sent += 1
            if self.sent in self._lost:
                return
        self._network.call_at(self._network.now + ROUND_TRIP / 2, arrived)

    def is_asleep(self, *, at_server: bool) -> bool:
        return False


class Sender:
    """Sends one byte each 100 ms; `arrivals` are the times by byte."""

    def __init__(self, lost: Collection[int], count: int = 1, interval: float = 0.1) -> None:
        self.network = Network(1)
        self.way = LossyWay(self.network, lost)
        self.arrivals: dict[int, float] = {}
        self.given_up_at: float | None = None
        self.flow = Flow(
            self.way,
            self.network,
            to_server=True,
            deliver=self._arrived,
            give_up=self._give_up,
        )
        for number in range(count):
            self.network.call_at(number * interval, self.flow.send, bytes((number,)))
        self.network.run_until(60.0)

    def _arrived(self, data: bytes) -> None:
        self.arrivals[data[0]] = round(self.network.now, 6)

    def _give_up(self) -> None:
        self.flow.closed = True
        self.given_up_at = self.network.now


def test_a_lone_segment_is_repeated_after_its_timeout_and_then_more_slowly() -> None:
    assert Sender([1]).arrivals == {0: TIMEOUT + 0.025}
    assert Sender([1, 2]).arrivals == {0: 3 * TIMEOUT + 0.025}
    assert Sender([1, 2, 3]).arrivals == {0: 7 * TIMEOUT + 0.025}


def test_the_next_one_that_is_acknowledged_tells_of_a_loss_sooner_and_waits_for_it() -> None:
    late = pytest.approx(0.1 + ROUND_TRIP + ROUND_TRIP / 2)
    assert Sender([1], count=2).arrivals == {0: late, 1: late}


def test_what_is_sent_in_one_instant_leaves_together() -> None:
    sender = Sender([1], count=10, interval=0.0)
    assert set(sender.arrivals.values()) == {TIMEOUT + 0.025}
    assert sender.way.sent == 2


def test_a_connection_that_passes_nothing_is_given_up() -> None:
    sender = Sender(range(100))
    assert sender.arrivals == {}
    assert sender.given_up_at == pytest.approx(SILENT_LOSS)


def test_a_handshake_takes_two_round_trips_and_lost_ones_are_overtaken() -> None:
    random = Random(1)
    assert handshake_time(Losses(0.0, 0.0), ROUND_TRIP, random) == pytest.approx(2 * ROUND_TRIP)
    times = sorted(handshake_time(Losses(0.2, 0.2), ROUND_TRIP, random) for _ in range(2000))
    assert times[1000] < ATTEMPT_INTERVAL
    assert times[1900] < ATTEMPT_INTERVAL * ATTEMPTS
