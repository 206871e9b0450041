"""One process: its control, its ends, reload, signals, hooks."""

import gc
from pathlib import Path

from netpunch.node.options import RunOptions


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
