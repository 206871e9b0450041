"""A name server that tests play: what the ends of this process are told instead of the system's
answers."""

from __future__ import annotations

import asyncio

import pytest

from netpunch.address import Address
from netpunch.net import controls, resolver


class NameServer:
    """Knows nothing at first, and answers at once unless it is held."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self._known: dict[str, tuple[Address, ...]] = {}
        self._held: set[str] | None = set()
        """Names that get no answer; None: none gets one."""
        self._changed = asyncio.Event()
        self._was_asked = asyncio.Event()
        self.unrouted: set[int] = set()
        """Families that the host has no route of."""
        monkeypatch.setattr(resolver, "_look_up", self._answer)
        monkeypatch.setattr(
            controls, "has_route", lambda address, _: address.family not in self.unrouted
        )

    def know(self, name: str, *addresses: Address) -> None:
        """From now on; their ports do not matter."""
        self._known[name] = addresses

    def hold(self, *names: str) -> None:
        """No more answers for these, or any, until `release`."""
        self._held = set(names) or None

    def release(self) -> None:
        self._held = set()
        self._changed.set()

    async def wait_for_questions(self, count: int) -> None:
        while len(self.asked) < count:
            self._was_asked.clear()
            await self._was_asked.wait()

    async def _answer(self, host: str) -> list[str]:
        self.asked.append(host)
        self._was_asked.set()
        while self._held is None or host in self._held:
            self._changed.clear()
            await self._changed.wait()
        return [address.host for address in self._known.get(host, ())]
