"""Runs the program on a clock that can be stopped, as the monotonic one is in a suspended host.

    python -m tests.lab.suspendable CLOCK ARGUMENT...

SIGSTOP stops a process, but not its clocks. CLOCK is a file with the seconds for which the host
was suspended so far: the monotonic clock is behind the real one by those, the boot-time clock is
not. The event loop's timers, which don't know of that, come early; programs can't tell.
"""

from __future__ import annotations

import mmap
import runpy
import struct
import sys
import time
from pathlib import Path

SECONDS = struct.Struct("d")
PROGRAM = "netpunch"


class SuspendClock:
    """The file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seconds = 0.0
        path.write_bytes(SECONDS.pack(0.0))

    def command(self) -> tuple[str, ...]:
        """Runs the program on it."""
        return (sys.executable, "-m", "tests.lab.suspendable", str(self.path))

    def suspended(self, seconds: float) -> None:
        """Tell the program, while it is stopped, that it was for so long."""
        self._seconds += seconds
        with self.path.open("r+b") as file:
            file.write(SECONDS.pack(self._seconds))


def use(path: Path) -> None:
    """Makes it the monotonic clock of this process."""
    with path.open("rb") as file:
        shared = mmap.mmap(file.fileno(), SECONDS.size, access=mmap.ACCESS_READ)
    monotonic, clock_gettime = time.monotonic, time.clock_gettime

    def suspended() -> float:
        (seconds,) = SECONDS.unpack_from(shared)
        assert isinstance(seconds, float)
        return seconds

    def clock_gettime_stopped(clock: int) -> float:
        late = suspended() if clock == time.CLOCK_MONOTONIC else 0.0
        return clock_gettime(clock) - late

    time.monotonic = lambda: monotonic() - suspended()
    time.clock_gettime = clock_gettime_stopped


if __name__ == "__main__":
    use(Path(sys.argv.pop(1)))
    sys.argv[0] = PROGRAM
    runpy.run_module(PROGRAM, run_name="__main__")
