"""Which rung is tried when: plain pings alone at first, then the tactic for both NATs' classes,
in the end the verdict.

    PLAIN ── PLAIN_PATIENCE, no path ──> SURVEY ── our class known ──> AGREEING
    AGREEING ── the partner's class known, or PARTNER_PATIENCE ──> CLIMBING ──> EXHAUSTED

Plain pings go on all the time.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from netpunch.address import Address
from netpunch.core.end.partner import Partner
from netpunch.core.events import Turn
from netpunch.core.machine import NEVER
from netpunch.core.traversal import budget
from netpunch.core.traversal.birthday import OpenMany, SprayPorts
from netpunch.core.traversal.fresh_port import FreshPort, Hopeless
from netpunch.core.traversal.host import Field
from netpunch.core.traversal.nat import EASY_CLASSES
from netpunch.core.traversal.port_prediction import (
    Diagonal,
    OfferBracket,
    PredictionStrategy,
    ScanBracket,
)
from netpunch.core.traversal.strategy import Strategy
from netpunch.core.traversal.survey import Survey
from netpunch.wire.card import NatClass

Make = Callable[[Field, Partner, float], Strategy]

EASY, STEP, RANDOM = NatClass.EASY, NatClass.HARD_STEP, NatClass.HARD_RANDOM
STRATEGIES: dict[tuple[NatClass, NatClass], Make] = {
    (STEP, EASY): OfferBracket,
    (EASY, STEP): ScanBracket,
    (STEP, STEP): Diagonal,
    (RANDOM, EASY): OpenMany,
    (EASY, RANDOM): SprayPorts,
    (RANDOM, RANDOM): Hopeless,
    (RANDOM, STEP): Hopeless,
    (STEP, RANDOM): Hopeless,
}
"""By our class and the partner's; all that is not hard counts as easy. Easy and easy: FreshPort."""


class Stage(Enum):
    """How far up."""

    PLAIN = "plain"
    SURVEY = "survey"
    AGREEING = "agreeing"
    CLIMBING = "climbing"


class Escalation:
    """For one proved partner attempt. `fresh_port_patience`: seconds until a fresh port is tried
    between easy NATs."""

    def __init__(
        self, field: Field, partner: Partner, fresh_port_patience: float, now: float
    ) -> None:
        self.partner = partner
        self.next_timer_at = now + budget.PLAIN_PATIENCE
        self._field = field
        self._fresh_port_patience = fresh_port_patience
        self._began = now
        self._stage = Stage.PLAIN
        self._survey: Survey | None = None
        self._tactic: Strategy | None = None
        self._cuts = 0
        """Turns that were too short for the tactic."""
        self._paused_at: float | None = None
        """Since when the tactic's clock stands still, for a turn of ours or of the partner's."""
        self._partner_queued_until = partner.queued_until()
        """NEVER if it does not wait for a turn."""

    @property
    def infeasible(self) -> bool:
        """Whether all that could be tried against hard NATs was tried."""
        tactic = self._tactic
        return tactic is not None and tactic.exhausted and not isinstance(tactic, FreshPort)

    def waits(self, now: float) -> bool:
        """Whether this end or its partner waits for a turn: nobody's patience runs."""
        return self._field.turns.queued or self._partner_waits(now)

    def next_timer(self) -> float:
        timers = [self.next_timer_at, self._field.turns.next_timer(), self._partner_queued_until]
        if self._survey is not None:
            timers.append(self._survey.next_timer)
        if self._tactic is not None and self._paused_at is None:
            timers.append(self._tactic.next_timer)
            if isinstance(self._tactic, PredictionStrategy):
                timers.append(self._tactic.survey_timer())
        return min(timers)

    def handle_timer(self, now: float) -> None:
        self._field.turns.handle_timer(now)
        if now >= self._partner_queued_until:
            self._partner_queued_until = NEVER
        if self._survey is not None:
            self._survey.handle_timer(now)
        if self._tactic is not None:
            self._run(self._tactic, now)
        if now < self.next_timer_at:
            return
        self.next_timer_at = NEVER
        if self._stage is Stage.PLAIN:
            self._learn_class(now)
        elif self._partner_waits(now):
            self.next_timer_at = now + budget.PARTNER_PATIENCE
        else:
            self._climb(now)

    def observed(self, echo: bytes, address: Address, now: float) -> bool:
        """An observer's answer; False if it was not asked for."""
        if self._survey is not None and self._survey.observed(echo, address, now):
            return True
        tactic = self._tactic
        return isinstance(tactic, PredictionStrategy) and tactic.observed(echo, address, now)

    def partner_changed(self, now: float) -> None:
        """The partner has a later card, or is still there."""
        self._partner_queued_until = self.partner.queued_until()
        if self._stage is Stage.AGREEING and self.partner.nat_class is not NatClass.UNKNOWN:
            self._climb(now)
        elif self._tactic is not None:
            self._take_turns(self._tactic, now)
            if self._paused_at is None:
                self._tactic.something_changed(now)

    def _learn_class(self, now: float) -> None:
        known = self._field.report.nat_class
        if self._field.observers() and known not in (NatClass.OPEN, NatClass.EASY, RANDOM):
            self._stage = Stage.SURVEY
            self._field.turns.want(Turn.SURVEY, self._survey_nat, now)
        else:
            self._agree(now)

    def _survey_nat(self, _: float) -> None:
        self._survey = Survey(self._field, self.partner, 1, self._agree)

    def _agree(self, now: float) -> None:
        self._survey = None
        self._field.turns.over(now)
        self._stage = Stage.AGREEING
        self._field.share(now)
        if self.partner.nat_class is not NatClass.UNKNOWN:
            self._climb(now)
        else:
            self.next_timer_at = now + budget.PARTNER_PATIENCE

    def _climb(self, now: float) -> None:
        self._stage = Stage.CLIMBING
        self.next_timer_at = NEVER
        make = STRATEGIES.get(
            (_hardness(self._field.report.nat_class), _hardness(self.partner.nat_class))
        )
        if make is not None:
            self._tactic = make(self._field, self.partner, now)
        else:
            waited = now - self._began
            patience = max(0.0, self._fresh_port_patience - waited)
            self._tactic = FreshPort(self._field, self.partner, now, patience)
        self._run(self._tactic, now)

    def _run(self, tactic: Strategy, now: float) -> None:
        self._take_turns(tactic, now)
        if self._paused_at is None:
            tactic.handle_timer(now)

    # Turns.

    def _partner_waits(self, now: float) -> bool:
        return self._partner_queued_until != NEVER and now < self._partner_queued_until

    def _take_turns(self, tactic: Strategy, now: float) -> None:
        """The tactic runs while it is our turn, and the partner does not wait for its own."""
        turns, waits = self._field.turns, self._partner_waits(now)
        must_wait = tactic.follows and waits
        if turns.has_turn and (turns.is_up or must_wait or tactic.exhausted):
            self._give_back(tactic, now)
        if tactic.turn is not None and not tactic.exhausted:
            turns.want(tactic.turn, self._turn_is_there, now, ready=not must_wait)
        running = tactic.turn is None or turns.has_turn or tactic.exhausted
        if running and not waits:
            self._resume(tactic, now)
        else:
            self._paused_at = now if self._paused_at is None else self._paused_at
            if tactic.meets and waits:
                turns.hurry(now)

    def _turn_is_there(self, now: float) -> None:
        if self._tactic is not None:
            self._run(self._tactic, now)

    def _give_back(self, tactic: Strategy, now: float) -> None:
        if not tactic.exhausted:
            self._cuts += self._paused_at is None
            tactic.cut()
            tactic.exhausted = self._cuts > budget.MOST_CUTS
        self._field.close_all(self.partner)
        self._field.turns.over(now)

    def _resume(self, tactic: Strategy, now: float) -> None:
        if self._paused_at is not None:
            tactic.resume(now - self._paused_at, now)
            self._paused_at = None


def _hardness(nat_class: NatClass) -> NatClass:
    return EASY if nat_class in EASY_CLASSES else nat_class
