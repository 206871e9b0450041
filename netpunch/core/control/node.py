"""A control node: both protocols on the same sockets, told apart by length and first byte."""

from __future__ import annotations

from collections import Counter

from netpunch.address import Address
from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.control import ControlV2
from netpunch.core.events import Event, Via
from netpunch.core.machine import Machine, Transmit
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import CONTROL_DATAGRAM, VERSION


class ControlNode(Machine):
    """Both controls as one machine; see `core.machine` for the contract."""

    def __init__(self, v2: ControlV2, classic: ClassicControl) -> None:
        self.v2 = v2
        self.classic = classic

    @property
    def registered(self) -> int:
        """How many ends are registered."""
        return self.v2.registered + self.classic.registered

    @property
    def drops(self) -> Counter[Drop]:
        return self.v2.drops + self.classic.drops

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        if len(data) == CONTROL_DATAGRAM and data[0] == VERSION:
            self.v2.receive_datagram(data, source, now, via)
        else:
            self.classic.receive_datagram(data, source, now, via)

    def handle_timer(self, now: float) -> None:
        self.v2.handle_timer(now)
        self.classic.handle_timer(now)

    def next_timer(self) -> float:
        return min(self.v2.next_timer(), self.classic.next_timer())

    def datagrams_to_send(self) -> list[Transmit]:
        return self.v2.datagrams_to_send() + self.classic.datagrams_to_send()

    def next_event(self) -> Event | None:
        return self.v2.next_event() or self.classic.next_event()

    def describe(self, data: bytes) -> str:
        return (self.v2 if data[:1] == bytes((VERSION,)) else self.classic).describe(data)
