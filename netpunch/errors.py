"""Every error that netpunch raises on purpose: its exit code, and its `reason` in events.

A class's docstring is written for the user: what happened and what to do about it. It is the text
of an error that is raised without a message of its own."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from netpunch.reasons import Reason

if TYPE_CHECKING:
    from pathlib import Path

BUG_EXIT_CODE = 70
EXIT_CODES = {
    0: "success",
    BUG_EXIT_CODE: "bug in netpunch",
    78: "configuration error",
    77: "permission denied",
    73: "cannot write output",
    1: "a hook failed",
    69: "control unreachable",
    75: "not linked, or port in use",
    66: "no such file",
    64: "usage error",
}
"""What the process can end with: sysexits.h numbers where they fit. When several things went
wrong, it ends with the first that applies, in this order."""


class NetpunchError(Exception):
    """netpunch failed. All its other errors derive from this one: catch it to catch them all."""

    exit_code = BUG_EXIT_CODE
    reason: str = Reason.BUG

    def __str__(self) -> str:
        return super().__str__() or " ".join((type(self).__doc__ or "").split())


class UsageError(NetpunchError):
    """An argument of the command or call is wrong. See `netpunch COMMAND --help`."""

    exit_code = 64
    reason = Reason.CONFIGURATION


class MissingFileError(NetpunchError):
    """A file named as an argument does not exist. Check its path."""

    exit_code = 66
    reason = Reason.CONFIGURATION


class PunchError(NetpunchError):
    """The ends did not link. `reason` says why."""

    def __init__(self, message: str = "", reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class ControlUnreachableError(PunchError):
    """No control answered. Check its address, that it runs, that its firewall lets UDP through,
    and that it has this pair's key: a wrong secret gets no answer."""

    exit_code = 69
    reason = Reason.NO_CONTROL


class OutputError(NetpunchError):
    """Output could not be written. Check the free space and the permissions of its directory."""

    exit_code = 73
    reason = Reason.OUTPUT


class NotLinkedError(PunchError):
    """The ends did not link before the deadline. Try again later."""

    exit_code = 75


class LinkClosedError(NetpunchError):
    """The link is over. `reason` says who or what has ended it: link again."""

    exit_code = 75
    reason: str = Reason.STOPPED

    def __init__(self, message: str = "", reason: str = Reason.STOPPED) -> None:
        super().__init__(message)
        self.reason = reason


class PortInUseError(NetpunchError):
    """Another process uses the local port. Stop it (`ss -ulpn` shows it) or choose another port."""

    exit_code = 75
    reason = Reason.PORT_IN_USE


class NetworkNotReadyError(NetpunchError):
    """An address or interface does not exist now: at boot, or while a link is down. netpunch tries
    again later; if it never will exist, correct `local`, `listen` or `interface`."""

    exit_code = 75
    reason = Reason.NETWORK_NOT_READY


class ResourcesError(NetpunchError):
    """The system is out of file descriptors, threads, processes or memory. Raise the limit;
    netpunch tries again later."""

    exit_code = 75
    reason = Reason.RESOURCES


class UnresolvedError(NetpunchError):
    """A host name has no address at the moment. Check its spelling and this host's DNS; netpunch
    tries again later."""

    exit_code = 75
    reason = Reason.UNRESOLVED


class HookError(NetpunchError):
    """A hook failed. Its output is in the `hook.output` events."""

    exit_code = 1
    reason = Reason.HOOK


class PermissionsError(NetpunchError):
    """This user may not read a file, or others may read a secret. `chown` it, and `chmod 600`."""

    exit_code = 77
    reason = Reason.PERMISSIONS


class ConfigurationError(NetpunchError):
    """The configuration is wrong. `netpunch check` shows where."""

    exit_code = 78
    reason = Reason.CONFIGURATION


_MORE_FILES = "raise LimitNOFILE= of its systemd unit, or `ulimit -n`"
_MORE_MEMORY = "raise MemoryMax= of its systemd unit, or `ulimit -v`"
_MORE_TASKS = "raise TasksMax= of its systemd unit, or `ulimit -u`"

_LACKS = {
    errno.EMFILE: _MORE_FILES,
    errno.ENFILE: "raise fs.file-max of this host",
    errno.ENOMEM: _MORE_MEMORY,
    errno.ENOBUFS: "the system's network buffers are used up",
}
"""What to do about each errno that means a lack of resources."""

_LACKS_OF_PROCESSES = {**_LACKS, errno.EAGAIN: _MORE_TASKS}
"""EAGAIN is a lack only where a process is started; on a socket it means: nothing to read."""

_THREAD_REFUSED = "can't start new thread"
"""CPython's RuntimeError when pthread_create(3) fails. It has no errno."""

_MAPPING_REFUSED = "failed to map segment"
"""The dynamic loader's ImportError when there is no memory for an extension module."""


def combined_exit_code(codes: list[int]) -> int:
    """The exit code for several results: 0 if all are 0, else the first in `EXIT_CODES`."""
    order = list(EXIT_CODES)
    return min(filter(None, codes), key=order.index, default=0)


def bug_text(error: BaseException) -> str:
    """One line about an unexpected exception. Not its repr: that of a UnicodeDecodeError has all
    of the bytes, and they may be a secret."""
    return f"{type(error).__name__}: {error}"


def lack_behind(
    error: BaseException, what: str = "", *, starting_process: bool = False
) -> ResourcesError | None:
    """The lack of descriptors, threads, processes or memory that caused `error`, or None.

    Only this module knows the forms of such a lack: an OSError, also from an import; an
    ImportError of an extension module; a RuntimeError from a thread; a MemoryError; any of these
    as the cause of another error. `what` begins the message: the file or address in question."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        if found := _lack(link, _LACKS_OF_PROCESSES if starting_process else _LACKS):
            return ResourcesError(": ".join(filter(None, (what, found))))
        chain.append(link)
        link = link.__cause__ or link.__context__
    return None


@contextlib.contextmanager
def resource_errors(what: str = "") -> Iterator[None]:
    """Turns each exception that a lack of resources caused (`lack_behind`) into ResourcesError."""
    try:
        yield
    except NetpunchError:
        raise
    except Exception as error:
        if lack := lack_behind(error, what):
            raise lack from error
        raise


@contextlib.contextmanager
def access_errors(path: Path) -> Iterator[None]:
    """Turns the refusal to read this file or folder into PermissionsError, and a lack of resources
    into ResourcesError."""
    with resource_errors(str(path)):
        try:
            yield
        except PermissionError:
            raise PermissionsError(f"{path}: this user may not read it") from None


def _lack(error: BaseException, lacks: Mapping[int, str]) -> str | None:
    """What is lacking and what to do, if this very error says so."""
    match error:
        case ResourcesError():
            return str(error)
        case MemoryError():
            return f"out of memory; {_MORE_MEMORY}"
        case OSError(errno=int(number)) if number in lacks:
            return f"{os.strerror(number)}; {lacks[number]}"
        case RuntimeError() if _THREAD_REFUSED in str(error):
            return f"no thread can be started; {_MORE_TASKS}"
        case ImportError():
            return _lack_of_import(str(error))
    return None


def _lack_of_import(message: str) -> str | None:
    """The dynamic loader gives the errno's text only."""
    for number, advice in _LACKS.items():
        if os.strerror(number) in message:
            return f"{os.strerror(number)}; {advice}"
    return f"out of memory; {_MORE_MEMORY}" if _MAPPING_REFUSED in message else None
