"""One attempt of the partner: its card, the checks of its paths, and the path that a nominates."""

from __future__ import annotations

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.channels import Channels
from netpunch.core.end.checks import Checklist, Path
from netpunch.core.machine import NEVER
from netpunch.core.traversal.budget import QUEUED_SILENCE
from netpunch.core.traversal.nat import Bracket
from netpunch.wire.card import Card, NatClass


class Nomination:
    """One path, nominated until it is accepted or given up. One per partner attempt.
    `over_stream`: the path is by way of one, which repeats by itself what is lost."""

    def __init__(self, path: Path, now: float, *, over_stream: bool = False) -> None:
        self.path = path
        self._over_stream = over_stream
        self.next_at = now
        self._sent = 0
        self._counts_from = now
        self._began = now
        self._early: list[bytes] = []

    def keep(self, data: bytes) -> bool:
        """Something that is not netpunch's came on the path: from the partner's program, if b has
        accepted, and its ACCEPT is lost or late. Returns whether there was room."""
        octets = sum(map(len, self._early)) + len(data)
        if len(self._early) == timing.EARLY_DATAGRAMS or octets > timing.EARLY_OCTETS:
            return False
        self._early.append(data)
        return True

    def kept(self) -> list[bytes]:
        """What came before the ACCEPT; once."""
        early, self._early = self._early, []
        return early

    def due(self, now: float) -> bool:
        """Whether to send NOMINATE now; if so it counts as sent."""
        if now < self.next_at or self.given_up(now):
            return False
        self._sent += 1
        self.next_at = now + self._gap
        return True

    @property
    def _gap(self) -> float:
        if self._over_stream:
            return timing.PING_INTERVAL
        fast = self._sent < timing.NOMINATE_FAST_COUNT
        return timing.NOMINATE_FAST_INTERVAL if fast else timing.NOMINATE_INTERVAL

    def given_up(self, now: float) -> bool:
        """Whether it was repeated often and long enough without an answer."""
        enough = self._sent >= timing.NOMINATE_COUNT
        return enough and now - self._counts_from >= timing.NOMINATE_FOR

    def partner_pings(self, now: float) -> None:
        """b still pings on the path, so it has not accepted yet: it gets as many nominations as if
        this were the first, up to a limit. (Where nothing comes on it any more, it is dead.)"""
        if now - self._began < timing.NOMINATE_LONGEST and not self.given_up(now):
            self._counts_from = now
            self._sent = min(self._sent, timing.NOMINATE_FAST_COUNT)


class Partner:
    """One attempt of the partner: its card, its checks, its nomination."""

    def __init__(self, attempt: bytes, checks: Checklist, channels: Channels) -> None:
        self.attempt = attempt
        self.checks = checks
        self.channels = channels
        """Those of the key under which it is spoken to."""
        self.card: Card | None = None
        self.introduced_at = 0.0
        self.heard_at = 0.0
        """When control introduced it last."""
        self.observed: Address | None = None
        """Where control sees it, if that may be pinged."""
        self.session_key: bytes | None = None
        self.nomination: Nomination | None = None
        self.decide_at = NEVER
        """When a has to choose a path."""

    @property
    def mode(self) -> tuple[bool, bool] | None:
        """What its latest card says of holding and sealing; None without a card."""
        return None if self.card is None else self.card.mode

    @property
    def nat_class(self) -> NatClass:
        """What its latest card says; UNKNOWN for a class of a later version."""
        named = NatClass.UNKNOWN if self.card is None else self.card.nat_class
        return NatClass(named) if named in set(NatClass) else NatClass.UNKNOWN

    def queued_until(self) -> float:
        """Until when it is believed to wait for its turn; NEVER if its latest card denies that."""
        queued = self.card is not None and self.card.queued
        return self.heard_at + QUEUED_SILENCE if queued else NEVER

    @property
    def bracket(self) -> Bracket:
        """What its latest card says."""
        card = self.card
        if card is None:
            return Bracket()
        return Bracket(card.bracket_port, card.bracket_step, card.bracket_count, card.bracket_round)

    def seen_at(self) -> tuple[str, ...]:
        """Its public addresses, as controls see them."""
        observed = () if self.card is None else self.card.observed
        return tuple(each.host for each in (self.observed, *observed) if each is not None)

    def may_be_at(self, host: str) -> bool:
        """Whether its card or a control names this host, as far as they have been heard."""
        return self.card is None or self.checks.is_vouched(host)

    def next_timer(self) -> float:
        nominate_at = self.nomination.next_at if self.nomination else NEVER
        return min(self.checks.next_timer(), self.decide_at, nominate_at)
