"""What of a site file may be a secret, told from its text alone: also where the file can't be
parsed, where the key is misspelt, and where a secret was put in the wrong place. When in doubt,
it is one; errors then show less of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_SOUNDS_SECRET = re.compile("secr|s[ecrkt]{4,6}|key|pass|psk|token|cred", re.IGNORECASE)
"""The second one are the ways to misspell `secret`."""

_NO_SECRETS = frozenset({"secret_file", "session_key", "credential"})
"""Keys of ours that sound so, but tell only where a secret is, or whether."""

_OUR_KEY = "secret"
"""Below this key everything is; below others that sound so there may be a pair of that name."""

_KEY_TEXT = re.compile(r"(np[kc]1\s*:)(\s*[\w=+/-]+)", re.IGNORECASE)
"""A key text, wherever it was pasted by mistake."""

_ENTRY = re.compile(
    r"""(?<![\w-])(?P<key>[\w-]+)["']?\s*[:=]\s*+"""
    r"""|(?:^|[{\[,?]|-\s)\s*["']?(?P<first>[\w-]+)["']?(?:\s++(?![:=])|$)"""
)
"""A word that a value follows; the second form lacks its colon."""

_GENERATED = re.compile(r"""["']?generate["']?\s*(?=[,}\]#]|$)""")
_LOOKS_LIKE_ENTRY = re.compile(r"""\s*(?:-\s+)*(?:["']?[\w-]+["']?\s*:(?:\s|$)|[}\]])""")


def sounds_secret(key: str) -> bool:
    """Whether the value of a key, even an unknown one, may be a secret."""
    return bool(_SOUNDS_SECRET.search(key)) and key not in _NO_SECRETS


def without_keys(text: str) -> str:
    """A message without the key texts that it repeats, each as long as before."""
    return _KEY_TEXT.sub(lambda key: key[1] + stars(key[2]), text)


def without_secret(line: str) -> str:
    """One line, or a part of one, up to where a secret may begin; what follows is hidden."""
    return next(hidden([line]))


def stars(text: str) -> str:
    """As long as the text, for carets to stay in place."""
    return "*" * len(text)


def hidden(lines: Iterable[str]) -> Iterator[str]:
    """Lines without what may be a secret: what stands behind such a key or behind `npk1:` up to
    the line's end, and the lines below that belong to it."""
    depth: int | None = None  # how deep the key is indented whose value this may be
    is_deeper_hidden = False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if depth is not None:
            is_deeper = is_deeper_hidden and indent > depth
            if is_deeper or not _LOOKS_LIKE_ENTRY.match(line):
                yield stars(line)
                continue
        begin, depth, is_deeper_hidden = len(line), None, False
        if (found := _secret_value(line)) is not None:
            key, begin = found
            depth, is_deeper_hidden = indent, key == _OUR_KEY or bool(line[begin:].strip())
        yield line[:begin] + stars(line[begin:])


def _secret_value(line: str) -> tuple[str, int] | None:
    """The first key in a line whose value may be a secret, and where that value begins."""
    found = [(key.end(1), "") for key in [_KEY_TEXT.search(line)] if key]
    for entry in _ENTRY.finditer(line):
        key = entry["key"] or entry["first"]
        is_generated = key == _OUR_KEY and _GENERATED.match(line, entry.end())
        if sounds_secret(key) and not is_generated:
            found.append((entry.end(), key))
            break
    if not found:
        return None
    begin, key = min(found)
    return key, begin
