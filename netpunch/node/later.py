"""Modules that an end needs only after its first datagram, which goes out sooner without them, or
once its check has passed, when there may be no datagram for long."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable

from netpunch.errors import ResourcesError, lacks_told

PAUSE = 0.02
"""Seconds after the first datagram: control's answer, when it is near, comes before."""

FOLLOWING = (
    "netpunch.core.traversal.escalation",
    "netpunch.net.routes",
    "netpunch.net.standby",
    "netpunch.node.command",
    "netpunch.node.publish",
)


def load_what_follows(on_lack: Callable[[ResourcesError], None] | None = None) -> None:
    """Ahead of their moment: that may be short, and there may be no descriptors left to open
    them with. Then `on_lack` is called; without it, whoever needs them will tell."""
    try:
        for name in FOLLOWING:
            with contextlib.suppress(ImportError), lacks_told():
                importlib.import_module(name)
    except ResourcesError as error:
        if on_lack is not None:
            on_lack(error)
