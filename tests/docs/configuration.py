"""The tables of docs/configuration.md: every key, from the schema."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from netpunch.config import schema
from netpunch.config.kinds import Key

TABLES: dict[str, Collection[Key[Any]]] = {
    "The file": schema.SITE_KEYS,
    "`control`": schema.CONTROL_KEYS,
    "`defaults`, pairs and ends": [schema.NODE_KEY, *schema.PAIR_KEYS],
    "Each of `meshes`, besides what a pair has": schema.OWN_MESH_KEYS,
    "`forward`": schema.FORWARD_KEYS,
    "`hooks`": schema.HOOK_KEYS,
    "Each of `files`": schema.FILE_KEYS,
    "`metrics`": schema.METRICS_KEYS,
}
"""In the order in which the document shows them."""


def render() -> str:
    """All tables as Markdown, each with its title."""
    return "\n\n".join(f"## {title}\n\n{table(keys)}" for title, keys in TABLES.items())


def table(keys: Collection[Key[Any]]) -> str:
    """One row for each key that belongs to this mapping."""
    rows = [
        f"| `{key.name}` | {key.doc} | {key.kind.wanted} | {_default(key)} |"
        for key in keys
        if not key.elsewhere
    ]
    return "\n".join(["| key | meaning | value | default |", "| --- | --- | --- | --- |", *rows])


def _default(key: Key[Any]) -> str:
    return key.default_text or f"`{_in_yaml(key.kind.write(key.default))}`"


def _in_yaml(value: Any) -> str:
    """As one would write it in a file."""
    match value:
        case bool():
            return "on" if value else "off"
        case list():
            return f"[{', '.join(map(_in_yaml, value))}]"
        case dict():
            return f"{{{', '.join(f'{name}: {_in_yaml(each)}' for name, each in value.items())}}}"
    text = str(value)
    return f'"{text}"' if text.startswith((":", "0")) else text
