"""`netpunch version`."""

from __future__ import annotations

import argparse

from netpunch._version import __version__
from netpunch.cli.console import put_line
from netpunch.cli.parser import Parser


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    return Parser(prog, "Print the version.").parse_args(arguments)


def execute(options: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes options
    put_line(f"netpunch {__version__}")
    return 0
