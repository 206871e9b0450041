"""The kinds of values that keys have: how a value is read from the file, built once everything is
inherited, written back, and described to JSON schema.

Reading returns a value, or records what is wrong and raises Rejected. A mapping catches Rejected
for each of its keys, so one wrong value hides no other.
"""

from collections.abc import Callable, Collection, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from netpunch.config.document import tree
from netpunch.config.document.problems import Position, Problems, shown
from netpunch.config.document.secrecy import OUR_KEYS, may_be_named
from netpunch.config.secrets import KEY_PREFIXES
from netpunch.config.values import complaint
from netpunch.template import (
    ALL_PLACEHOLDERS,
    FORWARD_PLACEHOLDERS,
    PATH_PLACEHOLDERS,
    TemplateError,
    escape,
    validate,
    variable,
)

T = TypeVar("T")
U = TypeVar("U")

BROKEN: Any = object()
"""Stands for a value that was rejected: later stages ignore what depends on it."""

MAX_NAMES = 10
"""Nodes or pairs that a message lists: a mesh may have hundreds."""

_LONGEST_KEY = 64
"""Characters. A longer key is not a misspelt one: nothing is suggested."""

ARGV = 'a program and its arguments as a list, no shell, such as ["/bin/echo", "hello"]'

Schema = dict[str, Any]
"""A JSON schema. It may accept more than the reader does, never less."""

TEXT: Schema = {"type": ["string", "number", "boolean"], "minLength": 1}
"""YAML's idea of a value's type does not matter here: `010` and `no` are texts, too."""

WORD: Schema = {"type": ["string", "number", "boolean"]}
"""A text that may be empty."""

OFF: Schema = {"enum": ["off", False]}
"""YAML 1.1 makes a boolean of `off`."""


class Rejected(Exception):  # noqa: N818 - a signal within the package, never an error
    """A value is wrong; its problem has been recorded."""


class Found(NamedTuple):
    """A value that was read, and where it stands. The value of a mapping is its `Settings`."""

    value: Any
    position: Position
    path: str


Settings = dict[str, Found]

REQUIRED = "required"
"""The `default_text` of a key that has no default."""


class Place(NamedTuple):
    """Where values are built: relative paths begin in `directory`; `names` fill placeholders that
    are known before a link."""

    directory: Path
    names: Mapping[str, str]


def is_whole(value: object) -> bool:
    """Whether nothing in the value was rejected."""
    if isinstance(value, dict):
        return all(is_whole(found.value) for found in value.values())
    if type(value) is tuple:
        return all(is_whole(part) for part in value)
    return value is not BROKEN


class Cursor(NamedTuple):
    """A node and its path. `at`: where a message points if the value is missing, its key."""

    node: tree.Node
    path: str
    at: Position
    problems: Problems

    def reject(self, message: str) -> Rejected:
        """Records a problem with this node. The caller raises the result."""
        self.problems.add(self.node.start, self.path, message)
        return Rejected()

    def reject_text(self, wanted: str, reason: str = "", hint: str = "") -> Rejected:
        """Records that the text is not what is wanted, without repeating what may be secret."""
        node = self.node
        got = "another value"
        if isinstance(node, tree.Scalar) and self.is_shown:
            got = shown(node.text)
        return self.reject(complaint(wanted, got, reason) + hint)

    def scalar(self, wanted: str) -> str:
        """The text of this node. `wanted` describes a right value, with an example."""
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

    def find(self, read: "Callable[[Cursor], Any]") -> Found:
        """What `read` makes of this node, BROKEN if it rejects it."""
        try:
            value = read(self)
        except Rejected:
            value = BROKEN
        return Found(value, self.node.start, self.path)

    @property
    def is_shown(self) -> bool:
        """Whether messages may repeat the text of this node."""
        return self.problems.shows(self.node.start, self.node.end)

    def _child(self, key: tree.Scalar) -> str:
        return tree.child(self.path, key, self.problems.source(key.start.file))

    def _placeholder(self, entries: dict[str, tree.Entry]) -> str | None:
        """`{pair}` without quotes is a mapping with one key and no value: the intended text."""
        if len(entries) != 1:
            return None
        (entry,) = entries.values()
        is_null = isinstance(entry.value, tree.Scalar) and entry.value.is_null
        name = tree.child("", entry.key, self.problems.source(entry.key.start.file))
        return f"{{{name}}}" if is_null and name != tree.UNNAMED else None

    def _unexpected(self, wanted: str) -> Rejected:
        match self.node:
            case tree.Broken():
                return Rejected()
            case tree.Scalar(is_null=True):
                self.problems.add(self.at, self.path, complaint(wanted, "no value"))
                return Rejected()
            case tree.Scalar():
                return self.reject_text(wanted)
            case tree.Sequence():
                return self.reject(complaint(wanted, "a list"))
            case tree.Mapping(entries=entries) if braces := self._placeholder(entries):
                return self.reject(f'braces begin a mapping: quote the value, as in "{braces}"')
        return self.reject(complaint(wanted, "a mapping"))


def _same(value: Any, _: Place) -> Any:
    return value


class Kind(NamedTuple, Generic[T]):
    """A kind of values. `wanted` describes a right value, with an example."""

    wanted: str
    read: Callable[[Cursor], Any]
    """What the file says: for most kinds the value itself, for a mapping its `Settings`."""
    schema: Schema
    write: Callable[[T], Any]
    """The value as a file would say it."""
    build: Callable[[Any, Place], T] = _same
    """What was read, and perhaps inherited, to the value: paths become absolute."""


class Key(NamedTuple, Generic[T]):
    """A key of a mapping: everything about it is declared here."""

    name: str
    kind: Kind[T]
    default: T
    doc: str
    """What it is for, as the documentation and the JSON schema say it."""
    default_text: str = ""
    """REQUIRED, or the default in words where a value can't express it."""
    elsewhere: str = ""
    """Set if the key does not belong here: the message that says where it does."""


def scalar(
    wanted: str, convert: Callable[[str], T], write: Callable[[T], Any] = str, schema: Schema = TEXT
) -> Kind[T]:
    """A text that `convert` accepts; it raises ValueError with the reason if not."""

    def read(cursor: Cursor) -> T:
        text = cursor.scalar(wanted)
        try:
            return convert(text)
        except ValueError as error:
            raise cursor.reject_text(wanted, str(error)) from None

    return Kind(wanted, read, schema, write)


def matching(pattern: str) -> Schema:
    """The schema of texts that match; YAML never sees a number in them."""
    return {"type": "string", "pattern": pattern}


def choice(*words: str) -> Kind[Any]:
    """One of these words."""
    wanted = f"{', '.join(words[:-1])} or {words[-1]}"

    def read(cursor: Cursor) -> str:
        text = cursor.scalar(wanted)
        if text not in words:
            raise cursor.reject_text(wanted, hint=did_you_mean(text, words))
        return text

    return Kind(wanted, read, {"enum": list(words)}, str)


def list_of(item: Kind[T], wanted: str) -> Kind[tuple[T, ...]]:
    """A list, perhaps empty."""

    def read(cursor: Cursor) -> tuple[Any, ...]:
        values = tuple(each.find(item.read).value for each in cursor.items(wanted))
        if not is_whole(values):
            raise Rejected
        return values

    return Kind(
        wanted,
        read,
        {"type": "array", "items": item.schema},
        lambda values: [item.write(value) for value in values],
        lambda values, place: tuple(item.build(value, place) for value in values),
    )


def one_or_list(item: Kind[T], wanted: str) -> Kind[tuple[T, ...]]:
    """One of them, or a list with at least one."""
    several = list_of(item, wanted)

    def read(cursor: Cursor) -> tuple[Any, ...]:
        if not isinstance(cursor.node, tree.Sequence):
            return (item.read(cursor),)
        if not cursor.node.items:
            raise cursor.reject(complaint(wanted, "an empty list"))
        values: tuple[Any, ...] = several.read(cursor)
        return values

    schema = {"anyOf": [item.schema, several.schema | {"minItems": 1}]}
    return several._replace(read=read, schema=schema)


def one_or_two(item: Kind[T], wanted: str) -> Kind[tuple[T, ...]]:
    """One of them, or a list of two different ones at most."""

    def flaw(values: tuple[Any, ...]) -> str:
        if len(values) > 2:
            return f"expected one or two, the new and the old one, got {len(values)}"
        return "expected two different ones" if len(set(values)) < len(values) else ""

    kind = one_or_list(item, wanted)
    single, several = kind.schema["anyOf"]
    schema = {"anyOf": [single, several | {"maxItems": 2}]}
    return checked(kind, flaw)._replace(schema=schema)


def off_or(kind: Kind[T], off: U) -> Kind[T | U]:
    """The word `off` for the value `off`, or else what `kind` accepts."""

    def read(cursor: Cursor) -> Any:
        if isinstance(cursor.node, tree.Scalar) and cursor.node.text == "off":
            return off
        return kind.read(cursor)

    def write(value: Any) -> Any:
        return "off" if value == off else kind.write(value)

    def build(value: Any, place: Place) -> Any:
        return off if value == off else kind.build(value, place)

    return Kind(kind.wanted, read, {"anyOf": [OFF, kind.schema]}, write, build)


def mapping(
    keys: Collection[Key[Any]],
    model: Callable[..., T],
    wanted: str,
    any_of: tuple[str, ...] = (),
) -> Kind[T]:
    """A mapping with these keys, which `model` takes as arguments once the value is built.

    A required key that is missing is recorded, and BROKEN in the Settings. Of the keys in `any_of`
    one at least is required: the first, as messages say it."""
    known = {key.name: key for key in keys if not key.elsewhere}
    elsewhere = {key.name: key.elsewhere for key in keys if key.elsewhere}
    required = [name for name, key in known.items() if key.default_text == REQUIRED]
    OUR_KEYS.update(known)

    def read(cursor: Cursor) -> Settings:
        settings: Settings = {}
        for name, each in cursor.entries(wanted):
            key = known.get(name)
            if key is not None:
                settings[name] = each.find(key.kind.read)
            elif name in elsewhere:
                each.problems.add(each.at, each.path, elsewhere[name])
            elif guess := _unknown(cursor, name, each, known):
                settings.setdefault(guess, Found(BROKEN, each.at, cursor.path))
        missing = [name for name in required if name not in settings]
        if any_of and settings.keys().isdisjoint(any_of):
            missing.append(any_of[0])
        if missing:
            names = " and ".join(f"`{name}`" for name in missing)
            verb = "is" if len(missing) == 1 else "are"
            message = f"{names} {verb} missing: expected {wanted}"
            cursor.problems.add(cursor.at, cursor.path, message)
        settings.update(dict.fromkeys(missing, Found(BROKEN, cursor.at, cursor.path)))
        return settings

    def build(settings: Settings, place: Place) -> T:
        return model(**built(known.values(), settings, place))

    def write(value: Any) -> dict[str, Any]:
        return written(known.values(), value if isinstance(value, dict) else value._asdict())

    schema = {
        "type": "object",
        "properties": {name: described(key) for name, key in known.items()},
        "required": required,
        "additionalProperties": False,
    }
    if any_of:
        schema["anyOf"] = [{"required": [name]} for name in any_of]
    return Kind(wanted, read, schema, write, build)


def built(keys: Collection[Key[Any]], settings: Settings, place: Place) -> dict[str, Any]:
    """The value of every key, given or default."""
    return {
        key.name: key.kind.build(settings[key.name].value, place)
        if key.name in settings
        else key.default
        for key in keys
    }


def written(keys: Collection[Key[Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    """What a file would say of the keys that have a value, in their order; None is no value."""
    return {
        key.name: key.kind.write(values[key.name])
        for key in keys
        if values.get(key.name) is not None
    }


def described(key: Key[Any]) -> Schema:
    """The JSON schema of a key's value."""
    has_default = key.default is not None and not key.default_text
    default = {"default": key.kind.write(key.default)} if has_default else {}
    return {"description": key.doc, **default, **key.kind.schema}


def checked(kind: Kind[T], flaw: Callable[[Any], str]) -> Kind[T]:
    """What `kind` accepts and `flaw` has nothing to say about; else its text is the message."""

    def read(cursor: Cursor) -> Any:
        value = kind.read(cursor)
        if message := flaw(value):
            raise cursor.reject(message)
        return value

    return kind._replace(read=read)


def template(wanted: str, placeholders: Collection[str] = ALL_PLACEHOLDERS) -> Kind[Any]:
    """A text, perhaps empty, without other placeholders than these."""

    def read(cursor: Cursor) -> str:
        text = cursor.scalar(wanted)
        try:
            validate(text, placeholders)
        except TemplateError as error:
            known = " ".join(f"{{{name}}}" for name in sorted(placeholders)) or "none"
            hidden = f"braces without a known placeholder: known are {known}; `{{{{` is a brace"
            raise cursor.reject(str(error) if cursor.is_shown else hidden) from None
        return text

    return Kind(wanted, read, WORD, str)


def text(wanted: str, placeholders: Collection[str] = ALL_PLACEHOLDERS) -> Kind[Any]:
    """A template that is not empty."""
    kind = template(wanted, placeholders)._replace(schema=TEXT)
    return checked(kind, lambda text: "" if text else complaint(wanted, "an empty text"))


def path(wanted: str, placeholders: Collection[str] = PATH_PLACEHOLDERS) -> Kind[Any]:
    """A path, made absolute; still a template."""

    def flaw(path: str) -> str:
        return "`~` is not expanded: write the whole path" if path.startswith("~") else ""

    def build(path: str, place: Place) -> str:
        return beside(escape(str(place.directory)), path)

    return checked(text(wanted, placeholders), flaw)._replace(build=build)


def beside(directory: str, path: str) -> str:
    """The absolute form of a path that is relative to a folder."""
    return path if path.startswith("/") else f"{directory}/{path}"


def no_key_text(kind: Kind[T]) -> Kind[T]:
    """A name or a path, where people paste the key itself by mistake."""
    message = "a key: put it into a file of mode 0600, and name that file here"
    return checked(kind, lambda text: message if text.startswith(KEY_PREFIXES) else "")


def program(*, is_template: bool = False) -> Kind[Any]:
    """A program with its arguments, which are templates or passed on unchanged. A program with a
    slash in its name is a path; others are looked up in PATH."""
    wanted = "a text (quote what YAML would read as something else)"
    plain = checked(scalar(wanted, str, schema=WORD), _unreplaced)
    known = ALL_PLACEHOLDERS - FORWARD_PLACEHOLDERS  # with `forward` there is no `command`
    words = list_of(template(wanted, known) if is_template else plain, ARGV)

    def flaw(argv: tuple[str, ...]) -> str:
        return complaint(ARGV, "a list without a program") if argv and not argv[0] else ""

    def build(argv: tuple[str, ...], place: Place) -> tuple[str, ...]:
        if not argv or "/" not in argv[0]:
            return argv
        directory = str(place.directory)
        return (beside(escape(directory) if is_template else directory, argv[0]), *argv[1:])

    return off_or(checked(words, flaw)._replace(build=build), ())


def _unreplaced(word: str) -> str:
    """A placeholder that nothing would replace is a mistake."""
    for name in sorted(ALL_PLACEHOLDERS):
        if f"{{{name}}}" in word:
            return (
                f"{{{name}}} is replaced only in `command`, templates and paths: "
                f"this program finds it in its environment, as {variable(name)}"
            )
    return ""


def did_you_mean(text: str, words: Collection[str]) -> str:
    """` (did you mean X?)` or nothing."""
    guess = closest(text, words)
    return f" (did you mean {guess}?)" if guess else ""


def some(names: Collection[str], most: int = MAX_NAMES) -> str:
    """Names for a message, not all of very many."""
    return ", ".join(islice(names, most)) + (", ..." if len(names) > most else "")


def closest(text: str, words: Collection[str]) -> str | None:
    """The word that was probably meant."""
    from difflib import get_close_matches  # only needed for errors

    if len(text) > _LONGEST_KEY:
        return None
    return next(iter(get_close_matches(text.lower(), words, 1)), None)


def _unknown(cursor: Cursor, name: str, value: Cursor, known: Collection[str]) -> str | None:
    """Records an unknown key; returns the known one that was probably meant. A name that
    resembles one of ours is not secret."""
    word, colon, _ = name.partition(":")
    guess = closest(word, known)
    is_named = guess is not None and may_be_named(word)
    path = tree.below(cursor.path, tree.quoted(word)) if is_named else value.path
    if colon and guess:
        message = f"expected a space after `{guess}:`"
    else:
        hint = f"did you mean {guess}?" if guess else f"known here: {', '.join(sorted(known))}"
        message = f"unknown key; {hint}"
    cursor.problems.add(value.at, path, message)
    return guess
