"""The tree of a YAML file: mappings, lists and texts with their positions, and the paths that name
them in errors."""

import re
from typing import NamedTuple

from netpunch.config.document.problems import Position, Source, shown
from netpunch.config.document.secrecy import OUR_KEYS

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})

UNNAMED = "*"
"""Stands for a key that errors do not name."""

_PLAIN_KEY = re.compile(r"[\w-]{1,64}", re.ASCII)


class Scalar(NamedTuple):
    """A text, as written."""

    start: Position
    end: Position
    text: str
    plain: bool
    """Whether it was written without quotes."""

    @property
    def is_null(self) -> bool:
        """Whether nothing was written, or YAML's word for it."""
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
    """A value whose problem has been recorded already; it causes no further ones."""

    start: Position
    end: Position


Node = Scalar | Sequence | Mapping | Broken


class Entry(NamedTuple):
    """One key of a mapping with its value."""

    key: Scalar
    value: Node


def child(path: str, key: Scalar, source: Source) -> str:
    """The dotted path of a mapping's key: `pairs.home-office`. An odd key is quoted; one that may
    be part of a secret is replaced by UNNAMED."""
    if key.text in OUR_KEYS:
        return below(path, key.text)
    return below(path, quoted(key.text) if source.shows(key.start, key.end) else UNNAMED)


def below(path: str, name: str) -> str:
    """The dotted path of a key within `path`."""
    return f"{path}.{name}" if path else name


def quoted(key: str) -> str:
    """A key as messages show it."""
    return key if _PLAIN_KEY.fullmatch(key) else shown(key)


def item(path: str, index: int) -> str:
    """The path of a list's item: `control[0]`."""
    return f"{path}[{index}]"
