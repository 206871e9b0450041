"""An end's machine on real sockets: bind, find the controls, drive the machine, close."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from netpunch.address import Address
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import Event, Via
from netpunch.core.machine import Machine
from netpunch.core.settings import EndSettings
from netpunch.errors import PortInUseError
from netpunch.net.controls import Controls
from netpunch.net.driver import MAX_DATAGRAM, Driver, Endpoint, Observer, clock
from netpunch.net.resolver import is_literal
from netpunch.net.sockets import WILDCARDS, binder, local_address, options_of, port_in_use

if TYPE_CHECKING:
    from netpunch.net.tls_client import ControlStreams, Place

FAREWELL = 1.0
"""Seconds that a stopped end gets to tell its controls: it needs 40 ms."""


class Opened(Protocol):
    """What a driver is given to send and receive by, and the machine knows by its addresses."""

    @property
    def sockets(self) -> Mapping[Via, socket.socket]: ...

    @property
    def addresses(self) -> Mapping[Via, Address]: ...

    def endpoint(self, driver: Driver, via: Via, sock: socket.socket, /) -> Endpoint:
        """For the driver, which closes it."""

    def close(self) -> None:
        """Closes all of it, if no driver was given it."""


class Bound:
    """Sockets of the end's own."""

    def __init__(self, sockets: Iterable[socket.socket]) -> None:
        self.sockets = dict(enumerate(sockets))
        self.addresses = {via: local_address(sock) for via, sock in self.sockets.items()}
        self.endpoint = Endpoint

    def close(self) -> None:
        for sock in self.sockets.values():
            sock.close()


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
        self._streams: ControlStreams | None = None
        """Made when the machine wants streams to its controls first."""
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
        opened = self._open(local)
        try:
            bound = opened.addresses
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
            opened.close()
            self._close_driver()  # which is not there yet, but a subclass may have more to release
            raise
        controls.follow(machine, driver)
        driver.open(opened.sockets, endpoint=opened.endpoint)
        return list(bound.values())

    def _open(self, local: tuple[str, int]) -> Opened:
        if not self._settings.share:
            return Bound(self._bound(local))
        from netpunch.net.share import Shares  # few ends share their port

        return Shares(self._settings)

    def _bound(self, local: tuple[str, int]) -> list[socket.socket]:
        """Raises what `bind` raises; of a port in use with whose it is."""
        try:
            return self._bind(*local)
        except PortInUseError as error:
            from netpunch.net.port_owner import owner_lately

            if (owner := owner_lately(*local)) is None:
                raise
            address = Address(local[0] or WILDCARDS[socket.AF_INET], local[1])
            if owner.pid == os.getpid():
                raise port_in_use(address, whose="another socket of this process") from error
            raise port_in_use(address, whose=str(owner), may_share=True) from error

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
        if self._streams is not None:
            await self._streams.close()
        if self._controls is not None:
            await self._controls.close()

    def _want_streams(self, wanted: bool) -> None:
        """Opens streams to all controls that are known and may have TLS, or closes them."""
        if self._machine is None or self._driver is None:
            return
        places = list(self._tls_places()) if wanted else []
        if self._streams is None and places:
            from netpunch.net.tls_client import ControlStreams  # with TLS, which few ends need

            self._streams = ControlStreams(self._machine, self._driver, options_of(self._settings))
        if self._streams is not None:
            self._streams.keep(places)

    def _tls_places(self) -> Iterator[Place]:
        assert self._controls is not None
        for control, addresses in self._controls.places.items():
            port = self._settings.tls_port(control)
            name = None if is_literal(control.host) else control.host
            for address in addresses if port else ():
                yield address._replace(port=port), name

    def _close_driver(self) -> None:
        if self._streams is not None:
            self._streams.keep(())
        if self._driver is not None:
            self._driver.close()
            self._driver = None
