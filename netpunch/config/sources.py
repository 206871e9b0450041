"""Where the secret of a pair, or of one of its ends, comes from."""

from __future__ import annotations

from pathlib import Path

from netpunch.config.keys import SECRET_KEYS
from netpunch.config.model import SecretSource
from netpunch.config.paths import beside
from netpunch.config.schema import Settings
from netpunch.config.secrets import Role, decode
from netpunch.core.settings import Protocol
from netpunch.template import render

GENERATE = "generate"
"""The `secret` that stands for a fresh one at every start."""


def secret_key(settings: Settings) -> str | None:
    """The key that gives the secret; of several (a problem already told) the first."""
    return next((key for key in SECRET_KEYS if key in settings), None)


def secret_source(key: str, settings: Settings, pair: str, directory: Path) -> SecretSource:
    """What stands behind that key. Its path or name is complete, `{pair}` filled in."""
    position, text = settings[key].position, settings[key].value
    if key == "secret_file":
        path = render(text, {"pair": pair})
        return SecretSource("file", position, path=beside(directory, path))
    if key == "credential":
        return SecretSource("credential", position, path=render(text, {"pair": pair}))
    if text == GENERATE:
        return SecretSource("generate", position)
    return SecretSource("inline", position, text=text)


def inline_complaint(source: SecretSource, protocol: Protocol, role: Role) -> str | None:
    """What is wrong with a secret that stands in the file itself."""
    if source.kind != "inline":
        return None
    try:
        decode(source.text.encode(), protocol, role)
    except ValueError as error:
        return str(error)
    return None
