"""One process: its control, its ends, reload, signals, hooks."""

# No `from __future__ import annotations`: see core/events.py.

import gc
from pathlib import Path
from typing import Literal, NamedTuple

OutputFormat = Literal["json", "text"]
Share = Literal["control", "once", "keep"]


class RunOptions(NamedTuple):
    """What the command line of `netpunch run` decides. Where an option is unset (False, empty,
    None), the site file decides."""

    once: bool = False
    """Link each end once and exit, whatever `mode` says; never together with `keep`."""
    keep: bool = False
    """Keep each end linked, whatever `mode` says."""
    only: Share | None = None
    """Only this node's control, or only its ends of this `mode`: several processes can share a
    node."""
    pairs: tuple[str, ...] = ()
    """Only these pairs; empty for all of this node."""
    node: str | None = None
    """The node to be, instead of NETPUNCH_NODE, `node:` and the host name."""
    format: OutputFormat | None = None
    """What goes to standard output; None: json unless that is a terminal."""
    trace: bool = False
    """Report each datagram as a `datagram` event."""
    quiet: bool = False
    """Print only errors to standard error."""
    debug: bool = False
    """Print tracebacks to standard error."""


def run_site(path: Path, options: RunOptions) -> int:
    """Runs this node's part of a site file until it is done; returns the exit code.

    Raises ConfigurationError, MissingFileError, PermissionsError for the file itself."""
    gc.disable()  # all that a start makes stays; once it is made, `run` turns this on again
    try:
        from netpunch.node.run import run_site as run  # imports asyncio, sockets and the core

        return run(path, options)
    finally:
        gc.unfreeze()
        gc.enable()
