"""What a YAML file is made of, to us: mappings, lists and texts that know where they stand."""

from __future__ import annotations

import re
from dataclasses import dataclass

from netpunch.config.model import Position
from netpunch.config.source import shown

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})

_PLAIN_KEY = re.compile(r"[\w-]{1,64}", re.ASCII)


@dataclass(slots=True)
class Scalar:
    """A text, as written."""

    start: Position
    end: Position
    text: str
    plain: bool
    """Written without quotes."""

    @property
    def is_null(self) -> bool:
        """Whether nothing was written (or YAML's word for it)."""
        return self.plain and self.text in _NULLS


@dataclass(slots=True)
class Sequence:
    """A list."""

    start: Position
    end: Position
    items: list[Node]


@dataclass(slots=True)
class Mapping:
    """Keys and values, in the order of the file."""

    start: Position
    end: Position
    entries: dict[str, Entry]


@dataclass(slots=True)
class Broken:
    """Something whose problem has been recorded already; nothing more is to be said of it."""

    start: Position
    end: Position


Node = Scalar | Sequence | Mapping | Broken


@dataclass(slots=True)
class Entry:
    """One key of a mapping with its value."""

    key: Scalar
    value: Node


def child(path: str, key: str) -> str:
    """The dotted path of a mapping's key: `pairs.home-office`. An odd key is quoted."""
    name = key if _PLAIN_KEY.fullmatch(key) else shown(key)
    return f"{path}.{name}" if path else name


def item(path: str, index: int) -> str:
    """The path of a list's item: `control[0]`."""
    return f"{path}[{index}]"
