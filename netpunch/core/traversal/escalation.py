"""Which strategy is tried when: plain pings alone at first, then the one for both NATs' classes,
in the end the verdict. Plain pings go on all the time.

To add a strategy, write its module and name it in STRATEGIES.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from netpunch.address import Address
from netpunch.core.end.partner import Partner
from netpunch.core.events import Turn
from netpunch.core.machine import NEVER, next_state
from netpunch.core.traversal import budget
from netpunch.core.traversal.birthday import OpenMany, SprayPorts
from netpunch.core.traversal.host import TraversalHost
from netpunch.core.traversal.nat import EASY_CLASSES
from netpunch.core.traversal.port_prediction import Diagonal, OfferBracket, ScanBracket
from netpunch.core.traversal.strategy import FreshPort, Hopeless, KeepPort, Strategy
from netpunch.core.traversal.survey import Survey
from netpunch.core.traversal.turns import TurnState
from netpunch.wire.card import NatClass

Make = Callable[[TraversalHost, Partner, float], Strategy]

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

ONE_PORT_STRATEGIES: dict[tuple[NatClass, NatClass], Make] = {
    (EASY, EASY): KeepPort,
    (EASY, STEP): ScanBracket,
    (EASY, RANDOM): SprayPorts,
}
"""Where the link has to use our first socket. Behind a hard NAT that is hopeless."""


class EscalationState(Enum):
    """What is tried."""

    PLAIN_PINGS = "plain pings"
    SURVEY = "survey"
    """Learning our NAT's class."""
    EXCHANGE = "exchange"
    """Waiting for the partner's class."""
    STRATEGY = "strategy"


TRANSITIONS: dict[tuple[EscalationState, str], EscalationState] = {
    (EscalationState.PLAIN_PINGS, "survey needed"): EscalationState.SURVEY,
    (EscalationState.PLAIN_PINGS, "own class known"): EscalationState.EXCHANGE,
    (EscalationState.SURVEY, "own class known"): EscalationState.EXCHANGE,
    (EscalationState.EXCHANGE, "partner's class known"): EscalationState.STRATEGY,
    (EscalationState.EXCHANGE, "waited long enough"): EscalationState.STRATEGY,
}


class Escalation:
    """For one proved partner attempt."""

    def __init__(self, host: TraversalHost, partner: Partner, now: float) -> None:
        self.partner = partner
        self.state = EscalationState.PLAIN_PINGS
        self._due_at = now + host.plain_patience
        """When the state's patience is over."""
        self._host = host
        self._began = now
        self._survey: Survey | None = None
        self._strategy: Strategy | None = None
        self._cuts = 0
        """Turns that were too short for the strategy."""
        self._paused_at: float | None = None
        """Since when the strategy is paused, for a turn of ours or of the partner's."""
        self._partner_queued_until = partner.queued_until()
        """NEVER if it does not wait for a turn."""

    @property
    def infeasible(self) -> bool:
        """Whether everything against hard NATs was tried."""
        strategy = self._strategy
        return strategy is not None and strategy.exhausted and strategy.is_the_last

    def waits(self, now: float) -> bool:
        """Whether this end or its partner waits for a turn: no patience runs out meanwhile."""
        return self._host.turns.queued or self._partner_waits(now)

    def next_timer(self) -> float:
        timers = [self._due_at, self._host.turns.next_timer(), self._partner_queued_until]
        if self._survey is not None:
            timers.append(self._survey.next_timer)
        if self._strategy is not None and self._paused_at is None:
            timers.append(self._strategy.next_timer)
            if self._strategy.survey is not None:
                timers.append(self._strategy.survey.next_timer)
        return min(timers)

    def handle_timer(self, now: float) -> None:
        self._host.turns.handle_timer(now)
        if now >= self._partner_queued_until:
            self._partner_queued_until = NEVER
        if self._survey is not None:
            self._survey.handle_timer(now)
        if self._strategy is not None:
            self._run(self._strategy, now)
        if now < self._due_at:
            return
        self._due_at = NEVER
        if self.state is EscalationState.PLAIN_PINGS:
            self._learn_class(now)
        elif self._partner_waits(now):
            self._due_at = now + budget.PARTNER_PATIENCE
        else:
            self._begin_strategy("waited long enough", now)

    def observed(self, echo: bytes, address: Address, now: float) -> bool:
        """Takes a reflector's answer; False if it was not asked for."""
        survey = self._survey if self._strategy is None else self._strategy.survey
        return survey is not None and survey.observed(echo, address, now)

    def partner_changed(self, now: float) -> None:
        """The partner has a later card, or is still there."""
        self._partner_queued_until = self.partner.queued_until()
        known = self.partner.nat_class is not NatClass.UNKNOWN
        if self.state is EscalationState.EXCHANGE and known:
            self._begin_strategy("partner's class known", now)
        elif self._strategy is not None:
            self._take_turns(self._strategy, now)
            if self._paused_at is None:
                self._strategy.something_changed(now)

    def _learn_class(self, now: float) -> None:
        known = self._host.resources.nat.nat_class
        if self._host.reflectors() and known not in (NatClass.OPEN, NatClass.EASY, RANDOM):
            self._move("survey needed")
            self._host.turns.want(Turn.SURVEY, self._survey_nat, now)
        else:
            self._exchange_classes(now)

    def _survey_nat(self, _: float) -> None:
        # A socket of its own must not ping the partner where it could not carry the link.
        partner = self.partner if self._host.resources.settings.any_port else None
        self._survey = Survey(self._host, partner, 1, self._exchange_classes)

    def _exchange_classes(self, now: float) -> None:
        self._survey = None
        self._host.turns.over(now)
        self._move("own class known")
        self._host.share_card(now)
        if self.partner.nat_class is not NatClass.UNKNOWN:
            self._begin_strategy("partner's class known", now)
        else:
            self._due_at = now + budget.PARTNER_PATIENCE

    def _begin_strategy(self, event: str, now: float) -> None:
        self._move(event)
        self._due_at = NEVER
        resources = self._host.resources
        classes = (_hardness(resources.nat.nat_class), _hardness(self.partner.nat_class))
        if resources.settings.any_port:
            make = STRATEGIES.get(classes)
        else:
            make = ONE_PORT_STRATEGIES.get(classes, Hopeless)
        if make is not None:
            self._strategy = make(self._host, self.partner, now)
        else:
            patience = max(0.0, resources.fresh_port_patience - (now - self._began))
            self._strategy = FreshPort(self._host, self.partner, now, patience)
        self._run(self._strategy, now)

    def _move(self, event: str) -> None:
        self.state = next_state(TRANSITIONS, self.state, event)

    def _run(self, strategy: Strategy, now: float) -> None:
        self._take_turns(strategy, now)
        if self._paused_at is None:
            strategy.handle_timer(now)

    # Turns.

    def _partner_waits(self, now: float) -> bool:
        return self._partner_queued_until != NEVER and now < self._partner_queued_until

    def _take_turns(self, strategy: Strategy, now: float) -> None:
        """The strategy runs during our turn, while the partner does not wait for its own."""
        turns, waits = self._host.turns, self._partner_waits(now)
        must_wait = strategy.follows and waits
        if turns.has_turn and (
            turns.state is TurnState.DUE_BACK or must_wait or strategy.exhausted
        ):
            self._give_back(strategy, now)
        if strategy.turn is not None and not strategy.exhausted:
            turns.want(strategy.turn, self._turn_is_there, now, ready=not must_wait)
        running = strategy.turn is None or turns.has_turn or strategy.exhausted
        if running and not waits:
            self._resume(strategy, now)
        else:
            self._paused_at = now if self._paused_at is None else self._paused_at
            if strategy.meets and waits:
                turns.hurry(now)

    def _turn_is_there(self, now: float) -> None:
        if self._strategy is not None:
            self._run(self._strategy, now)

    def _give_back(self, strategy: Strategy, now: float) -> None:
        if not strategy.exhausted:
            self._cuts += self._paused_at is None
            strategy.cut()
            strategy.exhausted = self._cuts > budget.MOST_CUTS
        self._host.close_all(self.partner)
        self._host.turns.over(now)

    def _resume(self, strategy: Strategy, now: float) -> None:
        if self._paused_at is not None:
            strategy.resume(now - self._paused_at, now)
            self._paused_at = None


def _hardness(nat_class: NatClass) -> NatClass:
    return EASY if nat_class in EASY_CLASSES else nat_class
