"""An end of a v2 pair: from its first announcement until a path is agreed and handed over.

An end lives in one *attempt* at a time: it is registered with every control, pings the partner
attempts that controls introduce, and the first path that both ends agree on is final. Then the port
is handed over, or the link is held until it is lost, ended, or the partner wants to punch anew. An
attempt that leads nowhere (a dead port, a nomination without an answer) is replaced by a new one,
within the same deadline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.describe import describe
from netpunch.core.end.announcing import Introduction
from netpunch.core.end.attempt import Attempt
from netpunch.core.end.holding import HeldLink
from netpunch.core.end.nomination import NominationState
from netpunch.core.end.resources import Resources
from netpunch.core.end.verdict import verdict
from netpunch.core.end.waiting import Deadline, WaitingReports
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import (
    Finished,
    Lost,
    PartnerReturned,
    PathKind,
    Payload,
    Reason,
    Via,
)
from netpunch.core.machine import NEVER, Machine, Random, next_state
from netpunch.core.pacing import TokenBucket
from netpunch.core.settings import EndSettings
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import CONTROL_DATAGRAM, END_B, PEER_DATAGRAM, VERSION, may_be_ours
from netpunch.wire.v2 import Kind

NOT_OURS = {Drop.MALFORMED, Drop.UNKNOWN_PAIR, Drop.BAD_MAC}
"""On a held link, what does not authenticate belongs to the programs at its ends."""


class EndState(Enum):
    """Where an end is in its life."""

    PUNCHING = "punching"
    HANDING_OVER = "handing over"
    """A path is agreed; the partner and the controls still need to hear something."""
    HOLDING = "holding"
    CLOSING = "closing"
    """Failed, lost or stopped; the controls are being told."""
    FINISHED = "finished"


TRANSITIONS: dict[tuple[EndState, str], EndState] = {
    (EndState.PUNCHING, "path agreed, hands over"): EndState.HANDING_OVER,
    (EndState.PUNCHING, "path agreed, holds"): EndState.HOLDING,
    (EndState.PUNCHING, "stopped"): EndState.CLOSING,
    (EndState.HOLDING, "stopped"): EndState.CLOSING,
    (EndState.HANDING_OVER, "partner and controls informed"): EndState.FINISHED,
    (EndState.CLOSING, "partner and controls informed"): EndState.FINISHED,
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
        self.state = EndState.PUNCHING
        self._resources = Resources(
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
        self._deadline = Deadline(settings, now)
        self._reports = WaitingReports(self._emit)
        self._datagrams = 0
        """Sent to the partner in earlier attempts."""
        self._held: tuple[Via, Address] | None = None
        """Our socket and the partner's address, while a link is held."""
        self._link: HeldLink | None = None
        self._attempt = Attempt(self._resources, opener=False, now=now)

    # The contract.

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        held = (via, source) == self._held
        if held and not may_be_ours(data):
            self._emit(Payload(data))
            return
        if len(data) == PEER_DATAGRAM:
            drop = self._receive_from_partner(data, source, now, via)
        elif len(data) == CONTROL_DATAGRAM and not held:
            drop = self._receive_from_control(data, source, now)
        else:
            drop = Drop.MALFORMED
        if drop in NOT_OURS and held:
            self._emit(Payload(data))
        elif drop is not None:
            self._drop(drop)
            if data[:1] != bytes((VERSION,)):
                self._attempt.partners.nominations.foreign_datagram(source, via)
        if self._attempt.partners.proved_at is not None:
            self._deadline.start(self._attempt.partners.proved_at)
        self._update_deadline(now)
        self._check_finished()

    def next_timer(self) -> float:
        if self.state is EndState.FINISHED:
            return NEVER
        attempt = self._attempt
        timers = [attempt.announcer.next_timer()]
        if self.state is not EndState.CLOSING:
            timers.append(attempt.partners.next_timer())
        if self.state is EndState.PUNCHING:
            timers += [self._silent_at, attempt.traversal.next_timer()]
            timers.append(attempt.other_family.next_timer)
            if not attempt.partners.nominating:
                timers.append(self._deadline.next_timer())
        if self._link is not None:
            timers.append(self._link.next_timer())
        return min(timers)

    def handle_timer(self, now: float) -> None:
        if self.state is EndState.FINISHED:
            return
        if self.state is not EndState.CLOSING:
            self._attempt.partners.handle_timer(now)
        if self.state is EndState.PUNCHING:
            self._attempt.other_family.handle_timer(now)
            self._watch_punching(now)
        if self._link is not None and not self._link.handle_timer(now):
            self._emit(Lost(f"{timing.SILENT_KEEPALIVES} keepalives without an answer"))
            self._stop(now)  # without a BYE: the partner finds the same cause
        self._attempt.announcer.handle_timer(now)
        self._check_finished()

    def describe(self, data: bytes) -> str:
        return describe(data, [self._resources.control], self._resources.peer)

    def close(self, now: float) -> None:
        """Stops: tells the controls and the partner of a held link, then emits Finished. May be
        repeated. A link that is being handed over goes on as it was."""
        if self.state is EndState.HOLDING:
            assert self._link is not None
            self._link.leave(now)
        if self.state in (EndState.PUNCHING, EndState.HOLDING):
            self._stop(now)

    def sockets_opened(self, request: int, opened: Mapping[Via, Address], now: float) -> None:
        fresh = self._attempt.traversal.sockets_opened(request, opened, now)
        if fresh is not None:
            self._take_fresh_port(*fresh, now)

    def turn_granted(self, sockets: int, now: float) -> None:
        self._attempt.traversal.turns.granted(sockets, now)
        self._update_deadline(now)

    def controls_found(self, endpoints: ControlEndpoints, now: float) -> None:
        self._resources.controls_found(endpoints)
        self._attempt.controls_found(now)

    def reachable_at(self, kind: PathKind, addresses: tuple[Address, ...], now: float) -> None:
        self._resources.external[kind] = addresses
        if self.state is EndState.PUNCHING:
            self._attempt.announcer.announce_now(now)

    def no_route(self, via: Via, remote: Address) -> None:
        self._attempt.no_route(via, remote)

    @property
    def rtt(self) -> float | None:
        agreed = self._attempt.partners.nominations.agreement
        return None if agreed is None else agreed.path.rtt

    def send_payload(self, data: bytes) -> None:
        if self._held is not None:
            via, remote = self._held
            self._send(data, remote, via)

    # What arrives.

    def _receive_from_control(self, data: bytes, source: Address, now: float) -> Drop | None:
        if self.state not in (EndState.PUNCHING, EndState.HOLDING):
            return Drop.UNEXPECTED
        attempt = self._attempt
        if data[1] & ~END_B == Kind.OBSERVED:
            return attempt.observed(data, source, now)
        answer = attempt.announcer.receive(data, source, now)
        if isinstance(answer, Drop):
            return answer
        attempt.report_seen_inside()
        drop = None
        if isinstance(answer, Introduction):
            drop = self._introduced(answer, now)
        elif answer and self.state is EndState.PUNCHING:
            self._reports.partner_absent(answer.observed, now)
        self._attempt.announcer.handle_timer(now)
        return drop

    def _introduced(self, introduction: Introduction, now: float) -> Drop | None:
        if self.state is EndState.HOLDING:
            return self._partner_returned(introduction)
        if not introduction.knock:
            self._reports.introduced(introduction.observed)
        return self._attempt.introduce(introduction, now)

    def _partner_returned(self, introduction: Introduction) -> Drop | None:
        agreed = self._attempt.partners.nominations.agreement
        assert agreed is not None
        # The link's own attempt may still announce itself until it hears that we agreed.
        if not introduction.proof or introduction.attempt == agreed.partner.attempt:
            return Drop.UNEXPECTED
        self._emit(PartnerReturned())
        return None

    def _receive_from_partner(
        self, data: bytes, source: Address, now: float, via: Via
    ) -> Drop | None:
        if self.state in (EndState.CLOSING, EndState.FINISHED):
            return Drop.UNEXPECTED
        drop = self._attempt.partners.receive(data, source, now, via)
        if self.state is EndState.PUNCHING:
            self._check_agreement(now)
        if self.state is EndState.PUNCHING:
            self._attempt.consider_traversal(now)
        if self.state is EndState.HOLDING and self._attempt.partners.ended_by_partner:
            self._emit(Lost("the partner has ended it", ended=True))
            self._stop(now)
        return drop

    # Punching and its outcomes.

    def _check_agreement(self, now: float) -> None:
        attempt, agreed = self._attempt, self._attempt.partners.nominations.agreement
        if agreed is None:
            return
        link = attempt.linked(agreed, now - self._began, self._datagrams)
        attempt.traversal.stop(keep=[agreed.path.via])
        self._emit(link)
        if self._resources.settings.holds:
            self._move("path agreed, holds")
            self._link = HeldLink(attempt, agreed, now)
            self._held = (link.via, link.remote)
            self._keep_one_socket(link.via, link.local)
            attempt.stand_by(now)
        else:
            self._move("path agreed, hands over")
            attempt.announcer.leave(now)
        attempt.announcer.handle_timer(now)

    def _keep_one_socket(self, via: Via, local: Address) -> None:
        """A link that is held from a later socket no longer needs the first one of its family. To
        controls this is a new address, for which they ask a proof."""
        if via not in self._resources.sockets:
            for old in self._resources.replace_socket(via, local):
                self._attempt.announcer.socket_replaced(old, via)

    @property
    def _silent_at(self) -> float:
        announcer = self._attempt.announcer
        return self._reports.silent_at(announcer.silent_since(self._began), heard=announcer.heard)

    def _update_deadline(self, now: float) -> None:
        self._deadline.update(now, queued=self._attempt.traversal.waits(now))

    def _watch_punching(self, now: float) -> None:
        self._update_deadline(now)
        if now >= self._silent_at:
            self._reports.silent(self._resources.endpoints.controls)
        partners, traversal = self._attempt.partners, self._attempt.traversal
        if partners.mode_differs:
            self._fail(Reason.PARTNER_MODE, now)
        elif partners.nominating:
            traversal.handle_timer(now)
            # b may be linked already: a must not give up before its nomination does
        elif self._deadline.is_over(now):
            self._fail(self._why_not_linked(now), now)
        elif traversal.infeasible and not partners.any_valid:
            self._fail(Reason.INFEASIBLE, now)
        elif partners.nominations.state is NominationState.FUTILE:
            self._begin_anew(now)
        else:
            traversal.handle_timer(now)

    def _why_not_linked(self, now: float) -> Reason:
        partners = self._attempt.partners
        if self._attempt.traversal.waits(now):
            return Reason.SPRAY_QUEUE
        if partners.any_card_differs:
            return Reason.PARTNER_MODE
        if partners.any_valid:
            return Reason.NOT_AGREED
        if partners.proved_at is not None or self._reports.introduced_to:
            return Reason.BLOCKED
        if self._reports.registered or self._attempt.announcer.heard:
            return Reason.PARTNER_ABSENT
        return Reason.SECRET_REJECTED_OR_SILENT

    def _fail(self, reason: Reason, now: float) -> None:
        detail = verdict(reason, self._attempt.facts())
        self._emit(self._attempt.failed(reason, detail, now - self._began, self._datagrams))
        self._stop(now)

    def _begin_anew(self, now: float) -> None:
        self._datagrams += self._attempt.datagrams
        self._attempt.end()
        self._attempt = Attempt(self._resources, opener=True, now=now)

    def _take_fresh_port(self, via: Via, local: Address, now: float) -> None:
        """Begins a new attempt from this socket instead of the first one of its family."""
        self._attempt.announcer.leave_at_once()  # from the socket that is about to close
        self._resources.replace_socket(via, local)
        self._resources.fresh_port_patience *= 2
        self._begin_anew(now)

    # Ending.

    def _stop(self, now: float) -> None:
        self._move("stopped")
        self._held = None
        if self._link is not None:
            self._link.stop()
        self._attempt.traversal.stop()
        self._attempt.announcer.leave(now)

    def _check_finished(self) -> None:
        """Finishes when partner and controls need to hear nothing more."""
        announcer = self._attempt.announcer
        if self.state is EndState.HANDING_OVER:
            done = self._attempt.partners.nominations.state is NominationState.SETTLED
            if done and not announcer.has_left:
                announcer.leave_at_once()  # the partner's program may already be sending
        else:
            done = self._link is None or self._link.has_left
        if self.state in (EndState.HANDING_OVER, EndState.CLOSING) and announcer.has_left and done:
            self._move("partner and controls informed")
            self._emit(Finished())

    def _move(self, event: str) -> None:
        self.state = next_state(TRANSITIONS, self.state, event)
