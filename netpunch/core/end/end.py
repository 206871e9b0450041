"""An end of a v2 pair, from its first announcement until a path is handed over, or for as long as
its link is held.

It punches until both ends agree on a path. Then the port is handed over to another program, or the
link is held: a *successor* beside it, on standby until there is a reason, finds another path before
the old one is given up, so that the link moves instead of ending.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.announcing import Introduction
from netpunch.core.end.channels import Channels, describe
from netpunch.core.end.holding import HeldLink, Retired
from netpunch.core.end.nomination import NominationState
from netpunch.core.end.probe import Probe
from netpunch.core.end.punching import Punching
from netpunch.core.end.resources import Resources
from netpunch.core.end.successor import Successor, SuccessorState, moved
from netpunch.core.end.waiting import Deadline, WaitingReports
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import (
    Failed,
    Finished,
    FollowRoutes,
    Lost,
    MoveReason,
    PathKind,
    Payload,
    Reason,
    Via,
)
from netpunch.core.machine import NEVER, LinkFigures, Machine, Random, next_state
from netpunch.core.pacing import TokenBucket
from netpunch.core.settings import EndSettings
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import CONTROL_DATAGRAM, END_B, PEER_DATAGRAM, VERSION, may_be_ours
from netpunch.wire.keys import pair_tag
from netpunch.wire.v2 import Kind

if TYPE_CHECKING:
    from netpunch.core.end.returning import Returning
    from netpunch.wire.sealed import Sealing

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
    (EndState.HOLDING, "another path agreed"): EndState.HOLDING,
    (EndState.HOLDING, "path bound on UDP"): EndState.HOLDING,
    (EndState.HOLDING, "stopped"): EndState.CLOSING,
    (EndState.HOLDING, "handed over"): EndState.CLOSING,
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
        self.tag = pair_tag(settings.pair)
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
        self._reports = WaitingReports(self._emit)
        seconds = NEVER if settings.deadline is None else settings.deadline
        deadline = Deadline(seconds, now, from_start=settings.deadline_from_start)
        self._first = Punching(self._resources, deadline, now=now)
        """Finds the first path."""
        self._link: HeldLink | None = None
        self._successor: Successor | None = None
        """Beside a held link."""
        self._returning: Returning | None = None
        """Where the held link has its path over a stream, but UDP passes again."""
        self._retired: list[Retired] = []
        self.partners: dict[Via, dict[Address, HeldLink]] = {}
        """The paths of the held link and of the retired ones, by socket and address."""
        self._probe: Probe | None = None
        """Of an end that hands its port over."""
        self.sealing = self._make_sealing(settings)
        self._sealed_drops: Counter[Drop] = Counter()
        self._hands_over = False

    def _make_sealing(self, settings: EndSettings) -> Sealing | None:
        if not settings.sealed:
            return None
        from netpunch.wire.sealed import Sealing  # few ends seal

        return Sealing(settings.end, self._drop_sealed)

    def _drop_sealed(self, reason: Drop) -> None:
        self._drop(reason)
        self._sealed_drops[reason] += 1

    # The contract.

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        link = self._held_on(via, source)
        if link is not None and not may_be_ours(data):
            self._take_payload(data, link)
            return
        if len(data) == PEER_DATAGRAM:
            drop = self._receive_from_partner(data, source, now, via)
        elif len(data) == CONTROL_DATAGRAM and (link is None or self._is_of_control(data, link)):
            drop = self._receive_from_control(data, source, now, via)
        else:
            drop = Drop.MALFORMED
        if drop in NOT_OURS and link is not None:
            self._take_payload(data, link)
        elif drop in NOT_OURS and self._is_kept(data, source, via):
            pass  # until the link is there
        elif drop is not None:
            self._drop(drop)
            if data[:1] != bytes((VERSION,)):
                self._punching.attempt.partners.nominations.foreign_datagram(source, via)
            elif drop in NOT_OURS:
                return  # it means nothing, and strangers may send many
        self._punching.heard(now)
        self._check_finished()

    def next_timer(self) -> float:
        match self.state:
            case EndState.FINISHED:
                return NEVER
            case EndState.PUNCHING:
                return min(self._first.next_timer(), self._silent_at, self._udp_silent_at)
            case EndState.HANDING_OVER:
                attempt = self._first.attempt
                return min(attempt.announcer.next_timer(), attempt.partners.next_timer())
            case EndState.CLOSING:
                byes_at = NEVER if self._link is None else self._link.next_timer()
                return min(self._punching.attempt.announcer.next_timer(), byes_at)
        link, successor = self._link, self._successor
        assert link is not None
        assert successor is not None
        return min(
            link.next_timer(),
            link.attempt.partners.next_timer(),
            successor.next_timer(),
            NEVER if self._returning is None else self._returning.next_timer(),
            self._lost_at,
            self._udp_silent_at,
            *(retired.until for retired in self._retired),
        )

    def handle_timer(self, now: float) -> None:
        match self.state:
            case EndState.PUNCHING:
                self._handle_punching(now)
            case EndState.HANDING_OVER:
                self._first.attempt.partners.handle_timer(now)
                self._first.attempt.announcer.handle_timer(now)
            case EndState.HOLDING:
                self._handle_holding(now)
            case EndState.CLOSING:
                self._punching.attempt.announcer.handle_timer(now)
                if self._link is not None:
                    self._link.handle_timer(now)
        if self.state in (EndState.PUNCHING, EndState.HOLDING):
            self._watch_udp(now)
        self._check_finished()

    def describe(self, data: bytes) -> str:
        return describe(data, tuple(self._channels()))

    def close(self, now: float) -> None:
        """Stops: tells the controls and the partner of a held link, then emits Finished. May be
        repeated. A link that is being handed over goes on as it was."""
        if self._link is not None and self.state is EndState.HOLDING:
            self._link.leave(now)
        if self.state in (EndState.PUNCHING, EndState.HOLDING):
            self._stop(now)

    def sockets_opened(self, request: int, opened: Mapping[Via, Address], now: float) -> None:
        self._punching.sockets_opened(request, opened, now)

    def no_path(self, now: float) -> Failed | None:
        """What would be told if the end gave up now, while it has a partner, but no path."""
        return self._first.no_path(now) if self.state is EndState.PUNCHING else None

    def turn_granted(self, sockets: int, now: float) -> None:
        self._punching.attempt.traversal.turns.granted(sockets, now)
        self._punching.update_deadline(now)

    def controls_found(self, endpoints: ControlEndpoints, now: float) -> None:
        self._resources.controls_found(endpoints)
        self._punching.attempt.controls_found(now)
        self._resources.streams.ask_again()

    def control_connected(self, via: Via, control: Address, local: Address, now: float) -> None:
        self._resources.streams.opened(via, control, local)
        if not self._resources.settings.carries:
            self._probe = Probe(self._resources, via, control)
        elif self.state in (EndState.PUNCHING, EndState.HOLDING):
            self._follow_streams(now)

    def control_disconnected(self, via: Via, now: float) -> None:
        self._resources.streams.closed(via)
        if self.state not in (EndState.PUNCHING, EndState.HOLDING):
            return
        self._follow_streams(now)
        if self._link is not None and self._link.place[0] == via and self._successor is not None:
            self._link.address_gone(MoveReason.SILENT, now)
            self._consider_move(self._link, self._successor, now)

    def reachable_at(self, kind: PathKind, addresses: tuple[Address, ...], now: float) -> None:
        self._resources.external[kind] = addresses
        if self.state is EndState.PUNCHING or self._is_moving:
            self._punching.attempt.announcer.announce_now(now)

    def network_changed(
        self, host_addresses: Sequence[str], now: float, *, gone: bool = False, woke: bool = False
    ) -> None:
        self._resources.network_changed(host_addresses, now)
        if self.state in (EndState.PUNCHING, EndState.HOLDING):
            self._punching.attempt.announcer.network_changed(now)
        if self.state is not EndState.HOLDING or self._link is None or self._successor is None:
            return
        reason = MoveReason.WOKE if woke else MoveReason.NETWORK_CHANGED
        if gone:
            self._link.address_gone(reason, now)
        else:
            self._link.doubt(reason, now)
            if self._link.is_relayed:
                self._successor.move(MoveReason.BETTER_PATH, self._link, now)
        self._consider_move(self._link, self._successor, now)

    def rekey(self, secrets: Sequence[bytes], now: float) -> bool:
        if self.state is not EndState.HOLDING or self._link is None or self._successor is None:
            return False
        self._resources.rekey(secrets, tuple(self._channels()))
        self._follow_streams(now)
        self._link.keys_changed(self._resources.channels, now)
        self._consider_move(self._link, self._successor, now)
        return True

    def hand_over(self) -> None:
        self._hands_over = True
        self._check_finished()

    def no_route(self, via: Via, remote: Address) -> None:
        self._punching.attempt.no_route(via, remote)

    @property
    def rtt(self) -> float | None:
        if self._link is not None:
            return self._link.rtt
        agreed = self._first.agreement
        return None if agreed is None else agreed.path.rtt

    @property
    def figures(self) -> LinkFigures | None:
        if self._link is None:
            return None
        return self._link.figures()._replace(drops=Counter(self._sealed_drops))

    def send_payload(self, data: bytes, now: float) -> bool:
        if self._link is None or self.state is not EndState.HOLDING:
            return False
        via, remote = self._link.place
        sealed = data if self.sealing is None else self.sealing.seal_one(data)
        self._send(sealed, remote, via)
        return self._link.payloads_sent(1, len(data), now)

    # What arrives.

    def _take_payload(self, data: bytes, link: HeldLink) -> None:
        """Of the partner's program, as far as anybody can tell without a seal."""
        payload = data if self.sealing is None else self.sealing.open_one(data)
        if payload is not None:
            link.payloads_received(1, len(payload))
            self._emit(Payload(payload))

    def _is_kept(self, data: bytes, source: Address, via: Via) -> bool:
        nominations = self._punching.attempt.partners.nominations
        return self._resources.settings.carries and nominations.keep_early(data, source, via)

    @property
    def _punching(self) -> Punching:
        """What looks for a path, now or on standby."""
        return self._first if self._successor is None else self._successor.punching

    def _held_on(self, via: Via, source: Address) -> HeldLink | None:
        """The link that has this path, also if it was moved away from lately."""
        return self.partners[via].get(source) if via in self.partners else None

    def _is_of_control(self, data: bytes, link: HeldLink) -> bool:
        """Whether what came on a held path is no program's: a relay answers from its address."""
        return link.is_relayed and not isinstance(self._resources.open_of_control(data), Drop)

    def _channels(self) -> Iterator[Channels]:
        """Under which the partner may speak: also under a removed key that the link is still
        under."""
        yield from self._resources.channels
        if self._link is not None and self._link.channels not in self._resources.channels:
            yield self._link.channels

    def _receive_from_control(
        self, data: bytes, source: Address, now: float, via: Via
    ) -> Drop | None:
        if self.state not in (EndState.PUNCHING, EndState.HOLDING):
            return Drop.UNEXPECTED
        attempt = self._punching.attempt
        if self._returning is not None:
            drop = self._returning.receive(data, source, now, via)
            if drop not in (Drop.UNEXPECTED_SOURCE, Drop.UNEXPECTED):
                self._return(self._returning, now)
                return drop
        if data[1] & ~END_B == Kind.OBSERVED:
            if self._probe is not None and self._probe.answered(data, via):
                self._reports.udp_blocked(self._resources.endpoints.controls, holds=False)
                self._resources.streams.answered()
                return None
            return attempt.observed(data, source, now)
        drop = attempt.from_relay(data, source, now, via)
        if drop not in (Drop.UNEXPECTED_SOURCE, Drop.UNEXPECTED):
            return drop
        stream = via if via in self._resources.streams.controls else None
        answer = attempt.announcer.receive(data, source, now, stream)
        if isinstance(answer, Drop):
            return answer
        if stream is not None and self.state is EndState.PUNCHING:
            self._reports.udp_blocked(self._resources.endpoints.controls, holds=True)
        attempt.report_seen_inside()
        drop = None
        if isinstance(answer, Introduction):
            drop = self._introduced(answer, now)
        elif answer and self.state is EndState.PUNCHING:
            self._reports.partner_absent(answer.observed, now)
        if self._link is not None and self._successor is not None:
            self._watch_address(self._link, self._successor, now)
        self._watch_udp(now)
        attempt.announcer.handle_timer(now)
        return drop

    def _introduced(self, introduction: Introduction, now: float) -> Drop | None:
        if self._successor is not None and self._link is not None:
            return self._partner_asks(introduction, self._link, self._successor, now)
        if not introduction.knock:
            self._reports.introduced(introduction.observed)
        return self._first.introduced(introduction, now)

    def _partner_asks(
        self, introduction: Introduction, link: HeldLink, successor: Successor, now: float
    ) -> Drop | None:
        """While a link is held. The link's own attempt may still announce itself until it hears
        that we agreed. If it never does, as the path has died, our successor agrees with it."""
        is_new = introduction.proof and introduction.attempt != link.partner.attempt
        if successor.state is SuccessorState.STANDBY:
            if not is_new:
                return Drop.UNEXPECTED
            rekeyed = link.works and introduction.channels is not link.channels
            reason = MoveReason.KEY_CHANGED if rekeyed else MoveReason.PARTNER_ASKED
            if not successor.move(reason, link, now):
                return None  # later, by the bounds; control repeats the introduction
        elif successor.punching.knows(introduction.attempt):
            is_new = False
        if is_new and link.is_relayed:  # dead if the partner was restarted: a relay may help again
            link.doubt(MoveReason.PARTNER_ASKED, now)
        return successor.introduced(introduction, link, now)

    def _watch_address(self, link: HeldLink, successor: Successor, now: float) -> None:
        announcer = successor.punching.attempt.announcer
        if announcer.address_changed:
            announcer.address_changed = False
            link.doubt(MoveReason.ADDRESS_CHANGED, now)

    def _receive_from_partner(
        self, data: bytes, source: Address, now: float, via: Via
    ) -> Drop | None:
        if self.state in (EndState.CLOSING, EndState.FINISHED):
            return Drop.UNEXPECTED
        message: v2.Message | Drop = Drop.BAD_MAC
        for channels in self._channels():
            message = channels.peer.incoming.open(data)
            if message is not Drop.BAD_MAC:
                break
        if isinstance(message, Drop):
            return message
        if not isinstance(message, v2.PeerMessage):
            return Drop.UNEXPECTED
        punching, link = self._punching, self._link
        if message.receiver == punching.attempt.identity.id:
            if self._successor is not None and self._successor.state is SuccessorState.STANDBY:
                return Drop.UNEXPECTED  # the partner asks by way of a control
            if channels not in self._resources.channels:
                return Drop.UNEXPECTED  # that key is the link's alone
            drop = punching.attempt.partners.receive(message, channels, source, now, via)
            self._check_agreement(now)
            if punching.agreement is None:
                if drop is None:
                    punching.attempt.consider_relay(message, source, now)
                punching.attempt.consider_traversal(now)
            return drop
        if link is not None and message.receiver == link.attempt.identity.id:
            return self._receive_on_link(link, message, channels, source, now, via)
        # Not even on a path that we moved away from: a partner that holds it still must find out.
        return Drop.WRONG_ATTEMPT

    def _receive_on_link(
        self,
        link: HeldLink,
        message: v2.PeerMessage,
        channels: Channels,
        source: Address,
        now: float,
        via: Via,
    ) -> Drop | None:
        drop = link.attempt.partners.receive(message, channels, source, now, via)
        if drop is not None:
            return drop
        match message:
            case v2.Pong():
                link.answered(now)
            case v2.Nominate():
                link.nominated(now)
            case v2.Done():
                link.confirmed()
            case v2.Ping():
                link.heard(now)
        if link.attempt.partners.ended_by_partner:
            self._emit(Lost("the partner has ended it", ended=True))
            self._stop(now)
        return None

    # Punching and its outcomes.

    def _check_agreement(self, now: float) -> None:
        if self._punching.agreement is None:
            return
        if self._link is not None and self._successor is not None:
            self._take_successor(self._link, self._successor, now)
        elif self.state is EndState.PUNCHING:
            self._take_first(now)

    def _take_first(self, now: float) -> None:
        linked = self._first.linked(now)
        self._emit(linked)
        attempt = self._first.attempt
        if self._resources.settings.holds:
            self._move("path agreed, holds")
            self._hold(HeldLink(attempt, linked, now), now)
            self._successor = Successor(self._resources, now)
        else:
            self._move("path agreed, hands over")
            attempt.announcer.leave(now)
        self._punching.attempt.announcer.handle_timer(now)

    def _take_successor(self, link: HeldLink, successor: Successor, now: float) -> None:
        """Moves the link, in one step."""
        reason = successor.reason
        assert reason is not None
        found = successor.punching
        linked = found.linked(now)
        self._move("another path agreed")
        self._hold(HeldLink(found.attempt, linked, now, after=link), now)
        successor.taken(now)
        self._punching.attempt.announcer.handle_timer(now)
        self._emit(moved(linked, reason, link.place[1]))

    def _return(self, returning: Returning, now: float) -> None:
        """The link goes on over UDP, if the relay has bound it there. Its key stays."""
        link, linked = self._link, returning.returned(now)
        if link is None or linked is None:
            return
        self._move("path bound on UDP")
        self._use(HeldLink(link.attempt, linked, now, after=link), now)
        self._emit(moved(linked, MoveReason.BETTER_PATH, link.place[1]))
        self._watch_udp(now)

    def _hold(self, link: HeldLink, now: float) -> None:
        """A link that both ends have just agreed on."""
        if self.sealing is not None:
            session_key = link.partner.session_key
            assert session_key is not None
            self.sealing.rekey(session_key)
        self._use(link, now)
        for each in link.partner.nomination.kept() if link.partner.nomination else ():
            self._take_payload(each, link)

    def _use(self, link: HeldLink, now: float) -> None:
        """From now on. A link that is held from a later socket no longer needs the first one of its
        family. To controls this is a new address, for which they ask a proof."""
        if self._link is not None:
            self._link.stop()
            self._retired.append(Retired(self._link, now + timing.RETIRED_FOR))
        self._link, self.path, self._returning = link, (*link.place, link), None
        link.keys_changed(self._resources.channels, now)
        self._keep_paths()

    def _keep_paths(self) -> None:
        """Of the held link and of those that were moved away from lately, and their sockets.
        Streams are the driver's to close."""
        assert self._link is not None
        links = [self._link, *(retired.link for retired in self._retired)]
        self.partners = {}
        for link in links if self._resources.settings.carries else ():
            via, remote = link.place
            self.partners.setdefault(via, {}).setdefault(remote, link)
        self._resources.hold({link.place[0]: link.local for link in links if not link.over_stream})

    @property
    def _silent_at(self) -> float:
        announcer = self._first.attempt.announcer
        silent_since = announcer.silent_since(self._first.began)
        return self._reports.silent_at(silent_since, heard=announcer.heard)

    def _handle_punching(self, now: float) -> None:
        if now >= self._silent_at:
            self._reports.silent(self._resources.endpoints.controls)
        failure = self._first.handle_timer(now)
        if failure is not None:
            self._fail(self._explained(failure), now)
            self._first.attempt.announcer.handle_timer(now)

    def _explained(self, failure: Reason) -> Reason:
        """Without a proved partner, what is known from the controls says more."""
        if failure is Reason.PARTNER_ABSENT:
            if self._reports.introduced_to:
                return Reason.BLOCKED
            if not self._reports.registered and not self._first.attempt.announcer.heard:
                blocked = self._reports.udp_is_blocked
                return Reason.UDP_BLOCKED if blocked else Reason.SECRET_REJECTED_OR_SILENT
        return failure

    def _fail(self, reason: Reason, now: float) -> None:
        from netpunch.core.end.verdict import verdict  # nobody needs it before

        detail = verdict(reason, self._first.attempt.facts())
        self._emit(self._first.failed(reason, detail, now))
        self._stop(now)

    # Holding a link.

    @property
    def _is_moving(self) -> bool:
        successor = self._successor
        return successor is not None and successor.state is SuccessorState.PUNCHING

    @property
    def _lost_at(self) -> float:
        """When the link is given up: its path is dead, and its successor leads nowhere either."""
        assert self._link is not None
        if self._is_moving and self._punching.has_partner:
            return NEVER
        return self._link.lost_at

    def _handle_holding(self, now: float) -> None:
        link, successor = self._link, self._successor
        assert link is not None
        assert successor is not None
        link.handle_timer(now)
        link.attempt.partners.handle_timer(now)
        if self._returning is not None:
            self._returning.handle_timer(now)
        self._consider_move(link, successor, now)
        successor.handle_timer(link, now)
        if any(now >= retired.until for retired in self._retired):
            self._retired = [each for each in self._retired if now < each.until]
            self._keep_paths()
            if self.sealing is not None and not self._retired:
                self.sealing.forget_previous()
        if now >= self._lost_at:
            self._emit(Lost(link.why_lost(now)))
            self._stop(now)  # without a BYE: the partner finds the same cause

    def _consider_move(self, link: HeldLink, successor: Successor, now: float) -> None:
        """Begins to look for another path if there is a reason."""
        reason = link.reason_to_move(now)
        if reason is None:
            return
        link.upgrade_began(now)
        if successor.move(reason, link, now) and not link.works:
            self._emit(FollowRoutes())

    # Streams to controls.

    @property
    def _uses_stream(self) -> bool:
        return self._link is not None and self._link.over_stream

    @property
    def _udp_silent_since(self) -> float:
        """Since when all controls are silent on UDP, if streams would help: not while a link has a
        path that works without them."""
        link = self._link
        if link is not None and link.works and not self._uses_stream:
            return NEVER
        return self._punching.attempt.announcer.udp_silent_since

    @property
    def _udp_silent_at(self) -> float:
        heard_at = self._punching.attempt.announcer.udp_heard_at
        return self._resources.streams.silent_at(self._udp_silent_since, heard_at)

    def _watch_udp(self, now: float) -> None:
        streams, heard_at = self._resources.streams, self._punching.attempt.announcer.udp_heard_at
        in_use = self._uses_stream
        if not streams.watch(self._udp_silent_since, heard_at, now, in_use=in_use):
            return
        self._follow_streams(now)
        if streams.are_left and self._successor is not None and self._link is not None:
            if self._returning is None:
                from netpunch.core.end.returning import returning  # few links are over streams

                announcer = self._punching.attempt.announcer
                self._returning = returning(self._link, announcer, self._resources, now)
            else:
                self._returning.begin(now)
            self._successor.move(MoveReason.BETTER_PATH, self._link, now)

    def _follow_streams(self, now: float) -> None:
        self._punching.attempt.announcer.controls_found(now)
        self._punching.attempt.announcer.handle_timer(now)

    # Ending.

    def _stop(self, now: float) -> None:
        self._move("stopped")
        if self._link is not None:
            self._link.stop()
        self._retired.clear()
        self.path, self.partners = None, {}
        self._punching.stop(now)

    def _check_finished(self) -> None:
        """Finishes when partner and controls need to hear nothing more."""
        announcer, link = self._punching.attempt.announcer, self._link
        if (
            self._hands_over
            and self.state is EndState.HOLDING
            and link is not None
            and link.is_settled
        ):
            self._move("handed over")
            link.stop()
            announcer.leave_at_once()
        if self.state is EndState.HANDING_OVER:
            nominations = self._first.attempt.partners.nominations
            done = nominations.state is NominationState.SETTLED
            if done and not announcer.has_left:
                announcer.leave_at_once()  # the partner's program may already be sending
        else:
            done = self._link is None or self._link.has_left
        if self.state in (EndState.HANDING_OVER, EndState.CLOSING) and announcer.has_left and done:
            self._move("partner and controls informed")
            self._emit(Finished())

    def _move(self, event: str) -> None:
        self.state = next_state(TRANSITIONS, self.state, event)
