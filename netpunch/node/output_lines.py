"""What a child process prints, as lines that are safe to log: bounded, decoded, escaped."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

Stream = Literal["stdout", "stderr"]
OnOutput = Callable[[Stream, str], None]
"""Called with each line, without its newline."""

MAX_LINE_BYTES = 1000
"""What is longer is cut, so that an event stays one short line."""

MAX_OUTPUT_BYTES = 64 * 1024
"""Of both streams together, per period."""

LINE_OVERHEAD = 64
"""Counted for each line, for empty ones fill a log as well: at most 1,024 lines a period."""

TRUNCATED = "[output truncated]"


class OutputLines:
    """Splits the output of one child into lines and passes on at most MAX_OUTPUT_BYTES per
    `period` seconds (default: in all), then TRUNCATED once. `dropped` counts the other bytes."""

    def __init__(
        self,
        on_output: OnOutput,
        *,
        period: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        self._on_output = on_output
        self._partial: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}
        self._clock = clock
        self._period = period
        self._period_end = clock() + period
        self._left = MAX_OUTPUT_BYTES

    def feed(self, stream: Stream, data: bytes) -> None:
        """Take bytes in whatever pieces they come."""
        if self._exhausted():
            self.dropped += len(self._partial[stream]) + len(data)
            self._partial[stream] = b""
            return
        *lines, rest = (self._partial[stream] + data).split(b"\n")
        for line in lines:
            self._tell(stream, line)
        # One byte above the limit is enough to remember that the line was longer.
        self._partial[stream] = rest[: MAX_LINE_BYTES + 1]
        self.dropped += len(rest) - len(self._partial[stream])

    def finish(self) -> None:
        """The streams have ended: what came without a newline is a line, too."""
        for stream, partial in self._partial.items():
            if partial:
                self._tell(stream, partial)
            self._partial[stream] = b""

    def _tell(self, stream: Stream, line: bytes) -> None:
        if self._exhausted():
            self.dropped += len(line)
            return
        self._left -= len(line) + LINE_OVERHEAD
        if self._left < 0:
            self.dropped += len(line)
            self._on_output(stream, TRUNCATED)
            return
        text = printable(line[:MAX_LINE_BYTES].rstrip(b"\r").decode("utf-8", "replace"))
        if len(line) > MAX_LINE_BYTES:
            self.dropped += len(line) - MAX_LINE_BYTES
            text += "…"
        self._on_output(stream, text)

    def _exhausted(self) -> bool:
        if self._left < 0 and self._clock() >= self._period_end:
            self._left = MAX_OUTPUT_BYTES
            self._period_end = self._clock() + self._period
        return self._left < 0


def printable(text: str) -> str:
    """Text with everything escaped that could steer a terminal or disguise a line: controls
    (but tabs), line separators, direction marks."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\t" else char.encode("unicode_escape").decode()
        for char in text
    )
