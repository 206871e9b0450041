"""`netpunch version`, and an example of how little a command needs."""

from __future__ import annotations

import argparse

from netpunch._version import __version__
from netpunch.cli.arguments import Parser
from netpunch.cli.streams import write_line


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    return Parser(prog, "Print the version.").parse_args(arguments)


def execute(options: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes options
    write_line(f"netpunch {__version__}")
    return 0
