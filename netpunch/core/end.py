"""An end of a v2 pair: from its first announcement until a path is agreed and handed over.

Theory of operation. An end lives in one *attempt* at a time: an `Announcer` keeps it registered
with every control, a `Peering` pings the partner attempts that controls introduce, and the first
path both ends agree on is final. Then the port is handed over (LINKED, until the partner and the
controls heard all they need), or the hole is held (HOLDING, until it is lost or the partner
wants to punch anew).

    PUNCHING ──> LINKED ──────────────> FINISHED
       │  └────> HOLDING ──> CLOSING ──────┘
       └───────────────────────┘

An attempt that leads nowhere (a dead port, a nomination without an answer) is replaced by a new
one, within the same deadline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

from netpunch.address import Address, is_loopback
from netpunch.core import timing
from netpunch.core.announcer import Announcer, Introduction
from netpunch.core.attempt import Attempt
from netpunch.core.candidates import host_candidates, partner_candidates
from netpunch.core.climber import Climber
from netpunch.core.describe import describe
from netpunch.core.events import (
    CloseSocket,
    Failed,
    Finished,
    Introduced,
    Linked,
    Lost,
    PartnerReturned,
    PathKind,
    Reason,
    Via,
    Waiting,
)
from netpunch.core.ladder.budget import PROBE_BURST, PROBE_RATE
from netpunch.core.machine import NEVER, Outbox, Random
from netpunch.core.nat import NatReport
from netpunch.core.pacing import TokenBucket
from netpunch.core.peering import Agreement, Peering
from netpunch.core.registration import Registration
from netpunch.core.settings import EndSettings
from netpunch.core.verdict import verdict
from netpunch.wire.card import Card, NatClass
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import (
    CONTROL_DATAGRAM,
    END_B,
    PEER_DATAGRAM,
    VERSION,
    ControlChannel,
    PeerChannel,
)
from netpunch.wire.keys import control_key, peer_key
from netpunch.wire.v2 import Kind, Observed


class State(Enum):
    """Where an end is in its life."""

    PUNCHING = "punching"
    LINKED = "linked"
    """A path is agreed; what the partner and the controls still need to hear is being sent."""
    HOLDING = "holding"
    CLOSING = "closing"
    """Failed, lost or stopped; the controls are being told."""
    FINISHED = "finished"


TRANSITIONS: dict[State, set[State]] = {
    State.PUNCHING: {State.LINKED, State.HOLDING, State.CLOSING},
    State.LINKED: {State.FINISHED},
    State.HOLDING: {State.CLOSING},
    State.CLOSING: {State.FINISHED},
    State.FINISHED: set(),
}


class End(Outbox):
    """The sans-I/O end of a v2 pair; see `core.machine` for the contract.

    `controls` are the controls' addresses; `observers` two addresses of control, of one family,
    which tell how our NAT maps (none: its class stays unknown); `sockets` the bound local
    addresses by socket, at most one per family; `host_addresses` this host's own candidates;
    `probe_bucket` the rate of hard NATs' probes, shared by all ends of a process."""

    def __init__(
        self,
        settings: EndSettings,
        *,
        controls: Sequence[Address],
        observers: Sequence[Address] = (),
        sockets: Mapping[Via, Address],
        probe_bucket: TokenBucket | None = None,
        host_addresses: Sequence[str] = (),
        random: Random,
        now: float,
    ) -> None:
        super().__init__()
        self.state = State.PUNCHING
        self._settings = settings
        self._controls = tuple(controls)
        self._sockets = dict(sockets)
        self._host_addresses = tuple(host_addresses)
        self._random = random
        self._loopback = any(is_loopback(control.host) for control in controls)
        self._peer_key = peer_key(settings.secret, settings.pair)
        self._peer = PeerChannel(self._peer_key, settings.pair, settings.end)
        self._control = ControlChannel(
            control_key(settings.secret, settings.pair), settings.pair, settings.end
        )
        self._began = now
        self._deadline = NEVER
        if settings.deadline is not None and settings.deadline_from_start:
            self._deadline = now + settings.deadline
        self._silence_notice_at = now + timing.SILENCE_NOTICE
        self._waiting_told = False
        self._introduced_to: set[Address] = set()
        self._observers = tuple(observers)
        self._probe_bucket = probe_bucket or TokenBucket(PROBE_RATE, PROBE_BURST)
        self._nat = NatReport()
        self._fresh_port_patience = timing.FRESH_PORT_AFTER
        self._attempts = 0
        self._datagrams = 0
        self._keepalive_at = NEVER
        self._bucket = TokenBucket(timing.PING_RATE, timing.PING_BURST)
        self._begin_attempt(now)

    # The contract.

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        if len(data) == PEER_DATAGRAM:
            drop = self._receive_from_partner(data, source, now, via)
        elif len(data) == CONTROL_DATAGRAM:
            drop = self._receive_from_control(data, source, now)
        else:
            drop = Drop.MALFORMED
        if drop is not None:
            self._drop(drop)
            if data[:1] != bytes((VERSION,)):
                self._peering.foreign_datagram(source, via)
        self._start_deadline()
        self._settle()

    def next_timer(self) -> float:
        if self.state is State.FINISHED:
            return NEVER
        timers = [self._announcer.next_timer()]
        if self.state is not State.CLOSING:
            timers.append(self._peering.next_timer())
        if self.state is State.PUNCHING:
            timers += [self._deadline, self._silence_notice_at, self._climber.next_timer()]
        if self.state is State.HOLDING:
            timers.append(self._keepalive_at)
        return min(timers)

    def handle_timer(self, now: float) -> None:
        if self.state is State.FINISHED:
            return
        if self.state is not State.CLOSING:
            self._peering.handle_timer(now)
        if self.state is State.PUNCHING:
            self._watch_punching(now)
        if self.state is State.HOLDING and now >= self._keepalive_at:
            self._keep_alive(now)
        self._announcer.handle_timer(now)
        self._settle()

    def describe(self, data: bytes) -> str:
        return describe(data, [self._control], self._peer)

    # What the driver may call besides.

    def sockets_opened(self, opened: Mapping[Via, Address], now: float) -> None:
        """The sockets of the oldest OpenSockets that is not answered yet, maybe none."""
        self._climber.sockets_opened(opened, now)

    def spray_granted(self, now: float) -> None:
        """The turn that SprayWanted asked for."""
        self._climber.spray_granted(now)

    def close(self, now: float) -> None:
        """Stops: tells the controls, then emits Finished. May be repeated; when a link is
        being handed over or everything has ended, that goes on as it was."""
        if self.state in (State.PUNCHING, State.HOLDING):
            self._enter(State.CLOSING)
            self._climber.stop()
            self._announcer.leave(now)

    # Attempts.

    def _begin_attempt(self, now: float) -> None:
        attempt = Attempt(self._random)

        def make_card(named: bytes, observed: tuple[Address, ...]) -> Card:
            hosts = self._own_hosts()
            field = self._climber.field
            return Card(
                attempt.public_key,
                named,
                self._settings.holds,
                field.report.nat_class,
                *field.bracket,
                hosts=hosts,
                observed=observed,
            )

        def session_key(partner: bytes, public_key: bytes) -> bytes | None:
            pair, end = self._settings.pair, self._settings.end
            return attempt.session_key(end, partner, public_key, pair=pair, peer_key=self._peer_key)

        self._attempts += 1
        self._announcer = Announcer(
            attempt,
            self._registrations(now),
            control=self._control,
            peer=self._peer,
            make_card=make_card,
            send=self._send,
            random=self._random,
        )
        self._peering = Peering(
            attempt,
            self._settings.end,
            holds=self._settings.holds,
            peer=self._peer,
            session_key=session_key,
            vias_for=self._vias_for,
            bucket=self._bucket,
            send=self._send,
            random=self._random,
        )
        self._climber = Climber(
            observers=self._observers,
            own_hosts=self._host_addresses,
            report=self._nat,
            bucket=self._probe_bucket,
            control=self._control,
            vias_for=self._vias_for,
            send=self._send,
            emit=self._emit,
            share=self._announcer.announce_now,
            fresh_port=self._take_fresh_port,
            fresh_port_patience=self._fresh_port_patience,
            random=self._random,
        )

    def _end_attempt(self) -> None:
        """What of an attempt outlives it: what it learned of our NAT, and what it has sent."""
        self._nat = self._climber.field.report
        self._datagrams += self._peering.datagrams
        self._climber.stop()
        self._announcer.leave_at_once()

    def _take_fresh_port(self, via: Via, local: Address, now: float) -> None:
        """A new attempt, from this socket instead of the one of its family so far."""
        self._end_attempt()
        for old in list(self._vias_for(local.family)):
            del self._sockets[old]
            self._emit(CloseSocket(old))
        self._sockets[via] = local
        self._fresh_port_patience *= 2
        self._begin_attempt(now)

    def _registrations(self, now: float) -> list[Registration]:
        pairs = [
            (control, next(self._vias_for(control.family), None)) for control in self._controls
        ]
        return [Registration(control, via, now) for control, via in pairs if via is not None]

    def _vias_for(self, family: int) -> Iterator[Via]:
        return (via for via, local in self._sockets.items() if local.family == family)

    def _own_hosts(self) -> tuple[Address, ...]:
        if not self._settings.offer_hosts:
            return ()
        return host_candidates(self._sockets, self._host_addresses, loopback=self._loopback)

    # What arrives.

    def _receive_from_control(self, data: bytes, source: Address, now: float) -> Drop | None:
        if self.state not in (State.PUNCHING, State.HOLDING):
            return Drop.UNEXPECTED
        if data[1] & ~END_B == Kind.OBSERVED:
            return self._receive_from_observer(data, source, now)
        answer = self._announcer.receive(data, source, now)
        if isinstance(answer, Drop):
            return answer
        self._silence_notice_at = NEVER
        drop = None
        if isinstance(answer, Introduction):
            drop = self._introduced(answer, now)
        elif answer and self.state is State.PUNCHING and not self._waiting_told:
            self._waiting_told = True
            self._emit(Waiting(Reason.PARTNER_ABSENT, answer.observed))
        self._announcer.handle_timer(now)
        return drop

    def _receive_from_observer(self, data: bytes, source: Address, now: float) -> Drop | None:
        if source not in self._observers:
            return Drop.UNEXPECTED_SOURCE
        message = self._control.from_control.open(data)
        if isinstance(message, Drop):
            return message
        if not isinstance(message, Observed) or not self._climber.observed(message, now):
            return Drop.UNEXPECTED
        return None

    def _introduced(self, introduction: Introduction, now: float) -> Drop | None:
        if self.state is State.HOLDING:
            return self._partner_returned(introduction)
        offered = partner_candidates(
            introduction.card, introduction.observed, loopback=self._loopback
        )
        tried = [
            candidate
            for candidate in offered
            if self._settings.try_observed or candidate.kind is not PathKind.OBSERVED
        ]
        if introduction.observed not in self._introduced_to and len(self._introduced_to) < 16:
            self._introduced_to.add(introduction.observed)
            self._emit(Introduced(introduction.observed))
        drop = self._peering.introduce(
            introduction.attempt,
            introduction.card,
            tried,
            now,
            observed=introduction.observed,
            opener=self._attempts > 1,
        )
        self._climber.partner_changed(now)
        self._consider_climbing(now)
        return drop

    def _partner_returned(self, introduction: Introduction) -> Drop | None:
        if not introduction.proof or introduction.attempt in self._peering.superseded:
            return Drop.UNEXPECTED
        self._emit(PartnerReturned())
        return None

    def _receive_from_partner(
        self, data: bytes, source: Address, now: float, via: Via
    ) -> Drop | None:
        if self.state in (State.CLOSING, State.FINISHED):
            return Drop.UNEXPECTED
        drop = self._peering.receive(data, source, now, via)
        if self.state is State.PUNCHING:
            self._check_agreement(now)
        if self.state is State.PUNCHING:
            self._consider_climbing(now)
        return drop

    def _consider_climbing(self, now: float) -> None:
        """Plain pings alone do it, or else the ladder begins beside them."""
        partner = self._peering.proved_partner
        if partner is not None and self._settings.any_port and not self._peering.any_valid:
            self._climber.climb(partner, now)

    # Punching: its outcomes.

    def _check_agreement(self, now: float) -> None:
        agreed = self._peering.agreement
        if agreed is None:
            return
        link = self._link(agreed, now)
        self._climber.stop(keep=agreed.path.via)
        self._emit(link)
        if self._settings.holds:
            self._enter(State.HOLDING)
            self._keepalive_at = now + self._settings.keepalive
            self._announcer.stand_by(now)
        else:
            self._enter(State.LINKED)
            self._announcer.leave(now)
        self._announcer.handle_timer(now)

    def _link(self, agreed: Agreement, now: float) -> Linked:
        path = agreed.path
        return Linked(
            path.via,
            (self._sockets | self._climber.sockets)[path.via],
            path.remote,
            agreed.kind,
            path.rtt,
            now - self._began,
            agreed.partner.session_key,
            self._datagrams + self._peering.datagrams,
        )

    def _start_deadline(self) -> None:
        """The deadline of an end that waits for its partner as long as it takes."""
        proved_at, patience = self._peering.proved_at, self._settings.deadline
        if self._deadline == NEVER and proved_at is not None and patience is not None:
            self._deadline = proved_at + patience

    def _watch_punching(self, now: float) -> None:
        if now >= self._silence_notice_at:
            self._silence_notice_at = NEVER
            self._emit(Waiting(Reason.SECRET_REJECTED_OR_SILENT))
        if self._peering.mode_differs:
            self._fail(*verdict(Reason.PARTNER_MODE, holds=self._settings.holds), now)
        elif now >= self._deadline:
            self._fail(*self._why_not_linked(), now)
        elif self._climber.infeasible and not self._peering.any_valid:
            self._fail(*verdict(Reason.INFEASIBLE, nats=self._nat_classes()), now)
        elif self._peering.futile:
            self._end_attempt()
            self._begin_attempt(now)
        else:
            self._climber.handle_timer(now)

    def _nat_classes(self) -> tuple[str, str]:
        """Ours and the partner's, in words."""
        partner = self._peering.proved_partner
        theirs = NatClass.UNKNOWN if partner is None else partner.nat_class
        ours = self._climber.field.report.nat_class
        return ours.name.lower(), theirs.name.lower()

    def _why_not_linked(self) -> tuple[Reason, str]:
        if self._peering.any_valid:
            reason = Reason.NOT_AGREED
        elif self._peering.partners or self._introduced_to:
            reason = Reason.BLOCKED
        elif self._waiting_told or self._announcer.heard:
            reason = Reason.PARTNER_ABSENT
        else:
            reason = Reason.SECRET_REJECTED_OR_SILENT
        return verdict(reason, controls=self._controls)

    def _fail(self, reason: Reason, detail: str, now: float) -> None:
        ours, theirs = self._nat_classes()
        self._emit(
            Failed(
                reason,
                detail,
                now - self._began,
                ours,
                theirs,
                self._datagrams + self._peering.datagrams,
                self._peering.candidate_reports(),
            )
        )
        self.close(now)

    # Holding.

    def _keep_alive(self, now: float) -> None:
        if self._peering.unanswered >= timing.SILENT_KEEPALIVES:
            self._emit(Lost(f"{timing.SILENT_KEEPALIVES} keepalives without an answer"))
            self.close(now)
            return
        self._peering.ping_agreed_path(now)
        self._keepalive_at = now + self._settings.keepalive

    # Ending.

    def _settle(self) -> None:
        """Enters FINISHED when nobody needs to hear anything more."""
        told = self._announcer.has_left
        if self.state is State.LINKED and self._peering.settled and not told:
            self._announcer.leave_at_once()  # the partner's program may already be sending
            told = True
        done = self.state is State.CLOSING or self._peering.settled
        if self.state in (State.LINKED, State.CLOSING) and told and done:
            self._enter(State.FINISHED)
            self._emit(Finished())

    def _enter(self, state: State) -> None:
        assert state in TRANSITIONS[self.state], (self.state, state)
        self.state = state
