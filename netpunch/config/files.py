"""Reading the files that a site file names."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_regular(path: Path, limit: int) -> tuple[bytes, int]:
    """All bytes of a regular file and its mode bits. It is opened once: what is judged is what
    was read.

    Raises OSError if it can't be opened, ValueError for what is no file or longer than `limit`."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ValueError("is no regular file")
            data = file.read(limit + 1)
    except IsADirectoryError:
        raise ValueError("is a directory") from None
    if len(data) > limit:
        raise ValueError(f"is longer than {limit:,} bytes")
    return data, stat.S_IMODE(mode)


def _without_waiting(path: str, flags: int) -> int:
    """A FIFO would otherwise wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)
