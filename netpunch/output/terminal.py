"""What the screen of a person can show: its size, and whether colour is wanted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, TextIO


class Style(StrEnum):
    """The numbers of ECMA-48's SGR: the eight colours that every terminal has."""

    BOLD = "1"
    DIM = "2"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"


class Screen(NamedTuple):
    """Where text for people goes. `width` and `height` are in columns and lines; None: there is no
    limit, as in a pipe or a file."""

    width: int | None = None
    height: int | None = None
    colour: bool = False

    def paint(self, text: str, style: Style | None) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self.colour and style and text else text


PLAIN = Screen()


def screen_of(stream: TextIO | None, environ: Mapping[str, str] = os.environ) -> Screen:
    """The screen behind a stream. COLUMNS counts more than what the terminal says, and for pipes,
    too."""
    columns = environ.get("COLUMNS", "")
    width = int(columns) if columns.isascii() and columns.isdigit() else 0
    if not is_terminal(stream):
        return Screen(width or None)
    assert stream is not None
    try:
        size = os.get_terminal_size(stream.fileno())
    except OSError:
        size = os.terminal_size((0, 0))
    return Screen(width or size.columns or None, size.lines or None, wants_colour(stream, environ))


def is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def wants_colour(stream: TextIO | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Colour is for terminals that can show it, unless NO_COLOR (no-color.org) is set."""
    able = environ.get("TERM", "") not in ("", "dumb")
    return able and not environ.get("NO_COLOR") and is_terminal(stream)
