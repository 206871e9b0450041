"""The standard descriptors of a process that was started without some of them."""

from __future__ import annotations

import contextlib
import os

STANDARD = (0, 1, 2)


def open_standard_descriptors() -> None:
    """Open the null device in the place of every standard descriptor that is closed.

    Else the next file or socket of this process takes that number, and what is meant for people
    ends up in it. Python's own streams stay as they are: `sys.stdout` is None still, so commands
    whose only product is their output can tell that nobody will see it."""
    for number in STANDARD:
        if not _is_open(number):
            with contextlib.suppress(OSError):  # no /dev/null in this root: nothing is lost
                _open_null_as(number)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _open_null_as(number: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened == number:
        os.set_inheritable(number, True)  # as every standard descriptor is
        return
    os.dup2(opened, number)
    os.close(opened)
