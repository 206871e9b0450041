"""A fake name server: it answers the lookups of this process instead of the system."""

from __future__ import annotations

import asyncio

import pytest

from netpunch.address import Address
from netpunch.net import controls, resolver


class NameServer:
    """Knows no names at first, and answers at once unless it is held."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self._known: dict[str, tuple[Address, ...]] = {}
        self._held: set[str] | None = set()
        """Names that get no answer; None: all names."""
        self._changed = asyncio.Event()
        self._was_asked = asyncio.Event()
        self.unrouted: set[int] = set()
        """Families without a route."""
        monkeypatch.setattr(resolver, "_look_up", self._answer)
        monkeypatch.setattr(
            controls, "has_route", lambda address, _: address.family not in self.unrouted
        )

    def know(self, name: str, *addresses: Address) -> None:
        """Resolves the name to these addresses from now on, whatever their ports."""
        self._known[name] = addresses

    def hold(self, *names: str) -> None:
        """Answers no lookups of these names, or of any, until `release`."""
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
