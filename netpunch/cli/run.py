"""`netpunch run FILE`: runs this node's part of a site file, with `netpunch.node`."""

from __future__ import annotations

import argparse
from pathlib import Path

from netpunch.cli.arguments import Parser

DESCRIPTION = """\
Run this node's part of a site file: its control, its ends, or both. A site file
that names no nodes runs as a whole in this one process.
"""
EPILOG = """\
This node's name is --node, else $NETPUNCH_NODE, else `node:` in the file, else
the host name, in full or up to its first dot.

Standard output gets one JSON object for each event (or the text of a
`template`), standard error gets messages for people. SIGHUP reloads the file;
SIGTERM and SIGINT end the process cleanly.

examples:
  netpunch run configs/example.yaml
  netpunch run /etc/netpunch/site.yaml --node office
  netpunch run site.yaml --once --pair home-office --format json
  netpunch run site.yaml --only control --only keep
"""


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
        action="append",
        default=[],
        help="run only this node's control, or only its ends of this `mode`; repeatable",
    )
    add(
        "--pair",
        metavar="P",
        dest="pairs",
        action="append",
        default=[],
        help="run only pair P, or the pairs of mesh P; repeatable",
    )
    add("--node", metavar="N", help="run the part of node N")
    add(
        "--format",
        choices=("json", "text"),
        help="of standard output; default: text on a terminal, else json",
    )
    add("--trace", action="store_true", help="report each datagram as an event")
    add("-q", "--quiet", action="store_true", help="print only errors to standard error")
    return parser.parse_args(arguments)


def execute(options: argparse.Namespace) -> int:
    from netpunch.node import run_site
    from netpunch.node.options import RunOptions

    run_options = RunOptions(
        once=options.once,
        keep=options.keep,
        only=tuple(options.only),
        pairs=tuple(options.pairs),
        node=options.node,
        format=options.format,
        trace=options.trace,
        quiet=options.quiet,
        debug=options.debug,
    )
    return run_site(Path(options.file), run_options)
