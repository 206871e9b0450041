"""What hard NATs' probing costs a host, shared by all ends of a process: one rate, and one spray
at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from netpunch.core.ladder.budget import PROBE_BURST, PROBE_RATE
from netpunch.core.pacing import TokenBucket

Granted = Callable[[], None]


class Probing:
    """`rate` is in probes a second."""

    def __init__(self, rate: float = PROBE_RATE) -> None:
        self.bucket = TokenBucket(rate, _burst(rate))
        self._owner: object | None = None
        self._waiting: deque[tuple[object, Granted]] = deque()

    def allow(self, rate: float) -> None:
        """Another rate from now on, for ends that are probing, too."""
        self.bucket.allow(rate, _burst(rate))

    def want(self, owner: object, granted: Granted) -> bool:
        """Asks for the turn to spray; `granted` is called when it is there, if not at once.
        True if it is: then it is the caller's already."""
        if self._owner is None or self._owner is owner:
            self._owner = owner
            return True
        self._waiting.append((owner, granted))
        return False

    def over(self, owner: object) -> None:
        """Gives the turn back, or no longer wants it. May be repeated."""
        self._waiting = deque(entry for entry in self._waiting if entry[0] is not owner)
        if self._owner is not owner:
            return
        self._owner = None
        if self._waiting:
            self._owner, granted = self._waiting.popleft()
            granted()


def _burst(rate: float) -> float:
    return min(PROBE_BURST, rate / 2)
