"""Reminders of what ends wait for, so that nothing that waits is silent for longer than a minute.
Ends that wait for the same share one line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from netpunch.output.console import Console
from netpunch.output.events import PairWaiting
from netpunch.output.journal import Journal

FIRST = 15.0
"""Seconds after which a wait is reported again: most are over by then."""
EACH = 60.0
"""Seconds between two reminders later, at whole multiples of it."""
IN_FULL = 300.0
"""Seconds between those that say what to do, and are events; the others are short."""
TOGETHER = 1.0
"""Seconds by which a reminder may come early, to share a line with another."""

EndKey = tuple[str, str]
"""A pair's name and `a` or `b`."""


class Wait(NamedTuple):
    """What an end waits for: `what` is a phrase that "for 4 min" may follow; `advice` says what to
    do, `own` replaces PAIR FILE in it; `reason` is that of the event, None without one."""

    what: str
    advice: str = ""
    own: str = "PAIR FILE"
    reason: str | None = None


class _Waiting:
    """An end without a link since `since`, which has waited for the same since `wait_since`."""

    def __init__(self, wait: Wait, now: float) -> None:
        self.since = self.wait_since = now
        self.wait = wait
        self.failure = self.failure_detail = ""
        """Why its last attempt failed, if one has: in a few words, and what to do."""
        self.due = now + FIRST
        self.full_due = now + FIRST

    @property
    def subject(self) -> tuple[str, str]:
        """What it has in common with others."""
        return self.wait.what, self.failure

    def next_due(self, now: float, *, in_full: bool) -> tuple[float, float]:
        """When the next reminder is due, and the next one in full."""
        waited = now - self.since + TOGETHER
        due = self.since + EACH * (waited // EACH + 1)
        if not in_full:
            return due, self.full_due
        step = EACH if waited < EACH else IN_FULL
        return due, self.since + step * (waited // step + 1)


class Reminders:
    """For all ends of a process. `clock` is in seconds."""

    def __init__(
        self, journal: Journal, console: Console, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._journal = journal
        self._console = console
        self._clock = clock
        self._waiting: dict[EndKey, _Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def waits(self, end: EndKey, wait: Wait) -> None:
        """From now on the end waits for this; an earlier wait goes on."""
        now = self._clock()
        waiting = self._waiting.get(end)
        if waiting is None:
            self._waiting[end] = _Waiting(wait, now)
            self._arm()
            return
        if waiting.wait.what != wait.what:
            waiting.wait_since = now
        waiting.wait = wait

    def failed(self, end: EndKey, why: str, detail: str) -> None:
        """An attempt came to nothing, the end still waits. `why` is a few words, `detail` a
        sentence."""
        if end in self._waiting:
            self._waiting[end].failure, self._waiting[end].failure_detail = why, detail

    def over(self, end: EndKey) -> None:
        """It waits no longer."""
        self._waiting.pop(end, None)

    def next_timer(self) -> float:
        """When `handle_timer` is due; infinite when no end waits."""
        return min((each.due for each in self._waiting.values()), default=float("inf"))

    def handle_timer(self) -> None:
        """Reports each wait that is due for all ends that share it: next time they are due
        together."""
        soon = self._clock() + TOGETHER
        due = dict.fromkeys(each.subject for each in self._waiting.values() if each.due <= soon)
        for subject in due:
            group = {end: each for end, each in self._waiting.items() if each.subject == subject}
            self._remind(group)

    def _remind(self, group: dict[EndKey, _Waiting]) -> None:
        now = self._clock()
        first = next(iter(group.values()))
        wait = first.wait
        in_full = any(each.full_due <= now + TOGETHER for each in group.values())
        what = f"{wait.what} for {self._longest((each.wait_since for each in group.values()), now)}"
        if first.failure:
            without = self._longest((each.since for each in group.values()), now)
            what = f"no link for {without}, the last attempt failed: {first.failure}; now {what}"
        advice = first.failure_detail or wait.advice
        if len(group) == 1:
            advice = advice.replace("PAIR FILE", wait.own)
        tail = f": {advice}" if in_full and advice else ""
        self._console.remark(f"{_names(group)}: {what}{tail}")
        oldest = min(group.values(), key=lambda each: each.since)
        next_due = oldest.next_due(now, in_full=in_full)
        for (pair, end), each in group.items():
            if in_full and (reason := each.wait.reason):
                err = f"{each.wait.what}: {each.wait.advice}" if each.wait.advice else None
                waited = now - each.wait_since
                self._journal.emit(PairWaiting(pair, end, reason, err, waited_s=waited))
            each.due, each.full_due = next_due

    def _longest(self, since: Iterable[float], now: float) -> str:
        starts = list(since)
        longest = duration(now - min(starts))
        alike = max(starts) - min(starts) <= TOGETHER
        return longest if alike else f"up to {longest}"

    def _arm(self) -> None:
        """Sets a timer for the first reminder. It is never cancelled: it may find nothing due."""
        at = self.next_timer()
        if self._timer is not None and self._timer_at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        delay = max(0.0, at - self._clock())
        self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.handle_timer()
        if self._waiting:
            self._arm()


def _names(group: Iterable[EndKey]) -> str:
    ends = list(group)
    if len(ends) == 1:
        return " ".join(ends[0])
    pairs = {pair for pair, _ in ends}
    return f"{len(pairs)} pairs" if len(pairs) > 1 else f"{ends[0][0]}, both ends"


UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def duration(seconds: float) -> str:
    """`15 s`, `4 min`, `2 h 5 min`: at most two units, minutes without seconds."""
    left = round(seconds)
    parts: list[str] = []
    for unit, size in UNITS:
        count, rest = divmod(left, size)
        if count and len(parts) < 2 and not (unit == "s" and parts):
            parts.append(f"{count} {unit}")
            left = rest
    return " ".join(parts) or "0 s"
