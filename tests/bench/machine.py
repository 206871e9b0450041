"""The machine that a figure was taken on, and what processes hold of it."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> str:
    """One line: what readers need to compare."""
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.release()}"
    )


def resident(pid: int) -> int:
    """Bytes of memory that a process holds. Linux."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
