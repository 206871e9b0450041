"""`netpunch run FILE`: hands over to `netpunch.node`."""

from __future__ import annotations

import argparse
from pathlib import Path

from netpunch.cli.parser import EXIT_CODES, Parser

DESCRIPTION = """\
Run the parts of a site file that name this node: its control, its ends, or
both. Where no part names a node, all of them run in this one process.
"""
EPILOG = f"""\
The node is --node, else $NETPUNCH_NODE, else `node:` in the file, else the host
name, whole or its first label. Standard output has one JSON object a line (or a
template's text), standard error is for people. SIGTERM and SIGINT end the
process cleanly, SIGHUP re-reads the file.

examples:
  netpunch run configs/example.yaml
  netpunch run /etc/netpunch/site.yaml --node office
  netpunch run site.yaml --once --pair home-office --format json
  netpunch run site.yaml --only keep

{EXIT_CODES}"""


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog, DESCRIPTION, EPILOG)
    add = parser.add_argument
    add("file", metavar="FILE", help="the site file")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--once", action="store_true", help="link each end once, then exit")
    mode.add_argument("--keep", action="store_true", help="keep each end linked")
    add(
        "--only",
        choices=("control", "once", "keep"),
        help="only this node's control, or only its ends of this `mode`",
    )
    add("--pair", metavar="P", dest="pairs", action="append", default=[], help="only pair P")
    add("--node", metavar="N", help="be node N")
    add("--format", choices=("json", "text"), help="of standard output")
    add("--trace", action="store_true", help="report every datagram, too")
    add("-q", "--quiet", action="store_true", help="tell people nothing but errors")
    return parser.parse_args(arguments)


def execute(options: argparse.Namespace) -> int:
    from netpunch.node import RunOptions, run_site

    run_options = RunOptions(
        once=options.once,
        keep=options.keep,
        only=options.only,
        pairs=tuple(options.pairs),
        node=options.node,
        format=options.format,
        trace=options.trace,
        quiet=options.quiet,
        debug=options.debug,
    )
    return run_site(Path(options.file), run_options)
