"""What every part of a process shares."""

from __future__ import annotations

from dataclasses import dataclass

from netpunch.node.console import Console
from netpunch.node.hooks import HookPool
from netpunch.output.record import Journal


@dataclass(frozen=True, slots=True)
class Services:
    """`journal` for programs, `console` for people, `hooks` for their turn. `trace`: every
    datagram becomes an event."""

    journal: Journal
    console: Console
    hooks: HookPool
    trace: bool = False
