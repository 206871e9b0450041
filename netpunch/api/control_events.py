"""What a program hears of a control: who is registered, and what happens."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from typing import TypeVar
from weakref import WeakSet

from netpunch.core.control.node import ControlNode
from netpunch.core.control.presences import RegisteredEnd
from netpunch.core.events import ControlEvent, Event
from netpunch.net.driver import Datagram, Observer

T = TypeVar("T")

EVENTS_KEPT = 1024
"""Some 200 KB: what a thousand ends do that all come in the same second."""


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


class RegisteredEnds(Mapping[tuple[str, str], RegisteredEnd]):
    """The ends that are registered at a control, by pair and end: what its machine knows."""

    def __init__(self, machine: ControlNode, served: Collection[str]) -> None:
        self._machine = machine
        self._served = served

    def __getitem__(self, who: tuple[str, str]) -> RegisteredEnd:
        pair, end = who
        found = None
        if pair in self._served and end in ("a", "b"):
            of_classic = (at for p, e, at in self._machine.classic.present() if (p, e) == who)
            found = self._machine.v2.find(pair, end) or next(of_classic, None)
        if found is None:
            raise KeyError(who)
        return found

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for half in (self._machine.v2, self._machine.classic):
            yield from ((pair, end) for pair, end, _at in half.present())

    def __len__(self) -> int:
        return self._machine.registered

    def __repr__(self) -> str:
        return f"<{len(self)} registered ends>"


class Announcer:
    """Observes a control's machine, and tells the program."""

    def __init__(
        self, on_event: Callable[[ControlEvent], object] | None, observer: Observer | None
    ) -> None:
        self._streams: WeakSet[ControlEvents] = WeakSet()
        """One that nobody listens to any more is forgotten."""
        self._on_event = on_event
        self._observer = observer

    def observe(self, seen: Datagram | Event) -> None:
        """A datagram, or an event. What the program's functions raise goes to the loop's exception
        handler."""
        if isinstance(seen, ControlEvent):
            for stream in self._streams:
                stream.put(seen)
            if self._on_event is not None:
                _call("on_event", self._on_event, seen)
        if self._observer is not None:
            _call("observer", self._observer, seen)

    def stream(self) -> ControlEvents:
        stream = ControlEvents()
        self._streams.add(stream)
        return stream

    def close(self) -> None:
        """Nothing happens any more."""
        for stream in self._streams:
            stream.close()


def _call(name: str, function: Callable[[T], object], seen: T) -> None:
    try:
        function(seen)
    except Exception as error:
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"netpunch: the program's {name} failed", "exception": error}
        )
