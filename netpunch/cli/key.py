"""`netpunch key`: creates, derives and compares the keys of pairs."""

from __future__ import annotations

import argparse
from pathlib import Path

from netpunch.cli.arguments import Parser, key_name
from netpunch.cli.new_files import write_new_file
from netpunch.cli.streams import write_error, write_line, write_output
from netpunch.errors import UsageError

DESCRIPTION = """\
Create keys of pairs, derive the keys for control, and compare keys. A key goes
to standard output, or with -o to a new file of mode 0600. Existing files are
never overwritten. With --all, all keys of a site file are made at once.
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

All keys of a site that are not there yet; then those that control vps needs:
  netpunch key new --all site.yaml -d keys/
  netpunch key control --all site.yaml -d keys/ -o keys-of-vps/ --control vps
"""


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog, DESCRIPTION, EPILOG)
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    for name, (make, summary) in ACTIONS.items():
        action = actions.add_parser(name, description=f"{summary.capitalize()}.", help=summary)
        action.set_defaults(make=make, site=None, output=None)
        if name in FROM_A_FILE:
            add_source(action, optional=name in MAKE_KEYS)
        if name in MAKE_KEYS:
            add_output(action)
    options = parser.parse_args(arguments)
    if options.action in MAKE_KEYS:
        check_combination(options, prog)
    return options


def add_source(action: argparse.ArgumentParser, *, optional: bool) -> None:
    nargs = "?" if optional else None
    action.add_argument(
        "pair", metavar="PAIR", nargs=nargs, type=key_name, help="the pair's name, or the mesh's"
    )
    action.add_argument("file", metavar="FILE", nargs=nargs, help="the key, in a file of mode 0600")


def add_output(action: argparse.ArgumentParser) -> None:
    add, name = action.add_argument, action.prog.rpartition(" ")[2]
    add("--all", metavar="SITE", dest="site", help="every key of a site file that is not there yet")
    add("-d", metavar="DIR", dest="keys", help="with --all: the folder of the pairs' keys")
    if name == "control":
        add("-o", metavar="PATH", dest="output", help="a new file; with --all: a folder")
        add("--control", metavar="NAME", help="with --all: only of pairs that it introduces")
    else:
        add("-o", metavar="FILE", dest="output", help="write it to a new file")


def check_combination(options: argparse.Namespace, prog: str) -> None:
    """Raises UsageError."""
    if options.site is None:
        of_all = {"-d": options.keys, "--control": getattr(options, "control", None)}
        given = [name for name, value in of_all.items() if value is not None]
        if given:
            raise UsageError(f"{given[0]} needs --all SITE; see `{prog} {options.action} --help`")
        if options.action == "control" and options.file is None:
            raise UsageError("expected PAIR and FILE, or --all SITE -d DIR -o DIR")
        return
    if getattr(options, "pair", None) is not None:
        raise UsageError("expected PAIR and FILE or --all SITE, got both")
    wanted = "-d DIR -o DIR" if options.action == "control" else "-d DIR"
    if options.keys == options.output is not None:
        raise UsageError("-o: expected another folder than -d: control's keys have the same names")
    if options.keys is None or (options.output is None) != (options.action == "new"):
        raise UsageError(f"--all SITE goes with {wanted}: see `{prog} {options.action} --help`")


def execute(options: argparse.Namespace) -> int:
    if options.site is not None:
        return make_all(options)
    line = options.make(options)
    if options.output is None:
        write_line(line)
    else:
        write_new_file(options.output, line + "\n")
    return 0


def make_all(options: argparse.Namespace) -> int:
    """The paths of the files that it makes go to standard output."""
    from netpunch.cli.site_keys import derive_keys, make_keys

    site, keys = Path(options.site), Path(options.keys)
    if options.action == "new":
        folder, outcome = keys, make_keys(site, keys)
    else:
        folder = Path(options.output)
        outcome = derive_keys(site, keys, folder, options.control)
    write_output("".join(f"{path}\n" for path in outcome.made))
    made = f"{len(outcome.made)} {'key' if len(outcome.made) == 1 else 'keys'} made"
    kept = f", {outcome.kept} there already" if outcome.kept else ""
    write_error(f"{folder}: {made}{kept}")
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
