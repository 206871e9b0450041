"""A YAML site file to plain values; every error with its place in the file.

The names below are imported when they are first used: names, keys and durations obey the same rules
without a site file, and code that needs only those does not import YAML.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netpunch.config.document.problems import Problem, SiteError
    from netpunch.config.loading import load, pairs_served, select

_HOMES = {
    "Problem": "netpunch.config.document.problems",
    "SiteError": "netpunch.config.document.problems",
    "load": "netpunch.config.loading",
    "pairs_served": "netpunch.config.loading",
    "select": "netpunch.config.loading",
}

__all__ = ["Problem", "SiteError", "load", "pairs_served", "select"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'netpunch.config' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
