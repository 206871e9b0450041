"""How both ends agree on a path: a nominates it (NOMINATE), b accepts (ACCEPT), a confirms (DONE).

b is linked half a round trip before a, so it stays: a nominates again until it hears an ACCEPT.
b may go on DONE, on any other datagram on the path (the partner's program has begun), or LINGER
after the last nomination. The first agreed path is final.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.checks import Path
from netpunch.core.end.identity import AttemptHost
from netpunch.core.end.partner import Nomination, Partner
from netpunch.core.events import PathKind, Via
from netpunch.core.machine import NEVER, next_state
from netpunch.core.pacing import Repeat
from netpunch.wire import v2
from netpunch.wire.drop import Drop

NOMINATED_KINDS = {number: PathKind(name) for name, number in v2.PATH_NUMBERS.items()}


class NominationState(Enum):
    """How far an attempt is in agreeing on a path."""

    CHECKING = "checking"
    """No path is agreed; a may have nominated some."""
    CONFIRMING = "confirming"
    """A path is agreed; the partner may not have heard all it needs."""
    SETTLED = "settled"
    """The partner needs nothing more."""
    FUTILE = "futile"
    """A nomination stayed unanswered: the attempt leads nowhere."""


TRANSITIONS: dict[tuple[NominationState, str], NominationState] = {
    (NominationState.CHECKING, "ACCEPT received"): NominationState.CONFIRMING,
    (NominationState.CHECKING, "NOMINATE received"): NominationState.CONFIRMING,
    (NominationState.CHECKING, "nomination given up"): NominationState.FUTILE,
    (NominationState.FUTILE, "nomination given up"): NominationState.FUTILE,
    (NominationState.CONFIRMING, "NOMINATE received"): NominationState.CONFIRMING,
    (NominationState.CONFIRMING, "partner needs no more answers"): NominationState.SETTLED,
    (NominationState.SETTLED, "NOMINATE received"): NominationState.CONFIRMING,
}


class Agreement(NamedTuple):
    """The path both ends agreed on, as this end sees it, and the kind that a gives it."""

    partner: Partner
    path: Path
    kind: PathKind

    def is_on(self, via: Via, remote: Address) -> bool:
        return self.path.place == (via, remote)


class Nominations:
    """Chooses and nominates paths (a), or accepts one (b). `partners`: the partner attempts by id,
    of which only the agreed one is kept in the end."""

    def __init__(self, host: AttemptHost, partners: dict[bytes, Partner]) -> None:
        self.state = NominationState.CHECKING
        self.agreement: Agreement | None = None
        self._host = host
        self._partners = partners
        self._end = host.resources.settings.end
        self._mode = host.resources.settings.mode
        self._dones = Repeat(0, timing.DONE_INTERVAL, 0.0)
        self._stay_until = NEVER
        """Until when b re-answers nominations."""

    def next_timer(self) -> float:
        """Once a path is agreed."""
        return min(self._dones.next_at, self._stay_until)

    def handle_timer(self, now: float) -> None:
        """Once a path is agreed."""
        assert self.agreement is not None
        if self._dones.due(now):
            self._send_done(self.agreement)
        if now >= self._stay_until:
            self._stay_until = NEVER
        self._check_settled()

    def foreign_datagram(self, source: Address, via: Via) -> None:
        """Something else came on the agreed path: the partner's program has begun to use it."""
        if self.agreement is not None and self.agreement.is_on(via, source):
            self._stay_until = NEVER
            self._check_settled()

    def keep_early(self, data: bytes, source: Address, via: Via) -> bool:
        """Something else came. Returns whether it was kept, as it came on a nominated path: b may
        be linked already."""
        if self.agreement is not None:
            return False
        return any(
            partner.nomination is not None
            and partner.nomination.path.place == (via, source)
            and partner.nomination.keep(data)
            for partner in self._partners.values()
        )

    def _check_settled(self) -> None:
        confirmed = not self._dones.left and self._stay_until == NEVER
        if self.state is NominationState.CONFIRMING and confirmed:
            self._move("partner needs no more answers")

    # a chooses.

    def choose(self, partner: Partner, now: float) -> None:
        """Nominates the partner's best path, if none better is worth waiting for."""
        if self._end != "a" or partner.nomination is not None or partner.card is None:
            return
        best = partner.checks.best()
        if best is None or partner.mode != self._mode:
            return
        partner.decide_at = partner.checks.decided_at(best)
        if partner.decide_at <= now:
            partner.decide_at = NEVER
            partner.checks.stop()
            over_stream = best.via in self._host.resources.streams.controls
            partner.nomination = Nomination(best, now, over_stream=over_stream)
            self.nominate(partner, now)

    def nominate(self, partner: Partner, now: float) -> None:
        """Repeats the partner's nomination, if there is one and it is due."""
        nomination = partner.nomination
        if nomination is None:
            return
        if nomination.due(now):
            path = nomination.path
            kind = v2.PATH_NUMBERS[path.kind]
            age = min(round((now - path.proved_at) * 1000), v2.MAX_MILLISECONDS)
            own = self._host.identity.id
            nominate = v2.Nominate(own, partner.attempt, path.sequence, kind, age)
            self._host.send(nominate, path.remote, path.via)
        elif nomination.given_up(now):
            nomination.next_at = NEVER
            self._move("nomination given up")

    def accepted(
        self, accept: v2.Accept, partner: Partner, source: Address, now: float, via: Via
    ) -> Drop | None:
        nomination = partner.nomination
        if nomination is None or nomination.path.sequence != accept.sequence:
            return Drop.UNEXPECTED
        path = nomination.path
        if path.place != (via, source):
            return Drop.UNEXPECTED_SOURCE
        if self.agreement is None:
            self._agree(Agreement(partner, path, path.kind))
            self._move("ACCEPT received")
            self._dones = Repeat(timing.DONE_COUNT, timing.DONE_INTERVAL, now)
            self.handle_timer(now)
        elif self.agreement.path is path:
            self._send_done(self.agreement)
        return None

    def _send_done(self, agreed: Agreement) -> None:
        done = v2.Done(self._host.identity.id, agreed.partner.attempt, agreed.path.sequence)
        self._host.send(done, agreed.path.remote, agreed.path.via)

    # b accepts.

    def nominated(
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
            if partner.mode != self._mode:
                return Drop.UNEXPECTED
            kind = NOMINATED_KINDS[nominate.path]
            if not self._may_be(kind, path):
                return Drop.UNEXPECTED
            self._agree(Agreement(partner, path, kind))
        elif self.agreement.path is not path:
            return Drop.UNEXPECTED
        self._move("NOMINATE received")
        self._stay_until = now + timing.LINGER
        accept = v2.Accept(self._host.identity.id, partner.attempt, nominate.sequence)
        self._host.send(accept, source, via)
        return None

    def _may_be(self, kind: PathKind, path: Path) -> bool:
        """Whether a path may have the kind that a gives it: both ends report it, so they have to
        agree on whether it is relayed. a may be the first to know."""
        relayed = kind is PathKind.RELAY
        if relayed and path.kind is not PathKind.RELAY:
            self._host.resources.relays.named(path.remote)
            path.kind = PathKind.RELAY
        return relayed == (path.kind is PathKind.RELAY) and (
            not relayed or self._host.may_be_relayed
        )

    def done(self, partner: Partner, source: Address, via: Via) -> Drop | None:
        agreed = self.agreement
        if self._end != "b" or agreed is None or agreed.partner is not partner:
            return Drop.UNEXPECTED
        if not agreed.is_on(via, source):
            return Drop.UNEXPECTED_SOURCE
        self._stay_until = NEVER
        self._check_settled()
        return None

    def relocate(self, via: Via, remote: Address) -> Agreement:
        """From now on the agreed path leads from another socket to another address of its relay."""
        assert self.agreement is not None
        path = self.agreement.path.relocated(via, remote)
        self.agreement = self.agreement._replace(path=path)
        self.agreement.partner.checks.keep_only(path)
        return self.agreement

    def _agree(self, agreement: Agreement) -> None:
        self.agreement = agreement
        self._partners.clear()
        self._partners[agreement.partner.attempt] = agreement.partner
        agreement.partner.checks.keep_only(agreement.path)

    def _move(self, event: str) -> None:
        self.state = next_state(TRANSITIONS, self.state, event)
