"""The error tree. A class's docstring says what the user should do; `exit_code` is what the
process ends with (sysexits.h numbers where they fit), `reason` what events say."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping

from netpunch.reasons import Reason


class NetpunchError(Exception):
    """Base of everything netpunch raises on purpose. Catch this one to catch them all."""

    exit_code = 70
    reason: str = Reason.BUG


class UsageError(NetpunchError):
    """The command line, or an argument of a call, is wrong. The message says what is expected; see
    `netpunch COMMAND --help`."""

    exit_code = 64
    reason = Reason.CONFIGURATION


class MissingFileError(NetpunchError):
    """A file that the command line or a caller names does not exist. Check its path."""

    exit_code = 66
    reason = Reason.CONFIGURATION


class PunchError(NetpunchError):
    """The ends did not link. `reason` says why."""

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class ControlUnreachableError(PunchError):
    """No control node answered. Check its address, its firewall (UDP), that it runs, and that
    it has this pair's key: a wrong secret is met with silence."""

    exit_code = 69
    reason = Reason.NO_CONTROL


class OutputError(NetpunchError):
    """Something could not be written. Check free space and permissions of its directory."""

    exit_code = 73
    reason = Reason.OUTPUT


class NotLinkedError(PunchError):
    """The ends did not link before the deadline. The message says why; try again later."""

    exit_code = 75


class PortInUseError(NetpunchError):
    """Another process has the local port. Stop it (`ss -ulpn` shows it) or choose another."""

    exit_code = 75
    reason = Reason.PORT_IN_USE


class NetworkNotReadyError(NetpunchError):
    """An address or an interface is not there now: at boot, or while a link is down. If it never
    will be, correct `local`, `listen` or `interface`; it is tried again later."""

    exit_code = 75
    reason = Reason.NETWORK_NOT_READY


class ResourcesError(NetpunchError):
    """The system has no descriptors, threads, processes or memory left for this process. Raise
    the limit that the message names; what failed is tried again later."""

    exit_code = 75
    reason = Reason.RESOURCES


class UnresolvedError(NetpunchError):
    """A name has no address for now. Check its spelling and this host's DNS; it is tried again
    later."""

    exit_code = 75
    reason = Reason.UNRESOLVED


class HookError(NetpunchError):
    """A hook failed. Its output is in the `hook.output` events."""

    exit_code = 1
    reason = Reason.HOOK


class PermissionsError(NetpunchError):
    """A file may not be read, or others may read a secret. `chmod 600` and `chown` it."""

    exit_code = 77
    reason = Reason.PERMISSIONS


class ConfigurationError(NetpunchError):
    """The configuration is wrong. The message names file, line, column and key."""

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
"""What the system lacks when a call fails so, and what to do. EAGAIN means a lack only where a
process is started: where a socket is read, it says that there is nothing to read."""

_LACKS_OF_PROCESSES = {**_LACKS, errno.EAGAIN: _MORE_TASKS}

_THREAD_REFUSED = "can't start new thread"
"""What CPython says, as a mere RuntimeError, when pthread_create(3) fails."""

_MAPPING_REFUSED = "failed to map segment"
"""What the dynamic loader says, without an errno, when an extension module finds no memory."""

#: When several things went wrong, the process ends with the first of these that applies.
EXIT_CODE_PRECEDENCE = (78, 77, 73, 1, 69, 75)


def combined_exit_code(codes: list[int]) -> int:
    """The one exit code for several results: 0 if all are 0, a bug (70) before all else."""
    failed = [code for code in codes if code != 0]
    if not failed:
        return 0
    for code in EXIT_CODE_PRECEDENCE:
        if code in failed and 70 not in failed:
            return code
    return 70 if 70 in failed else failed[0]


def bug_text(error: BaseException) -> str:
    """What a bug raised, in a line for people. Not its repr: a UnicodeDecodeError shows all of
    the bytes there, and they may be a secret."""
    return f"{type(error).__name__}: {error}"


def lack_behind(
    error: BaseException, what: str = "", *, starting_process: bool = False
) -> ResourcesError | None:
    """The lack of descriptors, threads, processes or memory that made `error` happen, or None.

    This is the one place that knows how such a lack shows itself: as an OSError, also of an
    import; as an ImportError of an extension module; as a RuntimeError of a thread; as a
    MemoryError; or behind an error that was raised because of one. `what` begins the message:
    the file or address in question."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        if found := _lack(link, _LACKS_OF_PROCESSES if starting_process else _LACKS):
            return ResourcesError(": ".join(filter(None, (what, found))))
        chain.append(link)
        link = link.__cause__ or link.__context__
    return None


@contextlib.contextmanager
def lacks_told(what: str = "") -> Iterator[None]:
    """Raises ResourcesError for whatever fails within for lack of resources (`lack_behind`)."""
    try:
        yield
    except NetpunchError:
        raise
    except Exception as error:
        if lack := lack_behind(error, what):
            raise lack from error
        raise


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
    """The dynamic loader tells its errno only in words."""
    for number, advice in _LACKS.items():
        if os.strerror(number) in message:
            return f"{os.strerror(number)}; {advice}"
    return f"out of memory; {_MORE_MEMORY}" if _MAPPING_REFUSED in message else None
