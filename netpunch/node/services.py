"""What every part of a process shares."""

from __future__ import annotations

from netpunch.net.driver import Datagram
from netpunch.net.turn_queue import TurnQueue
from netpunch.node.hooks import HookPool
from netpunch.node.reminders import Reminders
from netpunch.output import events
from netpunch.output.console import Console
from netpunch.output.journal import Journal
from netpunch.output.status_model import StatusModel
from netpunch.output.systemd import Notifier


class Services:
    """`journal`: events, for programs; `console`: lines, for people. `trace`: every datagram
    becomes an event. `status`: the state of every end and control; `notifier` informs systemd."""

    def __init__(
        self,
        journal: Journal,
        console: Console,
        *,
        trace: bool = False,
        status: StatusModel | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self.journal = journal
        self.console = console
        self.trace = trace
        self.status = status or StatusModel()
        self.notifier = notifier or Notifier()
        self.hooks = HookPool()
        """Limits how many hooks run at the same time."""
        self.turns = TurnQueue()
        """Limits what all ends together may do to traverse hard NATs."""
        self.reminders = Reminders(journal, console)

    def trace_datagram(
        self,
        seen: Datagram,
        *,
        pair: str | None = None,
        end: str | None = None,
        control: str | None = None,
    ) -> None:
        """A datagram that an end or a control has sent or received, as an event."""
        self.journal.emit(
            events.Datagram(
                pair,
                end,
                seen.local,
                seen.remote,
                "sent" if seen.sent else "received",
                len(seen.data),
                seen.text,
                control,
            )
        )
