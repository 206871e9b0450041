"""What errors may show of a site file, told from its text alone: also where it can't be parsed,
where a key is misspelt, and where a secret stands in the wrong place.

Shown is only what is surely no secret: our keys and their values, and the names of unknown keys
where no secret can have been broken off just before. Hidden is all else: values of unknown keys,
lines without a key, comments, and key texts anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

OUR_KEYS: set[str] = set()
"""Every key that a site file may have: `schema.record` adds those that it reads."""

SHORT = 3
"""Characters of an unknown key's value that are shown, `5s` or `off`: no secret is as short."""

LONGEST_LINE = 5000
"""Characters of a line that are looked at; the rest is hidden. People write shorter ones."""

_SOUNDS_SECRET = re.compile("secr|s[ecrkt]{4,6}|key|pass|psk|token|cred", re.IGNORECASE)
"""The second one are the ways to misspell `secret`."""

_NO_SECRETS = frozenset({"secret_file", "session_key", "credential"})
"""Keys of ours that sound so, but tell only where a secret is, or whether."""

_OUR_KEY = "secret"

_KEY_TEXT = re.compile(r"(np[kc]1\s*:)(\s*[\w=+/-]+)", re.IGNORECASE)
"""A key text, wherever it was pasted by mistake."""

_WHOLE_KEY_TEXT = re.compile(r"""["']?np[kc]1:[\w-]{48}["']?[\s,}\]]*""", re.ASCII)
"""One of which no part can have been broken off."""

_KEY = r"""(?:"(?P<double>[\w-]++)"|'(?P<single>[\w-]++)'|(?P<plain>[\w-]++))"""
_ENTRY = re.compile(rf"""[\s,{{}}\[\]?-]*+{_KEY}\s*+:(?:\s++|$|(?=["'{{\[]))""", re.ASCII)
"""A key with its colon, and the brackets, commas and dashes before it."""

_STRUCTURE = re.compile(r"[\s,{}\[\]?.-]*+")

_QUOTED = r""""(?:[^"\\]|\\.)*+"|'(?:[^']|'')*+'"""
_PLAIN = r"""(?:\{\w+\}|:(?!\s|$)|\s(?!\s|$)|[^\s\[\]{},"'#:])++"""
"""Words with single spaces between them. Placeholders are words: their quotes are often missing."""

_VALUE = re.compile(
    rf"(?:{_QUOTED}|\[\s*+(?:(?:{_QUOTED}|{_PLAIN})\s*+(?:,\s*+|(?=\])|$))*+\]?(?::\d++)?|{_PLAIN})?+"
)
"""The value of a key of ours as far as it is plain that it is one: a text, or a list of texts."""

_ITEM = re.compile(rf"\s*+-\s++(?:{_QUOTED}|{_PLAIN})")
"""An item of a list that has a line for itself."""

_SHORT_VALUE = re.compile(rf"[^\s,{{}}\[\]\"'#&*!|>]{{1,{SHORT}}}(?=\s*[,}}\]]|\s*$)")

_ASSIGNED = re.compile(
    r"""(?<![\w-])(?P<key>[\w-]+)["']?\s*[:=]\s*+"""
    r"""|(?:^|[{\[,?]|-\s)\s*["']?(?P<first>[\w-]+)["']?(?:\s++(?![:=])|$)"""
)
"""A word that a value follows; the second form lacks its colon."""

_BETWEEN_ENTRIES = frozenset(",{[")
"""One of them stands before each key of a line but the first."""

_LIKE_OURS = re.compile("secr|s[ecrkt]{4,6}", re.IGNORECASE)

_GENERATED = re.compile(r"""["']?generate["']?\s*(?=[,}\]#]|$)""")


def sounds_secret(key: str) -> bool:
    """Whether the value of a key, even an unknown one, may be a secret."""
    return bool(_SOUNDS_SECRET.search(key)) and key not in _NO_SECRETS


def may_be_named(key: str) -> bool:
    """Whether the name of an unknown key is no more than a misspelt `secret`: where the colon was
    forgotten, the secret itself becomes a part of it."""
    return not _LIKE_OURS.search(key) or len(key) < len(_OUR_KEY) + SHORT


def without_keys(text: str) -> str:
    """A message without the key texts that it repeats, each as long as before."""
    return _KEY_TEXT.sub(lambda key: key[1] + stars(key[2]), text)


def without_secret(line: str) -> str:
    """A line of any file, or a part of one, up to where a secret may begin by the sound of the
    key before it; what follows is hidden."""
    begin = _assigned_secret(line)
    return line[:begin] + stars(line[begin:])


def stars(text: str) -> str:
    """As long as the text, for carets to stay in place."""
    return "*" * len(text)


def hidden(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a site file, each as long as before, with stars for what is not shown."""
    expected = _Expected(names=True, items=False)
    for line in lines:
        if not line or line.isspace():
            yield line
            continue
        begin, expected = _shown(line[:LONGEST_LINE], expected)
        yield line[:begin] + stars(line[begin:]) if begin < len(line) else line


class _Expected(NamedTuple):
    """What may be shown next. `names`: that of an unknown key, for what came before it was no
    secret and no value of an unknown key. `items`: a list's, for its key is ours."""

    names: bool
    items: bool


_NOTHING = _Expected(names=False, items=False)


def _shown(line: str, expected: _Expected) -> tuple[int, _Expected]:
    """Up to where a line is shown, and what that means for what follows."""
    begin, then = _entries(line, expected)
    secret = _assigned_secret(line)
    if secret < begin:
        rest = line[secret:]
        return secret, _NOTHING if rest.strip() and not _WHOLE_KEY_TEXT.fullmatch(rest) else then
    return begin, then


def _entries(line: str, expected: _Expected) -> tuple[int, _Expected]:
    """Key by key, until something is no key of ours with a value that is plainly its own."""
    names, end, seen = expected.names, 0, False
    while entry := _ENTRY.match(line, end):
        seen = True
        key = entry["double"] or entry["single"] or entry["plain"]
        value = entry.end()
        if key == _OUR_KEY and not _GENERATED.match(line, value):
            whole = _WHOLE_KEY_TEXT.fullmatch(line, value) is not None
            return value, _Expected(names=whole, items=False)
        if key in OUR_KEYS:
            names, end = True, _end_of_value(line, value)
            continue
        begin = entry.start(entry.lastgroup or 0)
        is_apart = end == 0 or not _BETWEEN_ENTRIES.isdisjoint(line[end:begin])
        if not (names and is_apart and may_be_named(key)):
            return begin, _NOTHING
        if value == len(line):
            return value, _Expected(names=True, items=False)
        names, short = False, _SHORT_VALUE.match(line, value)
        end = short.end() if short else value
        if not short and line[value] != "{":
            whole = _WHOLE_KEY_TEXT.fullmatch(line, value) is not None
            return value, _Expected(names=whole, items=False)
    if seen:
        return _tail(line, end, _Expected(names, items=names))
    if expected.items and (item := _ITEM.match(line)):
        return _tail(line, item.end(), expected)
    return _tail(line, 0, expected)


def _tail(line: str, end: int, expected: _Expected) -> tuple[int, _Expected]:
    """What is left of a line: shown if it is brackets and the like. A comment is hidden, but says
    nothing about what follows, unless it may be a key that is no longer one."""
    structure = _STRUCTURE.match(line, end)
    end = structure.end() if structure else end
    if end == len(line):
        return end, expected
    is_mere_comment = line[end] == "#" and ":" not in line[end:]
    return end, expected if is_mere_comment else _NOTHING


def _end_of_value(line: str, begin: int) -> int:
    if _ENTRY.match(line, begin):  # a mapping
        return begin
    value = _VALUE.match(line, begin)
    return value.end() if value else begin


def _assigned_secret(line: str) -> int:
    """Where a key text begins, or what follows a word that sounds secret; else the line's end."""
    key_text = _KEY_TEXT.search(line)
    begin = key_text.end(1) if key_text else len(line)
    for word in _ASSIGNED.finditer(line):
        key = word["key"] or word["first"]
        is_generated = key == _OUR_KEY and _GENERATED.match(line, word.end())
        if sounds_secret(key) and not is_generated:
            return min(begin, word.end())
    return begin
