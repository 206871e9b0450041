"""YAML text to a tree whose nodes know their positions.

Only plain YAML is accepted: mappings, lists and texts. A scalar stays the text that was written;
what `no`, `010` or `22:22` mean depends on the key. Anchors, aliases, tags, merge keys and further
documents are refused, each at its position.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from netpunch.config.document.problems import Abandoned, Position, Problems, position_of
from netpunch.config.document.secrecy import OUR_KEYS, SHORT, sounds_secret
from netpunch.config.document.tree import (
    Broken,
    Entry,
    Mapping,
    Node,
    Scalar,
    Sequence,
    child,
    item,
)

MAX_LEVELS = 16
"""A site file needs six; this bounds the recursion below."""

MAX_EVENTS = 50_000
"""About 2,000 pairs. Bounds the time and memory that a site takes."""

_UNPRINTABLE = yaml.SafeLoader.NON_PRINTABLE
"""What YAML refuses. Searched for beforehand, because the parser's error has no line."""

_BYTE_ORDER_MARK = "\ufeff"
"""YAML accepts it anywhere; it belongs only at the start, where it has been removed."""

_UNUSABLE = re.compile("[\0\ud800-\udfff]")
"""Can be written as an escape, but not used in a path, a name or a program's argument."""


class Events:
    """The YAML events that a site file, and what it includes, may still have."""

    def __init__(self) -> None:
        self.left = MAX_EVENTS


def compose(
    text: str, problems: Problems, file: str = "", events: Events | None = None, wanted: str = ""
) -> Node:
    """The tree of a whole file; `file` names an included one, `wanted` says what belongs in it.
    Raises Abandoned if the file can't be read to its end."""
    found = _UNPRINTABLE.search(text)
    offset = found.start() if found else text.find(_BYTE_ORDER_MARK)
    if offset >= 0:
        message = f"control character U+{ord(text[offset]):04X}: save the file as plain text"
        problems.add(position_of(text, offset)._replace(file=file), "", message)
        raise Abandoned
    return _Composer(text, problems, file, events or Events(), wanted).compose()


class _Composer:
    """Turns the parser's events into nodes; `_path` is the path of the current one."""

    def __init__(
        self, text: str, problems: Problems, file: str, events: Events, wanted: str
    ) -> None:
        self._problems = problems
        self._file = file
        self._source = problems.source(file)
        self._allowed = events
        self._wanted = wanted
        self._path = ""
        self._last = self._first = Position(1, 1, file)
        self._events = self._read(text)

    def compose(self) -> Node:
        try:
            return self._document()
        except yaml.YAMLError as error:
            from netpunch.config.document.syntax import explain  # only needed for errors

            position, message = explain(error, self._source, self._last)
            self._problems.add(position._replace(file=self._file), self._path, message)
            raise Abandoned from error

    def _read(self, text: str) -> Iterator[yaml.Event]:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 10 times faster
        for event in yaml.parse(text, Loader=loader):
            self._last = self._position(event.start_mark)
            if not self._allowed.left:
                self._abandon(f"more than {MAX_EVENTS:,} YAML events: split the file")
            self._allowed.left -= 1
            yield event

    def _document(self) -> Node:
        next(self._events)  # the start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            self._last = self._first
            self._abandon(f"the file is empty: expected {self._wanted}")
        root = self._node(next(self._events), 1)
        next(self._events)  # the end of the document
        if not isinstance(next(self._events), yaml.StreamEndEvent):
            self._abandon("a second YAML document: a site file has only one")
        return root

    def _node(self, event: yaml.Event, level: int) -> Node:
        start, end = self._position(event.start_mark), self._position(event.end_mark)
        if level > MAX_LEVELS:
            self._abandon(f"nested more than {MAX_LEVELS} levels deep")
        if isinstance(event, yaml.AliasEvent):
            self._complain(start, "aliases (*name) are not supported: repeat the value")
            return Broken(start, end)
        assert isinstance(event, yaml.NodeEvent)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, start, end)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(start, level)
        else:
            node = self._mapping(start, level)
        if event.anchor is not None:
            self._complain(
                start, "anchors (&name) are not supported: repeat the value where it is needed"
            )
        if getattr(event, "tag", None) is not None:
            self._complain(
                start, "tags (!name) are not supported: remove the tag, or quote the value"
            )
        return node

    def _scalar(self, event: yaml.ScalarEvent, start: Position, end: Position) -> Node:
        if _UNUSABLE.search(event.value):
            self._complain(start, "contains a NUL character or half of a surrogate pair")
            return Broken(start, end)
        return Scalar(start, end, event.value, plain=not event.style)

    def _sequence(self, start: Position, level: int) -> Node:
        path, items = self._path, list[Node]()
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            self._path = item(path, len(items))
            items.append(self._node(event, level + 1))
        self._path = path
        return Sequence(start, self._position(event.end_mark), items)

    def _mapping(self, start: Position, level: int) -> Node:
        path, entries = self._path, dict[str, Entry]()
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            self._path = path
            key = self._node(event, level + 1)
            if isinstance(key, Scalar):
                self._path = child(path, key, self._source)
            value = self._node(next(self._events), level + 1)
            self._enter(entries, key, value)
        self._path = path
        return Mapping(start, self._position(event.end_mark), entries)

    def _enter(self, entries: dict[str, Entry], key: Node, value: Node) -> None:
        if _may_be_secret(key, value):
            self._source.hide(value.start, value.end)
        if isinstance(key, Sequence | Mapping):
            self._complain(
                key.start, "a list or mapping as a key: expected a word (quote a text with braces)"
            )
        elif isinstance(key, Broken):
            return
        elif key.text == "<<" and key.plain:
            message = "merge keys (<<) are not supported: put what pairs share into `defaults`"
            self._complain(key.start, message)
        elif key.text in entries:
            first = entries[key.text].key.start.line
            self._complain(key.start, f"duplicate key, first defined on line {first}")
        else:
            entries[key.text] = Entry(key, value)

    def _complain(self, position: Position, message: str) -> None:
        self._problems.add(position, self._path, message)

    def _abandon(self, message: str) -> NoReturn:
        self._complain(self._last, message)
        raise Abandoned

    def _position(self, mark: Any) -> Position:
        """The position of a parser's mark, which counts from 0."""
        return Position(mark.line + 1, mark.column + 1, self._file)


def _may_be_secret(key: Node, value: Node) -> bool:
    """Whether errors must hide that value: when in doubt, they do."""
    if not isinstance(key, Scalar):
        return True
    if key.text == "secret":
        return not (isinstance(value, Scalar) and value.text == "generate")
    if key.text in OUR_KEYS and not sounds_secret(key.text):
        return False
    return isinstance(value, Scalar) and (sounds_secret(key.text) or len(value.text) > SHORT)
