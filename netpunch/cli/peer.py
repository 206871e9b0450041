"""`netpunch peer`: one end without a site file."""

from __future__ import annotations

import argparse
import signal
from typing import TYPE_CHECKING

from netpunch.cli import handover, oneshot
from netpunch.cli.arguments import control_address, duration, local_address
from netpunch.cli.console import put_line
from netpunch.cli.handover import COMMAND_OPTION
from netpunch.cli.parser import EXIT_CODES, Parser
from netpunch.errors import UsageError
from netpunch.template import render
from netpunch.wire.classic import LETTERS

if TYPE_CHECKING:
    from netpunch.api import Link

USAGE_INDENT = " " * len("usage: netpunch peer ")
END_NAMES = "ab"
SHELL_SIGNAL_BASE = 128
"""A shell reports a command that signal N ended as 128 + N."""

DESCRIPTION = """\
Link one end with its partner once, without a site file, and print the addresses
as the last line on standard output:

  LADDR/LHOST/LPORT/RADDR/RHOST/RPORT: 0.0.0.0:5000 0.0.0.0 5000 \\
      198.51.100.7:5001 198.51.100.7 5001

Classic: SLOT is a letter, a-b to y-z are the pairs; the secret is the file's
bytes, a newline at their end included. With --protocol v2, SLOT is a or b and
the file holds the key that `netpunch key new` makes.
"""
EPILOG = f"""\
TEXT and ARG know {{laddr}} {{lhost}} {{lport}} {{raddr}} {{rhost}} {{rport}} {{pair}}
{{end}}; {{{{ is a brace. The port is free again when the result is printed and when
PROGRAM starts; with --command, nothing but a template is printed.

examples:
  netpunch peer a --secret-file F --local :5000 --remote HOST:7777
  netpunch peer b --protocol v2 --pair home-office --secret-file F \\
      --local :5000 --remote HOST:10001 --template '{{raddr}}'
  netpunch peer a --secret-file F --local :1194 --remote HOST:7777 --command \\
      openvpn --config vpn.conf --lport {{lport}} --remote {{rhost}} {{rport}}

{EXIT_CODES}"""


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    own, command = split_command(arguments)
    options = build_parser(prog).parse_args(own)
    if options.command is not None:
        raise UsageError(f"{COMMAND_OPTION} takes no `=`: write {COMMAND_OPTION} PROGRAM ARG...")
    options.command = command
    oneshot.check_pair(options)
    check_slot(options)
    return options


def split_command(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The end's arguments and PROGRAM ARG...: whatever follows --command is the program's, its
    options and any `--` included, which argparse would take for ours."""
    if COMMAND_OPTION not in arguments:
        return arguments, []
    cut = arguments.index(COMMAND_OPTION)
    if not arguments[cut + 1 :]:
        raise UsageError(f"{COMMAND_OPTION} needs a program, and is the last option")
    return arguments[:cut], arguments[cut + 1 :]


def build_parser(prog: str) -> Parser:
    parser = Parser(prog, DESCRIPTION, EPILOG)
    parser.usage = (
        f"{prog} SLOT --secret-file F --local ADDR:PORT --remote HOST:PORT\n"
        f"{USAGE_INDENT}[options] [--command PROGRAM ARG...]"
    )
    add = parser.add_argument
    add("slot", metavar="SLOT", help="a letter from a to z; for v2, a or b")
    add("--secret-file", metavar="F", required=True, help="the secret, in a file of mode 0600")
    add(
        "--local",
        metavar="ADDR:PORT",
        required=True,
        type=local_address,
        help="where to punch from; :PORT for all addresses",
    )
    add(
        "--remote",
        metavar="HOST:PORT",
        required=True,
        type=control_address,
        help="where control is",
    )
    oneshot.add_protocol(parser)
    add(
        "--deadline",
        metavar="TIME",
        type=duration,
        help="give up after it; default: never",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--template", metavar="TEXT", help="print this instead of the line")
    output.add_argument("--template-file", metavar="F", help="the same, from a file")
    oneshot.add_log(parser)
    add(
        COMMAND_OPTION,
        nargs=argparse.REMAINDER,  # for the help text: see `split_command`
        help="once linked, become PROGRAM ARG...; the last option",
    )
    return parser


def check_slot(options: argparse.Namespace) -> None:
    allowed = END_NAMES if options.protocol == "v2" else LETTERS
    if len(options.slot) != 1 or options.slot not in allowed:
        described = "a or b" if options.protocol == "v2" else "a letter from a to z"
        raise UsageError(f"SLOT is {described}, not {options.slot!r}")


def execute(options: argparse.Namespace) -> int:
    from netpunch.keys import read_secret_file

    result = handover.result_template(options)
    handover.check_command(options.command)
    secret = read_secret_file(options.secret_file, options.protocol, "end").value
    link = punch_once(options, secret)
    if isinstance(link, signal.Signals):
        return SHELL_SIGNAL_BASE + link
    values = handover.placeholder_values(options, link)
    if result is not None:
        put_line(render(result, values))
    if options.command:
        handover.become(options.command, values)
    return 0


def punch_once(options: argparse.Namespace, secret: bytes) -> Link | signal.Signals:
    """The link, its port free again; or the signal that ended the attempt."""
    from netpunch import punch
    from netpunch.cli.stopping import until_stopped
    from netpunch.net.loop import run

    log = oneshot.open_log(options, secret, slot=options.slot)
    log.info(f"Start in peer mode on {options.local} to server at {options.remote}")
    attempt = punch(
        pair=options.pair or "",
        end=options.slot,
        secret=secret,
        control=str(options.remote),
        local=str(options.local),
        protocol=options.protocol,
        deadline=options.deadline,
        observer=log.observer,
    )
    link = run(until_stopped(attempt))
    log.info(f"Shut down by {link.name}" if isinstance(link, signal.Signals) else "close: ok")
    return link
