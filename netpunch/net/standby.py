"""An end on standby, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os

from netpunch.core.end.standby import Standby
from netpunch.core.events import Event, Finished, LookupWanted, PartnerReturned, Waiting
from netpunch.core.settings import EndSettings
from netpunch.errors import NetpunchError
from netpunch.net.controls import Controls, local_address
from netpunch.net.driver import Driver, Observer, clock
from netpunch.net.punch import FAREWELL
from netpunch.net.sockets import binder

RETRY = 60.0
"""Seconds until the next try, when no socket can be had: the link itself is not affected."""


class StandbyWatch:
    """Waits for the wish of the partner of this end to punch anew. Made and used within a running
    loop; `await close()` in the end."""

    def __init__(
        self, settings: EndSettings, observer: Observer | None = None, *, trace: bool = True
    ) -> None:
        self._settings = settings
        self._bind = binder(settings)
        self._observer = observer if trace else None
        self._on_event = observer
        self._controls: Controls | None = None
        self._machine: Standby | None = None
        self._driver: Driver | None = None
        self._returned = asyncio.Event()
        self._finished = asyncio.Event()

    async def returned(self) -> None:
        """Ends when the partner wants to punch anew, and has proved that it is there."""
        while self._driver is None:
            try:
                await self._open()
            except NetpunchError:
                await asyncio.sleep(RETRY)
        await self._returned.wait()

    async def close(self) -> None:
        """Tells the controls, closes the sockets."""
        if self._driver is not None and self._machine is not None:
            self._machine.close(clock())
            self._driver.pump()
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FAREWELL):
                        await self._finished.wait()
            finally:
                self._driver.close()
                self._driver = None
        if self._controls is not None:
            await self._controls.close()

    async def _open(self) -> None:
        sockets = dict(enumerate(self._bind(self._settings.local[0], 0)))
        try:
            bound = {via: local_address(sock) for via, sock in sockets.items()}
            families = {local.family for local in bound.values()}
            self._controls = Controls(self._settings.controls, families, bind=self._bind)
            endpoints = await self._controls.find()
            self._machine = Standby(
                self._settings,
                endpoints=endpoints,
                sockets=bound,
                random=os.urandom,
                now=clock(),
            )
            driver = Driver(self._machine, on_event=self._take_event, observer=self._observer)
        except BaseException:
            for sock in sockets.values():
                sock.close()
            raise
        self._driver = driver
        self._controls.follow(self._machine, driver)
        driver.open(sockets)

    def _take_event(self, event: Event) -> None:
        match event:
            case PartnerReturned():
                self._returned.set()
            case Waiting() if self._on_event is not None:
                self._on_event(event)
            case LookupWanted(silent):
                assert self._controls is not None
                self._controls.find_again(silent)
            case Finished():
                self._finished.set()
