"""A control node: both protocols on the same sockets, told apart by the first byte."""

from __future__ import annotations

from netpunch.address import Address
from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.control import ControlV2
from netpunch.core.events import Via
from netpunch.core.machine import Machine, Transmit
from netpunch.wire.envelope import VERSION

_V2 = bytes((VERSION,))


class ControlNode(Machine):
    """Both halves as one core object; see `core.machine` for the contract.

    Both put what they have to say into one outbox, this one's: a driver looks into it after every
    datagram that comes alone."""

    def __init__(self, v2: ControlV2, classic: ClassicControl) -> None:
        super().__init__()
        self.v2 = v2
        self.classic = classic
        for half in (v2, classic):
            half._transmits, half._events, half._drops = self._transmits, self._events, self._drops
        v2.take_other = classic.receive_datagram

    @property
    def registered(self) -> int:
        """How many ends are there."""
        return self.v2.registered + self.classic.registered

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        self.v2.receive_datagram(data, source, now, via)

    def handle_timer(self, now: float) -> None:
        self.v2.handle_timer(now)
        self.classic.handle_timer(now)

    def next_timer(self) -> float:
        return min(self.v2.next_timer(), self.classic.next_timer())

    def datagrams_to_send(self) -> list[Transmit]:
        transmits = self._transmits[:]
        self._transmits.clear()  # and not replaced: the halves know this list
        return transmits

    def describe(self, data: bytes) -> str:
        return (self.v2 if data[:1] == _V2 else self.classic).describe(data)
