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
    return _advice(failure) or (here, f"not valid YAML: {failure.problem}")


def _advice(failure: _Failure) -> tuple[Position, str] | None:
    """The position and message for a common slip: the most certain ones first."""
    here, began = failure.here, failure.began
    indent = failure.line[: len(failure.line) - len(failure.line.lstrip())]
    if "quoted scalar" in failure.context:
        if "unexpected" in failure.problem:  # end of file, or a document marker
            return began, "this quote is never closed"
        before = Position(here.line, here.column - 1)  # one of the parsers points behind it
        message = "invalid escape: in double quotes a backslash begins an escape; use single quotes"
        return here if failure.at == "\\" else before, message
    if "\t" in indent:
        return here, "tab in the indentation: use spaces"
    if "tag" in failure.problem + failure.context:
        # The parser's message repeats the value, and what begins with ! may be a password.
        return here, "quote a value that begins with !"
    if failure.at == ":" and "flow node" in failure.context:
        return here, f"quote an address that begins with : or [, as in {failure.example}"
    if _PLACEHOLDER.search(failure.word):
        return here, f"quote the whole of a value with braces, as in {failure.example}"
    if failure.at and failure.at in _NEEDS_QUOTES:
        return here, f"quote a value that begins with {failure.at}"
    if failure.context in ("while parsing a flow mapping", "while parsing a flow sequence"):
        if began.line != here.line:
            return began, "this bracket is not closed, or a comma is missing"
        return here, "expected a comma or the closing bracket before this"
    if "mapping values are not allowed" in failure.problem:
        return here, "a second `: ` in one entry: quote the value or correct the indentation"
    if failure.context == "while parsing a block mapping":
        return here, (
            "expected the next `key: value`: correct the indentation or quote the whole value"
        )
    return None


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
