"""Building blocks of a schema: readers, functions that take a cursor (a node and its path) and
return a value, or record what is wrong and raise Rejected.

A record catches Rejected for each of its keys, so one wrong value hides no other.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, TypeVar

from netpunch.config import tree
from netpunch.config.model import Position
from netpunch.config.problems import Problems
from netpunch.config.secrecy import OUR_KEYS, may_be_named
from netpunch.config.source import shown

T = TypeVar("T")
U = TypeVar("U")

BROKEN: Any = object()
"""Stands for a value that was rejected: later stages leave alone what depends on it."""

_LONGEST_KEY = 64
"""Longer ones are no misspelt key: nothing is suggested."""


class Rejected(Exception):  # noqa: N818 - a signal within the package, never an error
    """A value is wrong; its problem has been recorded."""


class Found(NamedTuple):
    """A value that was read, and where it stands. Of a record the value is its `Settings`."""

    value: Any
    position: Position
    path: str


Settings = dict[str, Found]


def is_whole(value: object) -> bool:
    """Whether nothing in it was rejected."""
    if isinstance(value, dict):
        return all(is_whole(found.value) for found in value.values())
    if type(value) is tuple:
        return all(is_whole(part) for part in value)
    return value is not BROKEN


class Cursor(NamedTuple):
    """A node on its way through the schema. `at` is where to point when something is missing:
    its key."""

    node: tree.Node
    path: str
    at: Position
    problems: Problems

    def reject(self, message: str) -> Rejected:
        """Record a problem with this node; raise what this returns."""
        self.problems.add(self.node.start, self.path, message)
        return Rejected()

    def scalar(self, wanted: str) -> str:
        """The text of this node. `wanted` says what would be right, with an example."""
        node = self.node
        if isinstance(node, tree.Scalar) and not node.is_null:
            return node.text
        raise self._unexpected(wanted)

    def items(self, wanted: str) -> "list[Cursor]":
        """The items of this list."""
        node = self.node
        if isinstance(node, tree.Sequence):
            return [
                Cursor(each, tree.item(self.path, index), each.start, self.problems)
                for index, each in enumerate(node.items)
            ]
        raise self._unexpected(wanted)

    def entries(self, wanted: str) -> "list[tuple[str, Cursor]]":
        """The keys of this mapping and their values."""
        node = self.node
        if isinstance(node, tree.Mapping):
            return [
                (name, Cursor(e.value, self._child(e.key), e.key.start, self.problems))
                for name, e in node.entries.items()
            ]
        raise self._unexpected(wanted)

    def find(self, reader: "Reader[Any]") -> Found:
        """What the reader makes of this node, BROKEN if it rejects it."""
        try:
            value = reader(self)
        except Rejected:
            value = BROKEN
        return Found(value, self.node.start, self.path)

    @property
    def is_shown(self) -> bool:
        """Whether messages may repeat what this node says."""
        return self.problems.source.shows(self.node.start, self.node.end)

    def _child(self, key: tree.Scalar) -> str:
        return tree.child(self.path, key, self.problems.source)

    def _placeholder(self, entries: dict[str, tree.Entry]) -> str | None:
        """`{pair}` without quotes is a mapping of one key to nothing: the text it was meant to
        be."""
        if len(entries) != 1:
            return None
        (entry,) = entries.values()
        is_null = isinstance(entry.value, tree.Scalar) and entry.value.is_null
        name = tree.child("", entry.key, self.problems.source)
        return f"{{{name}}}" if is_null and name != tree.UNNAMED else None

    def _unexpected(self, wanted: str) -> Rejected:
        subject = "" if self.path else "the file "
        match self.node:
            case tree.Broken():
                return Rejected()
            case tree.Scalar(is_null=True):
                self.problems.add(self.at, self.path, f"{subject}has no value: expected {wanted}")
                return Rejected()
            case tree.Scalar(text=text):
                what = f"the text {shown(text)}" if self.is_shown else "a text"
                return self.reject(f"{subject}is {what}: expected {wanted}")
            case tree.Sequence():
                return self.reject(f"{subject}is a list: expected {wanted}")
            case tree.Mapping(entries=entries) if braces := self._placeholder(entries):
                return self.reject(f'braces begin a mapping: quote the value, as in "{braces}"')
        return self.reject(f"is a mapping: expected {wanted}")


Reader = Callable[[Cursor], T]


def scalar(wanted: str, convert: Callable[[str], T]) -> Reader[T]:
    """A text that `convert` takes; it raises ValueError with what is wrong."""

    def read(cursor: Cursor) -> T:
        text = cursor.scalar(wanted)
        try:
            return convert(text)
        except ValueError as error:
            what = shown(text) if cursor.is_shown else "this value"
            raise cursor.reject(f"{what} {error}: expected {wanted}") from None

    return read


def choice(*words: str) -> Reader[str]:
    """One of these words."""
    allowed = f"{', '.join(words[:-1])} or {words[-1]}"

    def convert(text: str) -> str:
        if text not in words:
            raise ValueError(f"is not known{did_you_mean(text, words)}")
        return text

    return scalar(allowed, convert)


def list_of(reader: Reader[T], wanted: str) -> Reader[tuple[T, ...]]:
    """A list, perhaps empty."""

    def read(cursor: Cursor) -> tuple[T, ...]:
        values = tuple(each.find(reader).value for each in cursor.items(wanted))
        if not is_whole(values):
            raise Rejected
        return values

    return read


def one_or_list(reader: Reader[T], wanted: str) -> Reader[tuple[T, ...]]:
    """One of them, or a list with at least one."""
    several = list_of(reader, wanted)

    def read(cursor: Cursor) -> tuple[T, ...]:
        if not isinstance(cursor.node, tree.Sequence):
            return (reader(cursor),)
        if not cursor.node.items:
            raise cursor.reject(f"is an empty list: expected {wanted}")
        return several(cursor)

    return read


def off_or(reader: Reader[T], off: U) -> Reader[T | U]:
    """The word `off` for `off`, or else what the reader takes."""

    def read(cursor: Cursor) -> T | U:
        if isinstance(cursor.node, tree.Scalar) and cursor.node.text == "off":
            return off
        return reader(cursor)

    return read


def record(
    keys: Mapping[str, Reader[Any]],
    required: Collection[str] = (),
    *,
    wanted: str,
    elsewhere: Mapping[str, str] | None = None,
) -> Reader[Settings]:
    """A mapping with these keys. `elsewhere` tells of keys that belong in another place.

    A required key that is missing is recorded, and BROKEN in the result."""

    OUR_KEYS.update(keys)

    def read(cursor: Cursor) -> Settings:
        settings: Settings = {}
        for name, each in cursor.entries(wanted):
            reader = keys.get(name)
            if reader is not None:
                settings[name] = each.find(reader)
            elif elsewhere and name in elsewhere:
                each.problems.add(each.at, each.path, elsewhere[name])
            elif guess := _unknown(cursor, name, each, keys):
                settings.setdefault(guess, Found(BROKEN, each.at, cursor.path))
        missing = [name for name in required if name not in settings]
        if missing:
            names = " and ".join(f"`{name}`" for name in missing)
            verb = "is" if len(missing) == 1 else "are"
            message = f"{names} {verb} missing: expected {wanted}"
            cursor.problems.add(cursor.at, cursor.path, message)
        absent = Found(BROKEN, cursor.at, cursor.path)
        settings.update(dict.fromkeys(missing, absent))
        return settings

    return read


def did_you_mean(text: str, words: Collection[str]) -> str:
    """` (did you mean X?)` or nothing."""
    guess = closest(text, words)
    return f" (did you mean {guess}?)" if guess else ""


def closest(text: str, words: Collection[str]) -> str | None:
    """The word that was probably meant."""
    from difflib import get_close_matches  # only needed once something is wrong

    if len(text) > _LONGEST_KEY:
        return None
    return next(iter(get_close_matches(text.lower(), words, 1)), None)


def _unknown(cursor: Cursor, name: str, value: Cursor, keys: Collection[str]) -> str | None:
    """Record an unknown key; the known one that was probably meant. A name like one of ours is no
    secret."""
    word, colon, _ = name.partition(":")
    guess = closest(word, keys)
    is_named = guess is not None and may_be_named(word)
    path = tree.below(cursor.path, tree.quoted(word)) if is_named else value.path
    if colon and guess:
        message = f"a space is missing behind `{guess}:`"
    else:
        known = f"did you mean {guess}?" if guess else f"known here: {', '.join(sorted(keys))}"
        message = f"unknown key; {known}"
    cursor.problems.add(value.at, path, message)
    return guess
