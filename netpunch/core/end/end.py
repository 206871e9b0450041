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

from collections.abc import Mapping, Sequence
from enum import Enum

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.describe import describe
from netpunch.core.end.announcer import Introduction
from netpunch.core.end.attempt_run import AttemptRun
from netpunch.core.end.context import Context
from netpunch.core.end.verdict import verdict
from netpunch.core.end.waiting_news import WaitingNews
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import (
    CloseSocket,
    Finished,
    Lost,
    PartnerReturned,
    Payload,
    Reason,
    Via,
)
from netpunch.core.machine import NEVER, Machine, Random
from netpunch.core.pacing import Repeat, TokenBucket
from netpunch.core.settings import EndSettings
from netpunch.core.traversal.budget import LONGEST_QUEUE
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import (
    CONTROL_DATAGRAM,
    END_B,
    PEER_DATAGRAM,
    VERSION,
    may_be_ours,
)
from netpunch.wire.v2 import Kind

NOT_OURS = {Drop.MALFORMED, Drop.UNKNOWN_PAIR, Drop.BAD_MAC}
"""On a held link, what does not authenticate is the business of the programs at its ends."""


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


class End(Machine):
    """The sans-I/O end of a v2 pair; see `core.machine` for the contract.

    `endpoints` says where the controls are (without reflectors the class of our NAT stays
    unknown); `sockets` are the bound local addresses by socket, at most one per family;
    `host_addresses` this host's own candidates; `probe_bucket` is the rate of hard NATs' probes,
    shared by all ends of a process."""

    def __init__(
        self,
        settings: EndSettings,
        *,
        endpoints: ControlEndpoints,
        sockets: Mapping[Via, Address],
        host_addresses: Sequence[str] = (),
        probe_bucket: TokenBucket | None = None,
        random: Random,
        now: float,
    ) -> None:
        super().__init__()
        self.state = State.PUNCHING
        self._settings = settings
        self._context = Context(
            settings,
            endpoints=endpoints,
            sockets=sockets,
            host_addresses=host_addresses,
            probe_bucket=probe_bucket,
            send=self._send,
            emit=self._emit,
            random=random,
            now=now,
        )
        self._began = now
        self._deadline = NEVER
        if settings.deadline is not None and settings.deadline_from_start:
            self._deadline = now + settings.deadline
        self._waits_since = NEVER
        """Since when the deadline stands still, for a turn of this end or of its partner."""
        self._may_wait = LONGEST_QUEUE
        self._news = WaitingNews(self._emit)
        self._fresh_port_patience = timing.FRESH_PORT_AFTER
        self._held: tuple[Via, Address] | None = None
        """The path of the link, while it is held."""
        self._datagrams = 0
        """Sent to the partner in earlier attempts."""
        self._byes = Repeat(0, timing.BYE_INTERVAL, 0.0)
        self._keepalive_at = NEVER
        self._next_keepalive = 0.0
        self._run = self._new_run(now, opener=False)

    # The contract.

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        if (via, source) == self._held and not may_be_ours(data):
            self._emit(Payload(data))
            return
        if len(data) == PEER_DATAGRAM:
            drop = self._receive_from_partner(data, source, now, via)
        elif len(data) == CONTROL_DATAGRAM and (via, source) != self._held:
            drop = self._receive_from_control(data, source, now)
        else:
            drop = Drop.MALFORMED
        if drop in NOT_OURS and (via, source) == self._held:
            self._emit(Payload(data))
        elif drop is not None:
            self._drop(drop)
            if data[:1] != bytes((VERSION,)):
                self._run.peering.foreign_datagram(source, via)
        self._start_deadline()
        self._stop_deadline(now)
        self._settle()

    def next_timer(self) -> float:
        if self.state is State.FINISHED:
            return NEVER
        timers = [self._run.announcer.next_timer(), self._byes.next_at]
        if self.state is not State.CLOSING:
            timers.append(self._run.peering.next_timer())
        if self.state is State.PUNCHING:
            timers += [self._silent_at, self._run.climber.next_timer()]
            timers.append(self._run.other_family.next_timer)
            if not self._run.peering.nominating:
                waits = self._waits_since != NEVER
                timers.append(self._deadline + (self._may_wait if waits else 0.0))
        if self.state is State.HOLDING:
            timers.append(self._keepalive_at)
        return min(timers)

    def handle_timer(self, now: float) -> None:
        if self.state is State.FINISHED:
            return
        if self.state is not State.CLOSING:
            self._run.peering.handle_timer(now)
        if self.state is State.PUNCHING:
            self._run.other_family.handle_timer(now)
            self._watch_punching(now)
        if self.state is State.HOLDING and now >= self._keepalive_at:
            self._keep_alive(now)
        if self._byes.due(now):
            self._run.peering.say_bye()
        self._run.announcer.handle_timer(now)
        self._settle()

    def describe(self, data: bytes) -> str:
        return describe(data, [self._context.control], self._context.peer)

    # What the driver may call besides.

    def sockets_opened(self, request: int, opened: Mapping[Via, Address], now: float) -> None:
        self._run.climber.sockets_opened(request, opened, now)

    def turn_granted(self, sockets: int, now: float) -> None:
        self._run.climber.turns.granted(sockets, now)
        self._stop_deadline(now)

    @property
    def rtt(self) -> float | None:
        agreed = self._run.peering.agreement
        return None if agreed is None else agreed.path.rtt

    def send_payload(self, data: bytes) -> None:
        if self._held is not None:
            via, remote = self._held
            self._send(data, remote, via)

    def controls_found(self, endpoints: ControlEndpoints, now: float) -> None:
        self._context.controls_found(endpoints)
        self._run.controls_found(now)

    def no_route(self, via: Via, remote: Address) -> None:
        self._run.peering.no_route(via, remote)

    def mapped(self, addresses: tuple[Address, ...], now: float) -> None:
        self._context.mapped = addresses
        if self.state is State.PUNCHING:
            self._run.announcer.announce_now(now)

    def close(self, now: float) -> None:
        """Stops: tells the controls and the partner of a held link, then emits Finished. May be
        repeated; when a link is being handed over or everything has ended, that goes on as it
        was."""
        if self.state is State.HOLDING:
            self._byes = Repeat(timing.BYE_COUNT, timing.BYE_INTERVAL, now)
        if self.state in (State.PUNCHING, State.HOLDING):
            self._stop(now)

    def _stop(self, now: float) -> None:
        self._enter(State.CLOSING)
        self._run.climber.stop()
        self._run.announcer.leave(now)

    # Attempts.

    def _new_run(self, now: float, *, opener: bool) -> AttemptRun:
        return AttemptRun(
            self._context,
            opener=opener,
            fresh_port=self._take_fresh_port,
            fresh_port_patience=self._fresh_port_patience,
            now=now,
        )

    def _begin_anew(self, now: float) -> None:
        self._datagrams += self._run.peering.datagrams
        self._run.end()
        self._run = self._new_run(now, opener=True)

    def _take_fresh_port(self, via: Via, local: Address, now: float) -> None:
        """A new attempt, from this socket instead of the one of its family so far."""
        if self.state is not State.PUNCHING:
            self._emit(CloseSocket(via))
            return
        sockets = self._context.sockets
        self._run.announcer.leave_at_once()  # from the socket that is about to close
        for old in list(self._context.vias_for(local.family)):
            del sockets[old]
            self._emit(CloseSocket(old))
        sockets[via] = local
        self._fresh_port_patience *= 2
        self._begin_anew(now)

    # What arrives.

    def _receive_from_control(self, data: bytes, source: Address, now: float) -> Drop | None:
        if self.state not in (State.PUNCHING, State.HOLDING):
            return Drop.UNEXPECTED
        if data[1] & ~END_B == Kind.OBSERVED:
            return self._run.observed(data, source, now)
        answer = self._run.announcer.receive(data, source, now)
        if isinstance(answer, Drop):
            return answer
        self._run.tell_seen_inside()
        drop = None
        if isinstance(answer, Introduction):
            drop = self._introduced(answer, now)
        elif answer and self.state is State.PUNCHING:
            self._news.partner_absent(answer.observed, now)
        self._run.announcer.handle_timer(now)
        return drop

    def _introduced(self, introduction: Introduction, now: float) -> Drop | None:
        if self.state is State.HOLDING:
            return self._partner_returned(introduction)
        if not introduction.knock:
            self._news.introduced(introduction.observed)
        return self._run.introduce(introduction, now)

    def _partner_returned(self, introduction: Introduction) -> Drop | None:
        agreed = self._run.peering.agreement
        assert agreed is not None
        # That of the link itself may still announce itself: it has not heard that we agreed.
        if not introduction.proof or introduction.attempt == agreed.partner.attempt:
            return Drop.UNEXPECTED
        self._emit(PartnerReturned())
        return None

    def _receive_from_partner(
        self, data: bytes, source: Address, now: float, via: Via
    ) -> Drop | None:
        if self.state in (State.CLOSING, State.FINISHED):
            return Drop.UNEXPECTED
        drop = self._run.peering.receive(data, source, now, via)
        if self.state is State.PUNCHING:
            self._check_agreement(now)
        if self.state is State.PUNCHING:
            self._run.consider_climbing(now)
        if self.state is State.HOLDING and self._run.peering.ended_by_partner:
            self._emit(Lost("the partner has ended it", ended=True))
            self._stop(now)
        return drop

    # Punching: its outcomes.

    def _check_agreement(self, now: float) -> None:
        agreed = self._run.peering.agreement
        if agreed is None:
            return
        link = self._run.linked(agreed, now - self._began, self._datagrams)
        self._run.climber.stop(keep=[agreed.path.via])
        self._emit(link)
        if self._settings.holds:
            self._enter(State.HOLDING)
            self._held = (agreed.path.via, agreed.path.remote)
            self._keepalive_at = now + self._settings.keepalive
            self._keep_one_socket(link.via, link.local)
            self._run.stand_by(now)
        else:
            self._enter(State.LINKED)
            self._run.announcer.leave(now)
        self._run.announcer.handle_timer(now)

    def _keep_one_socket(self, via: Via, local: Address) -> None:
        """A link that is held from a later socket needs the first one of its family no more. To
        controls this is a new address, for which they ask a proof."""
        sockets = self._context.sockets
        if via in sockets:
            return
        for old in list(self._context.vias_for(local.family)):
            self._run.announcer.socket_replaced(old, via)
            del sockets[old]
            self._emit(CloseSocket(old))
        sockets[via] = local

    def _start_deadline(self) -> None:
        """The deadline of an end that waits for its partner as long as it takes."""
        proved_at, patience = self._run.peering.proved_at, self._settings.deadline
        if self._deadline == NEVER and proved_at is not None and patience is not None:
            self._deadline = proved_at + patience

    def _stop_deadline(self, now: float) -> None:
        """It stands still while this end or its partner waits for a turn, within the bound."""
        if self._waits_since != NEVER:
            waited = min(now - self._waits_since, self._may_wait)
            self._deadline += waited
            self._may_wait -= waited
        waits = self._may_wait > 0 and self._run.climber.waits(now)
        self._waits_since = now if waits else NEVER

    @property
    def _silent_at(self) -> float:
        announcer = self._run.announcer
        return self._news.silent_at(announcer.silent_since(self._began), heard=announcer.heard)

    def _watch_punching(self, now: float) -> None:
        self._stop_deadline(now)
        if now >= self._silent_at:
            self._news.silent(self._context.controls)
        run = self._run
        if run.peering.mode_differs:
            self._fail(Reason.PARTNER_MODE, now)
        elif run.peering.nominating:
            run.climber.handle_timer(now)
            # b may be linked already: a must not give up before its nomination does
        elif now >= self._deadline:
            self._fail(self._why_not_linked(now), now)
        elif run.climber.infeasible and not run.peering.any_valid:
            self._fail(Reason.INFEASIBLE, now)
        elif run.peering.futile:
            self._begin_anew(now)
        else:
            run.climber.handle_timer(now)

    def _why_not_linked(self, now: float) -> Reason:
        if self._run.climber.waits(now):
            return Reason.SPRAY_QUEUE
        if self._run.peering.any_card_differs:
            return Reason.PARTNER_MODE
        if self._run.peering.any_valid:
            return Reason.NOT_AGREED
        if self._run.peering.proved_at is not None or self._news.introduced_to:
            return Reason.BLOCKED
        if self._news.registered or self._run.announcer.heard:
            return Reason.PARTNER_ABSENT
        return Reason.SECRET_REJECTED_OR_SILENT

    def _fail(self, reason: Reason, now: float) -> None:
        detail = verdict(reason, self._run.facts())
        self._emit(self._run.failed(reason, detail, now - self._began, self._datagrams))
        self.close(now)

    # Holding.

    def _keep_alive(self, now: float) -> None:
        """A keepalive is a ping, repeated soon if it stays unanswered: loss is no silence."""
        peering, interval = self._run.peering, self._settings.keepalive
        retry = min(timing.KEEPALIVE_RETRY, interval / timing.KEEPALIVE_TRIES)
        if peering.unanswered >= timing.SILENT_KEEPALIVES * timing.KEEPALIVE_TRIES:
            self._emit(Lost(f"{timing.SILENT_KEEPALIVES} keepalives without an answer"))
            self._stop(now)  # and no goodbye: the partner is to find the same cause
        elif peering.unanswered == 0 and now < self._next_keepalive:
            self._keepalive_at = self._next_keepalive  # the last one was answered
        else:
            if peering.unanswered % timing.KEEPALIVE_TRIES == 0:
                self._next_keepalive = now + interval
            peering.ping_agreed_path(now)
            more = peering.unanswered % timing.KEEPALIVE_TRIES != 0
            last = peering.unanswered >= timing.SILENT_KEEPALIVES * timing.KEEPALIVE_TRIES
            self._keepalive_at = now + retry if more or last else self._next_keepalive

    # Ending.

    def _settle(self) -> None:
        """Enters FINISHED when nobody needs to hear anything more."""
        announcer, settled = self._run.announcer, self._run.peering.settled
        if self.state is State.LINKED and settled and not announcer.has_left:
            announcer.leave_at_once()  # the partner's program may already be sending
        done = settled if self.state is State.LINKED else not self._byes.left
        if self.state in (State.LINKED, State.CLOSING) and announcer.has_left and done:
            self._enter(State.FINISHED)
            self._emit(Finished())

    def _enter(self, state: State) -> None:
        assert state in TRANSITIONS[self.state], (self.state, state)
        self.state = state
        self._held = None
