"""The standard streams of a command: data to standard output, errors to standard error."""

from __future__ import annotations

import contextlib
import os
import sys

from netpunch.errors import OutputError


class ReaderGoneError(OutputError):
    """The reader of standard output has closed it (`| head`). This ends the program silently."""


def open_standard_descriptors() -> None:
    """Open the null device as each standard descriptor that is closed.

    Otherwise the next file or socket gets that number, and messages end up in it. Python's own
    streams stay as they are: a `sys.stdout` that is None still tells that output is lost."""
    for number in range(3):
        if not _is_open(number):
            with contextlib.suppress(OSError):  # this root has no /dev/null: nothing is lost
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


def write_output(text: str) -> None:
    """Write to standard output and flush it.

    Raises OutputError (full disk, closed, not expressible in its encoding) and ReaderGoneError."""
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        raise ReaderGoneError from None
    except UnicodeEncodeError as error:
        raise OutputError(
            f"standard output's encoding, {error.encoding}, has no {error.object[error.start]!a}: "
            "set a UTF-8 locale, such as LC_ALL=C.UTF-8"
        ) from None
    except OSError as error:
        _discard_output()
        raise OutputError(f"cannot write standard output: {error.strerror}") from None


def write_line(text: str) -> None:
    """Write to standard output, adding a newline unless `text` ends with one."""
    write_output(text if text.endswith("\n") else text + "\n")


def write_error(text: str) -> None:
    """Write a line to standard error; if that is closed, the line is lost."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


def _discard_output() -> None:
    """Drop what is still buffered: the interpreter flushes again at exit, and would complain."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
