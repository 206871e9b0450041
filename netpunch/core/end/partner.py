"""One attempt of the partner, as this end knows it: its card, its checks, its nomination."""

from __future__ import annotations

from netpunch.address import Address
from netpunch.core.end.checks import Checklist
from netpunch.core.end.handoff import Nomination
from netpunch.core.machine import NEVER
from netpunch.core.traversal.bracket import Bracket
from netpunch.core.traversal.budget import QUEUED_SILENCE
from netpunch.wire.card import Card, NatClass


class Partner:
    """The state towards one partner attempt. `decide_at` is when a's choice of a path is due."""

    def __init__(self, attempt: bytes, checks: Checklist) -> None:
        self.attempt = attempt
        self.checks = checks
        self.card: Card | None = None
        self.introduced_at = 0.0
        self.heard_at = 0.0
        """When control introduced it last."""
        self.observed: Address | None = None
        """Where control sees it, if that may be pinged."""
        self.session_key: bytes | None = None
        self.nomination: Nomination | None = None
        self.decide_at = NEVER

    @property
    def nat_class(self) -> NatClass:
        """What its latest card says; UNKNOWN for a class that we don't know."""
        named = NatClass.UNKNOWN if self.card is None else self.card.nat_class
        return NatClass(named) if named in set(NatClass) else NatClass.UNKNOWN

    def queued_until(self) -> float:
        """Until when it is believed to wait for its turn, if its latest card says so; or NEVER."""
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
        told = () if self.card is None else self.card.observed
        return tuple(each.host for each in (self.observed, *told) if each is not None)

    def next_timer(self) -> float:
        nominate_at = self.nomination.next_at if self.nomination else NEVER
        return min(self.checks.next_timer(), self.decide_at, nominate_at)
