"""What a link leaves behind: its env file, its rendered files, its line of text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from netpunch.address import Address
from netpunch.config.model import EndConfig
from netpunch.core.events import Linked
from netpunch.errors import NetpunchError
from netpunch.output.atomic import remove_file, replace_file
from netpunch.output.envfile import (
    compare_env_file,
    is_env_file,
    link_variables,
    write_env_file,
)
from netpunch.output.journal import rfc3339
from netpunch.template import render

DEFAULT_TEMPLATE = "{pair} {laddr} {raddr}"


class Published(NamedTuple):
    """A link as hooks, files and templates see it. `changed` compares with the env file that was
    there at the link; without one it is true."""

    variables: dict[str, str]
    values: dict[str, str | int]
    text: str
    changed: bool
    previous_remote: Address | None
    env_file: Path | None


def env_file_of(end: EndConfig) -> Path | None:
    """Where the env file of an end is, whatever its link."""
    if end.env_file is None:
        return None
    return end.directory / render(end.env_file, {"pair": end.pair, "end": end.end})


def remove_stale_env_files(folder: Path, ends: Iterable[EndConfig]) -> None:
    """Removes the env files in a folder that none of `ends` writes. Raises OutputError."""
    kept = {env_file_of(end) for end in ends if end.enabled}
    for path in sorted(folder.glob("*")):
        if path not in kept and is_env_file(path):
            remove_file(path)


def describe(end: EndConfig, linked: Linked, at: float) -> Published:
    """A link that was just made; `at` is seconds since the epoch. Writes nothing."""
    variables = link_variables(end.pair, end.end, linked.local, linked.remote, rfc3339(at))
    values = template_values(end, linked)
    text = render(end.template or DEFAULT_TEMPLATE, values)
    env_file = env_file_of(end)
    if env_file is None:
        return Published(variables, values, text, True, None, None)
    change = compare_env_file(env_file, variables)
    return Published(variables, values, text, change.changed, change.previous_remote, env_file)


def publish(end: EndConfig, published: Published) -> None:
    """Writes the env file and the rendered files.

    Raises OutputError or ResourcesError; then there is no env file."""
    if published.env_file is not None:
        write_env_file(published.env_file, published.variables)
    try:
        for file in end.files:
            path = end.directory / render(file.to, published.values)
            replace_file(path, render(file.text, published.values).encode(), file.mode)
    except NetpunchError:
        withdraw(published)
        raise


def withdraw(published: Published) -> None:
    """Removes the env file: nobody uses this link. Raises OutputError or ResourcesError."""
    if published.env_file is not None:
        remove_file(published.env_file)


def template_values(end: EndConfig, linked: Linked) -> dict[str, str | int]:
    """The values of all placeholders."""
    return {
        "pair": end.pair,
        "end": end.end,
        "laddr": str(linked.local),
        "lhost": linked.local.host,
        "lport": linked.local.port,
        "raddr": str(linked.remote),
        "rhost": linked.remote.host,
        "rport": linked.remote.port,
    }
