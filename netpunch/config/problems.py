"""What is wrong with a file, and where: one problem, many of them, and the error that carries
them to the user."""

from collections.abc import Iterable
from typing import NamedTuple

from netpunch.config.model import Position
from netpunch.config.secrecy import without_keys
from netpunch.config.source import Source
from netpunch.errors import ConfigurationError

MAX_PROBLEMS = 50
"""More are not read by anyone, and a hostile file must not make us collect a million."""


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


MOST_PLACES = 3
"""Places that are named beside the first one where the same is wrong."""


def gathered(problems: Iterable[Problem]) -> list[str]:
    """Their reports, but where the same is wrong in several places one for all of them."""
    alike: dict[str, dict[str, Problem]] = {}
    for problem in problems:
        alike.setdefault(problem.message, {}).setdefault(problem.key, problem)
    return [_report(list(places.values())) for places in alike.values()]


def _report(places: list[Problem]) -> str:
    first, *others = places
    if not others:
        return str(first)
    named = ", ".join(problem.key for problem in others[:MOST_PLACES])
    dots = ", ..." if len(others) > MOST_PLACES else ""
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
    """There is no use in reading on; the reason has been recorded."""


class Problems:
    """Collects what is wrong with one file."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._found: dict[tuple[Position, str], tuple[str, str]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, position: Position, key: str, message: str, example: str = "") -> None:
        """The same problem at the same place counts once: a default is inherited by many, and
        `example` is one of them.

        Raises Abandoned once there are enough."""
        self._found.setdefault((position, message), (key, example))
        if len(self._found) >= MAX_PROBLEMS:
            raise Abandoned

    def error(self) -> SiteError:
        """All of them in the order of the file, as the exception to raise."""
        found = sorted(self._found.items(), key=lambda item: (item[0][0].line, item[0][0].column))
        problems = tuple(
            problem_at(self.source, position, key, message + (example and f" (for {example})"))
            for (position, message), (key, example) in found
        )
        return SiteError(problems, more=len(problems) >= MAX_PROBLEMS)


def problem_at(source: Source, position: Position, key: str, message: str) -> Problem:
    """A problem with its excerpt."""
    return Problem(
        source.file, position, without_keys(key), without_keys(message), source.excerpt(position)
    )
