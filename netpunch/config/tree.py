"""YAML text to a small tree that remembers where everything stands.

Only the plain part of YAML is taken: mappings, lists and texts. Every scalar stays the text that
was written; what `no`, `010` or `22:22` mean is for the schema to say. What the language can
do beyond that (anchors, tags, merge keys, many documents) is refused, in place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from netpunch.config.model import Position
from netpunch.config.problems import Problems
from netpunch.config.source import position_of, shown
from netpunch.config.syntax import explain

if TYPE_CHECKING:
    import yaml

MAX_LEVELS = 16
"""Deeper than any site file; keeps the recursion below small."""

MAX_EVENTS = 50_000
"""About 2,000 pairs. Bounds time and memory, whatever the file."""

_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
"""What YAML refuses; looked for beforehand, because the parser's error has no line. (U+FEFF, the
byte order mark, has no place but the start, where it was taken off.)"""

_UNUSABLE = re.compile("[\0\ud800-\udfff]")
"""Can be written as an escape, but in no path, name or argument of a program."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


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


class Abandoned(Exception):  # noqa: N818 - a signal within the package, never an error
    """The rest of the file can't be read; the reason has been recorded."""


def child(path: str, key: str) -> str:
    """The dotted path of a mapping's key: `pairs.home-office`. An odd key is quoted."""
    name = key if re.fullmatch(r"[\w-]{1,64}", key, re.ASCII) else shown(key)
    return f"{path}.{name}" if path else name


def item(path: str, index: int) -> str:
    """The path of a list's item: `control[0]`."""
    return f"{path}[{index}]"


def compose(text: str, problems: Problems) -> Node:
    """The tree of a whole file. Raises Abandoned if it can't be read to its end."""
    if found := _UNPRINTABLE.search(text):
        position = position_of(text, found.start())
        problems.add(position, "", f"a control character (U+{ord(found[0]):04X}): is this text?")
        raise Abandoned
    return _Composer(text, problems).compose()


class _Composer:
    """Turns the parser's events into nodes; `_path` is where it stands."""

    def __init__(self, text: str, problems: Problems) -> None:
        self._problems = problems
        self._path = ""
        self._last = Position(1, 1)
        self._events = self._read(text)

    def compose(self) -> Node:
        import yaml  # here, so that what needs no configuration starts without it

        try:
            return self._document()
        except yaml.YAMLError as error:
            self._problems.source.hide_all_secrets()
            position, message = explain(error, self._problems.source, self._last)
            self._problems.add(position, self._path, message)
            raise Abandoned from error

    def _read(self, text: str) -> Iterator[yaml.Event]:
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same events, 10 times faster
        for count, event in enumerate(yaml.parse(text, Loader=loader)):
            self._last = _position(event.start_mark)
            if count >= MAX_EVENTS:
                self._abandon(f"more than {MAX_EVENTS:,} YAML events: too much for one file")
            yield event

    def _document(self) -> Node:
        import yaml

        next(self._events)  # the start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            self._abandon("the file is empty; `netpunch init` writes one to begin with")
        root = self._node(next(self._events), 1)
        next(self._events)  # the end of the document
        if not isinstance(next(self._events), yaml.StreamEndEvent):
            self._abandon("a second document begins here: one file is one site")
        return root

    def _node(self, event: yaml.Event, level: int) -> Node:
        import yaml

        start, end = _position(event.start_mark), _position(event.end_mark)
        if level > MAX_LEVELS:
            self._abandon(f"nested more than {MAX_LEVELS} levels deep")
        if isinstance(event, yaml.AliasEvent):
            return self._refuse(
                Broken(start, end), "aliases (*name) are not supported: write it out"
            )
        assert isinstance(event, yaml.NodeEvent)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, start, end)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(start, level)
        else:
            node = self._mapping(start, level)
        if event.anchor is not None:
            return self._refuse(node, "anchors (&name) are not supported: write it out each time")
        if getattr(event, "tag", None) is not None:
            return self._refuse(node, "tags (!name) are not supported: a value is its text")
        return node

    def _scalar(self, event: yaml.ScalarEvent, start: Position, end: Position) -> Node:
        node = Scalar(start, end, event.value, plain=not event.style)
        if _UNUSABLE.search(event.value):
            return self._refuse(node, "contains a NUL or half a character: no text of ours can")
        return node

    def _sequence(self, start: Position, level: int) -> Node:
        import yaml

        path, items = self._path, list[Node]()
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            self._path = item(path, len(items))
            items.append(self._node(event, level + 1))
        self._path = path
        return Sequence(start, _position(event.end_mark), items)

    def _mapping(self, start: Position, level: int) -> Node:
        import yaml

        path, entries = self._path, dict[str, Entry]()
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            self._path = path
            key = self._node(event, level + 1)
            if isinstance(key, Scalar):
                self._path = child(path, key.text)
            value = self._node(next(self._events), level + 1)
            self._enter(entries, key, value)
        self._path = path
        return Mapping(start, _position(event.end_mark), entries)

    def _enter(self, entries: dict[str, Entry], key: Node, value: Node) -> None:
        if not isinstance(key, Scalar):
            self._problems.source.hide(value.start, value.end)  # of whatever it may be
            if not isinstance(key, Broken):
                self._refuse(key, "a key is one word; a text with braces or brackets is quoted")
            return
        if key.text == "secret" and not (isinstance(value, Scalar) and value.text == "generate"):
            self._problems.source.hide(value.start, value.end)
        if key.text == "<<" and key.plain:
            self._refuse(key, "merge keys (<<) are not supported: what pairs share is `defaults`")
        elif key.text in entries:
            first = entries[key.text].key.start.line
            self._refuse(key, f"is here a second time, first in line {first}: remove one")
        else:
            entries[key.text] = Entry(key, value)

    def _refuse(self, node: Node, message: str) -> Broken:
        self._problems.add(node.start, self._path, message)
        return Broken(node.start, node.end)

    def _abandon(self, message: str) -> NoReturn:
        self._problems.add(self._last, self._path, message)
        raise Abandoned


def _position(mark: Any) -> Position:
    """Of either parser's mark; theirs count from 0."""
    return Position(mark.line + 1, mark.column + 1)
