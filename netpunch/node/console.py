"""Lines for people, on standard error."""

from __future__ import annotations

from collections.abc import Callable

from netpunch.node.output_lines import printable


class Console:
    """`write` takes a line and never blocks. Quiet: errors only. `news`: whether to say what
    happened, too."""

    def __init__(
        self, write: Callable[[bytes], bool], *, quiet: bool = False, news: bool = True
    ) -> None:
        self._write = write
        self._quiet = quiet
        self._news = news and not quiet

    def say(self, text: str) -> None:
        """What happened."""
        if self._news:
            self._put(text)

    def warn(self, text: str) -> None:
        """What somebody should look at."""
        if not self._quiet:
            self._put(f"warning: {text}")

    def error(self, text: str) -> None:
        """What went wrong; never suppressed."""
        self._put(f"error: {text}")

    def _put(self, text: str) -> None:
        lines = [printable(line) for line in text.splitlines()]
        self._write(("\n".join(lines) + "\n").encode())
