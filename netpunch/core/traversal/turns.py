"""An end's turns: the ends of a process make surveys and floods of probes one after the other."""

from __future__ import annotations

from collections.abc import Callable

from netpunch.core.events import Event, Reason, Turn, TurnOver, TurnWanted, Waiting
from netpunch.core.machine import NEVER, Random
from netpunch.core.traversal import budget

LENGTHS = {Turn.OPEN: budget.TURN, Turn.SPRAY: budget.SPRAY_TURN}
"""Seconds. A survey ends by itself."""


class Turns:
    """Asks for a turn, tells the partner when that takes long, and gives it back.

    `share_card(now)` sends our changed card."""

    def __init__(
        self, emit: Callable[[Event], None], share_card: Callable[[float], None], random: Random
    ) -> None:
        self.queued = False
        """Whether we wait for a turn that we could use; our card says so."""
        self.sockets = budget.OPEN_MANY.sockets
        """How many may be open during a turn."""
        self.has_turn = False
        self.is_up = False
        """Whether the turn has lasted long enough, and others wait for it."""
        self._emit = emit
        self._share_card = share_card
        self._random = random
        self._wanted: TurnWanted | None = None
        self._then: Callable[[float], None] | None = None
        self._notice_at = NEVER
        self._until = NEVER
        self._reported = False

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
                self.is_up = True
            else:
                self._set_queued(True, now)
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
        if not ready:
            self._set_queued(False, now)
        self._emit(wanted)

    def granted(self, sockets: int, now: float) -> None:
        """The turn begins or goes on."""
        wanted, then = self._wanted, self._then
        if wanted is None:
            self._emit(TurnOver())
            return
        self.sockets = sockets
        self.is_up = False
        self._notice_at = NEVER
        self._until = now + self._length(wanted.turn)
        self._set_queued(False, now)
        if not self.has_turn:
            self.has_turn = True
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
        self.has_turn = self.is_up = False
        self._notice_at = self._until = NEVER
        if now is None:
            self.queued = False
        else:
            self._set_queued(False, now)
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

    def _set_queued(self, queued: bool, now: float) -> None:
        if queued != self.queued:
            self.queued = queued
            self._share_card(now)
