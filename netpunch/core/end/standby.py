"""An end that has its link stays registered, so that control can tell it when its partner wants to
punch anew. It does so as an attempt of its own, begun after the link was agreed: nothing that was
said before can name it, so no recording of it, however late, looks like the partner's wish.

`Standby` is that on a socket of its own, while another program owns the link's port; it sends
nothing to partners."""

from __future__ import annotations

from collections.abc import Mapping

from netpunch.address import Address
from netpunch.core.describe import describe
from netpunch.core.end.announcer import Announcer, Introduction
from netpunch.core.end.attempt import Attempt
from netpunch.core.end.context import Context
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import Finished, PartnerReturned, Via
from netpunch.core.machine import NEVER, Machine, Random
from netpunch.core.settings import EndSettings
from netpunch.wire.card import Card
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import CONTROL_DATAGRAM


def standby_announcer(context: Context, now: float) -> Announcer:
    """Announces a new attempt of an end that is on standby."""
    attempt = Attempt(context.random)

    def make_card(named: bytes, _: tuple[Address, ...]) -> Card:
        return Card(attempt.public_key, named, context.settings.holds)

    announcer = Announcer.of(context, attempt, make_card, now)
    announcer.stand_by(now)
    return announcer


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
        self._context = Context(
            settings,
            endpoints=endpoints,
            sockets=sockets,
            host_addresses=(),
            probe_bucket=None,
            send=self._send,
            emit=self._emit,
            random=random,
            now=now,
        )
        self._returned = False
        self._finished = False
        self._announcer = standby_announcer(self._context, now)

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
        return describe(data, [self._context.control], self._context.peer)

    def controls_found(self, endpoints: ControlEndpoints, now: float) -> None:
        """The controls, or some of them, have moved."""
        self._context.controls_found(endpoints)
        self._announcer.controls_found(self._context.registrations(now), now)

    def close(self, now: float) -> None:
        """Tells the controls, then emits Finished."""
        self._announcer.leave(now)
