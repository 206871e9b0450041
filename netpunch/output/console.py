"""Lines for people, on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from netpunch.output.columns import wrapped
from netpunch.output.terminal import PLAIN, Screen, Style

GATHERED = 1.0
"""Seconds within which equal lines about other ends become one: the ends of a process that lose
their control say so within a moment of each other."""
MOST_NAMED = 3
"""Ends that such a line names."""
LONG = 100
"""Characters of a line that is told again shorter: with its time and name it takes more than a line
of most terminals."""
INDENT = " " * 11
"""Of a terminal's lines that go on: two more than the time before each."""

Later = Callable[[float, Callable[[], None]], object]
"""Calls a function after so many seconds."""


class Level(NamedTuple):
    word: str = ""
    style: Style | None = None


NEWS = Level()
GOOD = Level(style=Style.GREEN)
LOST = Level(style=Style.YELLOW)
WARNING = Level("warning: ", Style.YELLOW)
ERROR = Level("error: ", Style.RED)


class Verbosity(NamedTuple):
    """What is written besides errors. `news`: what happens; `remarks`: how it went, and that
    something still waits. A journal that keeps a line for each change gets no remarks."""

    warnings: bool = True
    news: bool = True
    remarks: bool = True


ALL = Verbosity()
QUIET = Verbosity(warnings=False, news=False, remarks=False)


class _Lines:
    """Writes lines, and gathers equal ones about different names."""

    def __init__(
        self,
        write: Callable[[bytes], bool],
        screen: Callable[[], Screen],
        later: Later | None,
        *,
        timed: bool,
    ) -> None:
        self._write = write
        self._screen = screen
        self._later = later
        self._timed = timed
        self._gathered: dict[tuple[Level, str], list[str]] = {}
        """By line: the names since it was written."""
        self._held_back: dict[str, tuple[Level, str]] = {}
        """By name: the line that it is gathered in."""

    def put(self, level: Level, name: str, text: str, *, gathered: bool) -> None:
        if not gathered or self._later is None:
            self._line(level, name, text)
            return
        if name in self._held_back:  # what is said of one name stays in order
            self._flush(self._held_back[name])
        line = (level, text)
        if line in self._gathered:
            self._gathered[line].append(name)
            self._held_back[name] = line
            return
        self._line(level, name, text)
        self._gathered[line] = []
        self._later(GATHERED, lambda: self._flush(line))

    def flush(self) -> None:
        for line in list(self._gathered):
            self._flush(line)

    def _flush(self, line: tuple[Level, str]) -> None:
        names = self._gathered.pop(line, None)
        if not names:
            return
        for name in names:
            del self._held_back[name]
        level, text = line
        more = f" and {len(names) - 1} more" if len(names) > MOST_NAMED else ""
        # What to do stands in the line before, of the first one.
        self._line(level, (names[0] + more) if more else ", ".join(names), _problem(text))

    def _line(self, level: Level, name: str, text: str) -> None:
        screen = self._screen()
        paint = screen.paint
        first, *others = [printable(line) for line in text.splitlines()] or [""]
        parts = [
            (time.strftime("%H:%M:%S ") if self._timed else "", Style.DIM),
            (level.word, level.style),
            (name, Style.BOLD),
            (": " if name else "", None),
        ]
        taken = sum(len(part) for part, _ in parts)
        head = "".join(paint(part, style) for part, style in parts)
        # Words that stay whole on a terminal are there to be copied.
        first, *more = wrapped(first, screen, INDENT, taken)
        style = None if level.word else level.style
        lines = [head + paint(first, style), *(paint(line, style) for line in more), *others]
        self._write(("\n".join(lines) + "\n").encode())


class Console:
    """`write` takes a line and never blocks. On a terminal lines are `timed`, and painted and
    wrapped as the `screen` of the moment says. With `later` equal lines about several ends are
    gathered."""

    def __init__(
        self,
        write: Callable[[bytes], bool],
        verbosity: Verbosity = ALL,
        *,
        screen: Callable[[], Screen] = lambda: PLAIN,
        timed: bool = False,
        later: Later | None = None,
    ) -> None:
        self._lines = _Lines(write, screen, later, timed=timed)
        self._verbosity = verbosity
        self._name = ""
        self._gathered = False

    def named(self, name: str, *, gathered: bool = False) -> Console:
        """The same console for lines about `name`, such as an end or a control. `gathered`: others
        may say the same, and one line is enough."""
        console = object.__new__(Console)
        console._lines, console._verbosity = self._lines, self._verbosity
        console._name, console._gathered = name, gathered
        return console

    def say(self, text: str) -> None:
        """Something happened."""
        if self._verbosity.news:
            self._put(NEWS, text)

    def good(self, text: str) -> None:
        """What was waited for has happened."""
        if self._verbosity.news:
            self._put(GOOD, text)

    def lost(self, text: str) -> None:
        """What was there is gone."""
        if self._verbosity.news:
            self._put(LOST, text)

    def remark(self, text: str) -> None:
        """How something went, or that nothing happens yet."""
        if self._verbosity.remarks:
            self._put(NEWS, text)

    def warn(self, text: str) -> None:
        """Something needs attention."""
        if self._verbosity.warnings:
            self._put(WARNING, text)

    def error(self, text: str) -> None:
        """Something went wrong; never suppressed."""
        self._put(ERROR, text)

    def flush(self) -> None:
        """Writes what was gathered."""
        self._lines.flush()

    def _put(self, level: Level, text: str) -> None:
        self._lines.put(level, self._name, text, gathered=self._gathered)


def _problem(text: str) -> str:
    """A long message, which has the form `WHAT: WHAT TO DO`, without what to do."""
    return text.partition(": ")[0] if len(text) > LONG else text


def printable(text: str) -> str:
    """Text with everything escaped that could steer a terminal or disguise a line: control
    characters (except tabs), line separators, direction marks."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\t" else char.encode("unicode_escape").decode()
        for char in text
    )
