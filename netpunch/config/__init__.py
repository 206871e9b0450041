"""A YAML site file to plain values; every error with its place in the file.

The names below are imported when they are first used: names, keys and durations have the same
rules without a site file, and whoever needs only those does not pay for YAML.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netpunch.config.loading import load
    from netpunch.config.problems import Problem, SiteError
    from netpunch.config.selection import pairs_served, read_templates, select

_HOMES = {
    "Problem": "netpunch.config.problems",
    "SiteError": "netpunch.config.problems",
    "load": "netpunch.config.loading",
    "pairs_served": "netpunch.config.selection",
    "read_templates": "netpunch.config.selection",
    "select": "netpunch.config.selection",
}

__all__ = ["Problem", "SiteError", "load", "pairs_served", "read_templates", "select"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'netpunch.config' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
