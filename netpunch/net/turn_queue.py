"""All ends of a process share what symmetric NATs cost the host: a rate of probes, and turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from netpunch.core.events import Turn
from netpunch.core.pacing import TokenBucket
from netpunch.core.traversal.budget import (
    MOST_SOCKETS,
    OPEN_PORTS,
    PROBE_BURST,
    PROBE_RATE,
    SPARE_SOCKETS,
    SURVEY_SOCKETS,
    SURVEYS_AT_ONCE,
    TURN_LEAST_SOCKETS,
)

Granted = Callable[[], None]
AT_ONCE = {Turn.SURVEY: SURVEYS_AT_ONCE, Turn.OPEN: 1, Turn.SPRAY: 1}


class _Waiting(NamedTuple):
    turn: Turn
    granted: Granted
    ready: bool


class TurnQueue:
    """Gives turns in the order in which ends ask for them. `rate` is in probes a second."""

    def __init__(self, rate: float = PROBE_RATE) -> None:
        self.bucket = TokenBucket(rate, _burst(rate))
        self.first_sockets: dict[object, int] = {}
        """How many sockets each end of the process opens at first; ends come and go."""
        self._having: dict[object, Turn] = {}
        self._waiting: dict[object, _Waiting] = {}
        """In the order in which they asked."""

    def allow(self, rate: float) -> None:
        """Sets another rate, which applies to ends that are probing, too."""
        self.bucket.allow(rate, _burst(rate))

    @property
    def sockets(self) -> int:
        """How many more sockets an end may open during its turn."""
        surveys = min(len(self.first_sockets), SURVEYS_AT_ONCE) * SURVEY_SOCKETS
        left = MOST_SOCKETS - SPARE_SOCKETS - surveys - sum(self.first_sockets.values())
        return min(max(left, TURN_LEAST_SOCKETS), OPEN_PORTS)

    def has_turn(self, owner: object) -> bool:
        return owner in self._having

    def want(
        self, owner: object, granted: Granted, turn: Turn = Turn.OPEN, ready: bool = True
    ) -> bool:
        """Asks for a turn, or to keep the one that `owner` has.

        Returns True if the owner has the turn now. Otherwise it waits, and `granted` is called when
        it is given one; an owner whose turn is not prolonged must call `over`. Asking again keeps
        the place in the queue, and so does an owner that is not `ready`, but others pass it."""
        if owner in self._having:
            return self._next(turn) is None
        self._waiting[owner] = _Waiting(turn, granted, ready)
        if not ready or not self._is_free(turn):
            return False
        self._give(owner)
        return True

    def over(self, owner: object) -> None:
        """Gives the turn back, or leaves the queue. May be repeated."""
        self._waiting.pop(owner, None)
        turn = self._having.pop(owner, None)
        if turn is None or not self._is_free(turn):
            return
        following = self._next(turn)
        if following is not None:
            self._give(following)()

    def _give(self, owner: object) -> Granted:
        waiting = self._waiting.pop(owner)
        self._having[owner] = waiting.turn
        return waiting.granted

    def _is_free(self, turn: Turn) -> bool:
        return sum(had is turn for had in self._having.values()) < AT_ONCE[turn]

    def _next(self, turn: Turn) -> object | None:
        ready = (owner for owner, each in self._waiting.items() if each.turn is turn and each.ready)
        return next(ready, None)


def _burst(rate: float) -> float:
    return min(PROBE_BURST, rate / 2)
