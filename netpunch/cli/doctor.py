"""`netpunch doctor [FILE] [PAIR]`: whether pairs can link, and what that rests on."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from netpunch.cli.arguments import Parser, pair_name
from netpunch.cli.streams import write_line, write_output
from netpunch.errors import MissingFileError, NetpunchError, UsageError
from netpunch.output.terminal import is_terminal, wants_colour

if TYPE_CHECKING:
    from netpunch.config.model import Part, Site
    from netpunch.doctor.local import Process
    from netpunch.doctor.report import Report

USUAL_FILES = (Path("site.yaml"), Path("/etc/netpunch/site.yaml"))
"""Where the site file is if none is named: here, or where the units have it."""
SUFFIXES = (".yaml", ".yml")
WORKING = "asking controls, the router and this host: some seconds ..."

DESCRIPTION = """\
Find out whether this node's pairs can link, and what prevents it: the verdict
first, then what it rests on, with what to do about everything that is not well,
then how a pair links by what its partner is behind.

It disturbs nothing that runs: it asks controls where they see this host, from
ports of its own, and registers nobody. It takes 2 to 12 seconds.
"""
EPILOG = """\
FILE is a site file, by default site.yaml here or in /etc/netpunch. PAIR is one
of its pairs or meshes, by default all that this node runs.

examples:
  netpunch doctor site.yaml
  netpunch doctor /etc/netpunch/site.yaml home-office
  netpunch doctor --json | jq '.findings[] | select(.level != "ok")'
"""


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog, DESCRIPTION, EPILOG)
    add = parser.add_argument
    add("file", metavar="FILE", nargs="?", help="a site file")
    add("pair", metavar="PAIR", nargs="?", type=pair_name, help="only this pair or mesh")
    add("--json", action="store_true", help="print one JSON object")
    add("--node", metavar="N", help="examine what node N would run")
    add(
        "--credentials",
        metavar="DIR",
        type=Path,
        help="the folder that the unit's LoadCredential= names",
    )
    options = parser.parse_args(arguments)
    if options.file and not options.pair and _is_pair(options.file):
        options.file, options.pair = None, pair_name(options.file)
    return options


def execute(options: argparse.Namespace) -> int:
    from netpunch.config.loading import load
    from netpunch.doctor.report import as_text

    path = Path(options.file) if options.file else _usual_file()
    try:
        site = load(path)
        part = _part(site, options)
    except (MissingFileError, UsageError):
        raise
    except NetpunchError as error:
        report = _refused(path, options.node, error)
    else:
        report = _examined(site, part, options)
    if options.json:
        write_line(json.dumps(report.as_record()))
    else:
        write_output(as_text(report, colour=wants_colour(sys.stdout)))
    return report.exit_code


def _refused(path: Path, node: str | None, error: NetpunchError) -> Report:
    """Of a file that cannot be used, or not here."""
    from netpunch.doctor.finding import first_line, from_error
    from netpunch.doctor.report import Report, Verdict

    text = first_line(str(error)).removeprefix(f"{path}: ")
    problems = getattr(error, "problems", ())
    cure = f"`netpunch check {path}` shows all of it" if problems else ""
    finding = from_error("file", error)._replace(text=text, cure=cure)
    verdict = Verdict(str(path), f"cannot be used: {text}", cure=cure)
    return Report(str(path), node, (verdict,), (finding,))


def _is_pair(word: str) -> bool:
    """Whether the only argument is a pair rather than a file."""
    return "/" not in word and not word.endswith(SUFFIXES) and not Path(word).exists()


def _usual_file() -> Path:
    found = next((path for path in USUAL_FILES if path.exists()), None)
    if found is None:
        places = " nor ".join(map(str, USUAL_FILES))
        raise UsageError(f"there is neither {places}: name the site file")
    return found


def _part(site: Site, options: argparse.Namespace) -> Part:
    """What is examined. Raises UsageError for a pair that this node does not run."""
    from netpunch.cli.check import select_part

    part = select_part(site, options.node)
    if options.pair is None:
        return part
    ends = tuple(end for end in part.ends if options.pair in (end.pair, end.secret.mesh))
    if not ends:
        raise UsageError(_no_such_pair(site, part, options.pair))
    return part._replace(ends=ends, controls=())


def _no_such_pair(site: Site, part: Part, name: str) -> str:
    from netpunch.config.kinds import some

    own = dict.fromkeys(end.pair for end in part.ends)
    known = any(pair.name == name for pair in site.pairs)
    what = "runs on other nodes" if known else "is not in it"
    choice = f"choose one of {some(own)}" if own else "this node runs no end"
    return f"{site.path}: pair {name} {what}; {choice}"


def _examined(site: Site, part: Part, options: argparse.Namespace) -> Report:
    from netpunch.doctor.examination import Patient, examine
    from netpunch.net.loop import run

    def find_processes() -> Sequence[Process]:
        return _processes(site, part.node)

    patient = Patient(site, part, os.environ, options.credentials, find_processes)
    with _patience():
        return run(examine(patient))


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Says on a terminal that it works, until there is something to read."""
    shown = is_terminal(sys.stderr)
    if shown:
        sys.stderr.write(WORKING)
        sys.stderr.flush()
    try:
        yield
    finally:
        if shown:
            sys.stderr.write(f"\r{' ' * len(WORKING)}\r")
            sys.stderr.flush()


def _processes(site: Site, node: str | None) -> list[Process]:
    """The status of each process that runs the file, of those that this user may ask."""
    from netpunch.cli.status import ask, find_sockets

    answers = []
    try:
        paths = find_sockets(str(site.path), os.environ, node).paths
    except NetpunchError:  # none runs
        return []
    for path in paths:
        try:
            answers.append(ask(path))
        except NetpunchError:
            continue
    file = str(site.path.resolve())
    return [answer for answer in answers if answer.get("file", file) == file]
