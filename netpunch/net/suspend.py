"""Notices that this process stood still: the host was suspended, or the process was stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable

TICK = 1.0
"""Seconds between two looks at the clock. Each costs some 20 µs."""
TOLERANCE = 1.0
"""Seconds by which a look may be late. A busy host seldom holds a process up for so long; NATs and
partners do not mind a pause of two seconds."""

# Of linux/timerfd.h and asm-generic/fcntl.h.
TFD_NONBLOCK = 0o4000
TFD_CLOEXEC = 0o2000000


class Wakefulness:
    """Calls `on_wake` after each standstill, as soon as the process goes on. Works from `start` to
    `stop`, which may be repeated."""

    def __init__(self, on_wake: Callable[[], None]) -> None:
        self._on_wake = on_wake
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looked_at = 0.0
        self._descriptor: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Call it within the running loop."""
        self._loop = asyncio.get_running_loop()
        self._looked_at = boot_clock()
        with contextlib.suppress(OSError, AttributeError, ImportError):
            self._descriptor = _boot_timer(TICK)
        if self._descriptor is None:
            self._timer = self._loop.call_later(TICK, self._ring)
        else:
            self._loop.add_reader(self._descriptor, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._descriptor is not None:
            assert self._loop is not None
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
        self._loop = None

    def _ring(self) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_later(TICK, self._ring)
        self._look()

    def _tick(self) -> None:
        assert self._descriptor is not None
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 8)
        self._look()

    def _look(self) -> None:
        now = boot_clock()
        late = now - self._looked_at - TICK
        self._looked_at = now
        if late > TOLERANCE:
            self._on_wake()


def boot_clock() -> float:
    """A clock, in seconds, that goes on while the host is suspended, where the system has one."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC)  # time.monotonic() stands still there
    return time.monotonic()


def _boot_timer(interval: float) -> int:
    """A descriptor, by timerfd_create(2), that becomes readable each `interval` seconds of
    `boot_clock`: at once when the host wakes, while a timer of the loop would have to wait for the
    rest of its time. Raises OSError; AttributeError where the C library lacks it."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.timerfd_create(time.CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    seconds, rest = divmod(interval, 1)
    # struct itimerspec: interval, first time; each in seconds and nanoseconds.
    times = (ctypes.c_long * 4)(*[int(seconds), int(rest * 1e9)] * 2)
    if libc.timerfd_settime(descriptor, 0, times, None) != 0:
        os.close(descriptor)
        raise OSError(ctypes.get_errno(), "timerfd_settime")
    return descriptor
