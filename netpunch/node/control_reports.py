"""What a control reports: events for programs, lines for people."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from netpunch.core.events import AuthRejected, Event, Expired, Registered, RoleConflict
from netpunch.net.driver import Datagram
from netpunch.node.services import Services
from netpunch.output import events
from netpunch.reasons import Reason

REJECTED = {
    "bad_mac": (
        "the key of that end differs from the one here: `netpunch key id PAIR FILE` must print the "
        "same at both (or somebody tries to forge)"
    ),
    "unknown_pair": (
        "no pair of this file has its name and protocol: write the same into the files of both"
    ),
    "malformed": "not a netpunch datagram",
    "other_version": "perhaps of another version of netpunch: install the same one at both",
}
"""What a rejection means, by its reason."""

RESTLESS = 600.0
"""Seconds. An end that returned this soon after it had left, to the same host, comes and goes, as
the ends of a pair that is blocked do: its log would grow by megabytes a day."""


@dataclass(slots=True)
class _Known:
    """An end as it was last reported."""

    host: str
    left_at: float | None = None
    restless: bool = False
    farewell: asyncio.TimerHandle | None = None
    """Reports that it has left, should it stay away."""

    def returns(self, now: float) -> bool:
        """It is registered again, from the same host: whether that is news."""
        self.cancel_farewell()
        if self.left_at is None:
            return False
        news = not self.restless
        self.restless = now - self.left_at < RESTLESS
        self.left_at = None
        return news

    def cancel_farewell(self) -> None:
        if self.farewell is not None:
            self.farewell.cancel()
        self.farewell = None


class ControlReports:
    """Reports an end when its host changes (not when its port does), and when it has left or fell
    silent; one that comes and goes only once it has stayed away."""

    def __init__(self, name: str, services: Services) -> None:
        self._name = name
        self._services = services
        self._journal = services.journal
        self._console = services.console.named(f"control {name}")
        self._known: dict[tuple[str, str], _Known] = {}

    def close(self) -> None:
        """Reports nothing more of ends that have left."""
        for known in self._known.values():
            known.cancel_farewell()

    def observe(self, seen: Datagram | Event) -> None:
        """A datagram, or an event of the control."""
        match seen:
            case Datagram():
                self._services.trace_datagram(seen, control=self._name)
            case Registered():
                self._registered(seen)
            case Expired():
                self._expired(seen)
            case RoleConflict(pair, end, (one, other)):
                self._journal.emit(events.RoleConflict(pair, end, self._name, (one, other)))
                if one == other:  # two hosts would have two ports
                    twice = f"runs in two processes that share a port, at {one}: stop one of them"
                else:
                    twice = (
                        f"is configured on two machines, at {one} and at {other}: stop one of "
                        "them, or make it the pair's other end"
                    )
                self._console.warn(f"{pair} {end} {twice}")
            case AuthRejected():
                self._rejected(seen)

    def _registered(self, registered: Registered) -> None:
        pair, end, address = registered
        known = self._known.get((pair, end))
        if known is None or known.host != address.host:
            self._forget(pair, end)
            self._known[pair, end] = _Known(address.host)
            news = True
        else:
            news = known.returns(time.monotonic())
        event = events.ControlRegistered(pair, end, address, self._name)
        if news:
            self._journal.emit(event)
            self._console.say(f"{pair} {end} is at {address}")
        else:
            self._journal.note(event)

    def _expired(self, expired: Expired) -> None:
        pair, end, left, removed = expired
        known = self._known.get((pair, end))
        reason = Reason.LEFT if left else Reason.REMOVED if removed else Reason.SILENT
        event = events.ControlExpired(pair, end, reason, self._name)
        if left and known is not None and known.restless:
            self._journal.note(event)
            loop = asyncio.get_running_loop()
            known.farewell = loop.call_later(RESTLESS, self._stayed_away, event)
        else:
            self._journal.emit(event)
        if not left:
            self._forget(pair, end)
            self._console.say(f"{pair} {end} {'is no longer served' if removed else 'fell silent'}")
        elif known is not None:
            known.left_at = time.monotonic()

    def _stayed_away(self, event: events.ControlExpired) -> None:
        self._forget(event.pair, event.end)
        self._journal.emit(event)

    def _forget(self, pair: str, end: str) -> None:
        known = self._known.pop((pair, end), None)
        if known is not None:
            known.cancel_farewell()

    def _rejected(self, rejected: AuthRejected) -> None:
        reason, count, pair, source = rejected
        self._journal.emit(events.AuthRejected(pair, source, reason, self._name, count))
        about = f" for {pair}" if pair else ""
        noun = "datagram" if count == 1 else "datagrams"
        self._console.warn(
            f"{count} {noun}{about} rejected, the last from {source}: "
            f"{reason}, {REJECTED.get(reason, reason)}"
        )
