"""What passes between the ends in one attempt: pings and pongs with every partner attempt, the
choice of a path, and the agreed hand-off (`core.handoff`). The first agreed path is final."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.allowances import Strangers
from netpunch.core.end.attempt import Attempt
from netpunch.core.end.candidates import Candidate, reflexive_kind
from netpunch.core.end.checks import Checklist, Path
from netpunch.core.end.handoff import Nomination
from netpunch.core.end.partner import Partner
from netpunch.core.events import CandidateReport, PathKind, Via
from netpunch.core.machine import NEVER, Random
from netpunch.core.pacing import Repeat, TokenBucket
from netpunch.wire import v2
from netpunch.wire.card import NONCE_LENGTH, Card
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import EndName, PeerChannel

NOMINATED_KINDS = {number: PathKind(name) for name, number in v2.PATH_NUMBERS.items()}
PROBED_KINDS = {number: PathKind(name) for name, number in v2.PROBE_NUMBERS.items()}


class Agreement(NamedTuple):
    """The path both ends agreed on, as this end sees it, and what a calls it."""

    partner: Partner
    path: Path
    kind: PathKind


class Peering:
    """`vias_for(family)` gives the sockets to ping from, `bucket` says how many pings may be
    sent, `strangers` how many to hosts that are not proved; `is_own` tells our own addresses;
    `send` queues a datagram."""

    def __init__(
        self,
        attempt: Attempt,
        end: EndName,
        *,
        holds: bool,
        peer: PeerChannel,
        session_key: Callable[[bytes, bytes], bytes | None],
        vias_for: Callable[[int], Iterator[Via]],
        bucket: TokenBucket,
        strangers: Strangers,
        is_own: Callable[[Address], bool],
        send: Callable[[bytes, Address, Via, int], None],
        random: Random,
    ) -> None:
        self.partners: dict[bytes, Partner] = {}
        self.agreement: Agreement | None = None
        self.proved_at: float | None = None
        """When a partner attempt first proved to be alive."""
        self.futile = False
        """Whether a nomination was given up: this attempt leads nowhere."""
        self.datagrams = 0
        """Sent to the partner, of all kinds."""
        self.unanswered = 0
        """Pings on the agreed path since it last answered one."""
        self.ended_by_partner = False
        """Whether the partner of the agreed path has said that it stops."""
        self._attempt = attempt
        self._end = end
        self._holds = holds
        self._peer = peer
        self._session_key = session_key
        self._vias_for = vias_for
        self._send = send
        self._random = random
        self._bucket = bucket
        self._strangers = strangers
        self._is_own = is_own
        self._dones = Repeat(0, timing.DONE_INTERVAL, 0.0)
        self._stay_until = NEVER

    # Timers.

    def next_timer(self) -> float:
        if self.agreement is not None:
            return min(self._dones.next_at, self._stay_until)
        return min((each.next_timer() for each in self.partners.values()), default=NEVER)

    def handle_timer(self, now: float) -> None:
        if self.agreement is not None:
            if self._dones.due(now):
                self._send_done(self.agreement)
            if now >= self._stay_until:
                self._stay_until = NEVER
            return
        for partner in self.partners.values():
            partner.checks.handle_timer(now)
            if partner.decide_at <= now:
                self._choose(partner, now)
            self._nominate(partner, now)

    @property
    def settled(self) -> bool:
        """Whether the partner needs nothing more of us."""
        return not self._dones.left and self._stay_until == NEVER

    @property
    def nominating(self) -> bool:
        """Whether a nomination is out that b may have accepted."""
        pending = any(partner.nomination is not None for partner in self.partners.values())
        return pending and self.agreement is None and not self.futile

    @property
    def any_valid(self) -> bool:
        return any(partner.checks.valid for partner in self.partners.values())

    @property
    def valid_vias(self) -> frozenset[Via]:
        """The sockets that have a valid path."""
        partners = self.partners.values()
        return frozenset(path.via for partner in partners for path in partner.checks.valid)

    @property
    def mode_differs(self) -> bool:
        """Whether a live partner wants to hold where we hand over, or the other way round."""
        return any(
            partner.checks.proved and partner.card is not None and partner.card.holds != self._holds
            for partner in self.partners.values()
        )

    @property
    def any_card_differs(self) -> bool:
        """Likewise for a partner attempt that may be a recording."""
        cards = (partner.card for partner in self.partners.values())
        return any(card is not None and card.holds != self._holds for card in cards)

    @property
    def proved_partner(self) -> Partner | None:
        """The partner attempt that is alive, with a card; the latest of several."""
        alive = (p for p in self.partners.values() if p.checks.proved and p.card is not None)
        return max(alive, key=lambda partner: partner.introduced_at, default=None)

    @property
    def has_paths(self) -> bool:
        """Whether there is an address to ping, if there is a partner at all."""
        return not self.partners or any(not each.unsendable for each in self.candidate_reports())

    def candidate_reports(self) -> tuple[CandidateReport, ...]:
        """What became of each address that was named or tried."""
        return tuple(each for p in self.partners.values() for each in p.checks.reports())

    def no_route(self, via: Via, remote: Address) -> None:
        """The system could not send a datagram to a partner."""
        for partner in self.partners.values():
            path = partner.checks.paths.get((via, remote))
            if path is not None:
                path.unsent += 1
                self.datagrams -= 1
                return

    # Partner attempts.

    def introduce(
        self,
        attempt: bytes,
        card: Card,
        candidates: Iterable[Candidate],
        now: float,
        *,
        observed: Address | None,
        knock: bool = False,
        opener: bool = False,
    ) -> Drop | None:
        """A partner attempt, new or with a later card; `observed` is where control sees it, if
        that may be pinged. `knock`: control has not seen it receive there.
        `opener`: see `Checklist.add`."""
        proved = card.partner_attempt == self._attempt.id
        partner = self._partner(attempt, proved=proved)
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
        self._choose(partner, now)
        return None

    def _partner(self, attempt: bytes, *, proved: bool) -> Partner | None:
        """The partner attempt of this id, taken up if it is new. The oldest unproved one makes
        room for it; a proved one only for one that is proved, too: its successor."""
        if attempt in self.partners:
            return self.partners[attempt]
        if len(self.partners) >= timing.MAX_PARTNER_ATTEMPTS:
            evictable = (p for p in self.partners.values() if proved or not p.checks.proved)
            evicted = min(evictable, key=lambda p: p.checks.proved, default=None)
            if evicted is None:
                return None
            del self.partners[evicted.attempt]

        def send_ping(path: Path, sequence: bytes, ttl: int) -> None:
            probe = v2.PROBE_NUMBERS.get(path.kind, 0)
            ping = v2.Ping(self._attempt.id, attempt, sequence, probe)
            self._seal_and_send(ping, path.remote, path.via, ttl)

        checks = Checklist(
            self._vias_for,
            self._bucket,
            self._strangers,
            self._is_own,
            send_ping,
            self._random,
        )
        return self.partners.setdefault(attempt, Partner(attempt, checks))

    def _take_card(self, partner: Partner, card: Card) -> bool:
        """Stores a card; False if its public key is bad or not the first card's."""
        if partner.card is not None and partner.card.public_key != card.public_key:
            return False
        if partner.session_key is None:
            partner.session_key = self._session_key(partner.attempt, card.public_key)
            if partner.session_key is None:
                return False
        partner.card = card
        return True

    def _prove(self, partner: Partner, now: float) -> None:
        partner.checks.prove(now)
        if self.proved_at is None:
            self.proved_at = now

    # Messages.

    def receive(self, data: bytes, source: Address, now: float, via: Via) -> Drop | None:
        """Takes a datagram of the ends' length; a Drop if it does not count."""
        message = self._peer.incoming.open(data)
        if isinstance(message, Drop):
            return message
        if not isinstance(message, v2.PeerMessage):
            return Drop.UNEXPECTED
        if message.receiver != self._attempt.id:
            return Drop.WRONG_ATTEMPT
        partner = self.partners.get(message.sender)
        if partner is None and isinstance(message, v2.Ping) and self.agreement is None:
            partner = self._partner(message.sender, proved=True)  # faster than control
        if partner is None:
            return Drop.UNEXPECTED
        agreed = self.agreement
        if agreed is not None and (agreed.path.via, agreed.path.remote) != (via, source):
            return Drop.UNEXPECTED_SOURCE
        self._prove(partner, now)
        match message:
            case v2.Ping():
                return self._pinged(message, partner, source, now, via)
            case v2.Pong():
                return self._ponged(message, partner, source, now, via)
            case v2.Nominate():
                return self._nominated(message, partner, source, now, via)
            case v2.Accept():
                return self._accepted(message, partner, source, now, via)
            case v2.Bye():
                return self._ended(partner)
            case _:  # DONE
                return self._done(partner, source, via)

    def foreign_datagram(self, source: Address, via: Via) -> None:
        """Something else came on the agreed path: the partner's program has begun to use it."""
        agreed = self.agreement
        if agreed is not None and (agreed.path.via, agreed.path.remote) == (via, source):
            self._stay_until = NEVER

    def _pinged(
        self, ping: v2.Ping, partner: Partner, source: Address, now: float, via: Via
    ) -> Drop | None:
        kind = PROBED_KINDS.get(ping.probe) or reflexive_kind(source)
        heard = partner.checks.ping_received(ping.sequence, via, source, kind, now)
        if isinstance(heard, Drop):
            return heard
        if partner.nomination is not None:
            partner.nomination.partner_pings(now)
        pong = v2.Pong(self._attempt.id, partner.attempt, ping.sequence, source)
        self._seal_and_send(pong, source, via)
        return None

    def _ponged(
        self, pong: v2.Pong, partner: Partner, source: Address, now: float, via: Via
    ) -> Drop | None:
        path = partner.checks.pong_received(pong.sequence, via, source, now)
        if isinstance(path, Drop):
            return path
        if self.agreement is None:
            self._choose(partner, now)
        elif path is self.agreement.path:
            self.unanswered = 0
        return None

    # a chooses.

    def _choose(self, partner: Partner, now: float) -> None:
        if self._end != "a" or partner.nomination is not None or partner.card is None:
            return
        best = partner.checks.best()
        if best is None or partner.card.holds != self._holds:
            return
        partner.decide_at = partner.checks.decided_at(best)
        if partner.decide_at <= now:
            partner.decide_at = NEVER
            partner.checks.stop()
            partner.nomination = Nomination(best, now)
            self._nominate(partner, now)

    def _nominate(self, partner: Partner, now: float) -> None:
        nomination = partner.nomination
        if nomination is None:
            return
        if nomination.due(now):
            path = nomination.path
            kind = v2.PATH_NUMBERS[path.kind]
            age = min(round((now - path.proved_at) * 1000), v2.MAX_MILLISECONDS)
            nominate = v2.Nominate(self._attempt.id, partner.attempt, path.sequence, kind, age)
            self._seal_and_send(nominate, path.remote, path.via)
        elif nomination.given_up(now):
            nomination.next_at = NEVER
            self.futile = True

    def _accepted(
        self, accept: v2.Accept, partner: Partner, source: Address, now: float, via: Via
    ) -> Drop | None:
        nomination = partner.nomination
        if nomination is None or nomination.path.sequence != accept.sequence:
            return Drop.UNEXPECTED
        path = nomination.path
        if (path.via, path.remote) != (via, source):
            return Drop.UNEXPECTED_SOURCE
        if self.agreement is None:
            self._agree(Agreement(partner, path, path.kind))
            self._dones = Repeat(timing.DONE_COUNT, timing.DONE_INTERVAL, now)
            self.handle_timer(now)
        elif self.agreement.path is path:
            self._send_done(self.agreement)
        return None

    def _send_done(self, agreed: Agreement) -> None:
        done = v2.Done(self._attempt.id, agreed.partner.attempt, agreed.path.sequence)
        self._seal_and_send(done, agreed.path.remote, agreed.path.via)

    # b agrees.

    def _nominated(
        self, nominate: v2.Nominate, partner: Partner, source: Address, now: float, via: Via
    ) -> Drop | None:
        if self._end != "b" or nominate.path not in NOMINATED_KINDS:
            return Drop.UNEXPECTED
        path = partner.checks.paths.get((via, source))
        arrival = None if path is None else path.heard.arrival(nominate.sequence)
        if path is None or arrival is None:
            return Drop.UNEXPECTED_SOURCE
        if self.agreement is None:
            if now - arrival > nominate.age / 1000 + timing.NOMINATION_LATENESS:
                return Drop.STALE  # a may have given up meanwhile
            if not path.valid or partner.card is None:
                partner.checks.ping_now(path, now)  # the next nomination will find it valid
                return None
            if partner.card.holds != self._holds:
                return Drop.UNEXPECTED
            self._agree(Agreement(partner, path, NOMINATED_KINDS[nominate.path]))
        elif self.agreement.path is not path:
            return Drop.UNEXPECTED
        self._stay_until = now + timing.LINGER
        accept = v2.Accept(self._attempt.id, partner.attempt, nominate.sequence)
        self._seal_and_send(accept, source, via)
        return None

    def _done(self, partner: Partner, source: Address, via: Via) -> Drop | None:
        agreed = self.agreement
        if self._end != "b" or agreed is None or agreed.partner is not partner:
            return Drop.UNEXPECTED
        if (agreed.path.via, agreed.path.remote) != (via, source):
            return Drop.UNEXPECTED_SOURCE
        self._stay_until = NEVER
        return None

    def _ended(self, partner: Partner) -> Drop | None:
        """The partner stops. Before a path is agreed there is nothing to end."""
        if self.agreement is None or self.agreement.partner is not partner:
            return Drop.UNEXPECTED
        self.ended_by_partner = True
        return None

    def _agree(self, agreement: Agreement) -> None:
        self.agreement = agreement
        self.partners = {agreement.partner.attempt: agreement.partner}
        agreement.partner.checks.keep_only(agreement.path)

    def say_bye(self) -> None:
        """The link that was agreed ends, as we stop."""
        assert self.agreement is not None
        agreed = self.agreement
        bye = v2.Bye(self._attempt.id, agreed.partner.attempt)
        self._seal_and_send(bye, agreed.path.remote, agreed.path.via)

    def ping_agreed_path(self, now: float) -> None:
        """A keepalive of a held link."""
        assert self.agreement is not None
        self.unanswered += 1
        self.agreement.partner.checks.ping_now(self.agreement.path, now)

    def _seal_and_send(
        self, message: v2.PeerMessage, destination: Address, via: Via, ttl: int = 0
    ) -> None:
        self.datagrams += 1
        data = self._peer.outgoing.seal(message, self._random(NONCE_LENGTH))
        self._send(data, destination, via, ttl)
