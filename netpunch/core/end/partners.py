"""The partner's attempts, as an attempt of this end knows them: what controls introduce, what they
say themselves. A live one is found among recordings of earlier ones."""

from __future__ import annotations

from collections.abc import Iterable

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.candidates import Candidate, reflexive_kind
from netpunch.core.end.channels import Channels
from netpunch.core.end.checks import Checklist
from netpunch.core.end.identity import AttemptHost
from netpunch.core.end.nomination import Nominations, NominationState
from netpunch.core.end.partner import Partner
from netpunch.core.events import CandidateReport, PathKind, Via
from netpunch.core.machine import NEVER
from netpunch.wire import v2
from netpunch.wire.card import Card, NatClass
from netpunch.wire.drop import Drop

PROBED_KINDS = {number: PathKind(name) for name, number in v2.PROBE_NUMBERS.items()}


class Partners:
    """All of them; once a path is agreed only the agreed one."""

    def __init__(self, host: AttemptHost) -> None:
        self.proved_at: float | None = None
        """When a partner attempt first proved to be alive."""
        self.ended_by_partner = False
        """Whether the partner of the agreed path has said BYE."""
        self._host = host
        self.by_id: dict[bytes, Partner] = {}
        self._end = host.resources.settings.end
        self._mode = host.resources.settings.mode
        self._relays = host.resources.relays
        self.nominations = Nominations(host, self.by_id)

    # Timers.

    def next_timer(self) -> float:
        if self.nominations.agreement is not None:
            return self.nominations.next_timer()
        return min((each.next_timer() for each in self.by_id.values()), default=NEVER)

    def handle_timer(self, now: float) -> None:
        if self.nominations.agreement is not None:
            self.nominations.handle_timer(now)
            return
        for partner in self.by_id.values():
            partner.checks.handle_timer(now)
            if partner.decide_at <= now:
                self.nominations.choose(partner, now)
            self.nominations.nominate(partner, now)

    # What is known of them.

    @property
    def nominating(self) -> bool:
        """Whether a nomination is out that b may have accepted."""
        checking = self.nominations.state is NominationState.CHECKING
        return checking and any(each.nomination is not None for each in self.by_id.values())

    @property
    def any_valid(self) -> bool:
        return any(partner.checks.valid for partner in self.by_id.values())

    @property
    def valid_vias(self) -> frozenset[Via]:
        """The sockets that have a valid path."""
        partners = self.by_id.values()
        return frozenset(path.via for partner in partners for path in partner.checks.valid)

    @property
    def mode_differs(self) -> bool:
        """Whether a live partner wants to hold where we hand over, or to seal where we don't, or
        the other way round."""
        return any(each.checks.proved and self._differs(each) for each in self.by_id.values())

    @property
    def any_card_differs(self) -> bool:
        """The same for a partner attempt that may be a recording."""
        return any(self._differs(partner) for partner in self.by_id.values())

    def _differs(self, partner: Partner) -> bool:
        return partner.mode not in (None, self._mode)

    @property
    def sealing_differs(self) -> bool:
        """Whether a partner differs in that alone."""
        holds, sealed = self._mode
        return any(partner.mode == (holds, not sealed) for partner in self.by_id.values())

    @property
    def proved_partner(self) -> Partner | None:
        """The partner attempt that is alive, with a card; the latest of several."""
        alive = (p for p in self.by_id.values() if p.checks.proved and p.card is not None)
        return max(alive, key=lambda partner: partner.introduced_at, default=None)

    @property
    def udp_is_blocked(self) -> bool:
        """Whether it is at either end, as far as is known: then hardly anything but a relay, to
        which the blocked end has a stream, can help."""
        partner = self.proved_partner
        at_partner = partner is not None and partner.nat_class is NatClass.BLOCKED
        return at_partner or bool(self._host.resources.streams.announced_on)

    @property
    def has_paths(self) -> bool:
        """Whether there is an address of the partner to ping, if there is a partner at all."""
        return not self.by_id or any(
            not each.unsendable and each.path is not PathKind.RELAY
            for each in self.candidate_reports()
        )

    def candidate_reports(self) -> tuple[CandidateReport, ...]:
        """What became of each address that was named or tried."""
        return tuple(each for p in self.by_id.values() for each in p.checks.reports())

    def no_route(self, via: Via, remote: Address) -> bool:
        """Whether this is a path to a partner, to which the system could not send."""
        for partner in self.by_id.values():
            path = partner.checks.paths.get((via, remote))
            if path is not None:
                path.unsent += 1
                return True
        return False

    # Introductions.

    def introduce(
        self,
        attempt: bytes,
        card: Card,
        candidates: Iterable[Candidate],
        now: float,
        *,
        observed: Address | None,
        channels: Channels,
        knock: bool = False,
        opener: bool = False,
    ) -> Drop | None:
        """A partner attempt, new or with a later card; `observed` is where control sees it, if
        that may be pinged; `channels` are those of its card. `knock`: control has not seen it
        receive there. `opener`: see `Checklist.add`."""
        proved = card.partner_attempt == self._host.identity.id
        partner = self._partner(attempt, channels, proved=proved)
        if partner is None:
            return Drop.OVER_LIMIT
        if not self._take_card(partner, card):
            return Drop.MALFORMED
        if proved:
            self._prove(partner, now)
        if not knock:
            partner.observed = observed or partner.observed
        partner.introduced_at = partner.introduced_at or now
        partner.heard_at = now
        pings = timing.KNOCK_PINGS if knock else timing.UNPROVED_PINGS
        for candidate in candidates:
            vouched = not knock or candidate.address in card.addresses
            if vouched or candidate.address == observed:
                partner.checks.add(
                    candidate, now, vouched=vouched, unproved_pings=pings, opener=opener
                )
        partner.checks.handle_timer(now)
        self.nominations.choose(partner, now)
        return None

    def _partner(self, attempt: bytes, channels: Channels, *, proved: bool) -> Partner | None:
        """The partner attempt of this id, known or new; None if there are too many. The oldest
        unproved one makes room for a new one; a proved one only for its proved successor."""
        if attempt in self.by_id:
            return self.by_id[attempt]
        if len(self.by_id) >= timing.MAX_PARTNER_ATTEMPTS:
            evictable = (p for p in self.by_id.values() if proved or not p.checks.proved)
            evicted = min(evictable, key=lambda p: p.checks.proved, default=None)
            if evicted is None:
                return None
            del self.by_id[evicted.attempt]
        partner = Partner(attempt, Checklist(self._host, attempt), channels)
        return self.by_id.setdefault(attempt, partner)

    def _take_card(self, partner: Partner, card: Card) -> bool:
        """Stores a card; False if its public key is bad or not the first card's."""
        if partner.card is not None and partner.card.public_key != card.public_key:
            return False
        if partner.session_key is None:
            partner.session_key = self._session_key(partner, card)
            if partner.session_key is None:
                return False
        partner.card = card
        return True

    def _session_key(self, partner: Partner, card: Card) -> bytes | None:
        settings = self._host.resources.settings
        return self._host.identity.session_key(
            settings.end,
            partner.attempt,
            card.public_key,
            pair=settings.pair,
            peer_key=partner.channels.peer_key,
        )

    def _speak_under(self, channels: Channels, partner: Partner) -> None:
        """End a nominates under this key: b, which may have heard of it under another one first,
        takes it over, so that both ends derive the same session key."""
        partner.channels = channels
        if partner.card is not None:
            partner.session_key = self._session_key(partner, partner.card)

    def _prove(self, partner: Partner, now: float) -> None:
        partner.checks.prove(now)
        if self.proved_at is None:
            self.proved_at = now

    # Their messages.

    def receive(
        self,
        message: v2.PeerMessage,
        channels: Channels,
        source: Address,
        now: float,
        via: Via,
    ) -> Drop | None:
        """Takes a message to this attempt, opened by these `channels`; a Drop if it does not
        count."""
        if not self._host.may_be_relayed and self._relays.is_relay(via, source):
            return Drop.UNEXPECTED_SOURCE
        agreed = self.nominations.agreement
        partner = self.by_id.get(message.sender)
        if partner is None and isinstance(message, v2.Ping) and agreed is None:
            # Faster than control.
            partner = self._partner(message.sender, channels, proved=True)
        if partner is None:
            return Drop.UNEXPECTED
        if agreed is not None and not agreed.is_on(via, source):
            return Drop.UNEXPECTED_SOURCE
        if agreed is not None and channels is not partner.channels:
            return Drop.UNEXPECTED  # a link has one key
        self._prove(partner, now)
        match message:
            case v2.Ping():
                return self._pinged(message, partner, source, now, via)
            case v2.Pong():
                return self._ponged(message, partner, source, now, via)
            case v2.Nominate():
                if channels is not partner.channels and self._end == "b":
                    self._speak_under(channels, partner)
                return self.nominations.nominated(message, partner, source, now, via)
            case v2.Accept():
                return self.nominations.accepted(message, partner, source, now, via)
            case v2.Bye():
                return self._ended(partner)
            case _:  # DONE
                return self.nominations.done(partner, source, via)

    def _pinged(
        self, ping: v2.Ping, partner: Partner, source: Address, now: float, via: Via
    ) -> Drop | None:
        kind = PROBED_KINDS.get(ping.probe) or reflexive_kind(source)
        if self._relays.is_relay(via, source):
            kind = PathKind.RELAY
        heard = partner.checks.ping_received(ping.sequence, via, source, kind, now)
        if isinstance(heard, Drop):
            return heard
        nomination = partner.nomination
        if nomination is not None and nomination.path.place == (via, source):
            nomination.partner_pings(now)
        pong = v2.Pong(self._host.identity.id, partner.attempt, ping.sequence, source)
        self._host.send(pong, source, via)
        return None

    def _ponged(
        self, pong: v2.Pong, partner: Partner, source: Address, now: float, via: Via
    ) -> Drop | None:
        path = partner.checks.pong_received(pong.sequence, via, source, now)
        if isinstance(path, Drop):
            return path
        if self.nominations.agreement is None:
            self.nominations.choose(partner, now)
        return None

    def _ended(self, partner: Partner) -> Drop | None:
        """The partner stops. Before a path is agreed there is nothing to end."""
        agreed = self.nominations.agreement
        if agreed is None or agreed.partner is not partner:
            return Drop.UNEXPECTED
        self.ended_by_partner = True
        return None
