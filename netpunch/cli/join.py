"""`netpunch join`: takes an invitation and writes what it says for this host."""

from __future__ import annotations

import argparse
import sys

from netpunch.cli.arguments import Parser
from netpunch.cli.new_site import add_folder, folder_of, next_steps, set_up
from netpunch.cli.streams import write_error, write_line
from netpunch.errors import UsageError

DESCRIPTION = """\
Join a site: read an invitation, which `netpunch init` printed on another host,
from standard input, and write this host's site file and key, and with
WireGuard or OpenVPN their configuration. Then check them, and say what to run.
Existing files are never overwritten. Without a whole and unaltered invitation
nothing is written.
"""
EPILOG = """\
On a terminal it asks for the invitation, which is not shown when you paste it.

examples:
  netpunch join -o ~/netpunch
  netpunch join <home-office.office.invitation
"""


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    refuse_invitations(arguments)
    parser = Parser(prog, DESCRIPTION, EPILOG)
    add_folder(parser)
    return parser.parse_args(arguments)


def refuse_invitations(arguments: list[str]) -> None:
    """The error of an unknown argument would repeat it."""
    if any(word.startswith("npi") for word in arguments):
        raise UsageError(
            "an invitation as an argument is visible to everyone on this host: run `netpunch join` "
            "and paste it, or give its file to standard input"
        )


def execute(options: argparse.Namespace) -> int:
    from netpunch.config.invitation import parse_invitation

    folder = folder_of(options)
    try:
        invitation = parse_invitation(_read())
    except ValueError as error:
        raise UsageError(f"{error}. Nothing was written") from None
    code = set_up(invitation, folder)
    if code == 0:
        write_line(f"\n{next_steps(invitation, folder, 'Next')}")
    return code


def _read() -> str:
    """Bounded, whoever writes there; one more character than an invitation has shows that."""
    from netpunch.config.invitation import MAX_TEXT

    if sys.stdin is None:
        raise UsageError("standard input is closed: expected an invitation on it")
    if sys.stdin.isatty():
        from getpass import getpass

        try:
            return getpass("Paste the invitation (it is not shown) and press Enter: ")
        except EOFError:
            write_error("")
            return ""
    data = sys.stdin.buffer.read(MAX_TEXT + 1)
    return data.decode("ascii", "replace")
