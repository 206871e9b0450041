"""`netpunch diagram [EVENTS ...]`: draws what `run --trace` recorded as a sequence diagram."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from netpunch.cli.arguments import Parser
from netpunch.cli.streams import write_output
from netpunch.errors import MissingFileError, NotLinkedError, OutputError, UsageError

DESCRIPTION = """\
Draw the datagrams that `netpunch run --trace` recorded as a sequence diagram:
who sent what to whom, and when. With the events of both ends, and best those of
control, too, it shows which datagrams were lost. The hosts' clocks need not
agree: datagrams that two of them have recorded tell the difference.
"""
EPILOG = """\
EVENTS are files of events as JSON lines, one or more for each host, such as
`netpunch run site.yaml --once --trace --format json > home.jsonl` writes.
Without one they come from standard input.

examples:
  netpunch diagram home.jsonl office.jsonl control.jsonl
  netpunch diagram home.jsonl --format svg -o link.svg
"""
FORMATS = ("mermaid", "svg", "text")
SUFFIXES = {".svg": "svg", ".mmd": "mermaid", ".md": "mermaid"}


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog, DESCRIPTION, EPILOG)
    add = parser.add_argument
    add("files", metavar="EVENTS", nargs="*", help="a file of events")
    add("--pair", metavar="P", help="draw pair P; needed if there are several")
    add("--format", choices=FORMATS, help="default: what FILE ends with, else text")
    add("-o", metavar="FILE", dest="output", help="write FILE rather than to standard output")
    return parser.parse_args(arguments)


def execute(options: argparse.Namespace) -> int:
    from netpunch.output import drawings
    from netpunch.output.sequence import pairs_of, sequence_of
    from netpunch.output.terminal import screen_of

    records = [record for file in options.files or ["-"] for record in _records(file)]
    pair = _chosen(options.pair, pairs_of(records))
    style = options.format or SUFFIXES.get(Path(options.output or "").suffix, "text")
    diagram = sequence_of(pair, records)
    if style == "text":
        drawn = drawings.text(diagram, None if options.output else screen_of(sys.stdout).width)
    else:
        drawn = {"svg": drawings.svg, "mermaid": drawings.mermaid}[style](diagram)
    if options.output is None:
        write_output(drawn)
        return 0
    try:
        Path(options.output).write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{options.output}: {error.strerror}") from None
    return 0


def _records(file: str) -> Iterator[dict[str, Any]]:
    """The events of a file. Lines that are no JSON objects are passed over: a log may have both."""
    if file == "-":
        yield from _parsed(sys.stdin)
        return
    try:
        with Path(file).open(encoding="utf-8", errors="replace") as lines:
            yield from _parsed(lines)
    except OSError as error:
        raise MissingFileError(f"{file}: {error.strerror}") from None


def _parsed(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


def _chosen(wanted: str | None, pairs: list[str]) -> str:
    if wanted is not None:
        if wanted not in pairs:
            there = f"there are those of {', '.join(pairs)}" if pairs else "there are none at all"
            raise NotLinkedError(f"no datagrams of pair {wanted}: {there}")
        return wanted
    if not pairs:
        raise NotLinkedError("no datagrams of a pair: were the events recorded with --trace?")
    if len(pairs) > 1:
        raise UsageError(f"several pairs, {', '.join(pairs)}: choose one by --pair")
    return pairs[0]
