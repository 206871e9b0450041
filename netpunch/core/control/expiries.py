"""When to look at which registration again, at no cost for one that is refreshed in time.

Registrations are filed under the second in which they would expire. When that second comes, those
that were heard meanwhile are filed anew. So a datagram that refreshes a registration touches
nothing here, however many there are.
"""

from __future__ import annotations

from math import ceil
from typing import Generic, TypeVar

from netpunch.core.machine import NEVER

T = TypeVar("T")


class Expiries(Generic[T]):
    """Things by the second in which they are due."""

    def __init__(self) -> None:
        self._seconds: dict[int, list[T]] = {}
        self._first = NEVER

    def add(self, thing: T, due: float) -> None:
        """`take` returns it at `due`, rounded up to seconds, or later."""
        second = ceil(due)
        self._seconds.setdefault(second, []).append(thing)
        self._first = min(self._first, second)

    def next_timer(self) -> float:
        """When the first are due, or NEVER."""
        return self._first

    def take(self, now: float) -> list[T]:
        """Removes and returns all things of this second and of those before, the earliest first.
        One may be due within this second: add it again."""
        this_second = ceil(now)
        passed = sorted(second for second in self._seconds if second <= this_second)
        taken = [thing for second in passed for thing in self._seconds.pop(second)]
        self._first = min(self._seconds, default=NEVER)
        return taken
