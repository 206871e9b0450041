"""Error messages for YAML that can't be parsed. The parser knows where it stopped, not what the
author meant: common slips get advice, for all else the message quotes the parser."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from netpunch.config.document.problems import Position, Source

if TYPE_CHECKING:
    import yaml

_WORD = re.compile(r"[^\s,]+")
_PLACEHOLDER = re.compile(r"\{\w+\}")
_OPENING = {"}": "{", "]": "["}
_CLOSING = {"{": "}", "[": "]"}
_NEEDS_QUOTES = "@`%"
"""Characters with which no plain YAML value begins."""

_LONGEST_EXAMPLE = 60
"""Characters. A longer word is neither an address nor a path."""


class _Failure(NamedTuple):
    """The parser's error, in one form for both of its implementations."""

    problem: str
    here: Position
    context: str
    began: Position
    line: str
    """The line of `here`."""

    @property
    def at(self) -> str:
        """The character at which the parser stopped; empty at the end of a line."""
        return self.line[self.here.column - 1 : self.here.column]

    @property
    def word(self) -> str:
        """The word in which the parser stopped, without the brackets around it."""
        for word in _WORD.finditer(self.line):
            if word.start() < self.here.column <= word.end():
                return _balanced(word[0])
        return ""

    @property
    def example(self) -> str:
        """That word in quotes, if a terminal can show it."""
        word = self.word
        return f'"{word}"' if word.isprintable() and len(word) <= _LONGEST_EXAMPLE else '"..."'


def explain(error: yaml.YAMLError, source: Source, last: Position) -> tuple[Position, str]:
    """The position and message for an error. `last` is the position of the last event before it."""
    here = _position(getattr(error, "problem_mark", None)) or last
    failure = _Failure(
        problem=str(getattr(error, "problem", None) or error),
        here=here,
        context=str(getattr(error, "context", None) or ""),
        began=_position(getattr(error, "context_mark", None)) or here,
        line=source.line(here.line),
    )
    for slip in _SLIPS:
        if advice := slip(failure):
            return advice
    return here, f"not valid YAML: {failure.problem}"


_Advice = tuple[Position, str] | None


def _open_quote(failure: _Failure) -> _Advice:
    if "quoted scalar" not in failure.context:
        return None
    if "unexpected" in failure.problem:  # end of file, or a document marker
        return failure.began, "this quote is never closed"
    before = Position(
        failure.here.line, failure.here.column - 1
    )  # one of the parsers points behind it
    place = failure.here if failure.at == "\\" else before
    return place, "invalid escape: in double quotes a backslash begins an escape; use single quotes"


def _tab(failure: _Failure) -> _Advice:
    indent = failure.line[: len(failure.line) - len(failure.line.lstrip())]
    if "\t" not in indent:
        return None
    return failure.here, "tab in the indentation: use spaces"


def _tag(failure: _Failure) -> _Advice:
    if "tag" not in failure.problem + failure.context:
        return None
    # The parser's own words repeat it, and what begins with ! may be a password.
    return failure.here, "quote a value that begins with !"


def _leading_colon(failure: _Failure) -> _Advice:
    if failure.at != ":" or "flow node" not in failure.context:
        return None
    return failure.here, f"quote an address that begins with : or [, as in {failure.example}"


def _braces(failure: _Failure) -> _Advice:
    if not _PLACEHOLDER.search(failure.word):
        return None
    return failure.here, f"quote the whole of a value with braces, as in {failure.example}"


def _reserved(failure: _Failure) -> _Advice:
    if not failure.at or failure.at not in _NEEDS_QUOTES:
        return None
    return failure.here, f"quote a value that begins with {failure.at}"


def _open_bracket(failure: _Failure) -> _Advice:
    if failure.context not in ("while parsing a flow mapping", "while parsing a flow sequence"):
        return None
    if failure.began.line != failure.here.line:
        return failure.began, "this bracket is not closed, or a comma is missing"
    return failure.here, "expected a comma or the closing bracket before this"


def _second_colon(failure: _Failure) -> _Advice:
    if "mapping values are not allowed" not in failure.problem:
        return None
    return failure.here, "a second `: ` in one entry: quote the value or correct the indentation"


def _stray(failure: _Failure) -> _Advice:
    if failure.context != "while parsing a block mapping":
        return None
    return failure.here, (
        "expected the next `key: value`: correct the indentation or quote the whole value"
    )


_SLIPS = (
    _open_quote,
    _tab,
    _tag,
    _leading_colon,
    _braces,
    _reserved,
    _open_bracket,
    _second_colon,
    _stray,
)
"""In order of certainty."""


def _position(mark: yaml.Mark | None) -> Position | None:
    return Position(mark.line + 1, mark.column + 1) if mark is not None else None


def _balanced(word: str) -> str:
    """The word without brackets that open before it or close after it."""
    count = Counter(word)  # counted once: a word may be as long as the file
    begin, end = 0, len(word)
    while begin < end and count[word[end - 1]] > count[_OPENING.get(word[end - 1], word[end - 1])]:
        end -= 1
        count[word[end]] -= 1
    while begin < end and count[word[begin]] > count[_CLOSING.get(word[begin], word[begin])]:
        count[word[begin]] -= 1
        begin += 1
    return word[begin:end]
