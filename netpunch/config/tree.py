"""What a YAML file is made of, to us: mappings, lists and texts that know where they stand."""

import re
from typing import NamedTuple

from netpunch.config.model import Position
from netpunch.config.secrecy import OUR_KEYS
from netpunch.config.source import Source, shown

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})

UNNAMED = "*"
"""Stands for a key that is not named."""

_PLAIN_KEY = re.compile(r"[\w-]{1,64}", re.ASCII)


class Scalar(NamedTuple):
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


class Sequence(NamedTuple):
    """A list."""

    start: Position
    end: Position
    items: "list[Node]"


class Mapping(NamedTuple):
    """Keys and values, in the order of the file."""

    start: Position
    end: Position
    entries: "dict[str, Entry]"


class Broken(NamedTuple):
    """Something whose problem has been recorded already; nothing more is to be said of it."""

    start: Position
    end: Position


Node = Scalar | Sequence | Mapping | Broken


class Entry(NamedTuple):
    """One key of a mapping with its value."""

    key: Scalar
    value: Node


def child(path: str, key: Scalar, source: Source) -> str:
    """The dotted path of a mapping's key: `pairs.home-office`. An odd key is quoted, and one that
    may be a part of a secret is not named."""
    if key.text in OUR_KEYS:
        return below(path, key.text)
    return below(path, quoted(key.text) if source.shows(key.start, key.end) else UNNAMED)


def below(path: str, name: str) -> str:
    """The dotted path of something with that name."""
    return f"{path}.{name}" if path else name


def quoted(key: str) -> str:
    """A key as messages name it."""
    return key if _PLAIN_KEY.fullmatch(key) else shown(key)


def item(path: str, index: int) -> str:
    """The path of a list's item: `control[0]`."""
    return f"{path}[{index}]"
