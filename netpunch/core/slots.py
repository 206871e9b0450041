"""A control's memory of one end, and the rule by which an announcement gets into it.

Nothing recorded may displace a live registration. So an announcement is taken

- never, if its counter is not above the highest of its attempt: it was used before;
- at once, if it is the live attempt's, from the same address;
- at once, if the slot is empty and the attempt was never here: nobody is displaced;
- else only with a cookie, which shows that the sender receives at the address it sends from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.events import Via


class Verdict(Enum):
    """What to do with an authentic announcement."""

    ACCEPT = "accept"
    CHALLENGE = "challenge"
    STALE = "stale"


@dataclass(slots=True)
class Live:
    """The registered attempt of an end."""

    attempt: bytes
    source: Address
    via: Via
    purpose: int
    card: bytes
    heard: float


@dataclass(slots=True)
class Slot:
    """One end of one pair. `counters`: the highest counter of each remembered attempt."""

    live: Live | None = None
    counters: dict[bytes, int] = field(default_factory=dict)
    last_heard: float | None = None
    conflict_told: float | None = None

    def judge(self, attempt: bytes, counter: int, source: Address, *, cookie: bool) -> Verdict:
        """`cookie`: the announcement carries a cookie that is good for its source."""
        if counter <= self.counters.get(attempt, -1):
            return Verdict.STALE
        if self.live is None:
            undisputed = attempt not in self.counters
        else:
            undisputed = (self.live.attempt, self.live.source) == (attempt, source)
        return Verdict.ACCEPT if undisputed or cookie else Verdict.CHALLENGE

    def accept(self, live: Live, counter: int) -> Live | None:
        """Registers; returns the other attempt that was displaced, if one was."""
        displaced = self.live if self.live and self.live.attempt != live.attempt else None
        self.live = live
        self.last_heard = live.heard
        self._remember(live.attempt, counter)
        return displaced

    def leave(self, attempt: bytes, counter: int) -> bool:
        """Clears the slot for an authentic LEAVE; False if it is not the live attempt's."""
        if self.live is None or self.live.attempt != attempt or counter <= self.counters[attempt]:
            return False
        self._remember(attempt, counter)
        self.live = None
        return True

    def expire(self) -> None:
        self.live = None

    def _remember(self, attempt: bytes, counter: int) -> None:
        # Taken out and put in again: the dict's order is that of the last use.
        self.counters.pop(attempt, None)
        self.counters[attempt] = counter
        if len(self.counters) > timing.REMEMBERED_ATTEMPTS:
            del self.counters[next(iter(self.counters))]
