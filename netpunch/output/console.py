"""Lines for people, on standard error."""

from __future__ import annotations

from collections.abc import Callable


class Console:
    """`write` takes a line and never blocks. `quiet`: only errors are written. Without `news`
    warnings are written, too, but not what merely happens."""

    def __init__(
        self,
        write: Callable[[bytes], bool],
        *,
        quiet: bool = False,
        news: bool = True,
        name: str = "",
    ) -> None:
        self._write = write
        self._quiet = quiet
        self._news = news and not quiet
        self._prefix = f"{name}: " if name else ""

    def named(self, name: str) -> Console:
        """The same console for lines about `name`, such as an end or a control."""
        return Console(self._write, quiet=self._quiet, news=self._news, name=name)

    def say(self, text: str) -> None:
        """Something happened."""
        if self._news:
            self._put("", text)

    def warn(self, text: str) -> None:
        """Something needs attention."""
        if not self._quiet:
            self._put("warning: ", text)

    def error(self, text: str) -> None:
        """Something went wrong; never suppressed."""
        self._put("error: ", text)

    def _put(self, level: str, text: str) -> None:
        lines = [printable(line) for line in f"{level}{self._prefix}{text}".splitlines()]
        self._write(("\n".join(lines) + "\n").encode())


def printable(text: str) -> str:
    """Text with everything escaped that could steer a terminal or disguise a line: control
    characters (except tabs), line separators, direction marks."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\t" else char.encode("unicode_escape").decode()
        for char in text
    )
