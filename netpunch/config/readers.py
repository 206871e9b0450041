"""The readers that are particular to site files: templates, paths, programs, secrets, hooks."""

from __future__ import annotations

from collections.abc import Collection

from netpunch.config.schema import (
    Cursor,
    Found,
    Reader,
    Settings,
    choice,
    list_of,
    off_or,
    record,
)
from netpunch.config.tree import Scalar, Sequence
from netpunch.template import ALL_PLACEHOLDERS, PATH_PLACEHOLDERS, TemplateError, validate

OCCASIONS = ("before", "up", "down", "fail")
"""When hooks run."""

KEY_PREFIXES = ("npk1:", "npc1:")
"""How the texts of keys begin: a pair's key, and the one derived from it for control."""

_PUNCHABLE = frozenset({"observed", "host", "mapped"})
"""Candidates that are addresses; `any-port` only says more about them."""

_ARGV = 'a program and its arguments as a list, no shell, such as ["/bin/echo", "hello"]'


def template(wanted: str, placeholders: Collection[str] = ALL_PLACEHOLDERS) -> Reader[str]:
    """A text, not empty, with no other placeholders than these."""

    def read(cursor: Cursor) -> str:
        text = cursor.scalar(wanted)
        if not text:
            raise cursor.reject(f"is empty: expected {wanted}")
        _check_placeholders(cursor, text, placeholders)
        return text

    return read


def path(wanted: str, placeholders: Collection[str] = PATH_PLACEHOLDERS) -> Reader[str]:
    """A path, absolute or relative to the file."""
    text = template(wanted, placeholders)

    def read(cursor: Cursor) -> str:
        path = text(cursor)
        if path.startswith("~"):
            raise cursor.reject("`~` is not expanded: write the whole path")
        return path

    return read


def _not_the_key_itself(reader: Reader[str]) -> Reader[str]:
    def read(cursor: Cursor) -> str:
        if isinstance(cursor.node, Scalar) and cursor.node.text.startswith(KEY_PREFIXES):
            raise cursor.reject(
                "is a key itself: put it into a file of mode 0600, and its path here"
            )
        return reader(cursor)

    return read


secret_file = _not_the_key_itself(path("the path of a key file: secrets/home.key", {"pair"}))

_credential_name = _not_the_key_itself(
    path("the name of a file below $CREDENTIALS_DIRECTORY", {"pair"})
)


def credential(cursor: Cursor) -> str:
    """A file's name below $CREDENTIALS_DIRECTORY."""
    name = _credential_name(cursor)
    if "/" in name or name in (".", ".."):
        raise cursor.reject("is a path: expected only a file's name, as in LoadCredential=NAME:...")
    return name


def secret(cursor: Cursor) -> str:
    """A secret in place, or `generate`. What is wrong with it is told without repeating it."""
    node = cursor.node
    if isinstance(node, Scalar) and node.text and not node.is_null:
        return node.text
    raise cursor.reject('is no text: expected `generate`, or a key in quotes: "npk1:..."')


def program(cursor: Cursor) -> tuple[str, ...]:
    """A program with its arguments, passed on as they stand; empty or `off` for none.

    A placeholder in them is a mistake: nothing would replace it."""
    return _argv(_plain_word)(cursor)


def command(cursor: Cursor) -> tuple[str, ...]:
    """A program with its arguments, all of them templates; empty or `off` for none."""
    return _argv(_template_word)(cursor)


def _argv(word: Reader[str]) -> Reader[tuple[str, ...]]:
    words = list_of(word, _ARGV)

    def read(cursor: Cursor) -> tuple[str, ...]:
        argv = words(cursor)
        if argv and not argv[0]:
            raise cursor.reject(f"has no program: expected {_ARGV}")
        return argv

    return off_or(read, ())


def _word(cursor: Cursor) -> str:
    return cursor.scalar("a text (quoted, where YAML would read it as something else)")


def _template_word(cursor: Cursor) -> str:
    word = _word(cursor)
    _check_placeholders(cursor, word, ALL_PLACEHOLDERS)
    return word


def _plain_word(cursor: Cursor) -> str:
    word = _word(cursor)
    for name in sorted(ALL_PLACEHOLDERS):
        if f"{{{name}}}" in word:
            raise cursor.reject(
                f"{{{name}}} is replaced only in `command`, templates and paths: "
                f"this program finds it in its environment, as NETPUNCH_{name.upper()}"
            )
    return word


def candidates(cursor: Cursor) -> frozenset[str]:
    """Which addresses are tried."""
    each = choice("observed", "host", "any-port", "mapped")
    chosen = frozenset(list_of(each, "a list such as [observed, host, any-port]")(cursor))
    if not chosen & _PUNCHABLE:
        raise cursor.reject("leaves no address to try: add observed, host or mapped")
    return chosen


def hooks(duration: Reader[float]) -> Reader[Settings]:
    """A program for each occasion, or one for all four."""
    each = record(
        {**dict.fromkeys(OCCASIONS, program), "timeout": duration},
        wanted=f"{_ARGV}, for all occasions; or a mapping of them: {{up: [...], down: [...]}}",
    )

    def read(cursor: Cursor) -> Settings:
        if not isinstance(cursor.node, Sequence):
            return each(cursor)
        argv = Found(program(cursor), cursor.node.start, cursor.path)
        return dict.fromkeys(OCCASIONS, argv)

    return read


def _check_placeholders(cursor: Cursor, text: str, allowed: Collection[str]) -> None:
    try:
        validate(text, allowed)
    except TemplateError as error:
        known = " ".join(f"{{{name}}}" for name in sorted(allowed)) or "none"
        hidden = f"has braces that are no placeholder; known here: {known}; `{{{{` is a brace"
        raise cursor.reject(str(error) if cursor.is_shown else hidden) from None
