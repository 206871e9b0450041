"""What a control reports: events for programs, lines for people."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from netpunch.core.events import AuthRejected, Event, Expired, PortChanged, Registered, RoleConflict
from netpunch.core.machine import NEVER
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
"""Seconds. An end that returned this soon after it had left comes and goes, as the ends of a pair
that is blocked do: its log would grow by megabytes a day."""


@dataclass(slots=True)
class _Left:
    """An end that has left, and perhaps returned soon."""

    at: float = -NEVER
    host: str | None = None
    """Where it comes and goes."""
    farewell: asyncio.TimerHandle | None = None
    """Reports that it has left, should it stay away."""

    def cancel_farewell(self) -> None:
        if self.farewell is not None:
            self.farewell.cancel()
        self.farewell = None


class ControlReports:
    """Reports an end when its host changes (not when its port does), and when it has left or fell
    silent; one that comes and goes only once it has stayed away. Nothing is kept of ends that just
    stay registered: there may be very many."""

    def __init__(self, name: str, services: Services) -> None:
        self._name = name
        self._services = services
        self._journal = services.journal
        self._console = services.console.named(f"control {name}")
        self._left: dict[tuple[str, str], _Left] = {}

    def close(self) -> None:
        """Reports nothing more of ends that have left."""
        for each in self._left.values():
            each.cancel_farewell()

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
        event = events.ControlRegistered(pair, end, address, self._name)
        if isinstance(registered, PortChanged) or not self._is_news(pair, end, address.host):
            self._journal.note(event)
        else:
            self._journal.emit(event)
            self._console.say(f"{pair} {end} is at {address}")

    def _is_news(self, pair: str, end: str, host: str) -> bool:
        """That an end is there, or at another host: not if it comes and goes there."""
        left = self._left.get((pair, end))
        if left is None:
            return True
        left.cancel_farewell()
        returned_soon = time.monotonic() - left.at < RESTLESS
        if returned_soon and left.host in (None, host):
            is_news, left.host = left.host is None, host
            return is_news
        self._forget(pair, end)
        return left.host != host

    def _expired(self, expired: Expired) -> None:
        pair, end, left, removed = expired
        reason = Reason.LEFT if left else Reason.REMOVED if removed else Reason.SILENT
        event = events.ControlExpired(pair, end, reason, self._name)
        if left:
            self._has_left(event)
            return
        self._journal.emit(event)
        self._forget(pair, end)
        self._console.say(f"{pair} {end} {'is no longer served' if removed else 'fell silent'}")

    def _has_left(self, event: events.ControlExpired) -> None:
        left = self._left.setdefault((event.pair, event.end), _Left())
        left.at = time.monotonic()
        if left.host is None:
            self._journal.emit(event)
        else:
            self._journal.note(event)
            loop = asyncio.get_running_loop()
            left.farewell = loop.call_later(RESTLESS, self._stayed_away, event)

    def _stayed_away(self, event: events.ControlExpired) -> None:
        self._forget(event.pair, event.end)
        self._journal.emit(event)

    def _forget(self, pair: str, end: str) -> None:
        left = self._left.pop((pair, end), None)
        if left is not None:
            left.cancel_farewell()

    def _rejected(self, rejected: AuthRejected) -> None:
        reason, count, pair, source = rejected
        self._journal.emit(events.AuthRejected(pair, source, reason, self._name, count))
        about = f" for {pair}" if pair else ""
        noun = "datagram" if count == 1 else "datagrams"
        self._console.warn(
            f"{count} {noun}{about} rejected, the last from {source}: "
            f"{reason}, {REJECTED.get(reason, reason)}"
        )
