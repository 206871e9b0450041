"""What the commands without a site file, `control` and `peer`, share: options, log and signals."""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from netpunch.cli.arguments import Parser, pair_name
from netpunch.errors import UsageError

if TYPE_CHECKING:
    from netpunch.cli.exchange_log import ExchangeLog

T = TypeVar("T")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def add_secret(parser: Parser) -> None:
    parser.add_argument(
        "--secret-file", metavar="F", required=True, help="the secret, in a file of mode 0600"
    )


def add_protocol(parser: Parser) -> None:
    add = parser.add_argument
    add("--protocol", choices=("classic", "v2"), default="classic", help="default: classic")
    add("--pair", metavar="NAME", type=pair_name, help="the pair's name; for v2 only")


def add_log(parser: Parser) -> None:
    add = parser.add_argument
    add("--silent", action="store_true", help="write no log to standard error")
    add("--raw-logging", action="store_true", help="log datagrams with their signatures")


def check_pair(options: argparse.Namespace) -> None:
    """Raise UsageError for v2 without a pair's name, and for classic with one."""
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


async def until_stopped(work: Coroutine[Any, Any, T]) -> T | signal.Signals:
    """Return what `work` returns, or the signal (SIGINT, SIGTERM) that cancelled it."""
    import asyncio

    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        received.append(number)
        task.cancel()

    for number in STOP_SIGNALS:
        with contextlib.suppress(NotImplementedError):  # on Windows, KeyboardInterrupt does it
            loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        return received[0]
    finally:
        for number in STOP_SIGNALS:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
