"""Steady traffic through both forwards of a link: numbered datagrams, and when they arrived.

Network namespaces share the clock, so one thread sends, receives and takes the times.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Thread

from tests.lab.namespace import Namespace

FORWARD = 'forward: {listen: "127.0.0.1:51821", to: "127.0.0.1:51820"}'
"""How each end has to be configured."""
LISTEN, TO = ("127.0.0.1", 51821), ("127.0.0.1", 51820)
INTERVAL = 0.01
"""Seconds between two datagrams of a direction: a call's audio is about as dense."""
NUMBER = struct.Struct("!Q100x")
"""A number and padding: about the size of a tunnel's small packets."""
STOP_SECONDS = 5.0


@dataclass(slots=True)
class Direction:
    """What one host sends the other. Times are of the monotonic clock."""

    sender: socket.socket
    receiver: socket.socket
    sent: int = 0
    paused: bool = False
    arrivals: list[float] = field(default_factory=list)
    numbers: set[int] = field(default_factory=set)
    """Of what has arrived."""

    def outage(self, since: float, until: float) -> float:
        """The longest time between these two without a datagram arriving, in seconds."""
        arrived = [each for each in list(self.arrivals) if since < each < until]
        return max(later - before for before, later in pairwise([since, *arrived, until]))

    def lost(self, first: int) -> int:
        """How many of the datagrams from this number on have not arrived."""
        return sum(number not in self.numbers for number in range(first, self.sent))


class Traffic:
    """Sends from both hosts until it is closed. The directions are known by their senders."""

    def __init__(self, hosts: dict[str, Namespace]) -> None:
        """Of two hosts, by name."""
        sockets = {name: host.udp_socket(*TO) for name, host in hosts.items()}
        (one, sender), (other, receiver) = sockets.items()
        self.directions = {
            one: Direction(sender, receiver),
            other: Direction(receiver, sender),
        }
        self._stalls: list[tuple[float, float]] = []
        self._stop, self._stopped = socket.socketpair()
        self._thread = Thread(target=self._run, name="traffic")
        self._thread.start()

    def stall(self, since: float, until: float) -> float:
        """The longest time between these two for which this thread itself was held up, as by a
        busy machine: no outage is known more exactly."""
        return max((late for at, late in list(self._stalls) if since < at < until), default=0.0)

    def close(self) -> None:
        self._stop.close()
        self._thread.join(STOP_SECONDS)
        self._stopped.close()
        for direction in self.directions.values():
            direction.sender.close()

    def _run(self) -> None:
        by_receiver = {each.receiver: each for each in self.directions.values()}
        for receiver in by_receiver:
            receiver.setblocking(False)
        due = time.monotonic()
        while True:
            pause = max(0.0, due - time.monotonic())
            readable, _, _ = select.select([self._stopped, *by_receiver], [], [], pause)
            if self._stopped in readable:
                return
            for receiver in readable:
                _receive(by_receiver[receiver])
            late = time.monotonic() - due
            if late >= 0.0:
                self._send()
                if late > INTERVAL:
                    self._stalls.append((due + late, late))
                due += INTERVAL if late < INTERVAL else late

    def _send(self) -> None:
        for direction in self.directions.values():
            if not direction.paused:
                direction.sender.sendto(NUMBER.pack(direction.sent), LISTEN)
                direction.sent += 1


def _receive(direction: Direction) -> None:
    """Takes all that has arrived."""
    while True:
        try:
            data, source = direction.receiver.recvfrom(NUMBER.size + 1)
        except BlockingIOError:
            return
        assert source == LISTEN, source
        direction.arrivals.append(time.monotonic())
        direction.numbers.update(NUMBER.unpack(data))
