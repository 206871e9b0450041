"""What a control tells: records for programs, lines for people."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from netpunch.core.events import AuthRejected, Event, Expired, Registered, RoleConflict
from netpunch.net.driver import Datagram
from netpunch.node.reporter import trace
from netpunch.node.services import Services
from netpunch.output.record import EventName, Value
from netpunch.reasons import Reason

REJECTED_WORDS = {
    "bad_mac": (
        "the key of that end differs from the one here (compare `netpunch key id PAIR FILE`), "
        "or somebody tries to forge"
    ),
    "unknown_pair": "its pair is not configured here",
    "malformed": "not a netpunch datagram",
}

RESTLESS = 600.0
"""Seconds. An end that returned this soon after it had left, to the same host, comes and goes, as
the ends of a pair that is blocked do: its log would grow by megabytes a day."""


@dataclass(slots=True)
class _Known:
    """An end as it was last told of."""

    host: str
    left_at: float | None = None
    restless: bool = False
    farewell: asyncio.TimerHandle | None = None
    """Tells that it has left, should it stay away."""

    def returns(self, now: float) -> bool:
        """It is registered again, from the same host: whether that is news."""
        self.awaits_no_farewell()
        if self.left_at is None:
            return False
        news = not self.restless
        self.restless = now - self.left_at < RESTLESS
        self.left_at = None
        return news

    def awaits_no_farewell(self) -> None:
        if self.farewell is not None:
            self.farewell.cancel()
        self.farewell = None


class ControlReports:
    """What a control sees: an end is told of when its host changes, not its port; when it has
    left or is silent; and one that comes and goes only when it has stayed away."""

    def __init__(self, name: str, services: Services) -> None:
        self._name = name
        self._services = services
        self._known: dict[tuple[str, str], _Known] = {}

    def close(self) -> None:
        """Tells nothing more of those who have left."""
        for known in self._known.values():
            known.awaits_no_farewell()

    def observe(self, seen: Datagram | Event) -> None:
        """A datagram, or an event of the control."""
        match seen:
            case Datagram():
                trace(seen, self._services, control=self._name)
            case Registered():
                self._registered(seen)
            case Expired():
                self._expired(seen)
            case RoleConflict(pair, end, (one, other)):
                self._tell(EventName.ROLE_CONFLICT, pair=pair, end=end, addresses=(one, other))
                self._services.console.warn(
                    f"control {self._name}: {pair} {end} is configured on two machines, "
                    f"at {one} and at {other}: stop one of them"
                )
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
        self._tell(EventName.CONTROL_REGISTERED, news=news, pair=pair, end=end, remote=address)
        if news:
            self._say(f"{pair} {end} is at {address}")

    def _expired(self, expired: Expired) -> None:
        pair, end, left, removed = expired
        known = self._known.get((pair, end))
        news = not (left and known is not None and known.restless)
        reason = Reason.LEFT if left else Reason.REMOVED if removed else Reason.SILENT
        self._tell(EventName.CONTROL_EXPIRED, news=news, pair=pair, end=end, reason=reason)
        if not left:
            self._forget(pair, end)
            self._say(f"{pair} {end} {'is not served any more' if removed else 'fell silent'}")
        elif known is not None:
            known.left_at = time.monotonic()
            if known.restless:
                loop = asyncio.get_running_loop()
                known.farewell = loop.call_later(RESTLESS, self._stayed_away, pair, end)

    def _stayed_away(self, pair: str, end: str) -> None:
        self._forget(pair, end)
        self._tell(EventName.CONTROL_EXPIRED, pair=pair, end=end, reason=Reason.LEFT)

    def _forget(self, pair: str, end: str) -> None:
        known = self._known.pop((pair, end), None)
        if known is not None:
            known.awaits_no_farewell()

    def _rejected(self, rejected: AuthRejected) -> None:
        reason, count, pair, source = rejected
        self._tell(EventName.AUTH_REJECTED, pair=pair, remote=source, reason=reason, count=count)
        about = f" for {pair}" if pair else ""
        noun = "datagram" if count == 1 else "datagrams"
        self._services.console.warn(
            f"control {self._name}: {count} {noun}{about} rejected, the last from {source}: "
            f"{reason}, {REJECTED_WORDS.get(reason, reason)}"
        )

    def _say(self, text: str) -> None:
        self._services.console.say(f"control {self._name}: {text}")

    def _tell(self, event: EventName, *, news: bool = True, **fields: Value) -> None:
        journal = self._services.journal
        (journal.emit if news else journal.note)(event, control=self._name, **fields)
