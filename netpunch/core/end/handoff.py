"""a's side of the agreed hand-off: NOMINATE (a to b), ACCEPT (b to a), DONE (a to b).

    a:  ── a path is valid and decided ──> nominated ── ACCEPT ──> linked, says DONE
    b:  ── NOMINATE on a path valid for b ──> linked, re-answers until it may go

b is linked half a round trip before a, so it stays: a whose ACCEPT was lost nominates again.
It may go on DONE, on any other datagram on the path (the partner's program has begun), or
LINGER after the last nomination.
"""

from __future__ import annotations

from netpunch.core import timing
from netpunch.core.end.checks import Path


class Nomination:
    """One path, nominated until it is accepted or given up. One per partner attempt."""

    def __init__(self, path: Path, now: float) -> None:
        self.path = path
        self.next_at = now
        self._sent = 0
        self._counts_from = now
        self._began = now

    def due(self, now: float) -> bool:
        """Whether to send NOMINATE now; if so it counts as sent."""
        if now < self.next_at or self.given_up(now):
            return False
        self._sent += 1
        fast = self._sent < timing.NOMINATE_FAST_COUNT
        gap = timing.NOMINATE_FAST_INTERVAL if fast else timing.NOMINATE_INTERVAL
        self.next_at = now + gap
        return True

    def given_up(self, now: float) -> bool:
        """Whether it was repeated often and long enough without an answer."""
        enough = self._sent >= timing.NOMINATE_COUNT
        return enough and now - self._counts_from >= timing.NOMINATE_FOR

    def partner_pings(self, now: float) -> None:
        """b still pings, so it has not accepted yet: from now on it is to hear as many
        nominations as if this was the first, up to a limit."""
        if now - self._began < timing.NOMINATE_LONGEST and not self.given_up(now):
            self._counts_from = now
            self._sent = min(self._sent, timing.NOMINATE_FAST_COUNT)
