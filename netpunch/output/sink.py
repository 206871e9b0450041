"""Writes lines to a file descriptor whose reader may stall, vanish or run out of space.

A thread writes, so nothing else waits for it: `put` only fills a bounded queue.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque

from netpunch.errors import OutputError, lack_behind

MAX_QUEUED_LINES = 8192
MAX_QUEUED_BYTES = 4 * 1024 * 1024
"""About ten seconds of a busy --trace: the memory that a stalled reader may cost."""

MAX_WRITE_BYTES = 4096
"""Lines are written together up to PIPE_BUF, which a pipe takes whole or not at all."""

CLOSE_TIMEOUT = 2.0
"""Seconds that `close` gives the reader: a stop must end within 10."""

RETRY_PAUSE = 0.1
"""Seconds between tries while the disk is full, or a non-blocking descriptor is."""

_PASSING = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOSPC, errno.EDQUOT, errno.ENOBUFS})
"""Errors that may pass. The line begun is kept and continued, so it is never torn."""


class Sink:
    """Writes whole lines, in order, to a copy of `descriptor`; `name` is for error messages.

    A sink never raises once it is made: a reader that is gone must not stop a link. `failure` says
    in the end what was wrong; then the process should end with its exit code."""

    def __init__(
        self,
        descriptor: int,
        name: str = "standard output",
        *,
        max_lines: int = MAX_QUEUED_LINES,
        max_bytes: int = MAX_QUEUED_BYTES,
    ) -> None:
        """Raises OutputError when the descriptor is not open, ResourcesError for lack of a
        descriptor or a thread."""
        self.failure: OutputError | None = None
        self._name = name
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._closing = False
        self._give_up_at = float("inf")
        self._changed = threading.Condition()
        try:
            self._descriptor = os.dup(descriptor)
        except OSError as error:
            if lack := lack_behind(error, name):
                raise lack from error
            raise OutputError(
                f"{name} is closed; to discard it, send it to /dev/null: {error.strerror}"
            ) from error
        self._thread = threading.Thread(target=self._write_all, name="netpunch-sink", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            os.close(self._descriptor)
            raise lack_behind(error, name) or error from error

    def put(self, line: bytes) -> bool:
        """Queues one line (with its newline). False: it is dropped."""
        with self._changed:
            full = (
                len(self._queue) >= self._max_lines
                or self._queued_bytes + len(line) > self._max_bytes
            )
            if full or self._closing or self.failure:
                return False
            self._queue.append(line)
            self._queued_bytes += len(line)
            self._changed.notify()
            return True

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Writes what is queued, for at most `timeout` seconds; then read `failure`.

        The descriptor that the sink was made with stays open."""
        with self._changed:
            self._closing = True
            self._give_up_at = time.monotonic() + timeout
            self._changed.notify()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._fail("its reader stalls; the last lines are lost")

    def _write_all(self) -> None:
        while (lines := self._next_lines()) and self._write(lines):
            pass
        os.close(self._descriptor)

    def _next_lines(self) -> bytes:
        """As many queued lines as are written at once; waits for one; empty when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            lines: list[bytes] = []
            size = 0
            while self._queue and (not lines or size + len(self._queue[0]) <= MAX_WRITE_BYTES):
                lines.append(self._queue.popleft())
                size += len(lines[-1])
            self._queued_bytes -= size
            return b"".join(lines)

    def _write(self, lines: bytes) -> bool:
        """Whether all of it was written; if not, the sink has failed for good."""
        rest = memoryview(lines)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except OSError as error:
                if error.errno not in _PASSING or time.monotonic() >= self._give_up_at:
                    self._fail(error.strerror or str(error))
                    return False
                time.sleep(RETRY_PAUSE)
        return True

    def _fail(self, why: str) -> None:
        with self._changed:
            self.failure = self.failure or OutputError(f"cannot write to {self._name}: {why}")
            self._queue.clear()
            self._queued_bytes = 0
