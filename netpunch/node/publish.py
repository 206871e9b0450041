"""The files of a link (env file, rendered templates), and its line of text."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from netpunch.address import Address
from netpunch.config.model import EndConfig
from netpunch.core.events import Linked, Moved
from netpunch.errors import NetpunchError
from netpunch.mesh import placeholders
from netpunch.net.loop import in_thread
from netpunch.node.end_hooks import outlast
from netpunch.output.atomic import remove_file, replace_file
from netpunch.output.envfile import (
    NEW_LINK,
    compare_env_file,
    is_env_file,
    link_values,
    link_variables,
    write_env_file,
)
from netpunch.output.journal import rfc3339
from netpunch.template import render

DEFAULT_TEMPLATE = "{pair} {laddr} {raddr}"


class Published(NamedTuple):
    """A path of a link as hooks, files and templates get it. `changed` and `previous_remote`
    compare a new link with the earlier env file (without one it has changed), a moved one with what
    programs were told before."""

    local: Address
    remote: Address
    variables: dict[str, str]
    values: dict[str, str | int]
    text: str
    changed: bool
    previous_remote: Address | None
    env_file: Path | None
    files: tuple[tuple[Path, str, int], ...]
    """Rendered files: path, content and mode."""
    forward: Address | None = None
    """Where the local program sends to."""

    @property
    def path(self) -> tuple[int, Address]:
        """What a program has to know of it: our port, and the partner's address."""
        return self.local.port, self.remote

    @property
    def writes_files(self) -> bool:
        return self.env_file is not None or bool(self.files)

    def write(self) -> None:
        """Writes the env file and the rendered files.

        Raises OutputError or ResourcesError; then there is no env file."""
        if self.env_file is not None:
            write_env_file(self.env_file, self.variables)
        try:
            for path, text, mode in self.files:
                replace_file(path, text.encode(), mode)
        except NetpunchError:
            self.withdraw()
            raise

    def withdraw(self) -> None:
        """Removes the env file, as the link is not used. Raises OutputError or ResourcesError."""
        if self.env_file is not None:
            remove_file(self.env_file)


def env_file_of(end: EndConfig) -> Path | None:
    """Path of an end's env file, the same for all its links."""
    if end.env_file is None:
        return None
    return end.directory / render(end.env_file, placeholders(end.pair, end.end))


def remove_stale_env_files(folder: Path, ends: Iterable[EndConfig]) -> None:
    """Removes the env files in a folder that none of `ends` writes. Raises OutputError."""
    kept = {env_file_of(end) for end in ends if end.enabled}
    for path in sorted(folder.glob("*")):
        if path not in kept and is_env_file(path):
            remove_file(path)


async def publish(published: Published) -> None:
    """Writes the files; a stop waits until they are written. Without files there is no thread, so a
    lack of threads harms no link. Raises what `Published.write` raises, and RuntimeError if no
    thread can be started."""
    if not published.writes_files:
        return
    writing = asyncio.ensure_future(in_thread(published.write, "publish"))
    try:
        await outlast(writing)
    except asyncio.CancelledError:
        writing.exception()  # the stop is what counts
        raise


def describe(
    end: EndConfig, linked: Linked | Moved, at: float, forward: Address | None = None
) -> Published:
    """A link's path; `at` is seconds since the epoch, `forward` where the local program sends to.
    Writes nothing."""
    link = (end.pair, end.end, linked.local, linked.remote)
    values = link_values(*link, forward=forward)
    variables = link_variables(*link, rfc3339(at), forward=forward)
    env_file = env_file_of(end)
    change = NEW_LINK if env_file is None else compare_env_file(env_file, variables)
    return Published(
        linked.local,
        linked.remote,
        variables,
        values,
        render(end.template or DEFAULT_TEMPLATE, values),
        change.changed,
        change.previous_remote,
        env_file,
        tuple(
            (end.directory / render(file.to, values), render(file.text, values), file.mode)
            for file in end.files
        ),
        forward,
    )
