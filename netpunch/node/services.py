"""What every part of a process shares."""

from __future__ import annotations

from netpunch.net.probing import Probing
from netpunch.node.board import Board
from netpunch.node.console import Console
from netpunch.node.hooks import HookPool
from netpunch.node.notices import Notices
from netpunch.node.notify import Notifier
from netpunch.output.record import Journal


class Services:
    """`journal` for programs, `console` for people, `hooks` for their turn. `trace`: every
    datagram becomes an event; `probing`: what all ends together may do to hard NATs. `board`:
    where everything stands; `notifier`: tells systemd. `notices`: who waits for what."""

    def __init__(
        self,
        journal: Journal,
        console: Console,
        hooks: HookPool,
        *,
        trace: bool = False,
        probing: Probing | None = None,
        board: Board | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self.journal = journal
        self.console = console
        self.hooks = hooks
        self.trace = trace
        self.probing = probing or Probing()
        self.board = board or Board()
        self.notifier = notifier or Notifier()
        self.notices = Notices(journal, console)
