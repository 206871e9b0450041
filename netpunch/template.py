"""Placeholders in texts: `{pair}`, `{raddr}` and so on; `{{` is a brace, `}}` too. Nothing else."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from netpunch.errors import ConfigurationError

PATH_PLACEHOLDERS = frozenset({"pair", "end"})
"""What is known before a link: paths must not depend on what a partner's address is."""

ADDRESS_PLACEHOLDERS = frozenset({"laddr", "lhost", "lport", "raddr", "rhost", "rport"})
ALL_PLACEHOLDERS = PATH_PLACEHOLDERS | ADDRESS_PLACEHOLDERS

_GO_FIELDS = {
    "LocalAddr": "laddr",
    "LocalHost": "lhost",
    "LocalIP": "lhost",
    "LocalPort": "lport",
    "RemoteAddr": "raddr",
    "RemoteHost": "rhost",
    "RemoteIP": "rhost",
    "RemotePort": "rport",
}
"""The fields of the Go program's templates: someone who moves over still writes them."""

_TOKEN = re.compile(
    r"(?<!\{)\{\{-?\s*\.(?P<go>" + "|".join(_GO_FIELDS) + r")\s*-?\}\}"
    r"|(?P<brace>\{\{|\}\})"
    r"|\{(?P<name>[^{}\n]*)\}"
    r"|(?P<open>\{)"
)
"""A `}` without its `{` is no token: it stands for itself."""

_LONGEST_GUESS = 20
"""A name longer than this is a sentence in braces, not a placeholder misspelt."""


class TemplateError(ConfigurationError):
    """A template names something unknown. `offset` is its place in the text, from 0."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def validate(text: str, allowed: Collection[str] = ALL_PLACEHOLDERS) -> None:
    """Raise TemplateError at the first thing that is no placeholder out of `allowed`."""
    for token in _TOKEN.finditer(text):
        _name(token, allowed)


def render(text: str, values: Mapping[str, str | int]) -> str:
    """The text with its placeholders replaced. Values are not expanded again.

    Raises TemplateError for a placeholder without a value."""

    def replacement(token: re.Match[str]) -> str:
        name = _name(token, values)
        return token["brace"][0] if name is None else str(values[name])

    return _TOKEN.sub(replacement, text)


def escape(text: str) -> str:
    """A template that renders to exactly this text."""
    return text.replace("{", "{{").replace("}", "}}")


def _name(token: re.Match[str], allowed: Collection[str]) -> str | None:
    """The placeholder's name, None for a brace."""
    name = token["name"]
    if token["brace"] is not None or name in allowed:
        return name
    raise TemplateError(_complaint(token, allowed), token.start())


def _complaint(token: re.Match[str], allowed: Collection[str]) -> str:
    if token["open"] is not None:
        return "a `{` without a placeholder's name and `}`: write `{{` for a brace"
    if token["go"] is not None:
        return f"`{_shown(token[0])}` is the Go program's form: write {{{_GO_FIELDS[token['go']]}}}"
    name = token["name"]
    if name in ALL_PLACEHOLDERS:
        return f"{{{name}}} is not known here, where there is no link yet: {_choices(allowed)}"
    guess = _guess(name, allowed)
    return f"{{{_shown(name[:_LONGEST_GUESS])}}} is no placeholder{guess}: {_choices(allowed)}"


def _shown(text: str) -> str:
    """As a terminal may get it: escaped as in Python where it has to be."""
    return repr(text)[1:-1]


def _choices(allowed: Collection[str]) -> str:
    if not allowed:
        return "this text has no placeholders; write `{{` for a brace"
    return f"write {' '.join(f'{{{name}}}' for name in sorted(allowed))}, or `{{{{` for a brace"


def _guess(name: str, allowed: Collection[str]) -> str:
    from difflib import get_close_matches  # only needed once something is wrong

    matches = get_close_matches(name.strip().lower()[:_LONGEST_GUESS], sorted(allowed), 1)
    return f" (did you mean {{{matches[0]}}}?)" if matches else ""
