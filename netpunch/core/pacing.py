"""Bounds on how fast and how often something is sent."""

from __future__ import annotations

from collections.abc import Sequence

from netpunch.core.machine import NEVER


class TokenBucket:
    """At most `rate` in any second, and `burst` of them at once. A rate below one a second means
    one every `1 / rate` seconds."""

    def __init__(self, rate: float, burst: float) -> None:
        self._tokens = max(burst, 1.0)
        self._updated = 0.0
        self.allow(rate, burst)

    def allow(self, rate: float, burst: float) -> None:
        """Changes both; what was taken stays taken."""
        self._burst = max(burst, 1.0)  # a bucket that holds less than one would never give one
        # A full bucket and a second's refill make `rate`.
        self._refill_rate = max(rate - self._burst, min(rate, 1.0))

    def take(self, now: float) -> bool:
        """Whether one more may be sent now; if so, it counts as sent."""
        refilled = self._tokens + (now - self._updated) * self._refill_rate
        self._tokens = min(self._burst, refilled)
        self._updated = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    @property
    def refill(self) -> float:
        """Seconds until one more may be sent, once `take` has said no."""
        return max((1.0 - self._tokens) / self._refill_rate, 1e-6)


class Repeat:
    """The same thing a number of times, `interval` seconds apart."""

    def __init__(self, count: int, interval: float, now: float) -> None:
        self.left = count
        self.next_at = now if count else NEVER
        self._interval = interval

    def due(self, now: float) -> bool:
        """Whether to do it now; if so, it counts as done."""
        if now < self.next_at:
            return False
        self.left -= 1
        self.next_at = now + self._interval if self.left else NEVER
        return True


class Retries:
    """The same thing until it is answered: after each of the `gaps`, then at the last of them.
    `at`: when it is due first."""

    def __init__(self, gaps: Sequence[float], at: float) -> None:
        self.next_at = at
        self._gaps = gaps
        self._done = 0

    def due(self, now: float) -> bool:
        """Whether to do it now; if so, it counts as done."""
        if now < self.next_at:
            return False
        self.next_at = now + self._gaps[min(self._done, len(self._gaps) - 1)]
        self._done += 1
        return True

    def stop(self) -> None:
        """It is answered."""
        self.next_at = NEVER
