"""The traversal of hard NATs in one attempt: its sockets, its turns, and which strategy runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from netpunch.address import Address
from netpunch.core.end.announcing import Announcer
from netpunch.core.end.partner import Partner
from netpunch.core.end.resources import Resources
from netpunch.core.endpoints import Reflectors, live_reflectors
from netpunch.core.events import CloseSocket, OpenSockets, Via
from netpunch.core.machine import NEVER
from netpunch.core.traversal import budget
from netpunch.core.traversal.host import Opened
from netpunch.core.traversal.nat import Bracket
from netpunch.core.traversal.turns import Turns
from netpunch.wire import v2
from netpunch.wire.card import NatClass

if TYPE_CHECKING:
    from netpunch.core.traversal.escalation import Escalation


class Traversal:
    """Runs for one partner attempt at a time: the proved one. Implements `TraversalHost`."""

    def __init__(self, resources: Resources, announcer: Announcer) -> None:
        self.resources = resources
        self.turns = Turns(resources.emit, self.share_card, resources.random)
        self.bracket = Bracket()
        self.seen_at: tuple[str, ...] = ()
        self.sockets: dict[Via, Address] = {}
        """Those that strategies have opened."""
        self.asked: frozenset[Address] = frozenset()
        """The reflectors that were asked, also by a survey that began before control moved."""
        self.plain_patience = budget.PLAIN_PATIENCE
        self._announcer = announcer
        self._escalation: Escalation | None = None
        self._requests: dict[int, Opened] = {}
        self._fresh_port_request: int | None = None
        self._rest_until = NEVER
        self._kept: frozenset[Via] = frozenset()
        """The sockets of valid paths."""

    @property
    def infeasible(self) -> bool:
        return self._escalation is not None and self._escalation.infeasible

    def waits(self, now: float) -> bool:
        """Whether this end or its partner waits for a turn."""
        return self._escalation is not None and self._escalation.waits(now)

    def next_timer(self) -> float:
        return self._escalation.next_timer() if self._escalation else self._rest_until

    def handle_timer(self, now: float) -> None:
        if self._escalation is not None:
            self._escalation.handle_timer(now)
        elif now >= self._rest_until:
            self.stop(keep=self._kept)

    def begin(self, partner: Partner, now: float) -> None:
        """Begins for a partner attempt, unless it has begun already. What was opened for a former
        one is closed first."""
        former = None if self._escalation is None else self._escalation.partner
        if former is partner:
            return
        from netpunch.core.traversal.escalation import Escalation  # not before the first datagram

        if former is not None:
            self._forget_sockets(former)
        self._close_sockets()
        self.turns.over(now)
        self._escalation = Escalation(self, partner, now)

    def partner_changed(self, now: float) -> None:
        """The partner has a later card."""
        if self._escalation is not None:
            self._escalation.partner_changed(now)

    def observed(self, message: v2.Observed, now: float) -> bool:
        """Takes a reflector's answer; False if it was not asked for."""
        escalation = self._escalation
        return escalation is not None and escalation.observed(message.echo, message.observed, now)

    def sockets_opened(
        self, request: int, opened: Mapping[Via, Address], now: float
    ) -> tuple[Via, Address] | None:
        """Takes the driver's answer; returns the fresh port to begin a new attempt from, if this
        is one. Sockets that are no longer needed are closed."""
        if request == self._fresh_port_request:
            self._fresh_port_request = None
            return next(iter(opened.items()), None)
        then = self._requests.pop(request, None)
        if then is None:  # an earlier attempt asked, or an earlier turn
            for via in opened:
                self.resources.emit(CloseSocket(via))
        else:
            self.sockets.update(opened)
            then(opened, now)
        return None

    def beside_relay(self) -> None:
        """The attempt looks for a direct path beside a relayed link. If the class of our NAT is
        known, plain pings have been in vain here already."""
        if self.resources.nat.nat_class is not NatClass.UNKNOWN:
            self.plain_patience = 0.0

    def rest(self, valid: Collection[Via], now: float) -> None:
        """A path is valid, on these sockets: tries nothing more. What is open stays for a while,
        as the partner may agree on another path, and the turn to have it open; the turn to spray
        goes to the next end at once."""
        self._kept = frozenset(valid)
        if self._escalation is not None:
            self._escalation = None
            self._rest_until = now + budget.REST
            if not (self.turns.has_turn and self.sockets):
                self.turns.over(now)

    def stop(self, keep: Collection[Via] = ()) -> None:
        """Closes what was opened, but for the sockets to keep; gives back the turn."""
        self._escalation = None
        self._rest_until = NEVER
        self._close_sockets(keep)
        self.turns.over()

    # What strategies may do.

    def reflectors(self) -> Reflectors | None:
        return live_reflectors(self.resources.endpoints.reflectors, self._announcer.heard_at())

    def primary(self) -> Via | None:
        return next(self.resources.vias_for(self._family), None)

    def open_sockets(self, count: int, then: Opened) -> None:
        self._requests[self._request_sockets(count)] = then

    def take_fresh_port(self) -> None:
        self._fresh_port_request = self._request_sockets(1)

    def close_socket(self, via: Via) -> None:
        if self.sockets.pop(via, None) is not None:
            self.resources.emit(CloseSocket(via))

    def close_all(self, partner: Partner) -> None:
        self._forget_sockets(partner)
        self._close_sockets()

    def observe(self, via: Via, reflector: Address, echo: bytes) -> None:
        self.asked |= {reflector}
        self.resources.observe(via, reflector, echo)

    def share_card(self, now: float) -> None:
        self._announcer.announce_now(now)

    @property
    def _family(self) -> int:
        reflectors = self.resources.endpoints.reflectors
        return reflectors[0][0].family if reflectors else 4

    def _request_sockets(self, count: int) -> int:
        request = self.resources.new_request()
        room = self.turns.sockets - len(self.sockets)
        self.resources.emit(OpenSockets(request, max(0, min(count, room)), self._family))
        return request

    def _forget_sockets(self, partner: Partner) -> None:
        for via in self.sockets:
            partner.checks.forget(via)

    def _close_sockets(self, keep: Collection[Via] = ()) -> None:
        self._requests.clear()
        self._fresh_port_request = None
        for via in [via for via in self.sockets if via not in keep]:
            self.close_socket(via)
