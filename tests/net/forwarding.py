"""Forwarders, and held links between two of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from netpunch.address import Address
from netpunch.net.datagrams import Datagrams
from netpunch.net.driver import Observer
from netpunch.net.forward import Forwarder
from netpunch.net.punch import Punch
from netpunch.wire.envelope import Buffer
from tests.net.machines import client
from tests.net.nodes import spec


class Partner:
    """The far side of the link: it gets what the program sends."""

    def __init__(self) -> None:
        self._received: asyncio.Queue[bytes] = asyncio.Queue()

    def send_payloads(self, datagrams: Datagrams) -> None:
        for each in datagrams.each:
            self._received.put_nowait(bytes(each))

    def send_now(self, data: Buffer) -> None:
        self._received.put_nowait(bytes(data))

    way = None

    async def hears(self, count: int = 1) -> list[bytes]:
        return [await self._received.get() for _ in range(count)]


@contextlib.asynccontextmanager
async def forwarding(
    to: Address | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[Forwarder, Address]]:
    """An open forwarder, and the address that its program talks to."""
    with client(host) as finder:
        address = finder.address  # free once the finder is closed
    forwarder = Forwarder(address, to)
    await forwarder.open()
    try:
        yield forwarder, address
    finally:
        forwarder.close()


async def held(
    end: str,
    address: Address,
    forwarder: Forwarder,
    *,
    observer: Observer | None = None,
    **settings: Any,
) -> Punch:
    attempt = Punch(spec(end, address, holds=True, **settings), observer, program=forwarder)
    await attempt.open()
    return attempt
