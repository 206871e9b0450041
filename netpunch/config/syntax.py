"""What to say about YAML that can't be parsed: the parser knows where it stopped, not what its
author meant. The usual slips get advice; the rest is told in the parser's words."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from netpunch.config.model import Position
from netpunch.config.source import Source

if TYPE_CHECKING:
    import yaml

_WORD = re.compile(r"[^\s,]+")
_PLACEHOLDER = re.compile(r"\{\w+\}")
_OPENING = {"}": "{", "]": "["}
_CLOSING = {"{": "}", "[": "]"}
_NEEDS_QUOTES = "@`%"
"""Characters that begin nothing in YAML."""

_LONGEST_EXAMPLE = 60
"""Longer ones are no addresses and no paths."""


class _Failure(NamedTuple):
    """What the parser says, in one form for both of its implementations."""

    problem: str
    here: Position
    context: str
    began: Position
    line: str
    """The line of `here`."""

    @property
    def at(self) -> str:
        """The character it stopped at; empty at the end of a line."""
        return self.line[self.here.column - 1 : self.here.column]

    @property
    def word(self) -> str:
        """The word it stopped in, without the brackets around it."""
        for word in _WORD.finditer(self.line):
            if word.start() < self.here.column <= word.end():
                return _balanced(word[0])
        return ""

    @property
    def example(self) -> str:
        """That word as it should be written, if a terminal can show it."""
        word = self.word
        return f'"{word}"' if word.isprintable() and len(word) <= _LONGEST_EXAMPLE else '"..."'


def explain(error: yaml.YAMLError, source: Source, last: Position) -> tuple[Position, str]:
    """Where to point and what to say. `last` is the place of the last event before the error."""
    here = _position(getattr(error, "problem_mark", None)) or last
    failure = _Failure(
        problem=str(getattr(error, "problem", None) or error),
        here=here,
        context=str(getattr(error, "context", None) or ""),
        began=_position(getattr(error, "context_mark", None)) or here,
        line=source.line(here.line),
    )
    for slip in _SLIPS:
        if told := slip(failure):
            return told
    return here, f"not valid YAML: {failure.problem}"


_Told = tuple[Position, str] | None


def _open_quote(failure: _Failure) -> _Told:
    if "quoted scalar" not in failure.context:
        return None
    if "unexpected" in failure.problem:  # the end of the file, or a document mark
        return failure.began, "the quote that opens here is never closed"
    before = Position(failure.here.line, failure.here.column - 1)  # one parser points behind it
    place = failure.here if failure.at == "\\" else before
    return place, "a backslash in double quotes begins an escape: use single quotes"


def _tab(failure: _Failure) -> _Told:
    indent = failure.line[: len(failure.line) - len(failure.line.lstrip())]
    if "\t" not in indent:
        return None
    return failure.here, "a tab: YAML is indented with spaces"


def _tag(failure: _Failure) -> _Told:
    if "tag" not in failure.problem + failure.context:
        return None
    # The parser's own words repeat it, and what begins with ! may be a password.
    return failure.here, "a value that begins with ! is quoted"


def _leading_colon(failure: _Failure) -> _Told:
    if failure.at != ":" or "flow node" not in failure.context:
        return None
    return failure.here, f"an address that begins with : or [ is quoted: {failure.example}"


def _braces(failure: _Failure) -> _Told:
    if not _PLACEHOLDER.search(failure.word):
        return None
    return failure.here, f"a value with braces is quoted as a whole: {failure.example}"


def _reserved(failure: _Failure) -> _Told:
    if not failure.at or failure.at not in _NEEDS_QUOTES:
        return None
    return failure.here, f"a value that begins with {failure.at} is quoted"


def _open_bracket(failure: _Failure) -> _Told:
    if failure.context not in ("while parsing a flow mapping", "while parsing a flow sequence"):
        return None
    if failure.began.line != failure.here.line:
        return failure.began, "the bracket that opens here is not closed, or a comma is missing"
    return failure.here, "a comma or the closing bracket is missing before this"


def _second_colon(failure: _Failure) -> _Told:
    if "mapping values are not allowed" not in failure.problem:
        return None
    return failure.here, "a second `: ` in one entry: quote the value, or correct the indentation"


def _stray(failure: _Failure) -> _Told:
    if failure.context != "while parsing a block mapping":
        return None
    return failure.here, (
        "expected the next `key: value` here: correct the indentation, or quote the whole value"
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
"""From the most certain to the vaguest."""


def _position(mark: yaml.Mark | None) -> Position | None:
    return Position(mark.line + 1, mark.column + 1) if mark is not None else None


def _balanced(word: str) -> str:
    """The word without brackets that were opened before it or are closed after it."""
    count = Counter(word)  # once: a word may be as long as the file
    begin, end = 0, len(word)
    while begin < end and count[word[end - 1]] > count[_OPENING.get(word[end - 1], word[end - 1])]:
        end -= 1
        count[word[end]] -= 1
    while begin < end and count[word[begin]] > count[_CLOSING.get(word[begin], word[begin])]:
        count[word[begin]] -= 1
        begin += 1
    return word[begin:end]
