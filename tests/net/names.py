"""A name server that tests play: what the ends of this process are told instead of the system's
answers."""

from __future__ import annotations

import asyncio

import pytest

from netpunch.address import Address
from netpunch.net import resolve


class NameServer:
    """Knows nothing at first, and answers at once unless it is held."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self._known: dict[str, tuple[Address, ...]] = {}
        self._may_answer = asyncio.Event()
        self._may_answer.set()
        self._was_asked = asyncio.Event()
        monkeypatch.setattr(resolve, "_look_up", self._answer)

    def know(self, name: str, *addresses: Address) -> None:
        """From now on; their ports do not matter."""
        self._known[name] = addresses

    def hold(self) -> None:
        """No more answers until `release`."""
        self._may_answer.clear()

    def release(self) -> None:
        self._may_answer.set()

    async def wait_for_questions(self, count: int) -> None:
        while len(self.asked) < count:
            self._was_asked.clear()
            await self._was_asked.wait()

    async def _answer(self, host: str) -> list[str]:
        self.asked.append(host)
        self._was_asked.set()
        await self._may_answer.wait()
        return [address.host for address in self._known.get(host, ())]
