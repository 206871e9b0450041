"""A control node: both protocols on the same sockets, told apart by the first byte."""

from __future__ import annotations

from collections import Counter

from netpunch.address import Address
from netpunch.core.classic_control import ClassicControl
from netpunch.core.control_v2 import ControlV2
from netpunch.core.events import Event, Via
from netpunch.core.machine import Transmit
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import VERSION

_V2 = bytes((VERSION,))


class ControlNode:
    """Both halves as one core object; see `core.machine` for the contract."""

    def __init__(self, v2: ControlV2, classic: ClassicControl) -> None:
        self.v2 = v2
        self.classic = classic

    @property
    def drops(self) -> Counter[Drop]:
        return self.v2.drops + self.classic.drops

    @property
    def registered(self) -> int:
        """How many ends are there."""
        return self.v2.registered + self.classic.registered

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        half = self.v2 if data[:1] == _V2 else self.classic
        half.receive_datagram(data, source, now, via)

    def handle_timer(self, now: float) -> None:
        self.v2.handle_timer(now)
        self.classic.handle_timer(now)

    def next_timer(self) -> float:
        return min(self.v2.next_timer(), self.classic.next_timer())

    def datagrams_to_send(self) -> list[Transmit]:
        of_v2, of_classic = self.v2.datagrams_to_send(), self.classic.datagrams_to_send()
        return of_v2 + of_classic if of_classic else of_v2

    def next_event(self) -> Event | None:
        return self.v2.next_event() or self.classic.next_event()

    def describe(self, data: bytes) -> str:
        return (self.v2 if data[:1] == _V2 else self.classic).describe(data)
