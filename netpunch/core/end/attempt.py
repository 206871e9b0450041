"""One attempt of an end: its announcements, the partner's attempts, its traversal of hard NATs."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from netpunch.address import Address
from netpunch.core.end.announcing import Announcer, Introduction
from netpunch.core.end.candidates import with_candidates
from netpunch.core.end.identity import Identity
from netpunch.core.end.nomination import Agreement
from netpunch.core.end.partners import Partners
from netpunch.core.end.reflexive import OtherFamily
from netpunch.core.end.resources import Resources
from netpunch.core.events import Failed, Linked, PathKind, Reason, Via
from netpunch.core.machine import NEVER
from netpunch.core.traversal.budget import PLAIN_PATIENCE
from netpunch.core.traversal.engine import Traversal
from netpunch.core.traversal.nat import EASY_CLASSES
from netpunch.wire import v2
from netpunch.wire.card import NONCE_LENGTH, Card, NatClass
from netpunch.wire.drop import Drop

if TYPE_CHECKING:
    from netpunch.core.end.relaying import Relaying
    from netpunch.core.end.verdict import Facts


class Attempt:
    """`opener`: pings begin with one that only opens our NAT (not in a first attempt, which it
    would delay). `on_standby`: it is only announced, with a card that offers nothing.
    `relay_due_at`: when an earlier attempt was to try the relays."""

    def __init__(
        self,
        resources: Resources,
        *,
        opener: bool,
        on_standby: bool = False,
        relay_due_at: float = NEVER,
        now: float,
    ) -> None:
        self.resources = resources
        self.identity = Identity(resources.random)
        self.datagrams = 0
        """Sent to the partner, of all kinds."""
        self._opener = opener
        self._now = now
        self._relay_due_at = relay_due_at
        self.announcer = Announcer(self, now, on_standby=on_standby)
        self.partners = Partners(self)

    # Only punching needs these three, which take 2 KB: a held link has done with them, and its
    # successor does without them until it begins.

    @cached_property
    def traversal(self) -> Traversal:
        return Traversal(self.resources, self.announcer)

    @cached_property
    def other_family(self) -> OtherFamily:
        return OtherFamily(self.resources, self._now)

    @cached_property
    def relaying(self) -> Relaying:
        from netpunch.core.end.relaying import Relaying  # most pairs are linked without it

        return Relaying(self, self.announcer, self.partners, due_at=self._relay_due_at)

    def settle(self) -> None:
        """A path is agreed: tries nothing more."""
        self.__dict__.pop("traversal", None)
        self.__dict__.pop("other_family", None)
        self.__dict__.pop("relaying", None)

    def end(self) -> None:
        """Ends it at once, for another one."""
        self.traversal.stop()
        self.announcer.leave_at_once()

    def controls_found(self, now: float) -> None:
        """The resources know where the controls are now."""
        self.announcer.controls_found(now)
        self._now = now
        self.__dict__.pop("other_family", None)  # made anew when it is needed

    def introduce(self, introduction: Introduction, now: float) -> Drop | None:
        """Control names a partner attempt."""
        card, observed = introduction.card, introduction.observed
        drop = self.partners.introduce(
            introduction.attempt,
            card,
            self.resources.candidates(card, observed),
            now,
            observed=observed if introduction.knock else self.resources.target(card, observed),
            channels=introduction.channels,
            knock=introduction.knock,
            opener=self._opener,
        )
        self.traversal.partner_changed(now)
        self.consider_traversal(now)
        return drop

    def consider_traversal(self, now: float) -> None:
        """Ends the traversal once a path is valid; until then, if it is allowed and UDP is not
        blocked, it begins beside the plain pings when a partner is proved. Relays are tried with
        every partner attempt."""
        if self._begun_relaying is not None:
            self._begun_relaying.partner_changed(now)
        valid = self.partners.valid_vias
        if valid:
            self.traversal.rest(valid, now)
            return
        partner = self.partners.proved_partner
        if (
            partner is not None
            and self.resources.settings.traverses
            and not self.partners.udp_is_blocked
        ):
            self.traversal.begin(partner, now)

    def observed(self, data: bytes, source: Address, now: float) -> Drop | None:
        """An answer of a reflector, or of a control in the other family."""
        asked = self.traversal.asked | self.other_family.asked
        relaying = self._begun_relaying
        if source not in asked and (relaying is None or not relaying.is_asked(source)):
            return Drop.UNEXPECTED_SOURCE
        message = self.resources.open_of_control(data)
        if isinstance(message, Drop):
            return message
        if not isinstance(message, v2.Observed):
            return Drop.UNEXPECTED
        known = (*self.other_family.observed, *self.resources.hosts())
        if self.other_family.answered(message.echo, source, message.observed):
            if message.observed not in known:
                self.announcer.announce_now(now)  # the partner needs to know it, too
            return None
        if relaying is not None and relaying.observed(message, source, now):
            return None
        if not self.traversal.observed(message, now):
            return Drop.UNEXPECTED
        self.relaying.learned(message, source, now)
        return None

    def consider_relay(self, message: v2.PeerMessage, source: Address, now: float) -> None:
        """A partner that pings from a control's host, where nobody has named it, uses the relay
        there already: we need not wait for a more direct path either."""
        if not isinstance(message, v2.Ping) or not self.may_be_relayed:
            return
        partner = self.partners.by_id.get(message.sender)
        at_control = any(source.host == each.host for each in self.resources.endpoints.controls)
        if at_control and partner is not None and not partner.may_be_at(source.host):
            self.relaying.begin(now)
            self.relaying.handle_timer(now)

    def from_relay(self, data: bytes, source: Address, now: float, via: Via) -> Drop | None:
        """Takes what may be a relay's answer; UNEXPECTED_SOURCE or UNEXPECTED if it is none."""
        relaying = self._begun_relaying
        if relaying is None:
            return Drop.UNEXPECTED_SOURCE
        return relaying.receive(data, source, now, via)

    def relay_timer(self) -> float:
        """When relays have something to do: not before easy pairs are linked, but at once if UDP is
        blocked."""
        if self._begun_relaying is not None:
            return self._begun_relaying.next_timer()
        partners, allowed = self.partners, self.resources.settings.may_be_relayed
        if partners.any_valid or not allowed:
            return NEVER
        if partners.proved_at is None:
            return min(self.announcer.streams_heard_at.values(), default=NEVER)
        hopes = self._relay_due_at == NEVER and not partners.udp_is_blocked
        return partners.proved_at + (PLAIN_PATIENCE if hopes else 0.0)

    @property
    def _begun_relaying(self) -> Relaying | None:
        return self.__dict__.get("relaying")

    # For its parts: `Announced` and `AttemptHost`.

    def card(self, named: bytes, observed: tuple[Address, ...]) -> Card:
        resources = self.resources
        holds, sealed = resources.settings.mode
        if self.announcer.on_standby:
            return Card(self.identity.public_key, v2.NO_ATTEMPT, holds, sealed=sealed)
        traversal = self.traversal
        seen = (*observed, *self.other_family.observed)
        card = Card(
            self.identity.public_key,
            named,
            holds,
            self._told_class(),
            *traversal.bracket,
            queued=traversal.turns.queued,
            sealed=sealed,
        )
        return with_candidates(card, resources.hosts(), seen, resources.external)

    def _told_class(self) -> NatClass:
        """The partner looks for many ports behind a hard NAT; where only one may be used, it had
        better not."""
        resources = self.resources
        if resources.streams.announced_on:
            return NatClass.BLOCKED
        told = resources.nat.nat_class
        return told if resources.settings.any_port or told in EASY_CLASSES else NatClass.UNKNOWN

    @property
    def may_be_relayed(self) -> bool:
        relaying = self._begun_relaying
        return self.resources.settings.may_be_relayed if relaying is None else relaying.allowed

    def is_own(self, address: Address) -> bool:
        seen = (*self.announcer.observed, *self.other_family.observed)
        return self.resources.is_own(address) or address in seen

    def send(self, message: v2.PeerMessage, destination: Address, via: Via, ttl: int = 0) -> None:
        self.datagrams += 1
        partner = self.partners.by_id.get(message.receiver)
        channels = self.resources.channels[0] if partner is None else partner.channels
        seal = channels.peer.outgoing.seal
        data = seal(message, self.resources.random(NONCE_LENGTH))
        self.resources.send(data, destination, via, ttl)

    def no_route(self, via: Via, remote: Address) -> None:
        """The system could not send a datagram there."""
        if self.partners.no_route(via, remote):
            self.datagrams -= 1

    # What is reported about it.

    def report_seen_inside(self) -> None:
        """Once for each control."""
        reported = self.resources.seen_inside_by
        for seen in self.announcer.seen_inside():
            if seen.control not in reported:
                reported.add(seen.control)
                self.resources.emit(seen)

    def linked(self, agreed: Agreement, duration: float, sent_before: int) -> Linked:
        """`sent_before`: datagrams of earlier attempts."""
        path, resources = agreed.path, self.resources
        return Linked(
            path.via,
            (resources.open_sockets | self.traversal.sockets | resources.streams.local)[path.via],
            path.remote,
            agreed.kind,
            path.rtt,
            duration,
            agreed.partner.session_key,
            sent_before + self.datagrams,
        )

    def failed(self, reason: Reason, detail: str, duration: float, sent_before: int) -> Failed:
        ours, theirs = self.nat_classes()
        return Failed(
            reason,
            detail,
            duration,
            ours,
            theirs,
            sent_before + self.datagrams,
            self.partners.candidate_reports(),
        )

    def facts(self, *, early: bool = False) -> Facts:
        """What a verdict follows from. `early`: without what has not begun yet."""
        from netpunch.core.end.verdict import Facts, RelayOutcome  # nobody needs it before

        resources, partner = self.resources, self.partners.proved_partner
        relaying = self._begun_relaying if early else self.relaying
        reports = self.partners.candidate_reports()
        direct = [report for report in reports if report.path is not PathKind.RELAY]
        return Facts(
            controls=resources.endpoints.controls,
            holds=resources.settings.holds,
            sealed=resources.settings.sealed if self.partners.sealing_differs else None,
            nats=self.nat_classes(),
            hosts=(*self.announcer.observed_hosts(), *self.traversal.seen_at),
            partner_hosts=() if partner is None else partner.seen_at(),
            reachable=self.partners.has_paths,
            unsendable=tuple(report.remote for report in reports if report.unsendable),
            heard=any(report.received for report in direct),
            share=resources.settings.share,
            asks_gateways=resources.settings.asks_gateways,
            relay=RelayOutcome.NOT_TRIED if relaying is None else relaying.outcome,
            silent_relays=() if relaying is None else relaying.silent,
        )

    def nat_classes(self) -> tuple[str, str]:
        """Ours and the partner's, in words."""
        partner = self.partners.proved_partner
        theirs = NatClass.UNKNOWN if partner is None else partner.nat_class
        return self.resources.nat.nat_class.name.lower(), theirs.name.lower()
