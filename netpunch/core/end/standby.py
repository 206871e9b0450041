"""An end whose port another program uses stays registered from a socket of its own, so that control
can tell it when its partner wants to punch anew. It does so as an attempt begun after the link was
agreed: nothing said before can name it, so no recording, however late, looks like the partner's
wish. (An end that holds its link has a successor instead.)"""

from __future__ import annotations

from collections.abc import Mapping

from netpunch.address import Address
from netpunch.core.end.announcing import Announcer, Introduction
from netpunch.core.end.channels import describe
from netpunch.core.end.identity import Identity
from netpunch.core.end.resources import Resources
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import Finished, PartnerReturned, Via
from netpunch.core.machine import NEVER, Machine, Random
from netpunch.core.settings import EndSettings
from netpunch.wire.card import Card
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import CONTROL_DATAGRAM
from netpunch.wire.v2 import NO_ATTEMPT


class _StandbyAttempt:
    """Is announced only; its card offers nothing."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.identity = Identity(resources.random)

    def card(self, _named: bytes, _observed: tuple[Address, ...]) -> Card:
        holds, sealed = self.resources.settings.mode
        return Card(self.identity.public_key, NO_ATTEMPT, holds, sealed=sealed)


class Standby(Machine):
    """The sans-I/O end on standby; see `core.machine` for the contract, `End` for the
    parameters. Emits PartnerReturned once, when a partner attempt that wants to punch has proved
    that it is no recording."""

    def __init__(
        self,
        settings: EndSettings,
        *,
        endpoints: ControlEndpoints,
        sockets: Mapping[Via, Address],
        random: Random,
        now: float,
    ) -> None:
        super().__init__()
        self._resources = Resources(
            settings,
            endpoints=endpoints,
            sockets=sockets,
            send=self._send,
            emit=self._emit,
            random=random,
            now=now,
        )
        self._returned = False
        self._finished = False
        self._announcer = Announcer(_StandbyAttempt(self._resources), now, on_standby=True)

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        del via  # it has one socket a family
        if len(data) != CONTROL_DATAGRAM:
            self._drop(Drop.MALFORMED)
            return
        answer = self._announcer.receive(data, source, now)
        match answer:
            case Drop():
                self._drop(answer)
            case Introduction(proof=True) if not self._returned:
                self._returned = True
                self._emit(PartnerReturned())
            case Introduction():
                self._drop(Drop.UNEXPECTED)
        self.handle_timer(now)

    def next_timer(self) -> float:
        return NEVER if self._finished else self._announcer.next_timer()

    def handle_timer(self, now: float) -> None:
        self._announcer.handle_timer(now)
        if self._announcer.has_left and not self._finished:
            self._finished = True
            self._emit(Finished())

    def describe(self, data: bytes) -> str:
        return describe(data, self._resources.channels)

    def controls_found(self, endpoints: ControlEndpoints, now: float) -> None:
        self._resources.controls_found(endpoints)
        self._announcer.controls_found(now)

    def close(self, now: float) -> None:
        """Tells the controls, then emits Finished."""
        self._announcer.leave(now)
