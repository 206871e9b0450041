"""A control node: both protocols on the same sockets, told apart by length and first byte, and what
ends relay through it."""

from __future__ import annotations

from netpunch.address import Address
from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.absences import Absences, first
from netpunch.core.control.control import ControlV2
from netpunch.core.events import Via
from netpunch.core.machine import Machine, Transmit
from netpunch.wire.envelope import CONTROL_DATAGRAM, VERSION


class ControlNode(Machine):
    """Both controls as one machine; see `core.machine` for the contract.

    They share its outbox: a driver looks into it after every datagram that comes alone."""

    def __init__(self, v2: ControlV2, classic: ClassicControl) -> None:
        super().__init__()
        self.v2 = v2
        self.classic = classic
        self._relaying = v2.relay.sources
        for each in (v2, classic):
            each._transmits, each._events, each._drops = self._transmits, self._events, self._drops

    @property
    def registered(self) -> int:
        """How many ends are registered."""
        return self.v2.registered + self.classic.registered

    def absences(self, most: int) -> Absences:
        """The ends that are not registered; see `ControlV2.absences`."""
        each = self.v2.absences(most), self.classic.absences()
        return Absences(
            sum(one.number for one in each), first([*each[0].ends, *each[1].ends], most)
        )

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        if len(data) == CONTROL_DATAGRAM and data[0] == VERSION:
            self.v2.receive_datagram(data, source, now, via)
        elif via in self._relaying:
            self.v2.pass_on(data, source, now, via)
        else:
            self.classic.receive_datagram(data, source, now, via)

    def handle_timer(self, now: float) -> None:
        self.v2.handle_timer(now)
        self.classic.handle_timer(now)

    def next_timer(self) -> float:
        return min(self.v2.next_timer(), self.classic.next_timer())

    def datagrams_to_send(self) -> list[Transmit]:
        transmits = self._transmits[:]
        self._transmits.clear()  # not replaced: it is shared
        return transmits

    def describe(self, data: bytes) -> str:
        return (self.v2 if data[:1] == bytes((VERSION,)) else self.classic).describe(data)
