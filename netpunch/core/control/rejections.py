"""Reports datagrams that do not authenticate, in a way that a flood of them cannot exploit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from netpunch.address import Address
from netpunch.core.events import AuthRejected
from netpunch.core.machine import NEVER
from netpunch.wire.drop import Drop

WINDOW = 60.0
"""Seconds between two events of one kind: rare enough for any log."""


@dataclass(slots=True)
class _Window:
    ends_at: float
    source: Address
    count: int = 0


class Rejections:
    """Aggregates rejected datagrams by pair and reason: the first is reported at once, the others
    once a minute, for as long as they keep coming.

    Memory is bounded by the number of pairs, because `pair` is only ever a configured one."""

    def __init__(self, emit: Callable[[AuthRejected], None]) -> None:
        self._emit = emit
        self._windows: OrderedDict[tuple[str | None, Drop], _Window] = OrderedDict()
        """All windows are equally long, so the first one ends first."""
        self._next_end = NEVER

    def add(self, reason: Drop, pair: str | None, source: Address, now: float) -> None:
        """Counts one datagram; reports it at once if it is the first of its kind."""
        if now >= self._next_end:
            self.handle_timer(now)
        window = self._windows.get((pair, reason))
        if window is not None:
            window.count += 1
            window.source = source
            return
        self._windows[pair, reason] = _Window(now + WINDOW, source)
        self._next_end = next((each.ends_at for each in self._windows.values()), NEVER)
        self._emit(AuthRejected(reason.value, 1, pair, source))

    def forget(self, pair: str) -> None:
        """The pair is no longer configured: reports at once what was not reported of it."""
        for key in [key for key in ((pair, reason) for reason in Drop) if key in self._windows]:
            window = self._windows.pop(key)
            if window.count:
                self._emit(AuthRejected(key[1].value, window.count, pair, window.source))
        self._next_end = next((each.ends_at for each in self._windows.values()), NEVER)

    def next_timer(self) -> float:
        """When `handle_timer` is due, or NEVER."""
        return self._next_end

    def handle_timer(self, now: float) -> None:
        """Reports the counts of the windows that have ended, and forgets the empty ones."""
        while self._next_end <= now:
            (pair, reason), window = self._windows.popitem(last=False)
            if window.count:
                self._emit(AuthRejected(reason.value, window.count, pair, window.source))
                self._windows[pair, reason] = _Window(now + WINDOW, window.source)
            self._next_end = next((each.ends_at for each in self._windows.values()), NEVER)
