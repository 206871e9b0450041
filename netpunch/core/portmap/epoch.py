"""The epoch of a gateway: how long it has known its port mappings (RFC 6887 section 8.5)."""

from __future__ import annotations

TOLERANCE = 2
"""Seconds that an epoch may be off: it is told in whole ones, and answers take their time."""
MOST_REORDERED = 1
"""Seconds that it may go back: answers can overtake each other."""
DRIFT = 1 / 16
"""Part of the time between two answers by which the clocks of both sides may drift apart."""


class EpochClock:
    """Tells from the epochs of a gateway whether it has lost its mappings."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None

    def restarted(self, epoch: int, now: float) -> bool:
        """Whether the gateway restarted between its last answer and this one, which gives its
        epoch in seconds."""
        last, self._last = self._last, (epoch, now)
        if last is None:
            return False
        theirs, ours = epoch - last[0], now - last[1]
        if theirs < -MOST_REORDERED:
            return True
        lags = theirs + TOLERANCE < ours * (1 - DRIFT)
        leads = ours + TOLERANCE < theirs * (1 - DRIFT)
        return lags or leads
