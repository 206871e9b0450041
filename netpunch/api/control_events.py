"""What a program hears of a control: who is registered, and what happens."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple
from weakref import WeakSet

from netpunch.address import Address
from netpunch.core.events import ControlEvent, Event, Expired, Registered
from netpunch.net.driver import Datagram, Observer, clock

EVENTS_KEPT = 1024
"""Some 200 KB: what a thousand ends do that all come in the same second."""


class RegisteredEnd(NamedTuple):
    """An end as a control sees it: at `address`, since `since` (seconds of time.monotonic())."""

    address: Address
    since: float


class ControlEvents(AsyncIterator[ControlEvent]):
    """What happens at a control, for `async for`: from the call of `Control.events` until that
    control is closed.

    Up to 1,024 events wait to be taken. While there are more, the oldest is dropped and counted in
    `dropped`: who is there now is in `Control.registered`."""

    def __init__(self) -> None:
        self.dropped = 0
        self._waiting: deque[ControlEvent] = deque()
        self._news = asyncio.Event()
        self._closed = False

    def __aiter__(self) -> ControlEvents:
        return self

    async def __anext__(self) -> ControlEvent:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()

    def put(self, event: ControlEvent) -> None:
        """For the control."""
        if len(self._waiting) == EVENTS_KEPT:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(event)
        self._news.set()

    def close(self) -> None:
        """Ends once what waits is taken."""
        self._closed = True
        self._news.set()


class Announcer:
    """Observes a control's machine, and tells the program."""

    def __init__(
        self, on_event: Callable[[ControlEvent], object] | None, observer: Observer | None
    ) -> None:
        self._registered: dict[tuple[str, str], RegisteredEnd] = {}
        self.registered: Mapping[tuple[str, str], RegisteredEnd] = MappingProxyType(
            self._registered
        )
        self._streams: WeakSet[ControlEvents] = WeakSet()
        """One that nobody listens to any more is forgotten."""
        self._on_event = on_event
        self._observer = observer

    def observe(self, seen: Datagram | Event) -> None:
        """A datagram, or an event. What the program's functions raise comes last."""
        if isinstance(seen, ControlEvent):
            self._note(seen)
            for stream in self._streams:
                stream.put(seen)
            if self._on_event is not None:
                self._on_event(seen)
        if self._observer is not None:
            self._observer(seen)

    def stream(self) -> ControlEvents:
        stream = ControlEvents()
        self._streams.add(stream)
        return stream

    def close(self) -> None:
        """Nobody is registered any more, and nothing happens."""
        self._registered.clear()
        for stream in self._streams:
            stream.close()

    def _note(self, event: ControlEvent) -> None:
        match event:
            case Registered(pair, end, address):
                self._registered[pair, end] = RegisteredEnd(address, clock())
            case Expired(pair, end):
                self._registered.pop((pair, end), None)
