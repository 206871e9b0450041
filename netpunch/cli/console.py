"""Writing to standard output (data) and standard error (for people) of a command."""

from __future__ import annotations

import contextlib
import os
import sys

from netpunch.errors import OutputError


class ReaderGoneError(OutputError):
    """Whoever read standard output has closed it (`| head`): nobody is left to be told."""


def put(text: str) -> None:
    """Write `text` to standard output at once.

    Raises OutputError (full disk, closed, not expressible in its encoding) and ReaderGoneError."""
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_stdout()
        raise ReaderGoneError("nobody reads standard output any more") from None
    except UnicodeEncodeError as error:
        raise OutputError(
            f"standard output's encoding, {error.encoding}, has no {error.object[error.start]!a}: "
            "set a UTF-8 locale, such as LC_ALL=C.UTF-8"
        ) from None
    except OSError as error:
        discard_stdout()
        raise OutputError(f"cannot write standard output: {error.strerror}") from None


def put_line(text: str) -> None:
    """Write `text` to standard output, ending with exactly the newline it has or one more."""
    put(text if text.endswith("\n") else text + "\n")


def tell(text: str) -> None:
    """Write a line to standard error; without one (closed, gone) it is lost, silently."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


def discard_stdout() -> None:
    """Let what is still buffered go nowhere: the interpreter flushes once more when it exits,
    and would complain."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
