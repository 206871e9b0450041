"""An end's turns: the ends of a process make surveys and floods of probes one after the other."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from netpunch.core.events import Event, Reason, Turn, TurnOver, TurnWanted, Waiting
from netpunch.core.machine import NEVER, Random, next_state
from netpunch.core.traversal import budget


class TurnState(Enum):
    """Where an end is with its turn."""

    IDLE = "idle"
    ASKED = "asked"
    """The turn may be there at once; or this end could not use it now."""
    QUEUED = "queued"
    """Waiting for a turn that this end could use."""
    HELD = "held"
    DUE_BACK = "due back"
    """It has lasted long enough, and others wait for it."""


TRANSITIONS: dict[tuple[TurnState, str], TurnState] = {
    (TurnState.IDLE, "wanted"): TurnState.ASKED,
    (TurnState.ASKED, "wanted"): TurnState.ASKED,
    (TurnState.QUEUED, "wanted"): TurnState.ASKED,
    (TurnState.ASKED, "not granted at once"): TurnState.QUEUED,
    (TurnState.ASKED, "granted"): TurnState.HELD,
    (TurnState.QUEUED, "granted"): TurnState.HELD,
    (TurnState.HELD, "granted"): TurnState.HELD,
    (TurnState.DUE_BACK, "granted"): TurnState.HELD,
    (TurnState.HELD, "others wait"): TurnState.DUE_BACK,
    (TurnState.IDLE, "over"): TurnState.IDLE,
    (TurnState.ASKED, "over"): TurnState.IDLE,
    (TurnState.QUEUED, "over"): TurnState.IDLE,
    (TurnState.HELD, "over"): TurnState.IDLE,
    (TurnState.DUE_BACK, "over"): TurnState.IDLE,
}

LENGTHS = {Turn.OPEN: budget.TURN, Turn.SPRAY: budget.SPRAY_TURN}
"""Seconds. A survey ends by itself."""


class Turns:
    """Asks for a turn, tells the partner when that takes long, and gives it back.

    `share_card(now)` sends our changed card."""

    def __init__(
        self, emit: Callable[[Event], None], share_card: Callable[[float], None], random: Random
    ) -> None:
        self.state = TurnState.IDLE
        self.sockets = budget.OPEN_PORTS
        """How many may be open during a turn."""
        self._emit = emit
        self._share_card = share_card
        self._random = random
        self._wanted: TurnWanted | None = None
        self._then: Callable[[float], None] | None = None
        self._notice_at = NEVER
        self._until = NEVER
        self._reported = False

    @property
    def queued(self) -> bool:
        """What our card tells the partner."""
        return self.state is TurnState.QUEUED

    @property
    def has_turn(self) -> bool:
        return self.state in (TurnState.HELD, TurnState.DUE_BACK)

    def next_timer(self) -> float:
        return min(self._notice_at, self._until)

    def handle_timer(self, now: float) -> None:
        if now >= self._until:
            assert self._wanted is not None
            self._until = NEVER
            self._notice_at = now + budget.QUEUE_NOTICE
            self._emit(self._wanted)
        elif now >= self._notice_at:
            self._notice_at = NEVER
            if self.has_turn:
                self._move("others wait", now)
            else:
                self._move("not granted at once", now)
                self._report()

    def want(
        self, turn: Turn, then: Callable[[float], None], now: float, *, ready: bool = True
    ) -> None:
        """Asks, or changes whether we are `ready`; calls `then(now)` when the turn is there."""
        wanted = TurnWanted(turn, ready)
        if wanted == self._wanted:
            return
        self._wanted, self._then = wanted, then
        self._notice_at = now + budget.QUEUE_NOTICE if ready else NEVER
        self._move("wanted", now)
        self._emit(wanted)

    def granted(self, sockets: int, now: float) -> None:
        """The turn begins or goes on."""
        wanted, then = self._wanted, self._then
        if wanted is None:
            self._emit(TurnOver())
            return
        is_new = not self.has_turn
        self.sockets = sockets
        self._notice_at = NEVER
        self._until = now + self._length(wanted.turn)
        self._move("granted", now)
        if is_new:
            assert then is not None
            then(now)

    def hurry(self, now: float) -> None:
        """The turn is of no use at the moment: others may have it soon."""
        if self._until != NEVER:
            patience = budget.CROSS_PATIENCE * (1.0 + self._random(1)[0] / 255.0)
            self._until = min(self._until, now + patience)

    def over(self, now: float | None = None) -> None:
        """Gives it back, or no longer wants it. `now` is None at the end of the attempt, when the
        card no longer matters."""
        wanted, self._wanted = self._wanted, None
        self._notice_at = self._until = NEVER
        self._move("over", now)
        if wanted is not None:
            self._emit(TurnOver())

    def _length(self, turn: Turn) -> float:
        spread = budget.TURN_SPREAD * self._random(1)[0] / 255.0
        return LENGTHS.get(turn, NEVER) * (1.0 + spread)

    def _report(self) -> None:
        """Once is enough: an end may wait many times."""
        if not self._reported:
            self._reported = True
            self._emit(Waiting(Reason.SPRAY_QUEUE))

    def _move(self, event: str, now: float | None) -> None:
        """Shares our card if it has changed, unless `now` is None."""
        was_queued = self.queued
        self.state = next_state(TRANSITIONS, self.state, event)
        if self.queued != was_queued and now is not None:
            self._share_card(now)
