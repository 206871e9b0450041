"""TCP of the virtual network, as far as it delays what streams carry: what is lost, and when it is
sent again. After Linux (6.5 and later) with its usual settings:

- A lost SYN is repeated after 1 s (RFC 6298, 2.1), the first four times each second
  (`tcp_syn_linear_timeouts`).
- A segment is repeated a round trip and 200 ms after it was sent (`TCP_RTO_MIN`), then after twice
  that, and so on (RFC 6298, 5.5).
- It is repeated at once when one that was sent later is acknowledged (RACK, RFC 8985).

Tail loss probes, which are a little sooner than the first repetition, are left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import NamedTuple, Protocol

from netpunch.net.tls_client import ATTEMPT_INTERVAL, ATTEMPTS
from netpunch.net.tls_stream import SILENT_LOSS
from tests.sim.network import Network

SYN_TIMEOUT = 1.0
LEAST_TIMEOUT = 0.2
SEGMENT = 1400
"""Bytes of what is sent in one instant leave together, at most so many in one segment."""


MOST_FAILURES = 10
"""Enough for any patience."""


class Losses(NamedTuple):
    """The probabilities that a segment is lost on its way to the server, and from there."""

    up: float
    down: float


def handshake_time(losses: Losses, round_trip: float, random: Random) -> float:
    """Seconds until a client is connected, and has the server's part of the handshake of TLS."""
    return min(
        number * ATTEMPT_INTERVAL + _handshake(losses, round_trip, random)
        for number in range(ATTEMPTS)
    )


def _handshake(losses: Losses, round_trip: float, random: Random) -> float:
    """The same of one attempt."""
    syns = _failures(losses.up, losses.down, random=random)
    flights = (_failures(loss, random=random) for loss in losses)
    late = sum(_timeout(round_trip) * ((1 << count) - 1) for count in flights)
    return 2 * round_trip + SYN_TIMEOUT * syns + late


def _timeout(round_trip: float) -> float:
    return round_trip + LEAST_TIMEOUT


def _failures(*losses: float, random: Random) -> int:
    """How often one of these is lost before none is."""
    count = 0
    while count < MOST_FAILURES and any(loss and random.random() < loss for loss in losses):
        count += 1
    return count


class Way(Protocol):
    """Between client and server."""

    @property
    def round_trip(self) -> float: ...

    def carry(self, arrived: Callable[[], object], *, to_server: bool) -> None:
        """Sends a segment, and calls when it has arrived, unless it is lost."""

    def is_asleep(self, *, at_server: bool) -> bool:
        """Whether the host there is."""


class _Segment:
    """Datagrams that leave together."""

    def __init__(self, now: float) -> None:
        self.datagrams: list[bytes] = []
        self.size = 0
        self.queued_at = now
        self.sent_at: float | None = None
        self.sent = 0
        """How often."""
        self.arrived = False


class Flow:
    """One direction of a connection. What arrives is delivered in order; when something stays
    unacknowledged for too long, the sender gives up."""

    def __init__(
        self,
        way: Way,
        network: Network,
        *,
        to_server: bool,
        deliver: Callable[[bytes], None],
        give_up: Callable[[], None],
    ) -> None:
        self.closed = False
        self._way = way
        self._network = network
        self._to_server = to_server
        self._deliver = deliver
        self._give_up = give_up
        self._undelivered: deque[_Segment] = deque()
        self._unacknowledged: list[_Segment] = []

    def send(self, data: bytes) -> None:
        """Queues a datagram."""
        last = self._unacknowledged[-1] if self._unacknowledged else None
        if last is None or last.sent or last.size + len(data) > SEGMENT:
            last = _Segment(self._network.now)
            self._unacknowledged.append(last)
            self._undelivered.append(last)
            self._network.call_at(self._network.now, self._transmit, last)
        last.datagrams.append(data)
        last.size += len(data)

    def _transmit(self, segment: _Segment) -> None:
        if self.closed:
            return
        now = self._network.now
        given_up_at = segment.queued_at + SILENT_LOSS
        if now >= given_up_at and not self._way.is_asleep(at_server=not self._to_server):
            self._give_up()
            return
        again_at = now + _timeout(self._way.round_trip) * 2**segment.sent
        segment.sent_at = now
        segment.sent += 1
        self._way.carry(lambda: self._arrive(segment, now), to_server=self._to_server)
        again_at = min(again_at, max(given_up_at, now + LEAST_TIMEOUT))
        self._network.call_at(again_at, self._repeat, segment, now)

    def _repeat(self, segment: _Segment, sent_at: float) -> None:
        """Sends it again, unless it has been acknowledged or repeated since."""
        if segment in self._unacknowledged and segment.sent_at == sent_at:
            self._transmit(segment)

    def _arrive(self, segment: _Segment, sent_at: float) -> None:
        segment.arrived = True
        while self._undelivered and self._undelivered[0].arrived and not self.closed:
            for data in self._undelivered.popleft().datagrams:
                self._deliver(data)
        self._way.carry(lambda: self._acknowledged(sent_at), to_server=not self._to_server)

    def _acknowledged(self, sent_at: float) -> None:
        """The sender hears what has arrived, and that a segment sent at this time has."""
        self._unacknowledged = [each for each in self._unacknowledged if not each.arrived]
        for segment in list(self._unacknowledged):
            if segment.sent_at is not None and segment.sent_at < sent_at:
                self._transmit(segment)
