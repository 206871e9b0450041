"""`netpunch control`: a control node without a site file."""

from __future__ import annotations

import argparse
from pathlib import Path

from netpunch.cli import oneshot
from netpunch.cli.arguments import Parser, local_address

DESCRIPTION = """\
Run a control node without a site file: introduce the ends of pairs to each
other until SIGINT or SIGTERM.

With --protocol classic, the secret is the content of F, including a newline at
its end. It is valid for all classic pairs: the letters a-b, c-d, ... y-z.
With --protocol v2, F has the key of the one pair NAME: better the key that
`netpunch key control` derives for control than the pair's own.
"""
EPILOG = """\
examples:
  netpunch control --secret-file classic.secret --local :7777
  netpunch control --protocol v2 --pair home-office \\
      --secret-file home-office.control.key --local :10001
"""


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog, DESCRIPTION, EPILOG)
    parser.usage = f"{prog} --secret-file F --local ADDR:PORT [options]"
    oneshot.add_secret(parser)
    parser.add_argument(
        "--local",
        metavar="ADDR:PORT",
        required=True,
        type=local_address,
        help="where to listen; :PORT for all addresses",
    )
    oneshot.add_protocol(parser)
    oneshot.add_log(parser)
    options = parser.parse_args(arguments)
    oneshot.check_pair(options)
    return options


def execute(options: argparse.Namespace) -> int:
    from netpunch.keys import load_control_key, read_secret_file
    from netpunch.wire.classic import LETTERS

    pairs: dict[str, bytes] = {}
    classic: dict[str, bytes] = {}
    if options.protocol == "v2":
        secret = load_control_key(Path(options.secret_file), options.pair)
        pairs[options.pair] = secret
    else:
        secret = read_secret_file(options.secret_file, "classic", "control").value
        classic[LETTERS] = secret

    from netpunch import start_control
    from netpunch.net.loop import run

    log = oneshot.open_log(options, secret)
    log.info(f"Start in control mode on {options.local}")

    async def serve() -> None:
        async with start_control(
            listen=str(options.local),
            observe=False,
            pairs=pairs,
            classic=classic,
            observer=log.observer,
        ) as control:
            log.listening(control.addresses)
            await control.wait_closed()

    run(oneshot.until_stopped(serve()))
    log.info("Shut down")
    return 0
