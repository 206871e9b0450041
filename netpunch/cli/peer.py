"""`netpunch peer`: links one end without a site file, then prints the addresses or becomes another
program."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from netpunch import template
from netpunch.cli import oneshot
from netpunch.cli.arguments import Parser, control_address, duration, local_address
from netpunch.cli.streams import write_line
from netpunch.errors import (
    ConfigurationError,
    HookError,
    MissingFileError,
    PermissionsError,
    UsageError,
    lack_behind,
)
from netpunch.wire.classic import LETTERS, end_of, pair_of

if TYPE_CHECKING:
    from netpunch.api.punch import Link

COMMAND_OPTION = "--command"
END_NAMES = "ab"
SHELL_SIGNAL_BASE = 128
"""A shell reports a command that signal N ended as 128 + N."""
RESULT = "LADDR/LHOST/LPORT/RADDR/RHOST/RPORT: {laddr} {lhost} {lport} {raddr} {rhost} {rport}"
"""The Go netpunch's result line: scripts split it at spaces."""
MAX_TEMPLATE = 1024 * 1024
"""Bytes of a template file, as in site files."""
IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFSZ")
"""Signals that Python ignores. The program that replaces it would inherit that and, for instance,
not end when its reader does."""

DESCRIPTION = """\
Link one end with its partner once, without a site file, and print the addresses
as the last line on standard output:

  LADDR/LHOST/LPORT/RADDR/RHOST/RPORT: 0.0.0.0:5000 0.0.0.0 5000 \\
      198.51.100.7:5001 198.51.100.7 5001

L is the local address, R the partner's. The port is free again then, so that
another program can use the path.

With --protocol classic, SLOT is a letter: the pairs are a-b, c-d, ... y-z. The
secret is the content of F, including a newline at its end. With --protocol v2,
SLOT is a or b, and F has the pair's key, which `netpunch key new` creates.
"""
EPILOG = """\
TEXT and ARG may contain {laddr} {lhost} {lport} {raddr} {rhost} {rport} {pair}
and {end}; {{ stands for a brace. With --command, only a --template is printed.

examples:
  netpunch peer a --secret-file F --local :5000 --remote HOST:7777
  netpunch peer b --protocol v2 --pair home-office --secret-file F \\
      --local :5000 --remote HOST:10001 --template '{raddr}'
  netpunch peer a --secret-file F --local :1194 --remote HOST:7777 --command \\
      openvpn --config vpn.conf --lport {lport} --remote {rhost} {rport}
"""


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    own, command = split_command(arguments)
    options = build_parser(prog).parse_args(own)
    if options.command is not None:
        raise UsageError(f"{COMMAND_OPTION} takes no `=`: write {COMMAND_OPTION} PROGRAM ARG...")
    options.command = command
    oneshot.check_pair(options)
    check_slot(options)
    return options


def split_command(arguments: list[str]) -> tuple[list[str], list[str]]:
    """This command's arguments, and PROGRAM ARG... after --command: argparse would take the
    program's options, and a `--`, for ours."""
    if COMMAND_OPTION not in arguments:
        return arguments, []
    cut = arguments.index(COMMAND_OPTION)
    if not arguments[cut + 1 :]:
        raise UsageError(f"{COMMAND_OPTION} needs a program, and is the last option")
    return arguments[:cut], arguments[cut + 1 :]


def build_parser(prog: str) -> Parser:
    parser = Parser(prog, DESCRIPTION, EPILOG)
    indent = " " * len(f"usage: {prog} ")
    parser.usage = (
        f"{prog} SLOT --secret-file F --local ADDR:PORT --remote HOST:PORT\n"
        f"{indent}[options] [--command PROGRAM ARG...]"
    )
    add = parser.add_argument
    add("slot", metavar="SLOT", help="a letter from a to z; for v2, a or b")
    oneshot.add_secret(parser)
    add(
        "--local",
        metavar="ADDR:PORT",
        required=True,
        type=local_address,
        help="where to punch from; :PORT for all addresses",
    )
    add(
        "--remote",
        metavar="HOST:PORT",
        required=True,
        type=control_address,
        help="control's address",
    )
    oneshot.add_protocol(parser)
    add("--deadline", metavar="TIME", type=duration, help="give up after TIME; default: never")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--template", metavar="TEXT", help="print TEXT instead of that line")
    output.add_argument("--template-file", metavar="F", help="print the text of F instead")
    oneshot.add_log(parser)
    add(
        COMMAND_OPTION,
        nargs=argparse.REMAINDER,  # for the help text: see `split_command`
        help="once linked, become PROGRAM ARG...; the last option",
    )
    return parser


def check_slot(options: argparse.Namespace) -> None:
    allowed = END_NAMES if options.protocol == "v2" else LETTERS
    if len(options.slot) != 1 or options.slot not in allowed:
        described = "a or b" if options.protocol == "v2" else "a letter from a to z"
        raise UsageError(f"SLOT is {described}, not {options.slot!r}")


def execute(options: argparse.Namespace) -> int:
    from netpunch.keys import read_secret_file

    result = result_template(options)
    check_command(options.command)
    secret = read_secret_file(options.secret_file, options.protocol, "end").value
    link = punch_once(options, secret)
    if isinstance(link, signal.Signals):
        return SHELL_SIGNAL_BASE + link
    values = placeholder_values(options, link)
    if result is not None:
        write_line(template.render(result, values))
    if options.command:
        become(options.command, values)
    return 0


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
        template.validate(text, template.LINK_PLACEHOLDERS)
    except template.TemplateError as error:
        raise UsageError(f"{place}: {error}") from None


def read_template(file: str) -> str:
    from netpunch.config.files import read_regular

    try:
        data, _ = read_regular(Path(file), MAX_TEMPLATE)
        text = data.decode()
        template.validate(text, template.LINK_PLACEHOLDERS)
    except FileNotFoundError:
        raise MissingFileError(f"{file}: no such file") from None
    except OSError as error:
        if lack := lack_behind(error, file):
            raise lack from None
        raise PermissionsError(f"{file}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file}: not UTF-8 text") from None
    except ValueError as error:
        raise ConfigurationError(f"{file}: {error}") from None
    except template.TemplateError as error:
        line = text.count("\n", 0, error.offset) + 1
        raise ConfigurationError(f"{file}:{line}: {error}") from None
    return text


def check_command(command: list[str]) -> None:
    """Now, rather than when the hole is open and no program is there to use it."""
    if not command:
        return
    from shutil import which

    program, *arguments = command
    if which(program) is None:
        raise UsageError(f"{COMMAND_OPTION}: {program!r}: no such program, or not executable")
    for argument in arguments:
        check_template(argument, f"{COMMAND_OPTION}: {argument!r}")


def punch_once(options: argparse.Namespace, secret: bytes) -> Link | signal.Signals:
    """The link, with its port free again; or the signal that ended the attempt."""
    from netpunch import punch
    from netpunch.net.loop import run

    log = oneshot.open_log(options, secret, slot=options.slot)
    log.info(f"Start in peer mode on {options.local} to server at {options.remote}")
    attempt = punch(
        pair=options.pair or "",
        end=options.slot,
        secret=secret,
        control=str(options.remote),
        local=str(options.local),
        protocol=options.protocol,
        deadline=options.deadline,
        observer=log.observer,
    )
    link = run(oneshot.until_stopped(attempt))
    log.info(f"Shut down by {link.name}" if isinstance(link, signal.Signals) else "close: ok")
    return link


def placeholder_values(options: argparse.Namespace, link: Link) -> dict[str, str | int]:
    """A classic pair is named by its letters; its ends are a and b, as everywhere."""
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
        os.execvp(program, argv)  # noqa: S606 - without a shell, on purpose
    except OSError as error:
        if lack := lack_behind(error, f"{COMMAND_OPTION}: {program}"):
            raise lack from None
        raise HookError(f"{COMMAND_OPTION}: cannot run {program!r}: {error.strerror}") from None
