"""Tables that fit a screen: where it is narrow, columns are shortened or left out, the least
important first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from netpunch.output.terminal import Screen, Style

GAP = "  "
NOTHING = "-"
CUT = "…"
LEAST_WIDTH = 8
"""Columns of text that is cut: less says nothing."""

Cell = Callable[[Any], str]


class Column(NamedTuple):
    """What a column shows of a row. `leaves`: the lower, the sooner it is left out; None: never.
    With `short` it is not left out, but shows that."""

    title: str
    cell: Cell
    leaves: int | None = None
    short: Cell | None = None
    style: Callable[[Any], Style | None] | None = None
    cut: bool = False
    """Long text is cut rather than left out."""


class _Filled(NamedTuple):
    column: Column
    cells: list[str]

    @property
    def width(self) -> int:
        return max(map(len, (self.column.title, *self.cells)))


class Table(NamedTuple):
    lines: list[str]
    shortened: frozenset[str]
    """Titles of the columns that are shortened or left out."""


def table(columns: Sequence[Column], rows: Sequence[Any], screen: Screen) -> Table:
    """A header and a line for each row; nothing without rows. A column that has nothing to show is
    left out."""
    if not rows:
        return Table([], frozenset())
    filled = [each for column in columns if (each := _fill(column, column.cell, rows))]
    shortened: set[str] = set()
    while (
        screen.width is not None
        and _width(filled) > screen.width
        and _narrowed(filled, rows, screen.width, shortened)
    ):
        pass
    header = [screen.paint(each.column.title.ljust(each.width), Style.DIM) for each in filled]
    lines = [GAP.join(header).rstrip()]
    for number, row in enumerate(rows):
        cells = [_painted(each, number, row, screen) for each in filled]
        lines.append(GAP.join(cells).rstrip())
    return Table(lines, frozenset(shortened))


def _painted(filled: _Filled, number: int, row: Any, screen: Screen) -> str:
    text, style = filled.cells[number], filled.column.style
    if not text:
        return screen.paint(NOTHING.ljust(filled.width), Style.DIM)
    return screen.paint(text.ljust(filled.width), style(row) if style else None)


def _fill(column: Column, cell: Cell, rows: Sequence[Any]) -> _Filled | None:
    """None for a column that may be left out and shows nothing."""
    cells = [printable_cell(cell(row)) for row in rows]
    return _Filled(column, cells) if column.leaves is None or any(cells) else None


def _width(filled: Sequence[_Filled]) -> int:
    return sum(each.width for each in filled) + len(GAP) * (len(filled) - 1)


def _narrowed(filled: list[_Filled], rows: Sequence[Any], width: int, shortened: set[str]) -> bool:
    """One step towards `width`; False if nothing can be done."""
    excess = _width(filled) - width
    leaving = [each for each in filled if each.column.leaves is not None]
    if not leaving:
        return _cut_widest(filled, excess)
    first = min(leaving, key=lambda each: each.column.leaves or 0)
    place, column = filled.index(first), first.column
    if column.cut and first.width - excess >= max(LEAST_WIDTH, len(column.title)):
        filled[place] = _cut(first, first.width - excess)
        return True
    shortened.add(column.title)
    if column.short is None:
        del filled[place]
    else:
        shorter = column._replace(leaves=None)
        filled[place] = _fill(shorter, column.short, rows) or first
    return True


def _cut_widest(filled: list[_Filled], excess: int) -> bool:
    widest = max(filled, key=lambda each: each.width)
    limit = max(LEAST_WIDTH, widest.width - excess)
    if limit >= widest.width:
        return False
    filled[filled.index(widest)] = _cut(widest, limit)
    return True


def _cut(filled: _Filled, limit: int) -> _Filled:
    cells = [cell if len(cell) <= limit else cell[: limit - 1] + CUT for cell in filled.cells]
    return _Filled(filled.column._replace(title=filled.column.title[:limit]), cells)


def wrapped(text: str, screen: Screen, indent: str = "  ", taken: int = 0) -> list[str]:
    """A sentence in lines of the screen's width, all but the first of them indented. Of the first
    so many columns are `taken`. At least one."""
    if screen.width is None or taken + len(text) <= screen.width:
        return [text]
    from textwrap import wrap  # few texts are that long

    width = max(screen.width, 2 * LEAST_WIDTH, 2 * len(indent))
    room = "\0" * taken  # spaces would be dropped where the first word does not fit behind them
    first, *others = wrap(
        text, width, initial_indent=room, subsequent_indent=indent, break_on_hyphens=False
    )
    return [first.removeprefix(room), *others]


def printable_cell(text: str) -> str:
    """Characters that could steer a terminal become `?`: errors quote what others have sent."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "?" for char in text)
