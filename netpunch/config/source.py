"""The text of a file as errors may show it: no secrets, no control characters, short lines."""

from __future__ import annotations

import re

from netpunch.config.model import Position

_LINE_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
"""What YAML takes as the end of a line; str.splitlines knows others, so lines would differ."""

_KEY_TEXT = re.compile(r"(np[kc]1:)([\w-]+)")
"""A key text, wherever it was pasted by mistake."""

_SECRET_ENTRY = re.compile(r"""\bsecret["']?\s*:\s*+(?!generate\b)""")
"""A `secret:` with its value behind it, for files that are too broken to be parsed."""

_SOUNDS_SECRET = re.compile("secr|key|pass|psk|token|cred", re.IGNORECASE)
_NO_SECRETS = frozenset({"secret_file", "session_key", "credential"})
"""Keys of ours that sound so, but tell only where a secret is, or whether."""

_EXCERPT_WIDTH = 120
"""Of a longer line only the part around the caret is shown."""

_LONGEST_VALUE = 60
"""How much of a wrong value a message repeats."""


class Source:
    """A file's name, as the user gave it, and its lines."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self._written = _LINE_BREAK.split(text)
        self._lines = [_KEY_TEXT.sub(_starred, line) for line in self._written]

    def hide(self, start: Position, end: Position) -> None:
        """Show only stars from `start` up to, not including, `end`."""
        for number in range(start.line, min(end.line, len(self._lines)) + 1):
            line = self._lines[number - 1]
            left = start.column - 1 if number == start.line else 0
            right = end.column - 1 if number == end.line else len(line)
            self._lines[number - 1] = line[:left] + _stars(line[left:right]) + line[right:]

    def hide_all_secrets(self) -> None:
        """Hide whatever may belong to a `secret:`, without knowing the structure: the rest of
        its line and the lines that are indented deeper."""
        depth: int | None = None  # how deep the `secret` is indented whose value this is
        for number, line in enumerate(self._written, 1):
            indent = len(line) - len(line.lstrip())
            inside = depth is not None and (indent > depth or not line.strip())
            entry = None if inside else _SECRET_ENTRY.search(line)
            if not inside:
                depth = indent if entry else None
            if inside or entry:
                begin = entry.end() if entry else 0
                self.hide(Position(number, begin + 1), Position(number, len(line) + 1))

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


def position_of(text: str, offset: int) -> Position:
    """The line and column of a character of a text."""
    line, begin = 1, 0
    for line_break in _LINE_BREAK.finditer(text, 0, offset):
        line, begin = line + 1, line_break.end()
    return Position(line, offset - begin + 1)


def shown(text: str) -> str:
    """A wrong value as a message may repeat it: quoted, short, printable, no key text."""
    shortened = text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "..."
    return repr(_KEY_TEXT.sub(_starred, shortened))


def sounds_secret(key: str) -> bool:
    """Whether the value of a key, even an unknown one, may be a secret."""
    return bool(_SOUNDS_SECRET.search(key)) and key not in _NO_SECRETS


def _starred(key: re.Match[str]) -> str:
    return key[1] + _stars(key[2])


def _stars(text: str) -> str:
    return "*" * len(text)
