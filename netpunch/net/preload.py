"""Imports modules that an end needs only after its first datagram, which leaves sooner without
them; or once its check has passed, when there may be no datagram for long."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterable

from netpunch.errors import ResourcesError, resource_errors

PAUSE = 0.02
"""Seconds after the first datagram: the answer of a control nearby comes before."""

HOLDING = (
    "netpunch.core.end.relaying",
    "netpunch.core.end.returning",
    "netpunch.core.end.verdict",
    "netpunch.core.traversal.escalation",
    "netpunch.net.diagnosis",
    "netpunch.net.held_path",
    "netpunch.net.watch",
)
"""Of an end that holds its link."""
CARRYING = ("netpunch.net.carrying",) if sys.platform == "linux" else ()
"""Of one that carries a program's datagrams."""
IN_PROCESS = (*CARRYING, "netpunch.net.link_endpoint") if CARRYING else ()
"""Of one whose program is in this process."""


def preload(names: Iterable[str], on_lack: Callable[[ResourcesError], None] | None = None) -> None:
    """Imports ahead of need: then there may be little time, and no descriptor left to open the
    files. Lacking one now, calls `on_lack`; without it, the import fails where it is needed."""
    try:
        for name in names:
            with contextlib.suppress(ImportError), resource_errors():
                importlib.import_module(name)
    except ResourcesError as error:
        if on_lack is not None:
            on_lack(error)
