"""Modules that an end needs only after its first datagram, which goes out sooner without them."""

from __future__ import annotations

import contextlib
import importlib

FOLLOWING = (
    "netpunch.core.ladder.ladder",
    "netpunch.net.standby",
    "netpunch.node.command",
    "netpunch.node.publish",
)


def load_what_follows() -> None:
    """While control's answer is under way: when their moment comes, that is short, and there may
    be no descriptors left to open them with."""
    for name in FOLLOWING:
        with contextlib.suppress(ImportError, OSError):  # then whoever needs it will tell
            importlib.import_module(name)
