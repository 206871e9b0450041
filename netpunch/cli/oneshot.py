"""What `control` and `peer`, the commands without a site file, have in common."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from netpunch.cli.arguments import pair_name
from netpunch.cli.parser import Parser
from netpunch.errors import UsageError

if TYPE_CHECKING:
    from netpunch.cli.exchange_log import ExchangeLog


def add_protocol(parser: Parser) -> None:
    add = parser.add_argument
    add("--protocol", choices=("classic", "v2"), default="classic", help="default: classic")
    add("--pair", metavar="NAME", type=pair_name, help="the pair's name, for v2 only")


def add_log(parser: Parser) -> None:
    add = parser.add_argument
    add("--silent", action="store_true", help="no log on standard error")
    add("--raw-logging", action="store_true", help="log datagrams with their signatures")


def check_pair(options: argparse.Namespace) -> None:
    """Raise UsageError unless a pair is named exactly where the protocol has names."""
    if options.protocol == "v2" and options.pair is None:
        raise UsageError("--protocol v2 needs --pair NAME, the same on control and both ends")
    if options.protocol == "classic" and options.pair is not None:
        raise UsageError("--pair is for --protocol v2; classic pairs are letters: a-b, c-d, ...")


def open_log(options: argparse.Namespace, secret: bytes, *, slot: str = "") -> ExchangeLog:
    from netpunch.cli import exchange_log as log

    if options.raw_logging:
        content: log.Content = log.as_on_the_wire
    elif options.protocol == "classic":
        content = log.classic_payload(secret)
    else:
        content = log.decoded
    return log.ExchangeLog(content, slot=slot, silent=options.silent)
