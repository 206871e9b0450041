"""Bounded queues between a link and a program: what has arrived, and what waits to be sent.

Both drop what comes while they are full, as the queues of a socket do, and count it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice

DATAGRAMS_KEPT = 4096
"""A program that is busy for 40 ms misses nothing of 100,000 datagrams a second."""
OCTETS_KEPT = 4 * 1024 * 1024
"""Bytes, as many as a link's socket asks the system to keep: half a second of 64 Mbit/s."""
GATHERED = 64
"""Datagrams: Linux takes no more as one message."""
HIGH_WATER = 64 * 1024
"""Bytes above which a program is asked to pause: asyncio's default."""


class Inbox:
    """What has arrived, in order. `put` wakes one of the `waiters`, which wait for a datagram."""

    __slots__ = ("dropped", "octets", "waiters", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        self.waiters: deque[asyncio.Future[None]] = deque()
        self.dropped = 0
        self.octets = 0

    def put(self, datagram: bytes, _source: object = None) -> None:
        octets = self.octets + len(datagram)
        if octets > OCTETS_KEPT or len(self.waiting) >= DATAGRAMS_KEPT:
            self.dropped += 1
            return
        self.waiting.append(datagram)
        self.octets = octets
        if self.waiters:
            self.wake()

    def take(self) -> bytes:
        """The oldest one. Raises IndexError if there is none."""
        datagram = self.waiting.popleft()
        self.octets -= len(datagram)
        return datagram

    def wake(self) -> None:
        """One that waits."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def wake_all(self) -> None:
        while self.waiters:
            self.wake()


class Outbox:
    """What waits to be sent. Above the high water mark `pause` is called, and at the low one
    `resume`."""

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self.waiting: deque[bytes] = deque()
        self.octets = 0
        self.dropped = 0
        self.is_paused = False
        self._pause = pause
        self._resume = resume
        self.set_limits()

    def set_limits(self, high: int | None = None, low: int | None = None) -> None:
        """In bytes, with asyncio's defaults for None. Raises ValueError unless high >= low >= 0."""
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"expected high >= low >= 0, got high {high!r} and low {low!r}")
        self.high, self.low = high, low
        self.consider_pause()

    def put(self, datagram: bytes) -> None:
        if self.octets + len(datagram) > max(self.high, OCTETS_KEPT):
            self.dropped += 1
            return
        self.waiting.append(datagram)
        self.octets += len(datagram)
        self.consider_pause()

    def gather(self, datagram: bytes) -> bool:
        """Keeps what is to leave soon anyway. Returns whether all that waits should leave now."""
        waiting = self.waiting
        waiting.append(datagram)
        self.octets += len(datagram)
        return len(waiting) == GATHERED or self.octets > self.high

    def first(self) -> list[bytes]:
        """The oldest ones, no more than may leave as one message."""
        return list(islice(self.waiting, GATHERED))

    def sent(self, count: int) -> None:
        """So many of the oldest have left."""
        for _ in range(count):
            self.octets -= len(self.waiting.popleft())
        if self.is_paused and self.octets <= self.low:
            self.is_paused = False
            self._resume()

    def clear(self) -> None:
        """Nothing of it will be sent any more."""
        self.dropped += len(self.waiting)
        self.waiting.clear()
        self.octets = 0

    def consider_pause(self) -> None:
        """Asks the program to pause, if too much waits."""
        if self.octets > self.high and not self.is_paused:
            self.is_paused = True
            self._pause()
