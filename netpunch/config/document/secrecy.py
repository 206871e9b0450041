"""What errors may show of a site file. This is decided from the text alone, so that it also holds
where YAML can't be parsed, a key is misspelt, or a secret stands in the wrong place.

Errors show only what is certainly not secret: netpunch's keys and their values, and the names of
unknown keys unless a secret may have been broken just before them. They hide everything else:
values of unknown keys, lines without a key, comments, and key texts anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

OUR_KEYS: set[str] = set()
"""Every key that a site file may have. `kinds.mapping` adds those that it reads."""

SHORT = 3
"""Characters of an unknown key's value that are shown, `5s` or `off`: no secret is that short."""

LONGEST_LINE = 5000
"""Characters of a line that are examined; the rest is hidden. People write shorter lines."""

_SOUNDS_SECRET = re.compile("secr|s[ecrkt]{4,6}|key|pass|psk|token|cred", re.IGNORECASE)
"""The second alternative covers misspellings of `secret`."""

_NO_SECRETS = frozenset({"secret_file", "session_key", "credential"})
"""Our keys that sound secret but only say where a secret is, or whether there is one."""

_OUR_KEY = "secret"

_KEY_TEXT = re.compile(r"(np[kc]1\s*:)(\s*[\w=+/-]+)", re.IGNORECASE)
"""A key text, wherever someone pasted it by mistake."""

_WHOLE_KEY_TEXT = re.compile(r"""["']?np[kc]1:[\w-]{48}["']?[\s,}\]]*""", re.ASCII)
"""A complete key text, of which no part can be on the next line."""

_KEY = r"""(?:"(?P<double>[\w-]++)"|'(?P<single>[\w-]++)'|(?P<plain>[\w-]++))"""
_ENTRY = re.compile(rf"""[\s,{{}}\[\]?-]*+{_KEY}\s*+:(?:\s++|$|(?=["'{{\[]))""", re.ASCII)
"""A key with its colon, and the brackets, commas and dashes before it."""

_STRUCTURE = re.compile(r"[\s,{}\[\]?.-]*+")

_QUOTED = r""""(?:[^"\\]|\\.)*+"|'(?:[^']|'')*+'"""
_PLAIN = r"""(?:\{\w+\}|:(?!\s|$)|\s(?!\s|$)|[^\s\[\]{},"'#:])++"""
"""Words with single spaces between them. Placeholders are words, as people forget their quotes."""

_VALUE = re.compile(
    rf"(?:{_QUOTED}|\[\s*+(?:(?:{_QUOTED}|{_PLAIN})\s*+(?:,\s*+|(?=\])|$))*+\]?(?::\d++)?|{_PLAIN})?+"
)
"""The value of one of our keys, as far as it is certain: a text, or a list of texts."""

_ITEM = re.compile(rf"\s*+-\s++(?:{_QUOTED}|{_PLAIN})")
"""A list item on its own line."""

_SHORT_VALUE = re.compile(rf"[^\s,{{}}\[\]\"'#&*!|>]{{1,{SHORT}}}(?=\s*[,}}\]]|\s*$)")

_ASSIGNED = re.compile(
    r"""(?<![\w-])(?P<key>[\w-]+)["']?\s*[:=]\s*+"""
    r"""|(?:^|[{\[,?]|-\s)\s*["']?(?P<first>[\w-]+)["']?(?:\s++(?![:=])|$)"""
)
"""A word followed by a value; in the second form the colon is missing."""

_BETWEEN_ENTRIES = frozenset(",{[")
"""One of them stands before each key of a line except the first."""

_LIKE_OURS = re.compile("secr|s[ecrkt]{4,6}", re.IGNORECASE)

_GENERATED = re.compile(r"""["']?generate["']?\s*(?=[,}\]#]|$)""")


def sounds_secret(key: str) -> bool:
    """Whether the value of a key, even an unknown one, may be a secret."""
    return bool(_SOUNDS_SECRET.search(key)) and key not in _NO_SECRETS


def may_be_named(key: str) -> bool:
    """Whether errors may show the name of an unknown key. If it resembles `secret`, only a short
    one that adds few characters to it: where the colon was lost, they are the secret's own."""
    alike = _LIKE_OURS.search(key)
    return not alike or len(key) < min(len(_OUR_KEY), len(alike[0]) + 1) + SHORT


def without_keys(text: str) -> str:
    """A message whose key texts are replaced by stars of the same length."""
    return _KEY_TEXT.sub(lambda key: key[1] + stars(key[2]), text)


def without_secret(line: str) -> str:
    """A line of any file, or part of one, with stars for everything after a word that sounds
    secret."""
    begin = _assigned_secret(line)
    return line[:begin] + stars(line[begin:])


def stars(text: str) -> str:
    """Stars in the length of the text, so that carets stay in place."""
    return "*" * len(text)


def hidden(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a site file, of unchanged length, with stars for what errors must hide."""
    expected = _Expected(names=True, items=False)
    for line in lines:
        if not line or line.isspace():
            yield line
            continue
        begin, expected = _shown(line[:LONGEST_LINE], expected)
        yield line[:begin] + stars(line[begin:]) if begin < len(line) else line


class _Expected(NamedTuple):
    """What may be shown next. `names`: the name of an unknown key, because no secret and no value
    of an unknown key precedes it. `items`: the items of a list, because its key is ours."""

    names: bool
    items: bool


_NOTHING = _Expected(names=False, items=False)


def _shown(line: str, expected: _Expected) -> tuple[int, _Expected]:
    """Up to which column a line is shown, and what is expected after it."""
    begin, then = _entries(line, expected)
    secret = _assigned_secret(line)
    if secret < begin:
        rest = line[secret:]
        return secret, _NOTHING if rest.strip() and not _WHOLE_KEY_TEXT.fullmatch(rest) else then
    return begin, then


def _entries(line: str, expected: _Expected) -> tuple[int, _Expected]:
    """The same, by its keys: shown are our keys with values that certainly belong to them."""
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
    """The rest of a line: shown if it consists of brackets and the like. A comment is hidden, and
    affects the following lines only if it contains a colon: it may be a key, commented out."""
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
    """Where a key text begins, or the value after a word that sounds secret; or the line's end."""
    key_text = _KEY_TEXT.search(line)
    begin = key_text.end(1) if key_text else len(line)
    for word in _ASSIGNED.finditer(line):
        key = word["key"] or word["first"]
        is_generated = key == _OUR_KEY and _GENERATED.match(line, word.end())
        if sounds_secret(key) and not is_generated:
            return min(begin, word.end())
    return begin
