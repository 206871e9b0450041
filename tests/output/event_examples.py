"""Each event as a value, and the line that it has been since version 1 of the records: in
event_lines.jsonl, in the same order."""

from __future__ import annotations

from pathlib import Path

from netpunch.address import Address
from netpunch.core.events import MoveReason, PathKind
from netpunch.node.hooks import Outcome
from netpunch.output import events
from netpunch.reasons import Reason

AT = 1767225600.25
RUN = "0123456789abcdef"
NODE = "home"

LINES = (Path(__file__).parent / "event_lines.jsonl").read_text().splitlines()

PAIR = ("home-office", "a")
LOCAL, REMOTE = Address("0.0.0.0", 5000), Address("203.0.113.7", 6000)
LOCAL6, REMOTE6 = Address("::", 5000), Address("2001:db8::7", 6000)
MOVED = Address("203.0.113.9", 6001)
OBSERVED = Address("198.51.100.1", 40000)
NO_MAPPING = "the gateway 192.168.1.1 maps no port: it answers neither PCP nor NAT-PMP"
SILENT = "no answer from control at 192.0.2.9:10001: is it running?"
CANDIDATES = [
    "203.0.113.7:6000 observed sent=70 received=0",
    "[2001:db8::7]:6000 ipv6 unsendable",
]

EXAMPLES: list[events.Event] = [
    events.RunStart("/etc/netpunch/site.yaml", 4711),
    events.RunReady(),
    events.RunReload(["home-office a"], "done", started=["garage a"], stopped=["control vps"]),
    events.RunReload(None, "done"),
    events.RunReload(None, "invalid", "/etc/netpunch/site.yaml:3:1: error: unknown key"),
    events.RunStop("SIGTERM", 0),
    events.PairWaiting(*PAIR, Reason.PARTNER_ABSENT, observed=OBSERVED),
    events.PairWaiting(*PAIR, Reason.SECRET_REJECTED_OR_SILENT, SILENT),
    events.PairWaiting(
        *PAIR, "partner_absent", "waiting for end b: control answers", waited_s=300.00049
    ),
    events.PairSeenInside(*PAIR, Address("172.17.0.1", 5000), "192.0.2.9:10001"),
    events.PairMapped(*PAIR, None, Address("198.51.100.1", 5000)),
    events.PairMapped(*PAIR, NO_MAPPING, None),
    events.PairIntroduced(*PAIR, REMOTE),
    events.PairUp(*PAIR, LOCAL, REMOTE, PathKind.OBSERVED, 21.41789, 0.23456, True, 12),
    events.PairUp(*PAIR, LOCAL6, REMOTE6, PathKind.IPV6, None, 1.0, False, 0),
    events.PairAlive(*PAIR),
    events.PairDown(*PAIR, Reason.SILENT, "3 keepalives without an answer"),
    events.PairFailed(
        *PAIR,
        60.0004,
        Reason.BLOCKED,
        "nothing arrives from the partner",
        "easy",
        "unknown",
        560,
        CANDIDATES,
    ),
    events.PairFailed(*PAIR, None, Reason.BLOCKED, "nothing gets through"),
    events.PairFailed(*PAIR, 1.5, Reason.NO_CONTROL, "x", "unknown", "unknown", 0, []),
    events.PairFailed(*PAIR, None, Reason.STOPPED),
    events.PairFailed(*PAIR, None, "permissions", "a.key: others may read it"),
    events.HookStart(*PAIR, "up", ("./up", "--now")),
    events.HookOutput(*PAIR, "up", "stdout", "tunnel started"),
    events.HookEnd(*PAIR, 0.0512345, None, "up", Outcome.DONE, 0),
    events.HookEnd(
        *PAIR, 30.0, "./up: timed out after 30 s", "up", Outcome.FAILED, signal="SIGKILL"
    ),
    events.HookEnd(*PAIR, None, None, "up", "stopped"),
    events.EnvWritten(*PAIR, "/run/netpunch/home-office.env"),
    events.ControlReady("vps", ["0.0.0.0:10001", "[::]:10001"]),
    events.ControlRegistered(*PAIR, OBSERVED, "vps"),
    events.ControlExpired(*PAIR, Reason.SILENT, "vps"),
    events.ControlEndInside(*PAIR, Address("192.168.1.10", 5000), "198.51.100.7", False, "vps"),
    events.ControlEndInside(*PAIR, Address("192.168.1.1", 5000), None, True, "vps"),
    events.ControlFailed(
        "home-office", "permissions", "home-office.key: others may read it", "vps"
    ),
    events.ControlFailed(
        None, "network_not_ready", "192.0.2.9 is no address of this host now", "vps"
    ),
    events.AuthRejected("home-office", OBSERVED, "bad_mac", "vps", 3),
    events.AuthRejected(None, OBSERVED, "malformed", "vps", 1),
    events.RoleConflict(*PAIR, "vps", (OBSERVED, REMOTE6)),
    events.Datagram(*PAIR, LOCAL, REMOTE, "sent", 176, "PING sender=1", None),
    events.Datagram(None, None, LOCAL, REMOTE, "received", 0, "0 bytes: malformed", "vps"),
    events.PairMoved(
        *(*PAIR, LOCAL, MOVED, PathKind.OBSERVED, 21.41789, 0.41234, True, 9),
        *(MoveReason.ADDRESS_CHANGED, REMOTE),
    ),
    events.PairMoved(
        *(*PAIR, LOCAL6, REMOTE6, PathKind.RELAY, None, 1.0, False, 0),
        *(MoveReason.PARTNER_ASKED, REMOTE6),
    ),
    events.PairStale(*PAIR, Reason.HOOK, "hook moved: ./up: exit status 1"),
]
