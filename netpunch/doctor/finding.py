"""A finding: one line of the report, with what to do about it."""

from enum import StrEnum
from typing import NamedTuple

from netpunch.errors import NetpunchError, NotLinkedError


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It may matter, or something could not be learnt."""
    FAIL = "FAIL"
    """It does not work like this."""


class Finding(NamedTuple):
    """`name` is what was looked at, `text` what was found; `cure` is one line of what to do, empty
    exactly if all is well. `pairs` are those that it concerns, none for all. `blocks`: these
    cannot link. `code` is the exit code that a failure stands for."""

    level: Level
    name: str
    text: str
    cure: str = ""
    pairs: tuple[str, ...] = ()
    blocks: bool = False
    code: int = 0


def ok(name: str, text: str, pair: str = "") -> Finding:
    return Finding(Level.OK, name, text, pairs=_named(pair))


def warn(name: str, text: str, cure: str, pair: str = "") -> Finding:
    return Finding(Level.WARN, name, text, cure, _named(pair))


def fail(
    name: str,
    text: str,
    cure: str,
    pair: str = "",
    *,
    blocks: bool = False,
    code: int = NotLinkedError.exit_code,
) -> Finding:
    return Finding(Level.FAIL, name, text, cure, _named(pair), blocks, code)


def from_error(name: str, error: NetpunchError, pair: str = "", *, blocks: bool = True) -> Finding:
    """An error that stops the pair: its text has the cure behind a colon or semicolon."""
    what, cure = halves(str(error))
    return fail(name, what, cure, pair, blocks=blocks, code=error.exit_code)


def halves(message: str) -> tuple[str, str]:
    """What is wrong, and what to do, of a message of the usual form `WHAT: WHAT TO DO`; only the
    first of several lines."""
    first = first_line(message)
    for separator in ("; ", ": "):
        what, found, cure = first.rpartition(separator)
        if found and what:
            return what, cure
    return first, "see `netpunch check`"


def first_line(text: str) -> str:
    return text.partition("\n")[0]


def _named(pair: str) -> tuple[str, ...]:
    return (pair,) if pair else ()
