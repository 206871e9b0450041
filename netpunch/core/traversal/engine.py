"""The hard-NAT side of one attempt: its ladder, its extra sockets, what it may spend."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from netpunch.address import Address
from netpunch.core.end.candidates import Candidate
from netpunch.core.end.partner import Partner
from netpunch.core.endpoints import Reflectors, live_reflectors
from netpunch.core.events import (
    CloseSocket,
    Event,
    OpenSockets,
    PathKind,
    Via,
)
from netpunch.core.machine import NEVER, Random
from netpunch.core.pacing import TokenBucket
from netpunch.core.traversal import budget
from netpunch.core.traversal.host import Field, Opened
from netpunch.core.traversal.nat import NatReport
from netpunch.core.traversal.turns import Turns
from netpunch.wire import v2
from netpunch.wire.card import NONCE_LENGTH
from netpunch.wire.envelope import ControlChannel

if TYPE_CHECKING:
    from netpunch.core.traversal.escalation import Escalation

Send = Callable[[bytes, Address, Via], None]


class Traversal:
    """Climbs for the partner attempt that is proved; one at a time.

    `observers` are those that may be asked, all of one family, `heard_at()` when each control was
    heard last; `bucket` is the probes' rate;
    `share(now)` sends the changed card; `fresh_port(via, local, now)` begins a new attempt;
    `leads`: see `Field`."""

    def __init__(
        self,
        *,
        observers: Sequence[Reflectors],
        heard_at: Callable[[], Mapping[Address, float]],
        own_hosts: Sequence[str],
        report: NatReport,
        bucket: TokenBucket,
        control: ControlChannel,
        vias_for: Callable[[int], Iterator[Via]],
        send: Send,
        emit: Callable[[Event], None],
        share: Callable[[float], None],
        new_request: Callable[[], int],
        fresh_port: Callable[[Via, Address, float], None],
        fresh_port_patience: float,
        leads: bool,
        random: Random,
    ) -> None:
        self.sockets: dict[Via, Address] = {}
        """Those that tactics have opened."""
        self.asked: frozenset[Address] = frozenset()
        """The observers that were asked, also by a survey that began before control moved."""
        self._observers = tuple(observers)
        self._control = control
        self._vias_for = vias_for
        self._send = send
        self._emit = emit
        self._fresh_port = fresh_port
        self._fresh_port_patience = fresh_port_patience
        self._random = random
        self._requests: dict[int, Opened] = {}
        self._new_request = new_request
        self._rest_until = NEVER
        self._kept: frozenset[Via] = frozenset()
        """The sockets of valid paths."""
        self.turns = Turns(emit, share, random)
        self._ladder: Escalation | None = None
        self.field = Field(
            observers=lambda: live_reflectors(self._observers, heard_at()),
            own_hosts=own_hosts,
            bucket=bucket,
            random=random,
            open_sockets=self._open_sockets,
            close_socket=self._close_socket,
            observe=self._observe,
            probe=_probe,
            keep_pinging=_keep_pinging,
            primary=lambda: next(vias_for(self._family), None),
            share=share,
            close_all=self._close_all,
            fresh_port=lambda: self._open_sockets(1, self._take_fresh_port),
            turns=self.turns,
            leads=leads,
            report=report,
        )

    @property
    def _family(self) -> int:
        return self._observers[0][0].family if self._observers else 4

    @property
    def infeasible(self) -> bool:
        return self._ladder is not None and self._ladder.infeasible

    def waits(self, now: float) -> bool:
        """Whether this end or its partner waits for a turn."""
        return self._ladder is not None and self._ladder.waits(now)

    def next_timer(self) -> float:
        return self._ladder.next_timer() if self._ladder else self._rest_until

    def handle_timer(self, now: float) -> None:
        if self._ladder is not None:
            self._ladder.handle_timer(now)
        elif now >= self._rest_until:
            self.stop(keep=self._kept)

    def climb(self, partner: Partner, now: float) -> None:
        """Begins for a partner, unless it has begun already. What was opened for a former partner
        attempt is given back first."""
        if self._ladder is None or self._ladder.partner is not partner:
            from netpunch.core.traversal.escalation import (
                Escalation,  # not needed before the first datagram
            )

            self._close_all(self._ladder.partner if self._ladder else None)
            self.turns.over(now)
            self._ladder = Escalation(self.field, partner, self._fresh_port_patience, now)

    def partner_changed(self, now: float) -> None:
        """The partner has a later card."""
        if self._ladder is not None:
            self._ladder.partner_changed(now)

    def observed(self, message: v2.Observed, now: float) -> bool:
        """An observer's answer; False if it was not asked for."""
        ladder = self._ladder
        return ladder is not None and ladder.observed(message.echo, message.observed, now)

    def observe_from(self, observers: Sequence[Reflectors]) -> None:
        """Control has moved: later surveys ask there."""
        self._observers = tuple(observers)

    def sockets_opened(self, request: int, opened: Mapping[Via, Address], now: float) -> None:
        """The driver's answer; sockets that nobody waits for any more are closed."""
        then = self._requests.pop(request, None)
        if then is None:  # an earlier attempt asked, or an earlier turn
            for via in opened:
                self._emit(CloseSocket(via))
        else:
            self.sockets.update(opened)
            then(opened, now)

    def rest(self, valid: Collection[Via], now: float) -> None:
        """A path is valid, on these sockets: nothing more is tried. What is open stays for a while,
        as the partner may agree on another path."""
        self._kept = frozenset(valid)
        if self._ladder is not None:
            self._ladder = None
            self._rest_until = now + budget.REST
            if not self.turns.has_turn:
                self.turns.over(now)

    def stop(self, keep: Collection[Via] = ()) -> None:
        """Closes what was opened, but for the sockets to keep; ends the turn."""
        self._ladder = None
        self._rest_until = NEVER
        self._close_but(keep)
        self.turns.over()

    # What the field does.

    def _open_sockets(self, count: int, then: Opened) -> None:
        request = self._new_request()
        self._requests[request] = then
        room = self.turns.sockets - len(self.sockets)
        self._emit(OpenSockets(request, max(0, min(count, room)), self._family))

    def _close_all(self, partner: Partner | None) -> None:
        if partner is not None:
            for via in self.sockets:
                partner.checks.forget(via)
        self._close_but(())

    def _close_but(self, keep: Collection[Via]) -> None:
        self._requests.clear()
        for via in [via for via in self.sockets if via not in keep]:
            self._close_socket(via)

    def _close_socket(self, via: Via) -> None:
        if self.sockets.pop(via, None) is not None:
            self._emit(CloseSocket(via))

    def _observe(self, via: Via, observer: Address, echo: bytes) -> None:
        data = self._control.to_control.seal(v2.Observe(echo), self._random(NONCE_LENGTH))
        self.asked |= {observer}
        self._send(data, observer, via)

    def _take_fresh_port(self, opened: Mapping[Via, Address], now: float) -> None:
        for via, local in opened.items():
            del self.sockets[via]  # it becomes a first socket of the next attempt
            self._fresh_port(via, local, now)


def _probe(
    partner: Partner, via: Via, address: Address, kind: PathKind, ttl: int, now: float
) -> None:
    partner.checks.probe(via, Candidate(address, kind), ttl, now)


def _keep_pinging(partner: Partner, via: Via, address: Address, kind: PathKind, now: float) -> None:
    partner.checks.add_path(via, Candidate(address, kind), now)
