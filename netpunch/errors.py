"""The error tree. A class's docstring says what the user should do; `exit_code` is what the
process ends with (sysexits.h numbers where they fit)."""

from __future__ import annotations


class NetpunchError(Exception):
    """Base of everything netpunch raises on purpose. Catch this one to catch them all."""

    exit_code = 70


class UsageError(NetpunchError):
    """The command line, or an argument of a call, is wrong. The message says what is expected; see
    `netpunch COMMAND --help`."""

    exit_code = 64


class MissingFileError(NetpunchError):
    """A file that the command line or a caller names does not exist. Check its path."""

    exit_code = 66


class PunchError(NetpunchError):
    """The ends did not link. `reason` is the `reason` of events (`netpunch.reasons`)."""

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class ControlUnreachableError(PunchError):
    """No control node answered. Check its address, its firewall (UDP), that it runs, and that
    it has this pair's key: a wrong secret is met with silence."""

    exit_code = 69


class OutputError(NetpunchError):
    """Something could not be written. Check free space and permissions of its directory."""

    exit_code = 73


class NotLinkedError(PunchError):
    """The ends did not link before the deadline. The message says why; try again later."""

    exit_code = 75


class PortInUseError(NetpunchError):
    """Another process has the local port. Stop it (`ss -ulpn` shows it) or choose another."""

    exit_code = 75


class NetworkNotReadyError(NetpunchError):
    """An address or an interface is not there now: at boot, or while a link is down. If it never
    will be, correct `local`, `listen` or `interface`; it is tried again later."""

    exit_code = 75


class ResourcesError(NetpunchError):
    """The system has no sockets or memory left for this process. Raise its limits (LimitNOFILE=
    of its unit, or `ulimit -n`); it is tried again later."""

    exit_code = 75


class UnresolvedError(NetpunchError):
    """A name has no address for now. Check its spelling and this host's DNS; it is tried again
    later."""

    exit_code = 75


class HookError(NetpunchError):
    """A hook failed. Its output is in the `hook.output` events."""

    exit_code = 1


class PermissionsError(NetpunchError):
    """A file may not be read, or others may read a secret. `chmod 600` and `chown` it."""

    exit_code = 77


class ConfigurationError(NetpunchError):
    """The configuration is wrong. The message names file, line, column and key."""

    exit_code = 78


#: What to do when a process has used up its file descriptors (EMFILE).
MORE_FILES_ADVICE = "raise LimitNOFILE= of its systemd unit, or `ulimit -n`"

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
