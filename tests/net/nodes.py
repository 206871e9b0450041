"""A control and ends in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from netpunch.address import Address
from netpunch.api.control import start_control
from netpunch.core.events import Event, Moved, MoveReason, PathKind
from netpunch.core.settings import ControlAt, EndSettings
from netpunch.net.driver import Datagram
from netpunch.net.punch import Punch
from netpunch.wire.keys import control_key

T = TypeVar("T")

PAIR = "p"
SECRET = os.urandom(32)
CLASSIC_SECRET = b"correct horse"
LOCAL = "127.0.0.1:0"


@dataclass
class Watcher:
    """An observer that records."""

    datagrams: list[Datagram] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    _told: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, seen: Datagram | Event) -> None:
        if isinstance(seen, Datagram):
            self.datagrams.append(seen)
        else:
            self.events.append(seen)
            self._told.set()

    async def wait_for(self, kind: type[T], count: int = 1, **fields: object) -> T:
        """Waits for the `count`-th event of a kind with these fields, and returns it."""
        while True:
            found = [each for each in self.events if isinstance(each, kind) and _has(each, fields)]
            if len(found) >= count:
                return found[count - 1]
            self._told.clear()
            await self._told.wait()


def _has(event: object, fields: Mapping[str, object]) -> bool:
    return all(getattr(event, name) == value for name, value in fields.items())


@contextlib.asynccontextmanager
async def control(listen: str = LOCAL, **more: Any) -> AsyncIterator[Address]:
    """A control that serves PAIR and all classic letters; its address."""
    async with start_control(
        listen=listen,
        observe=False,
        pairs={PAIR: control_key(SECRET, PAIR)},
        classic={"abcdefghijklmnopqrstuvwxyz": CLASSIC_SECRET},
        **more,
    ) as serving:
        yield serving.addresses[0]


def spec(end: str, *controls: Address, **more: Any) -> EndSettings:
    """An end of PAIR on loopback."""
    asked = tuple(ControlAt(each.host, each.port) for each in controls)
    settings: dict[str, Any] = {"local": ("127.0.0.1", 0), "secret": SECRET} | more
    return EndSettings(pair=PAIR, end="a" if end == "a" else "b", controls=asked, **settings)


async def moves(attempt: Punch, remote: Address, **more: Any) -> Moved:
    """The machine of a held link tells that it has agreed on another path, as if it had."""
    before = await attempt.linked()
    fields: dict[str, Any] = {
        "via": before.via,
        "local": before.local,
        "path": PathKind.HOST,
        "rtt": 0.02,
        "reason": MoveReason.SILENT,
        "previous": before.remote,
        "duration": 0.1,
    }
    move = Moved(**fields | {"remote": remote} | more)
    assert attempt._machine is not None
    assert attempt._driver is not None
    attempt._machine._emit(move)
    attempt._driver.pump()
    return move
