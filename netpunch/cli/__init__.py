"""The command line: arguments in, exit code out; nothing else of netpunch knows about argv.

A command is a module of this package with `parse(prog, arguments)`, which gives a namespace or
raises UsageError, and `execute(options)`, which gives the exit code or raises NetpunchError. It
is imported only when it is chosen, and imports what it needs only when it is executed: `--help`
and `check` are run in loops and by completion, so they must not pay for asyncio or cryptography.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, cast

from netpunch._version import __version__
from netpunch.cli import go_flags
from netpunch.cli.console import ReaderGoneError, put_line, tell
from netpunch.cli.descriptors import open_standard_descriptors
from netpunch.cli.parser import EXIT_CODES, Parser
from netpunch.errors import NetpunchError, UsageError, bug_text, lack_behind

PROGRAM = "netpunch"
EXIT_BUG = 70
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""

COMMANDS = {
    "run": "run this node's part of a site file: control, ends or both",
    "check": "validate site files without touching the network",
    "key": "make a pair's key, control's key for it, or a fingerprint",
    "control": "a control node without a site file",
    "peer": "one end without a site file: link once and print the addresses",
    "status": "show every pair of the running process",
    "version": "print the version",
}
EXAMPLES = """\
examples:
  netpunch check site.yaml
  netpunch run site.yaml
  netpunch key new -o home-office.key
  netpunch control --secret-file F --local :7777
  netpunch peer a --secret-file F --local :5000 --remote HOST:7777
"""


class CommandModule(Protocol):
    """What a module of this package offers as a command."""

    parse: Callable[[str, list[str]], argparse.Namespace]
    execute: Callable[[argparse.Namespace], int]


class CommandLine(NamedTuple):
    """Arguments cut at the command: options of the program, the command, what belongs to it."""

    options: list[str]
    command: str | None
    arguments: list[str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with `argv` (default: this process's) and return its exit code."""
    open_standard_descriptors()  # before anything else is opened
    line = cut(list(sys.argv[1:] if argv is None else argv))
    prog = f"{PROGRAM} {line.command}" if line.command in COMMANDS else PROGRAM
    try:
        return carry_out(line, prog)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except SystemExit as exit_request:  # argparse, after it has printed a help text
        return exit_request.code if isinstance(exit_request.code, int) else EXIT_BUG


def cut(argv: list[str]) -> CommandLine:
    """The command is the first word: no option before it takes a value."""
    for index, word in enumerate(argv):
        if not word.startswith("-"):
            return CommandLine(argv[:index], word, argv[index + 1 :])
    return CommandLine(argv, None, [])


def carry_out(line: CommandLine, prog: str) -> int:
    """Parse, execute, and turn whatever is raised into a message and an exit code."""
    debug = "--debug" in line.options
    try:
        go_flags.refuse(line.options, line.arguments)
        if line.options:
            top_level_parser().parse_args(line.options)
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
        tell(error_text(prog, error))
        return error.exit_code
    except Exception as error:
        show_traceback(debug)
        if lack := lack_behind(error):
            tell(error_text(prog, lack))
            return lack.exit_code
        tell(f"{prog}: bug: {bug_text(error)}, please report; --debug shows the traceback")
        return EXIT_BUG


def top_level_parser() -> Parser:
    listing = "\n".join(f"  {name:9} {summary}" for name, summary in COMMANDS.items())
    parser = Parser(
        PROGRAM,
        "UDP hole punching between hosts behind NATs.\n\n"
        f"commands (`{PROGRAM} COMMAND --help` tells more):\n{listing}",
        f"{EXAMPLES}\n{EXIT_CODES}",
    )
    parser.usage = f"{PROGRAM} [--debug] COMMAND ..."
    parser.add_argument("--version", action=PrintVersion, nargs=0, help="print the version")
    return parser


class PrintVersion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        put_line(f"{PROGRAM} {__version__}")
        parser.exit()


def load(command: str) -> CommandModule:
    if command in COMMANDS:
        return cast(CommandModule, importlib.import_module(f"{__name__}.{command}"))
    from difflib import get_close_matches  # only a mistake pays for it

    likely = get_close_matches(command, COMMANDS, n=1)
    advice = f"did you mean `{likely[0]}`?" if likely else f"see `{PROGRAM} --help`"
    raise UsageError(f"no command {command!r}; {advice}")


def error_text(prog: str, error: NetpunchError) -> str:
    """A report of several lines already says where each thing is; one line gets our name."""
    text = str(error)
    return text if "\n" in text else f"{prog}: {text}"


def show_traceback(debug: bool) -> None:
    if debug:
        from traceback import format_exc

        tell(format_exc().rstrip())
