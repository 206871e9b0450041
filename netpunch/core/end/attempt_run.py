"""One attempt of an end, running: its announcer, its peering, its climber."""

from __future__ import annotations

from collections.abc import Callable

from netpunch.address import Address
from netpunch.core.end.announcer import Announcer, Introduction
from netpunch.core.end.attempt import Attempt
from netpunch.core.end.candidates import reflexive_candidates
from netpunch.core.end.context import Context
from netpunch.core.end.other_family import OtherFamily
from netpunch.core.end.peering import Agreement, Peering
from netpunch.core.end.standby import standby_announcer
from netpunch.core.end.verdict import Facts
from netpunch.core.events import Failed, Linked, Reason, Via
from netpunch.core.traversal.engine import Traversal
from netpunch.wire.card import NONCE_LENGTH, Card, NatClass
from netpunch.wire.drop import Drop
from netpunch.wire.v2 import Observe, Observed

FreshPort = Callable[[Via, Address, float], None]
"""`fresh_port(via, local, now)` replaces the attempt by one that uses this socket."""


class AttemptRun:
    """`opener`: pings begin with one that only opens our NAT (not in a first attempt, which it
    would delay). `fresh_port_patience` in seconds."""

    def __init__(
        self,
        context: Context,
        *,
        opener: bool,
        fresh_port: FreshPort,
        fresh_port_patience: float,
        now: float,
    ) -> None:
        self._context = context
        self._attempt = Attempt(context.random)
        self._opener = opener
        self.announcer = Announcer.of(context, self._attempt, self._make_card, now)
        self.peering = Peering(
            self._attempt,
            context.settings.end,
            holds=context.settings.holds,
            peer=context.peer,
            session_key=self._session_key,
            vias_for=context.vias_for,
            bucket=context.ping_bucket,
            strangers=context.strangers,
            is_own=self._is_own,
            send=context.send,
            random=context.random,
        )
        self.climber = Traversal(
            observers=context.endpoints.reflectors,
            heard_at=self.announcer.heard_at,
            own_hosts=context.host_addresses,
            report=context.nat,
            bucket=context.probe_bucket,
            control=context.control,
            vias_for=context.vias_for,
            send=self._send,
            emit=context.emit,
            share=self.announcer.announce_now,
            new_request=context.new_request,
            fresh_port=fresh_port,
            fresh_port_patience=fresh_port_patience,
            leads=context.settings.end == "a",
            random=context.random,
        )

        self.other_family = self._new_other_family(now)

    def end(self) -> None:
        """Ends it at once, for another one: what it learned of our NAT outlives it."""
        self._context.nat = self.climber.field.report
        self.climber.stop()
        self.announcer.leave_at_once()

    def controls_found(self, now: float) -> None:
        """The context knows where the controls are now."""
        self.announcer.controls_found(self._context.registrations(now), now)
        self.climber.observe_from(self._context.endpoints.reflectors)
        self.other_family = self._new_other_family(now)

    def introduce(self, introduction: Introduction, now: float) -> Drop | None:
        """Control names a partner attempt."""
        card, observed = introduction.card, introduction.observed
        drop = self.peering.introduce(
            introduction.attempt,
            card,
            self._context.candidates(card, observed),
            now,
            observed=observed if introduction.knock else self._context.target(card, observed),
            knock=introduction.knock,
            opener=self._opener,
        )
        self.climber.partner_changed(now)
        self.consider_climbing(now)
        return drop

    def consider_climbing(self, now: float) -> None:
        """Once a path is valid there is nothing to climb for; else, and if any port may win, the
        ladder begins beside the plain pings."""
        valid = self.peering.valid_vias
        if valid:
            self.climber.rest(valid, now)
            return
        partner = self.peering.proved_partner
        if partner is not None and self._context.settings.any_port:
            self.climber.climb(partner, now)

    def observed(self, data: bytes, source: Address, now: float) -> Drop | None:
        """An answer of an observer, or of a control in the other family."""
        if source not in self.climber.asked | self.other_family.asked:
            return Drop.UNEXPECTED_SOURCE
        message = self._context.control.from_control.open(data)
        if isinstance(message, Drop):
            return message
        if not isinstance(message, Observed):
            return Drop.UNEXPECTED
        known = (*self.other_family.observed, *self._context.hosts())
        if self.other_family.answered(message.echo, source, message.observed):
            if message.observed not in known:
                self.announcer.announce_now(now)  # the partner is to know it, too
            return None
        return None if self.climber.observed(message, now) else Drop.UNEXPECTED

    def stand_by(self, now: float) -> None:
        """A path is agreed. From now on only to hear that the partner punches anew."""
        self.announcer = standby_announcer(self._context, now)

    # What is told of it.

    def tell_seen_inside(self) -> None:
        """Once for each control."""
        told = self._context.seen_inside_by
        for seen in self.announcer.seen_inside():
            if seen.control not in told:
                told.add(seen.control)
                self._context.emit(seen)

    def linked(self, agreed: Agreement, duration: float, sent_before: int) -> Linked:
        """`sent_before`: datagrams of earlier attempts."""
        path = agreed.path
        return Linked(
            path.via,
            (self._context.sockets | self.climber.sockets)[path.via],
            path.remote,
            agreed.kind,
            path.rtt,
            duration,
            agreed.partner.session_key,
            sent_before + self.peering.datagrams,
        )

    def failed(self, reason: Reason, detail: str, duration: float, sent_before: int) -> Failed:
        ours, theirs = self.nat_classes()
        return Failed(
            reason,
            detail,
            duration,
            ours,
            theirs,
            sent_before + self.peering.datagrams,
            self.peering.candidate_reports(),
        )

    def facts(self) -> Facts:
        """What a verdict follows from."""
        context, partner = self._context, self.peering.proved_partner
        reports = self.peering.candidate_reports()
        return Facts(
            controls=context.controls,
            holds=context.settings.holds,
            nats=self.nat_classes(),
            hosts=(*self.announcer.observed_hosts(), *self.climber.field.seen_at),
            partner_hosts=() if partner is None else partner.seen_at(),
            reachable=self.peering.has_paths,
            unsendable=tuple(report.remote for report in reports if report.unsendable),
            heard=any(report.received for report in reports),
            asks_gateways=context.settings.asks_gateways,
        )

    def nat_classes(self) -> tuple[str, str]:
        """Ours and the partner's, in words."""
        partner = self.peering.proved_partner
        theirs = NatClass.UNKNOWN if partner is None else partner.nat_class
        return self.climber.field.report.nat_class.name.lower(), theirs.name.lower()

    # For the parts.

    def _is_own(self, address: Address) -> bool:
        seen = (*self.announcer.observed, *self.other_family.observed)
        return self._context.is_own(address) or address in seen

    def _new_other_family(self, now: float) -> OtherFamily:
        context = self._context
        return OtherFamily(
            context.other_family(), ask=self._observe, random=context.random, now=now
        )

    def _observe(self, via: Via, control: Address, echo: bytes) -> None:
        nonce = self._context.random(NONCE_LENGTH)
        data = self._context.control.to_control.seal(Observe(echo), nonce)
        self._send(data, control, via)

    def _send(self, data: bytes, destination: Address, via: Via) -> None:
        self._context.send(data, destination, via, 0)

    def _make_card(self, named: bytes, observed: tuple[Address, ...]) -> Card:
        context, field = self._context, self.climber.field
        hosts = context.hosts()
        seen = (*observed, *self.other_family.observed)
        mapped, observed = reflexive_candidates(context.mapped, seen, hosts)
        return Card(
            self._attempt.public_key,
            named,
            context.settings.holds,
            field.report.nat_class,
            *field.bracket,
            hosts=hosts,
            observed=observed,
            mapped=mapped,
            queued=self.climber.turns.queued,
        )

    def _session_key(self, partner: bytes, public_key: bytes) -> bytes | None:
        settings, key = self._context.settings, self._context.peer_key
        return self._attempt.session_key(
            settings.end, partner, public_key, pair=settings.pair, peer_key=key
        )
