"""What must hold for links, and for processes when they end."""

from __future__ import annotations

import signal
import socket
import time
from typing import Any

from tests.e2e.harness import Netpunch, Record
from tests.node.children import nobody_left

STOP_SECONDS = 10.0
"""Promised to users."""
LOOPBACK_SECONDS = 5.0
"""For a datagram that arrives at once."""


def assert_same_path(one: Record, other: Record) -> None:
    assert (one["laddr"], one["raddr"]) == (other["raddr"], other["laddr"])


def assert_linked(home: Netpunch, office: Netpunch, **fields: Any) -> tuple[Record, Record]:
    """Both ends report the link and exit with 0, and the path passes datagrams both ways."""
    ups = home.wait_for("pair.up", **fields), office.wait_for("pair.up", **fields)
    assert_same_path(*ups)
    assert (home.wait_exit(), office.wait_exit()) == (0, 0)
    assert_passes(*ups)
    return ups


def assert_passes(home: Record, office: Record) -> None:
    """Plain sockets on the reported ports reach each other by the reported addresses."""
    family = socket.AF_INET6 if ":" in home["lhost"] else socket.AF_INET
    with (
        socket.socket(family, socket.SOCK_DGRAM) as at_home,
        socket.socket(family, socket.SOCK_DGRAM) as in_office,
    ):
        at_home.bind((home["lhost"], home["lport"]))
        in_office.bind((office["lhost"], office["lport"]))
        for sender, link, receiver in ((at_home, home, in_office), (in_office, office, at_home)):
            receiver.settimeout(LOOPBACK_SECONDS)
            sender.sendto(b"hello", (link["rhost"], link["rport"]))
            data, source = receiver.recvfrom(100)
            assert (data, source[:2]) == (b"hello", (link["lhost"], link["lport"]))


def assert_stops(program: Netpunch, pair: str, code: int) -> None:
    """On SIGTERM it ends with this exit code, in its time, and leaves no child behind that was
    run for `pair`."""
    program.signal(signal.SIGTERM)
    begun = time.monotonic()
    assert program.wait_exit() == code, program.transcript()
    assert time.monotonic() - begun < STOP_SECONDS
    assert nobody_left("NETPUNCH_PAIR", pair)


def assert_answered(program: Netpunch, pair: str, end: str) -> None:
    """What each `before` took was used or given back, once. A hook that was cut as soon as it was
    started has done nothing itself, so this looks at what was started."""
    claimed = False
    for record in program.events(pair=pair, end=end):
        match record["event"], record.get("hook"):
            case "hook.end", "before":
                claimed = record["outcome"] == "done"
            case "hook.start", "before":
                assert not claimed, program.transcript()
            case "hook.start", ("up" | "fail"):
                assert claimed, program.transcript()
                claimed = False
    assert not claimed, program.transcript()
