"""The machine that a figure was taken on."""

from __future__ import annotations

import os
import platform


def machine() -> str:
    """One line: what readers need to compare."""
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.release()}"
    )
