"""Keeps a control informed of where the world sees its network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from netpunch.address import is_private
from netpunch.core.control.control import ControlV2
from netpunch.errors import NetpunchError
from netpunch.net.resolver import is_literal, resolve

REVIEW = 300.0
"""Seconds between two look-ups of a name: at home the public address changes while control runs."""
RETRY = 10.0
"""Seconds after a look-up that found nothing: at boot name servers may come later."""


class OwnHosts:
    """Looks up a control's public names, from `learn` to `stop`, and calls `on_looked_up` after
    each look-up. Make and use it within a running loop."""

    def __init__(self, machine: ControlV2, on_looked_up: Callable[[], None] | None = None) -> None:
        self._machine = machine
        self._on_looked_up = on_looked_up
        self._learning: asyncio.Task[None] | None = None

    def learn(self, hosts: Sequence[str]) -> None:
        """From now on looks up these names or IP addresses, and no others."""
        if self._learning is not None:
            self._learning.cancel()
        self._learning = asyncio.create_task(self._learn(hosts))

    async def stop(self) -> None:
        """Looks nothing up any more."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)

    async def _learn(self, hosts: Sequence[str]) -> None:
        """One public address of each family, the first that a name gives; what was known stays
        while no name resolves."""
        while True:
            found: dict[int, str] = {}
            for host in hosts:
                for public in await _public_hosts(host):
                    found.setdefault(6 if ":" in public else 4, public)
            if found:
                self._machine.own_hosts = found
            if self._on_looked_up is not None:
                self._on_looked_up()
            if all(map(is_literal, hosts)):
                return
            await asyncio.sleep(REVIEW if found else RETRY)


async def _public_hosts(host: str) -> list[str]:
    """The public hosts of a name; none while it does not resolve, or only to private ones, as a
    host's own name may on that host."""
    try:
        found = await resolve(host, 0)
    except NetpunchError:
        return []
    return [each.host for each in found if not is_private(each.host)]
