"""A tiny virtual network for classic machines: one socket a host, a delay, scripted loss."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from netpunch.address import Address
from netpunch.core.events import Event
from netpunch.core.machine import Machine
from netpunch.wire.classic import PAYLOAD_OFFSET, sign

VIA = 0


class Sent(NamedTuple):
    """One datagram, whether or not it arrived."""

    time: float
    source: Address
    destination: Address
    payload: bytes

    @property
    def size(self) -> int:
        """Bytes on the wire, above UDP."""
        return PAYLOAD_OFFSET + len(self.payload)


@dataclass
class Host:
    machine: Machine
    filtered: bool
    """Behind a NAT that lets in only what comes from where something was sent to."""
    sent_to: set[Address] = field(default_factory=set)
    events: list[tuple[float, Event]] = field(default_factory=list)


class Link:
    """Carries datagrams between hosts on a virtual clock."""

    SECRET = b"correct horse battery staple"
    """Of what is replayed."""

    def __init__(
        self, delay: float = 0.02, lose: Callable[[Sent], bool] = lambda sent: False
    ) -> None:
        self.now = 0.0
        self.sent: list[Sent] = []
        self.hosts: dict[Address, Host] = {}
        self._delay = delay
        self._lose = lose
        self._order = count()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []

    def start(
        self,
        address: Address,
        make: Callable[[float], Machine],
        *,
        at: float = 0.0,
        filtered: bool = False,
    ) -> None:
        """A process that `make(now)` makes begins at a time."""

        def begin() -> None:
            self.hosts[address] = Host(make(self.now), filtered)

        self._at(at, begin)

    def stop(self, address: Address, at: float) -> None:
        self._at(at, lambda: self.hosts.pop(address, None))

    def run(self, until: float) -> None:
        while (time := self._next()) <= until:
            self.now = max(self.now, time)
            if self._queue and self._queue[0][0] <= self.now:
                heapq.heappop(self._queue)[2]()
            for host in self.hosts.values():
                if host.machine.next_timer() <= self.now:
                    host.machine.handle_timer(self.now)
            self._drain()
        self.now = until

    def replay(self, payload: bytes, source: Address, destination: Address, at: float) -> None:
        """A recorded datagram arrives, with a source that did not send it."""
        self._at(at, lambda: self._arrive(payload, source, destination))

    def _arrive(self, payload: bytes, source: Address, destination: Address) -> None:
        if destination in self.hosts:
            data = sign(self.SECRET, payload)
            self.hosts[destination].machine.receive_datagram(data, source, self.now, VIA)

    def events(self, address: Address) -> list[Event]:
        return [event for _, event in self.hosts[address].events]

    def time_of(self, address: Address, kind: type[Event]) -> float | None:
        """When a host emitted its first event of a kind."""
        told = (time for time, event in self.hosts[address].events if isinstance(event, kind))
        return next(told, None)

    def _next(self) -> float:
        timers = [host.machine.next_timer() for host in self.hosts.values()]
        return min([entry[0] for entry in self._queue[:1]] + timers, default=float("inf"))

    def _drain(self) -> None:
        for address, host in self.hosts.items():
            while (event := host.machine.next_event()) is not None:
                host.events.append((self.now, event))
            for data, destination, *_ in host.machine.datagrams_to_send():
                host.sent_to.add(destination)
                self._carry(data, Sent(self.now, address, destination, data[PAYLOAD_OFFSET:]))

    def _carry(self, data: bytes, sent: Sent) -> None:
        self.sent.append(sent)
        if not self._lose(sent):
            self._at(self.now + self._delay, lambda: self._deliver(data, sent))

    def _deliver(self, data: bytes, sent: Sent) -> None:
        host = self.hosts.get(sent.destination)
        if host is not None and (not host.filtered or sent.source in host.sent_to):
            host.machine.receive_datagram(data, sent.source, self.now, VIA)

    def _at(self, time: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._queue, (time, next(self._order), lambda: void(action())))


def void(_: object) -> None:
    """Forgets a result."""
