"""argparse with this program's manners: errors are raised, help fits 80 columns."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from netpunch.cli.console import put
from netpunch.errors import UsageError

HELP_WIDTH = 79
"""Columns: fits the narrowest common terminal, and never asks for the terminal's size (that
import costs as much as all the rest of `--help`)."""
HELP_COLUMN = 24

EXIT_CODES = """\
exit codes:
  0 done             66 no such file             75 not linked, or port in use
  1 a hook failed    69 control unreachable      77 permissions
  64 usage           73 cannot write output      78 configuration
"""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=HELP_COLUMN, width=HELP_WIDTH)


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would exit with 2; `--debug` is known everywhere."""

    def __init__(self, prog: str, description: str, epilog: str = "", **of_subparsers: Any) -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
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

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")

    def print_help(self, file: object = None) -> None:  # noqa: ARG002 - argparse gives none
        """To standard output, flushed, so that `--help | head` ends quietly."""
        put(self.format_help())
