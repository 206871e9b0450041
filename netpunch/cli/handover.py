"""What `netpunch peer` makes of its link: a line, a text of one's own, or another program."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from netpunch import template
from netpunch.errors import (
    ConfigurationError,
    HookError,
    MissingFileError,
    PermissionsError,
    UsageError,
    lack_behind,
)
from netpunch.wire.classic import end_of, pair_of

if TYPE_CHECKING:
    from netpunch.api import Link

COMMAND_OPTION = "--command"
RESULT = "LADDR/LHOST/LPORT/RADDR/RHOST/RPORT: {laddr} {lhost} {lport} {raddr} {rhost} {rport}"
"""The Go netpunch's result line: scripts split it at spaces."""
MAX_TEMPLATE = 1024 * 1024
"""Bytes of a template file, as in site files."""
IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFSZ")
"""Signals that Python ignores; what it becomes by exec would inherit that and, for one, not end
when its reader does."""


def result_template(options: argparse.Namespace) -> str | None:
    """What to print once linked. Raises UsageError (--template), ConfigurationError,
    MissingFileError or PermissionsError (--template-file)."""
    if options.template is not None:
        check_template(options.template, "--template")
        return str(options.template)
    if options.template_file is not None:
        return read_template(options.template_file)
    return None if options.command else RESULT


def check_template(text: str, place: str) -> None:
    try:
        template.validate(text)
    except template.TemplateError as error:
        raise UsageError(f"{place}: {error}") from None


def read_template(file: str) -> str:
    from netpunch.config.files import read_regular

    try:
        data, _ = read_regular(Path(file), MAX_TEMPLATE)
        text = data.decode()
        template.validate(text)
    except FileNotFoundError:
        raise MissingFileError(f"{file}: no such file") from None
    except OSError as error:
        if lack := lack_behind(error, file):
            raise lack from None
        raise PermissionsError(f"{file}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file}: is no UTF-8 text") from None
    except ValueError as error:
        raise ConfigurationError(f"{file}: {error}") from None
    except template.TemplateError as error:
        line = text.count("\n", 0, error.offset) + 1
        raise ConfigurationError(f"{file}:{line}: {error}") from None
    return text


def check_command(command: list[str]) -> None:
    """Now, not when the hole is open and nobody is there to use it."""
    if not command:
        return
    from shutil import which

    program, *arguments = command
    if which(program) is None:
        raise UsageError(f"{COMMAND_OPTION}: {program!r} is no program that can be run here")
    for argument in arguments:
        check_template(argument, f"{COMMAND_OPTION}: {argument!r}")


def placeholder_values(options: argparse.Namespace, link: Link) -> dict[str, str | int]:
    """A classic pair has no name but its letters; its ends are a and b, as everywhere."""
    slot = options.slot
    v2 = options.protocol == "v2"
    return {
        "pair": options.pair if v2 else pair_of(slot),
        "end": slot if v2 else end_of(slot),
        "laddr": str(link.local),
        "lhost": link.local.host,
        "lport": link.local.port,
        "raddr": str(link.remote),
        "rhost": link.remote.host,
        "rport": link.remote.port,
    }


def become(command: list[str], values: dict[str, str | int]) -> None:
    """Replace this process by the program: same pid, same terminal. Does not return."""
    program, *arguments = command
    argv = [program, *(template.render(argument, values) for argument in arguments)]
    for name in IGNORED_BY_PYTHON:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvp(program, argv)  # noqa: S606 - without a shell is what is wanted
    except OSError as error:
        if lack := lack_behind(error, f"{COMMAND_OPTION}: {program}"):
            raise lack from None
        raise HookError(f"{COMMAND_OPTION}: cannot run {program!r}: {error.strerror}") from None
