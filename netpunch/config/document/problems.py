"""The text of a file, what is wrong with it and where, and how errors show both: secrets hidden,
no control characters, short lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from netpunch.config.document.secrecy import hidden, stars, without_keys, without_secret
from netpunch.errors import ConfigurationError

_LINE_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
"""What ends a line in YAML. str.splitlines has more, so its line numbers would differ."""

MAX_LINES = 100_000
"""Twice MAX_EVENTS of the composer. A file of nothing but line breaks has ten times as many, and
each costs more than a hundred characters of a line do."""

_EXCERPT_WIDTH = 120
"""Of a longer line only the part around the caret is shown."""

_LONGEST_VALUE = 60
"""Characters of a wrong value that a message repeats."""

MAX_PROBLEMS = 50
"""Nobody reads more, and a hostile file must not make us collect a million."""

MAX_PLACES = 3
"""Further places that are named where the same is wrong in many."""


class Position(NamedTuple):
    """Where something stands; lines and columns count from 1. `file` is the included file that it
    stands in, empty for the site file itself."""

    line: int
    column: int
    file: str = ""


FIRST = Position(1, 1)


class Source:
    """A file's name, as the user gave it, and its lines, with what may be secret hidden."""

    def __init__(
        self, file: str, text: str, *, is_site: bool = True, most_lines: int = MAX_LINES
    ) -> None:
        """In a file that is no site file, such as a template, only the values of keys that sound
        secret are hidden."""
        self.file = file
        self._written = _LINE_BREAK.split(text, max(1, most_lines))  # 0 would be: all
        self.is_cut = len(self._written) > most_lines
        """Whether the file has more lines than are looked at."""
        self.lines = len(self._written)
        self._lines = list(hidden(self._written) if is_site else map(without_secret, self._written))

    def hide(self, start: Position, end: Position) -> None:
        """Replaces the text from `start` up to, not including, `end` by stars."""
        for number in range(start.line, min(end.line, len(self._lines)) + 1):
            line = self._lines[number - 1]
            left = start.column - 1 if number == start.line else 0
            right = end.column - 1 if number == end.line else len(line)
            self._lines[number - 1] = line[:left] + stars(line[left:right]) + line[right:]

    def shows(self, start: Position, end: Position) -> bool:
        """Whether errors show all of the text from `start` up to, not including, `end`."""
        for number in range(start.line, min(end.line, len(self._lines)) + 1):
            left = start.column - 1 if number == start.line else 0
            right = end.column - 1 if number == end.line else None
            if self._lines[number - 1][left:right] != self._written[number - 1][left:right]:
                return False
        return True

    def text(self) -> str:
        """The whole text, secrets hidden, every character still in its place."""
        return "\n".join(self._lines)

    def line(self, number: int) -> str:
        """A line, counted from 1; empty beyond the end."""
        return self._lines[number - 1] if number <= len(self._lines) else ""

    def excerpt(self, position: Position) -> str:
        """The line and a caret below it; empty if the line is blank or does not exist."""
        line = self.line(position.line)
        if not line.strip():
            return ""
        caret = min(position.column - 1, len(line))
        left = max(0, caret - _EXCERPT_WIDTH // 2) if len(line) > _EXCERPT_WIDTH else 0
        window = line[left : left + _EXCERPT_WIDTH]
        visible = "".join(char if char.isprintable() else " " for char in window)
        return f"{visible.rstrip()}\n{' ' * (caret - left)}^"


@lru_cache(maxsize=8)
def source_of(file: str, text: str) -> Source:
    """The Source of a file that is loaded already. All errors about it share one, as hiding the
    secrets of a large file takes a while; its `hide` must not be called."""
    return Source(file, text)


def position_of(text: str, offset: int) -> Position:
    """The line and column of a character of a text."""
    line, begin = 1, 0
    for line_break in _LINE_BREAK.finditer(text, 0, offset):
        line, begin = line + 1, line_break.end()
    return Position(line, offset - begin + 1)


def shown(text: str) -> str:
    """A wrong value as a message may repeat it: quoted, short, printable, without secrets."""
    shortened = text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "..."
    return repr(without_secret(shortened))


class Problem(NamedTuple):
    """One thing that is wrong. `str()` is its report: place, key, what is wrong and what would
    be right, then the source line (secrets hidden) and a caret below it."""

    file: str
    position: Position
    key: str
    """Where in the structure, as `pairs.home-office.a.local`; empty for the file as a whole."""
    message: str
    excerpt: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.position.line}:{self.position.column}: "
        key = f"{self.key}: " if self.key else ""
        return f"{place}{key}{self.message}\n{self.excerpt}".rstrip("\n")


def problem_at(source: Source, position: Position, key: str, message: str) -> Problem:
    """A problem with its excerpt."""
    return Problem(
        source.file, position, without_keys(key), without_keys(message), source.excerpt(position)
    )


def gathered(problems: Iterable[Problem]) -> list[str]:
    """The reports of problems; problems with equal messages share one report."""
    alike: dict[str, dict[str, Problem]] = {}
    for problem in problems:
        alike.setdefault(problem.message, {}).setdefault(problem.key, problem)
    return [_report(list(places.values())) for places in alike.values()]


def _report(places: list[Problem]) -> str:
    first, *others = places
    if not others:
        return str(first)
    named = ", ".join(problem.key for problem in others[:MAX_PLACES])
    dots = ", ..." if len(others) > MAX_PLACES else ""
    return f"{first}\nand the same for {len(others)} more: {named}{dots}"


class SiteError(ConfigurationError):
    """The configuration is wrong. The message lists every problem with file, line, column and
    key; `problems` holds the same as data."""

    def __init__(self, problems: tuple[Problem, ...], *, more: bool = False) -> None:
        lines = [str(problem) for problem in problems]
        if more:
            lines.append(f"... and more: these are the first {len(problems)}")
        super().__init__("\n".join(lines))
        self.problems = problems


class Abandoned(Exception):  # noqa: N818 - a signal within the package, never an error
    """Reading on makes no sense; the reason has been recorded."""


class Problems:
    """Collects what is wrong with a site file and those that it includes."""

    def __init__(self, source: Source) -> None:
        self._sources = {"": source}
        self._found: dict[tuple[Position, str], tuple[str, str]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def include(self, source: Source) -> None:
        """One more file may have problems from now on."""
        self._sources[source.file] = source

    def source(self, file: str = "") -> Source:
        """Of the file that a position names."""
        return self._sources[file]

    def included(self) -> Iterator[Source]:
        """All but that of the site file."""
        return (source for file, source in self._sources.items() if file)

    def shows(self, start: Position, end: Position) -> bool:
        """See `Source.shows`."""
        return self._sources[start.file].shows(start, end)

    def place(self, there: Position, here: Position) -> str:
        """Where else something stands, as a message about `here` says it."""
        if there.file == here.file:
            return f"line {there.line}"
        return f"{there.file or self._sources[''].file}:{there.line}"

    def add(self, position: Position, key: str, message: str, example: str = "") -> None:
        """Records a problem. An equal message at the same place counts once: many pairs inherit a
        wrong default, and `example` is one of them.

        Raises Abandoned once there are MAX_PROBLEMS."""
        self._found.setdefault((position, message), (key, example))
        if len(self._found) >= MAX_PROBLEMS:
            raise Abandoned

    def error(self) -> SiteError:
        """The exception to raise: all problems, file by file, in their order."""
        order = {file: number for number, file in enumerate(self._sources)}
        found = sorted(self._found.items(), key=lambda item: (order[item[0][0].file], item[0][0]))
        problems = tuple(
            problem_at(
                self._sources[position.file],
                position,
                key,
                message + (example and f" (for {example})"),
            )
            for (position, message), (key, example) in found
        )
        return SiteError(problems, more=len(problems) >= MAX_PROBLEMS)
