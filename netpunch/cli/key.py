"""`netpunch key`: keys of pairs."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path

from netpunch.cli.arguments import pair_name
from netpunch.cli.console import put_line
from netpunch.cli.parser import EXIT_CODES, Parser
from netpunch.errors import OutputError, lack_behind

KEY_FILE_MODE = 0o600

DESCRIPTION = """\
Make and compare keys of pairs. A key goes to standard output, or with -o to a
new file of mode 0600; a file that exists is never overwritten.
"""
EPILOG = f"""\
The pair's key goes to both ends and to nobody else. With the key for control, a
control node can introduce the ends, but neither read nor forge what they say to
each other. PAIR is the pair's name in the site file: it is part of what is
derived. Keys of the same pair have the same fingerprint.

examples:
  netpunch key new -o home-office.key
  netpunch key control home-office home-office.key -o home-office.control.key
  netpunch key id home-office home-office.control.key

{EXIT_CODES}"""


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog, DESCRIPTION, EPILOG)
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    for name, (make, summary) in ACTIONS.items():
        action = actions.add_parser(name, description=summary, help=summary)
        action.set_defaults(make=make)
        if name in FROM_A_FILE:
            add_source(action)
        if name in MAKE_KEYS:
            action.add_argument("-o", metavar="FILE", dest="output", help="write a new file")
        else:
            action.set_defaults(output=None)
    return parser.parse_args(arguments)


def add_source(action: argparse.ArgumentParser) -> None:
    action.add_argument("pair", metavar="PAIR", type=pair_name, help="the pair's name")
    action.add_argument("file", metavar="FILE", help="the key, in a file of mode 0600")


def execute(options: argparse.Namespace) -> int:
    line = options.make(options)
    if options.output is None:
        put_line(line)
    else:
        write_key_file(options.output, line + "\n")
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
    "new": (new_key, "make a fresh key for one pair"),
    "control": (key_for_control, "derive the key that control needs for a pair"),
    "id": (fingerprint, "show a fingerprint, to compare keys by eye"),
}
FROM_A_FILE = ("control", "id")
MAKE_KEYS = ("new", "control")


def write_key_file(file: str, text: str) -> None:
    """Create `file` and write to it. Raises OutputError; then nothing is left behind, and what
    existed is as it was."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        descriptor = os.open(file, flags, KEY_FILE_MODE)
    except FileExistsError:
        raise OutputError(
            f"{file}: exists, and a key is never overwritten: choose another name, or move it away"
        ) from None
    except OSError as error:
        if lack := lack_behind(error, file):
            raise lack from None
        raise OutputError(f"{file}: can't be created: {error.strerror}") from None
    try:
        with open(descriptor, "w", encoding="ascii") as stream:  # noqa: PTH123 - a descriptor
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(file)  # noqa: PTH108 - as it was opened
        raise OutputError(f"{file}: can't be written: {error.strerror}") from None
