"""Placeholders in texts: `{pair}`, `{raddr}` and so on. `{{` and `}}` stand for braces."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from netpunch.errors import ConfigurationError

MESH_PLACEHOLDERS = frozenset({"mesh", "node", "partner"})
"""Known only of a mesh's pairs."""

PATH_PLACEHOLDERS = frozenset({"pair", "end"}) | MESH_PLACEHOLDERS
"""Known before a link: paths must not depend on the partner's address."""

ADDRESS_PLACEHOLDERS = frozenset({"laddr", "lhost", "lport", "raddr", "rhost", "rport"})
FORWARD_PLACEHOLDERS = frozenset({"faddr", "fhost", "fport"})
"""Known only of an end with `forward`: where the local program sends to."""

ALL_PLACEHOLDERS = PATH_PLACEHOLDERS | ADDRESS_PLACEHOLDERS | FORWARD_PLACEHOLDERS
LINK_PLACEHOLDERS = ALL_PLACEHOLDERS - MESH_PLACEHOLDERS - FORWARD_PLACEHOLDERS
"""Known of every link."""

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
"""The fields of the Go netpunch's templates, which its users still write."""

_TOKEN = re.compile(
    r"(?<!\{)\{\{-?\s*\.(?P<go>" + "|".join(_GO_FIELDS) + r")\s*-?\}\}"
    r"|(?P<brace>\{\{|\}\})"
    r"|\{(?P<name>[^{}\n]*)\}"
    r"|(?P<open>\{)"
)
"""A `}` without a `{` is not a token: it stands for itself."""

_LONGEST_GUESS = 20
"""Characters. A longer name is a sentence in braces, not a misspelt placeholder."""


class TemplateError(ConfigurationError):
    """A template has an unknown placeholder, at `offset` in its text, from 0."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def of_end(*, in_mesh: bool, forwards: bool) -> frozenset[str]:
    """The placeholders of an end's texts."""
    of_mesh = MESH_PLACEHOLDERS if in_mesh else frozenset[str]()
    of_forward = FORWARD_PLACEHOLDERS if forwards else frozenset[str]()
    return LINK_PLACEHOLDERS | of_mesh | of_forward


def validate(text: str, allowed: Collection[str] = ALL_PLACEHOLDERS) -> None:
    """Raise TemplateError for the first placeholder that is not in `allowed`."""
    for token in _TOKEN.finditer(text):
        _name(token, allowed)


def render(text: str, values: Mapping[str, str | int]) -> str:
    """The text with its placeholders replaced. Values are not expanded again.

    Raises TemplateError for a placeholder without a value."""

    def replacement(token: re.Match[str]) -> str:
        name = _name(token, values)
        return token["brace"][0] if name is None else str(values[name])

    return _TOKEN.sub(replacement, text)


def variable(name: str) -> str:
    """The environment variable with a placeholder's value. That of `partner` says what it is, as
    hooks do not know the end's settings."""
    return "NETPUNCH_PARTNER_NODE" if name == "partner" else f"NETPUNCH_{name.upper()}"


def has_placeholder(text: str) -> bool:
    """Whether a template is more than a text."""
    return any(token["name"] is not None for token in _TOKEN.finditer(text))


def escape(text: str) -> str:
    """A template that renders to exactly this text."""
    return text.replace("{", "{{").replace("}", "}}")


def _name(token: re.Match[str], allowed: Collection[str]) -> str | None:
    """The placeholder's name; None for a brace."""
    name = token["name"]
    if token["brace"] is not None or name in allowed:
        return name
    raise TemplateError(_problem(token, allowed), token.start())


def _problem(token: re.Match[str], allowed: Collection[str]) -> str:
    if token["open"] is not None:
        return "expected a placeholder's name and `}` after `{`; write `{{` for a brace"
    if token["go"] is not None:
        return (
            f"`{_shown(token[0])}` is the Go netpunch's form; write {{{_GO_FIELDS[token['go']]}}}"
        )
    name = token["name"]
    if name in MESH_PLACEHOLDERS and "end" in allowed:
        return f"only the pairs of a mesh have {{{name}}}: {_choices(allowed)}"
    if name in FORWARD_PLACEHOLDERS and "raddr" in allowed:
        return f"only ends with `forward` have {{{name}}}: {_choices(allowed)}"
    if name in ALL_PLACEHOLDERS:
        when = "here" if name in PATH_PLACEHOLDERS else "before a link"
        return f"{{{name}}} has no value {when}: {_choices(allowed)}"
    guess = _guess(name, allowed)
    return f"unknown placeholder {{{_shown(name[:_LONGEST_GUESS])}}}{guess}: {_choices(allowed)}"


def _shown(text: str) -> str:
    """Escaped as in Python: nothing that steers a terminal."""
    return repr(text)[1:-1]


def _choices(allowed: Collection[str]) -> str:
    if not allowed:
        return "this text has no placeholders; write `{{` for a brace"
    return f"write {' '.join(f'{{{name}}}' for name in sorted(allowed))}, or `{{{{` for a brace"


def _guess(name: str, allowed: Collection[str]) -> str:
    from difflib import get_close_matches  # only a mistake pays for it

    matches = get_close_matches(name.strip().lower()[:_LONGEST_GUESS], sorted(allowed), 1)
    return f" (did you mean {{{matches[0]}}}?)" if matches else ""
