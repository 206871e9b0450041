"""The text of a file as errors may show it: no secrets, no control characters, short lines."""

from __future__ import annotations

import re
from functools import lru_cache

from netpunch.config.model import Position
from netpunch.config.secrecy import hidden, stars, without_secret

_LINE_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
"""What YAML takes as the end of a line; str.splitlines knows others, so lines would differ."""

MAX_LINES = 100_000
"""Two for each YAML event that is taken. A file of nothing but line breaks has ten times as many,
and each costs more than a hundred characters of a line do."""

_EXCERPT_WIDTH = 120
"""Of a longer line only the part around the caret is shown."""

_LONGEST_VALUE = 60
"""How much of a wrong value a message repeats."""


class Source:
    """A file's name, as the user gave it, and its lines, those that may be secrets hidden."""

    def __init__(self, file: str, text: str, *, is_site: bool = True) -> None:
        """Of what is no site file, such as a template, only what sounds secret is hidden."""
        self.file = file
        self._written = _LINE_BREAK.split(text, MAX_LINES)
        self.is_cut = len(self._written) > MAX_LINES
        """Whether there are more lines than are looked at."""
        self._lines = list(hidden(self._written) if is_site else map(without_secret, self._written))

    def hide(self, start: Position, end: Position) -> None:
        """Show only stars from `start` up to, not including, `end`."""
        for number in range(start.line, min(end.line, len(self._lines)) + 1):
            line = self._lines[number - 1]
            left = start.column - 1 if number == start.line else 0
            right = end.column - 1 if number == end.line else len(line)
            self._lines[number - 1] = line[:left] + stars(line[left:right]) + line[right:]

    def shows(self, start: Position, end: Position) -> bool:
        """Whether errors show all that stands from `start` up to, not including, `end`."""
        for number in range(start.line, min(end.line, len(self._lines)) + 1):
            left = start.column - 1 if number == start.line else 0
            right = end.column - 1 if number == end.line else None
            if self._lines[number - 1][left:right] != self._written[number - 1][left:right]:
                return False
        return True

    def text(self) -> str:
        """All of it, secrets hidden, every character still in its place."""
        return "\n".join(self._lines)

    def line(self, number: int) -> str:
        """A line, counted from 1; empty beyond the end."""
        return self._lines[number - 1] if number <= len(self._lines) else ""

    def excerpt(self, position: Position) -> str:
        """The line and a caret below it; empty where the file has no such line or it is blank."""
        line = self.line(position.line)
        if not line.strip():
            return ""
        caret = min(position.column - 1, len(line))
        left = max(0, caret - _EXCERPT_WIDTH // 2) if len(line) > _EXCERPT_WIDTH else 0
        window = line[left : left + _EXCERPT_WIDTH]
        visible = "".join(char if char.isprintable() else " " for char in window)
        return f"{visible.rstrip()}\n{' ' * (caret - left)}^"


@lru_cache(maxsize=1)
def source_of(file: str, text: str) -> Source:
    """That of a site file which is read already; one for all that is to be said of it, as hiding
    the secrets of a large file takes a while. Nobody hides more in it."""
    return Source(file, text)


def position_of(text: str, offset: int) -> Position:
    """The line and column of a character of a text."""
    line, begin = 1, 0
    for line_break in _LINE_BREAK.finditer(text, 0, offset):
        line, begin = line + 1, line_break.end()
    return Position(line, offset - begin + 1)


def shown(text: str) -> str:
    """A wrong value as a message may repeat it: quoted, short, printable, no secret."""
    shortened = text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "..."
    return repr(without_secret(shortened))
