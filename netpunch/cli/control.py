"""`netpunch control`: a control node without a site file."""

from __future__ import annotations

import argparse
from pathlib import Path

from netpunch.cli import oneshot
from netpunch.cli.arguments import local_address
from netpunch.cli.parser import EXIT_CODES, Parser

DESCRIPTION = """\
Introduce ends to each other, without a site file, until SIGINT or SIGTERM.

Classic: the secret is the file's bytes, a newline at their end included; it is
for all pairs of letters, a-b to y-z. With --protocol v2 the file holds the key
of one pair, or better the key for control that `netpunch key control` derives.
"""
EPILOG = f"""\
examples:
  netpunch control --secret-file classic.secret --local :7777
  netpunch control --protocol v2 --pair home-office \\
      --secret-file home-office.control.key --local :10001

{EXIT_CODES}"""


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog, DESCRIPTION, EPILOG)
    parser.usage = f"{prog} --secret-file F --local ADDR:PORT [options]"
    add = parser.add_argument
    add("--secret-file", metavar="F", required=True, help="the secret, in a file of mode 0600")
    add(
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

    from netpunch import serve_control
    from netpunch.cli.stopping import until_stopped
    from netpunch.net.loop import run

    log = oneshot.open_log(options, secret)
    log.info(f"Start in control mode on {options.local}")
    service = serve_control(
        listen=str(options.local),
        pairs=pairs,
        classic=classic,
        observer=log.observer,
        on_ready=log.listening,
    )
    run(until_stopped(service))
    log.info("Shut down")
    return 0
