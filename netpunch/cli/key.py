"""`netpunch key`: creates, derives and compares the keys of pairs."""

from __future__ import annotations

import argparse
from pathlib import Path

from netpunch.cli.arguments import Parser, key_name
from netpunch.cli.new_files import write_new_file
from netpunch.cli.streams import write_line

DESCRIPTION = """\
Create keys of pairs, derive the keys for control, and compare keys. A key goes
to standard output, or with -o to a new file of mode 0600. Existing files are
never overwritten.
"""
EPILOG = """\
Both ends of a pair have the pair's key, and nobody else. Control gets the key
derived from it: with that it can introduce the ends, but neither read nor forge
what they say to each other. PAIR is the pair's name in the site file, which is
part of the derivation. All keys of one pair have the same fingerprint. A mesh
has one key for all its pairs, and one for control: there PAIR is its name.

examples:
  netpunch key new -o home-office.key
  netpunch key control home-office home-office.key -o home-office.control.key
  netpunch key id home-office home-office.control.key
  netpunch key control lan lan.key -o lan.control.key
"""


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog, DESCRIPTION, EPILOG)
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    for name, (make, summary) in ACTIONS.items():
        action = actions.add_parser(name, description=f"{summary.capitalize()}.", help=summary)
        action.set_defaults(make=make)
        if name in FROM_A_FILE:
            add_source(action)
        if name in MAKE_KEYS:
            action.add_argument("-o", metavar="FILE", dest="output", help="write it to a new file")
        else:
            action.set_defaults(output=None)
    return parser.parse_args(arguments)


def add_source(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "pair", metavar="PAIR", type=key_name, help="the pair's name, or the mesh's"
    )
    action.add_argument("file", metavar="FILE", help="the key, in a file of mode 0600")


def execute(options: argparse.Namespace) -> int:
    line = options.make(options)
    if options.output is None:
        write_line(line)
    else:
        write_new_file(options.output, line + "\n")
    return 0


def new_key(options: argparse.Namespace) -> str:  # noqa: ARG001 - one signature for all actions
    from netpunch import keys

    return keys.new_key()


def key_for_control(options: argparse.Namespace) -> str:
    from netpunch import keys

    return keys.control_key(Path(options.file), options.pair)


def fingerprint(options: argparse.Namespace) -> str:
    from netpunch.keys import load_control_key
    from netpunch.wire import keys

    return keys.fingerprint(load_control_key(Path(options.file), options.pair))


ACTIONS = {
    "new": (new_key, "create the key of a pair"),
    "control": (key_for_control, "derive control's key for a pair"),
    "id": (fingerprint, "show a key's fingerprint, to compare keys by eye"),
}
FROM_A_FILE = ("control", "id")
MAKE_KEYS = ("new", "control")
