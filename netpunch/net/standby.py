"""An end on standby: another program owns the link's port, and the partner may punch anew."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from netpunch.address import Address
from netpunch.core.end.standby import Standby
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import Event, Finished, LookupWanted, PartnerReturned, Via, Waiting
from netpunch.core.machine import Machine
from netpunch.core.settings import EndSettings
from netpunch.errors import NetpunchError
from netpunch.net.driver import Observer, clock
from netpunch.net.end import DrivenEnd

RETRY = 60.0
"""Seconds until the next try if there is no socket to be had: the link itself is not affected."""


class StandbyWatch(DrivenEnd):
    """Waits for the partner to punch anew. Make and use it within a running loop, and
    `await close()` in the end."""

    def __init__(
        self, settings: EndSettings, observer: Observer | None = None, *, trace: bool = True
    ) -> None:
        super().__init__(settings, observer, trace=trace)
        self._returned = asyncio.Event()

    async def returned(self) -> None:
        """Wait until the partner wants to punch anew and has proved its presence."""
        while self._driver is None:
            try:
                await self._start((self._settings.local[0], 0))
            except NetpunchError:
                await asyncio.sleep(RETRY)
        await self._returned.wait()

    async def close(self) -> None:
        """Tell the controls, then close the sockets."""
        await self._stop()

    def _make_machine(self, endpoints: ControlEndpoints, sockets: Mapping[Via, Address]) -> Machine:
        return Standby(
            self._settings, endpoints=endpoints, sockets=sockets, random=os.urandom, now=clock()
        )

    def _take_event(self, event: Event) -> None:
        match event:
            case PartnerReturned():
                self._returned.set()
            case Waiting() if self._observer is not None:
                self._observer(event)
            case LookupWanted(silent) if self._controls is not None:
                self._controls.find_again(silent)
            case Finished():
                self._finished.set()
