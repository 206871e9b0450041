"""Reads command lines: argparse that raises UsageError, the types of arguments, and the flags of
the Go netpunch, which are refused with a hint."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from netpunch.cli.streams import write_output
from netpunch.errors import EXIT_CODES, UsageError

if TYPE_CHECKING:
    from netpunch.config.values import HostPort

T = TypeVar("T")

HELP_WIDTH = 79
"""Columns: fits the narrowest common terminal. argparse would import shutil to ask the terminal
for its size, which takes as long as all the rest of `--help`."""
HELP_COLUMN = 24


def with_exit_codes(epilog: str) -> str:
    """The end of a help text, with the table of exit codes below it."""
    codes = [f"{code:<3}{meaning:29}" for code, meaning in sorted(EXIT_CODES.items())]
    rows = (len(codes) + 1) // 2
    table = ("  " + "".join(codes[row::rows]).rstrip() for row in range(rows))
    return "\n".join([epilog, "exit codes:", *table])


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=HELP_COLUMN, width=HELP_WIDTH)


DESCRIBE: list[str] = []
"""As arguments of a command's `parse`: it is not to parse, but to raise Described."""


class Described(Exception):  # noqa: N818 - no error
    """Carries the parser of a command, for what is generated from it."""

    def __init__(self, parser: Parser) -> None:
        self.parser = parser


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would exit with 2; `--debug` is known everywhere."""

    def __init__(self, prog: str, description: str, epilog: str = "", **of_subparsers: Any) -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog and with_exit_codes(epilog),
            formatter_class=HelpFormatter,
            allow_abbrev=False,  # a new option must not change what an old script means
            **of_subparsers,
        )
        self.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,  # so that a subcommand does not reset what came before it
            help="show tracebacks of errors",
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What `parse_args` calls."""
        if args is DESCRIBE:
            raise Described(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")

    def print_help(self, file: object = None) -> None:  # noqa: ARG002 - argparse passes none
        """To standard output, flushed, so that `--help | head` ends quietly."""
        write_output(self.format_help())


# Types for `add_argument`. `netpunch.config` is imported only to read a value.


def pair_name(text: str) -> str:
    from netpunch.config import values

    try:
        return values.pair_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"invalid pair name {text!r}: {error}") from None


def key_name(text: str) -> str:
    """The name of what has the key: a pair, or the mesh of one."""
    from netpunch.mesh import mesh_pair

    mesh = mesh_pair(pair_name(text))
    return mesh.mesh if mesh else text


def local_address(text: str) -> HostPort:
    from netpunch.config import values

    example = "192.0.2.1:5000, :5000 (all addresses) or :0 (any free port)"
    return _read(values.host_port, text, example)


def control_address(text: str) -> HostPort:
    from netpunch.config import values

    example = "control's public address, such as 192.0.2.1:7777"
    return _read(values.reachable_host_port, text, example)


def duration(text: str) -> float:
    from netpunch.config import values

    return _read(values.duration, text, "a number and its unit, such as 90s or 5m")


def _read(reader: Callable[[str], T], text: str, example: str) -> T:
    from netpunch.config.values import complaint

    try:
        return reader(text)
    except ValueError as error:
        message = complaint(example, repr(text), str(error))
        raise argparse.ArgumentTypeError(message) from None


# The Go netpunch.

VISIBLE_TO_OTHERS = (
    "a secret as an argument is visible to everyone on this host: "
    "put it into a file of mode 0600 and give --secret-file FILE"
)
NAME_A_COMMAND = (
    "name a command: `netpunch control --secret-file F --local :7777` or "
    "`netpunch peer a --secret-file F --local :5000 --remote HOST:7777`"
)
GO_FLAGS = {
    "peer": "use `netpunch peer SLOT ...`",
    "secret-file": "use --secret-file FILE",
    "local": "use --local ADDRESS:PORT",
    "remote": "use --remote HOST:PORT",
    "template": "use --template TEXT, with {rhost} for {{.RemoteIP}} and so on",
    "template-file": "use --template-file FILE, with {rhost} for {{.RemoteIP}} and so on",
    "silent": "use --silent",
    "raw-logging": "use --raw-logging",
    "version": "use --version",
    "command": "use --command PROGRAM ARG..., as the last option",
    "arg": "write TEXT behind --command PROGRAM, with {rhost} for {{.RemoteIP}} and so on",
    "fields": "write each word behind --command PROGRAM, with {rhost} for {{.RemoteIP}} and so on",
    "raw": "write TEXT behind --command PROGRAM, and {{ for a brace in it",
    "help": "use --help",
}
NOT_OURS = {"peer", "arg", "fields", "raw"}
"""Of these, what no command of ours has: refused with two dashes as well, which Go accepts."""
PROGRAM_FOLLOWS = "--command"
"""The words after it belong to another program."""


def refuse_go_flags(options: list[str], arguments: list[str]) -> None:
    """Raise UsageError if `options`, the words before the command, or its `arguments` are written
    as for the Go netpunch. The message repeats no value: it may be the secret."""
    if PROGRAM_FOLLOWS in arguments:
        arguments = arguments[: arguments.index(PROGRAM_FOLLOWS)]
    flags = [_flag(word) for word in (*options, *arguments)]
    if any(name == "secret" for _, name in flags):
        raise UsageError(VISIBLE_TO_OTHERS)
    if any(name in GO_FLAGS.keys() - {"version", "help"} for _, name in flags[: len(options)]):
        raise UsageError(NAME_A_COMMAND)
    for dashes, name in flags:
        if name in GO_FLAGS and (dashes == "-" or name in NOT_OURS):
            raise UsageError(f"{dashes}{name} is a flag of the Go netpunch: {GO_FLAGS[name]}")


def _flag(word: str) -> tuple[str, str]:
    """Its dashes and its name; both are empty for a word that is no flag."""
    name = word.lstrip("-")
    dashes = word[: len(word) - len(name)]
    return (dashes, name.partition("=")[0]) if dashes else ("", "")
