"""A control's memory of one end, and the rule by which an announcement gets into it.

Nothing recorded may displace a live registration. So an announcement is taken

- never, if its counter is not above the highest of its attempt: it was used before, by an
  address that is proved or by the same one;
- at once, if it is the live attempt's, from the same address;
- at once, if nobody proved is in the slot and the attempt was never here: nobody is displaced;
- else only with a cookie, which shows that the sender receives at the address it sends from.

A registration that was taken without a cookie is not proved until a later announcement echoes
one: until then it may be a recording from a forged address.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.events import Via
from netpunch.wire.v2 import unpack_address

ANNOUNCE_RATE = 20
"""Announcements a second of a live attempt, and as many at once: four times what an end sends at
its busiest. Each may push an introduction to the partner, so one end can't make a control flood
the other. Only authentic ones count, and nobody else's: no forger and no recording uses them up."""
NO_COUNTER = -1
"""Below every counter."""


class Verdict(Enum):
    """What an authentic announcement is to its slot."""

    STALE = "stale"
    """Its counter was used."""
    REFRESH = "refresh"
    """Of the live attempt, from its address."""
    FILL = "fill"
    """Of a new attempt, and nobody proved is in the slot."""
    DISPUTED = "disputed"
    """Would change what is live, or brings back what is gone: with a cookie only."""
    LIMITED = "limited"
    """Of the live attempt, but there were too many."""


class Standing(IntEnum):
    """What a registration has shown of its address."""

    UNPROVED = 0
    """Nothing."""
    KNOCKED = 1
    """Nothing, and it was told of its partner unasked, which happens once."""
    PROVED = 2
    """It receives there: it has echoed a cookie."""


STALE, REFRESH, FILL, DISPUTED, LIMITED = Verdict
# By name, as reading them off their class is slow: 0.1 µs each in Python 3.11.


@dataclass(slots=True)
class Live:
    """The registered attempt of an end. `counter` is the highest that was taken; `source` is its
    address as 19 bytes, which take a third of the memory."""

    attempt: bytes
    counter: int
    source: bytes
    via: Via
    purpose: int
    card: bytes
    heard: float
    burst: int = 0
    """Announcements lately, less ANNOUNCE_RATE for each second."""
    standing: int = Standing.UNPROVED

    @property
    def address(self) -> Address:
        return unpack_address(self.source)

    @property
    def proved(self) -> bool:
        return self.standing == Standing.PROVED

    def leaves(self, attempt: bytes, counter: int) -> bool:
        """Whether an authentic LEAVE is this attempt's; if so it counts as taken."""
        if self.attempt != attempt or counter <= self.counter:
            return False
        self.counter = counter
        return True


class Slot:
    """One end of one pair. A control has many, and most of them say little: nothing is kept
    before it is needed."""

    __slots__ = ("_gone", "conflict_told", "last_heard", "live")

    def __init__(self) -> None:
        self.live: Live | None = None
        self.last_heard: float | None = None
        """Of an end that is not live any more."""
        self.conflict_told: float | None = None
        self._gone: dict[bytes, int] | None = None
        """The highest counters of attempts that were live, the last used last."""

    def hear(
        self,
        attempt: bytes,
        counter: int,
        source: bytes,
        via: Via,
        purpose: int,
        card: bytes,
        now: float,
    ) -> Verdict:
        """What this authentic announcement is here. A REFRESH is taken at once: nearly all
        announcements are one; of any other nothing is kept."""
        live = self.live
        if live is None or live.attempt != attempt or live.source != source:
            return self.judge(attempt, counter, source)
        if counter <= live.counter:
            return STALE
        burst = live.burst - int((now - live.heard) * ANNOUNCE_RATE)
        if burst >= ANNOUNCE_RATE:
            return LIMITED
        live.burst = burst + 1 if burst > 0 else 1
        live.counter = counter
        live.via = via
        live.purpose = purpose
        live.card = card
        live.heard = now
        return REFRESH

    def judge(self, attempt: bytes, counter: int, source: bytes) -> Verdict:
        """What this announcement is here. Changes nothing."""
        live = self.live
        is_free = live is None or not live.proved
        if live is not None and live.attempt == attempt:
            # A copy that came first, from a forged address, has not used up the counter.
            if counter < live.counter or (
                counter == live.counter and (live.proved or live.source == source)
            ):
                return STALE
            if live.source == source:
                return REFRESH
            return FILL if is_free else DISPUTED
        if counter <= self.highest_gone(attempt):
            return STALE
        return FILL if is_free and not self.remembers(attempt) else DISPUTED

    def fill(self, live: Live) -> Live | None:
        """Registers an attempt or its new address; returns the other attempt that was displaced,
        if one was. One that was not proved is nobody's loss, and not remembered: recordings must
        not crowd out the memory of what was proved."""
        before = self.live
        displaced = None
        if before is not None and before.proved and before.attempt != live.attempt:
            displaced = before
            self._remember(displaced)
        if self._gone is not None:
            self._gone.pop(live.attempt, None)
            self._forget_down_to(timing.REMEMBERED_ATTEMPTS - 1)
        self.live = live
        return displaced

    def clear(self) -> None:
        """Nobody is live any more."""
        if self.live is not None and self.live.proved:
            self._remember(self.live)
            self.last_heard = self.live.heard
        self.live = None

    def remembers(self, attempt: bytes) -> bool:
        """Whether this attempt was live once, as far as is remembered."""
        return self._gone is not None and attempt in self._gone

    def highest_gone(self, attempt: bytes) -> int:
        """The highest counter of an attempt that was live."""
        return NO_COUNTER if self._gone is None else self._gone.get(attempt, NO_COUNTER)

    def _remember(self, live: Live) -> None:
        if self._gone is None:
            self._gone = {}
        self._gone[live.attempt] = live.counter
        self._forget_down_to(timing.REMEMBERED_ATTEMPTS)

    def _forget_down_to(self, count: int) -> None:
        assert self._gone is not None
        while len(self._gone) > count:
            del self._gone[next(iter(self._gone))]
