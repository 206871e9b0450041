"""An end's machine on real sockets: bind, find the controls, drive the machine, close."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from netpunch.address import Address
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import Event, Via
from netpunch.core.machine import Machine
from netpunch.core.settings import EndSettings
from netpunch.net.controls import Controls
from netpunch.net.driver import MAX_DATAGRAM, Driver, Observer, clock
from netpunch.net.sockets import binder, local_address

FAREWELL = 1.0
"""Seconds that a stopped end gets to tell its controls: it needs 40 ms."""


class DrivenEnd(ABC):
    """Base class: an end's sockets, controls and driver, which open and close together.

    The machine's last event must set `_finished`."""

    def __init__(self, settings: EndSettings, observer: Observer | None, *, trace: bool) -> None:
        """`observer` sees every event and, with `trace`, every datagram."""
        self._settings = settings
        self._bind = binder(settings)
        self._observer = observer
        self._trace = trace
        self._controls: Controls | None = None
        self._machine: Machine | None = None
        self._driver: Driver | None = None
        self._finished = asyncio.Event()

    @abstractmethod
    def _make_machine(
        self, endpoints: ControlEndpoints, sockets: Mapping[Via, Address]
    ) -> Machine: ...

    @abstractmethod
    def _take_event(self, event: Event) -> None: ...

    async def _start(
        self,
        local: tuple[str, int],
        *,
        on_unresolved: Callable[[str], None] | None = None,
        deadline: float | None = None,
        on_waiting: Callable[[str], None] | None = None,
        max_datagram: int = MAX_DATAGRAM,
    ) -> list[Address]:
        """Binds `local`, finds the controls within `deadline` seconds, and sets the machine going;
        returns the bound addresses. Raises what `net.sockets.bind` and `Controls.find` raise, and
        then nothing is bound."""
        sockets = dict(enumerate(self._bind(*local)))
        try:
            bound = {via: local_address(sock) for via, sock in sockets.items()}
            families = {each.family for each in bound.values()}
            controls = self._controls = Controls(
                self._settings.controls, families, on_unresolved, bind=self._bind
            )
            endpoints = await controls.find(deadline, on_waiting)
            machine = self._machine = self._make_machine(endpoints, bound)
            driver = self._driver = Driver(
                machine,
                on_event=self._take_event,
                bind=self._bind,
                observer=self._observer if self._trace else None,
                max_datagram=max_datagram,
            )
        except BaseException:
            for sock in sockets.values():
                sock.close()
            self._close_driver()  # which is not there yet, but a subclass may have more to release
            raise
        controls.follow(machine, driver)
        driver.open(sockets)
        return list(bound.values())

    async def _stop(self) -> None:
        """Lets the machine take leave of the controls, then closes the sockets."""
        if self._machine is not None and self._driver is not None:
            self._machine.close(clock())
            self._driver.pump()
            try:
                with contextlib.suppress(TimeoutError):  # the controls notice by themselves
                    async with asyncio.timeout(FAREWELL):
                        await self._finished.wait()
            finally:
                self._close_driver()
        if self._controls is not None:
            await self._controls.close()

    def _close_driver(self) -> None:
        if self._driver is not None:
            self._driver.close()
            self._driver = None
