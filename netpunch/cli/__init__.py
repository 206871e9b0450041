"""The command line: arguments in, exit code out. Nothing else in netpunch reads argv.

A command is a module of this package and a line in `COMMANDS`. The module has
`parse(prog, arguments)`, which returns a namespace or raises UsageError, and `execute(options)`,
which returns the exit code or raises NetpunchError. It is imported only when it is chosen, and
imports what it needs only when it is executed: `--help` and `check` run in loops and in shell
completion, so they must not pay for asyncio or cryptography.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, cast

from netpunch.cli.arguments import Parser, refuse_go_flags
from netpunch.cli.streams import ReaderGoneError, open_standard_descriptors, write_error
from netpunch.errors import BUG_EXIT_CODE, NetpunchError, UsageError, bug_text, lack_behind

PROGRAM = "netpunch"
INTERRUPTED_EXIT_CODE = 130
"""128 + SIGINT, as shells report it."""

COMMANDS = {
    "init": "set up a new pair, and invite its other hosts",
    "join": "set up this host by an invitation",
    "run": "run this node's part of a site file: control, ends, or both",
    "check": "validate site files and show what is in effect",
    "schema": "print the JSON schema of site files, for editors",
    "key": "create a pair's key, derive the one for control, compare keys",
    "doctor": "find out whether pairs can link, and what prevents it",
    "status": "show the state of every pair of the running processes",
    "diagram": "draw the datagrams that --trace recorded",
    "control": "run a control node without a site file",
    "peer": "link one end once, without a site file, and print the addresses",
    "completion": "print the completions for a shell",
    "man": "print the manual page",
    "version": "print the version",
}
DESCRIPTION = """\
Links pairs of hosts behind NATs by UDP hole punching. The two ends of a pair
register with a control node on a public address, which introduces them to each
other; then they open a direct path, for WireGuard, OpenVPN or any other UDP
program. A site file describes control and all pairs; every host runs its part.
"""
EXAMPLES = """\
examples:
  netpunch init                              set up a pair and its control
  netpunch check site.yaml                   find mistakes in a site file
  netpunch run site.yaml                     run this host's part of it
  netpunch status                            show which pairs are linked

Without a site file, the secret in file F:
  netpunch control --secret-file F --local :7777
  netpunch peer a --secret-file F --local :5000 --remote HOST:7777
  netpunch peer b --secret-file F --local :5000 --remote HOST:7777
"""


class CommandModule(Protocol):
    """What a module of this package offers as a command."""

    parse: Callable[[str, list[str]], argparse.Namespace]
    execute: Callable[[argparse.Namespace], int]


class CommandLine(NamedTuple):
    """The arguments, split at the command: the program's options, the command, the command's."""

    options: list[str]
    command: str | None
    arguments: list[str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with `argv` (default: this process's) and return its exit code."""
    open_standard_descriptors()  # before anything else is opened
    line = split(list(sys.argv[1:] if argv is None else argv))
    prog = f"{PROGRAM} {line.command}" if line.command in COMMANDS else PROGRAM
    try:
        return run_command(line, prog)
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE
    except SystemExit as exit_request:  # argparse, after it has printed a help text
        return exit_request.code if isinstance(exit_request.code, int) else BUG_EXIT_CODE


def split(argv: list[str]) -> CommandLine:
    """The command is the first word: no option before it takes a value."""
    for index, word in enumerate(argv):
        if not word.startswith("-"):
            return CommandLine(argv[:index], word, argv[index + 1 :])
    return CommandLine(argv, None, [])


def run_command(line: CommandLine, prog: str) -> int:
    """Parse, execute, and turn each exception into a message and an exit code."""
    debug = "--debug" in line.options
    try:
        refuse_go_flags(line.options, line.arguments)
        if line.options and top_level_parser().parse_args(line.options).version:
            line = CommandLine([], "version", [])
        if line.command is None:
            raise UsageError(f"a command is missing; see `{PROGRAM} --help`")
        module = load(line.command)
        options = module.parse(prog, line.arguments)
        options.debug = debug = debug or getattr(options, "debug", False)
        return module.execute(options)
    except ReaderGoneError as error:
        return error.exit_code
    except NetpunchError as error:
        show_traceback(debug)
        write_error(error_text(prog, error))
        return error.exit_code
    except Exception as error:
        show_traceback(debug)
        if lack := lack_behind(error):
            write_error(error_text(prog, lack))
            return lack.exit_code
        write_error(f"{prog}: bug: {bug_text(error)}, please report; --debug shows the traceback")
        return BUG_EXIT_CODE


def top_level_parser() -> Parser:
    listing = "\n".join(f"  {name:11} {summary}" for name, summary in COMMANDS.items())
    commands = f"commands (`{PROGRAM} COMMAND --help` explains one):\n{listing}"
    parser = Parser(PROGRAM, f"{DESCRIPTION}\n{commands}", EXAMPLES)
    parser.usage = f"{PROGRAM} [--debug] COMMAND ..."
    parser.add_argument("--version", action="store_true", help="print the version")
    return parser


def load(command: str) -> CommandModule:
    """Raises UsageError for an unknown command."""
    if command in COMMANDS:
        return cast(CommandModule, importlib.import_module(f"{__name__}.{command}"))
    from difflib import get_close_matches  # only a mistake pays for it

    likely = get_close_matches(command, COMMANDS, n=1)
    advice = f"did you mean `{likely[0]}`?" if likely else f"see `{PROGRAM} --help`"
    raise UsageError(f"unknown command {command!r}; {advice}")


def error_text(prog: str, error: NetpunchError) -> str:
    """A report of several lines already says where each problem is; a single line gets `prog`."""
    text = str(error)
    return text if "\n" in text else f"{prog}: {text}"


def show_traceback(debug: bool) -> None:
    if debug:
        from traceback import format_exc

        write_error(format_exc().rstrip())
