"""What every part of a process shares."""

from __future__ import annotations

from dataclasses import dataclass, field

from netpunch.net.probing import Probing
from netpunch.node.board import Board
from netpunch.node.console import Console
from netpunch.node.hooks import HookPool
from netpunch.node.notify import Notifier
from netpunch.output.record import Journal


@dataclass(frozen=True, slots=True)
class Services:
    """`journal` for programs, `console` for people, `hooks` for their turn. `trace`: every
    datagram becomes an event; `probing`: what all ends together may do to hard NATs. `board`:
    where everything stands; `notifier`: tells systemd."""

    journal: Journal
    console: Console
    hooks: HookPool
    trace: bool = False
    probing: Probing = field(default_factory=Probing)
    board: Board = field(default_factory=Board)
    notifier: Notifier = field(default_factory=Notifier)
