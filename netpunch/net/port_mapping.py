"""Asks this host's gateways to map a local UDP port, and keeps the mappings alive."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import socket
from collections.abc import Callable, Iterable

from netpunch.address import Address
from netpunch.core.events import Event, Mapped, Unmapped
from netpunch.core.portmap.pcp import VIA, PortMapper
from netpunch.errors import NetpunchError
from netpunch.net.driver import Driver, Observer, clock
from netpunch.net.routes import Gateway, bind_to_interface, default_gateways
from netpunch.net.sockets import WILDCARDS, Bind, bind
from netpunch.wire.portmap import NONCE_LENGTH, SERVER_PORT

RELEASE_TIMEOUT = 1.0
"""Seconds that gateways get to confirm a release: they need milliseconds, and mappings expire
anyway."""


class PortMapping:
    """Asks the default gateways to forward a port to this host. Make and use it within a running
    loop: `open()`, then `await close()`, whatever happens in between.

    If no gateway maps ports, `on_change` is never called; that is no error."""

    def __init__(
        self,
        on_change: Callable[[tuple[Address, ...]], None],
        observer: Observer | None = None,
        *,
        secret: bytes | None = None,
        bind: Bind = bind,
        interface: str = "",
    ) -> None:
        """`on_change` gets `externals` each time they change, until `close()`; `observer` gets
        every datagram to and from gateways, and `Mapped`, `MappingLost` and `Unmapped`.

        A `secret` lets a later request for the same port take over a mapping that was left to
        expire: PCP wants the mapping's nonce (RFC 6887 section 11.2), which is derived from the
        secret. `bind` makes the sockets that ask; `interface` limits the gateways to its own."""
        self._on_change = on_change
        self._observer = observer
        self._secret = secret
        self._bind = bind
        self._interface = interface
        self._local: tuple[Address, ...] = ()
        self._requests: list[_Request] = []

    @property
    def externals(self) -> tuple[Address, ...]:
        """The addresses at which others reach the port now, at most one for each family."""
        found = (request.external for request in self._requests)
        return tuple(external for external in found if external is not None)

    def open(self, local: Iterable[Address]) -> None:
        """Asks for the port of each bound address at the gateways that can forward to it: those of
        its family and, unless it is a wildcard, those that know this host by its IP."""
        more = tuple(local)
        self._local += more
        for gateway, port in self._targets(more):
            self._ask(gateway, port)

    def network_changed(self) -> None:
        """Asks the gateways that are there now. One that was there before, too, is asked again: it
        may be another router at the same address, or have forgotten us while we slept."""
        externals = self.externals
        kept, wanted = [], self._targets(self._local)
        for request in self._requests:
            if request.target in wanted:
                wanted.remove(request.target)
                request.ask_again()
                kept.append(request)
            else:
                request.release()  # without waiting: it can hardly be reached
                request.close()
        self._requests = kept
        for gateway, port in wanted:
            self._ask(gateway, port)
        if self.externals != externals:
            self._note()

    async def close(self, *, release: bool = True) -> None:
        """Releases the mappings, within RELEASE_TIMEOUT. May be repeated.

        Without `release` they expire by themselves within the hour: another program that has taken
        over the port keeps its path."""
        try:
            if release:
                async with asyncio.timeout(RELEASE_TIMEOUT):
                    for request in self._requests:
                        request.release()
                    for request in self._requests:
                        await request.released.wait()
        except TimeoutError:
            pass
        finally:
            for request in self._requests:
                request.close()
            self._requests.clear()

    def _targets(self, local: Iterable[Address]) -> list[tuple[Gateway, int]]:
        """The gateways to ask, with the port that each is to forward."""
        gateways = default_gateways(self._interface)
        return [
            (gateway, address.port)
            for address in local
            for gateway in gateways
            if _forwards_to(gateway, address)
        ]

    def _ask(self, gateway: Gateway, port: int) -> None:
        nonce = None if self._secret is None else _nonce(self._secret, gateway, port)
        with contextlib.suppress(NetpunchError):  # the address is gone, and so is the gateway
            [sock] = self._bind(gateway.source, 0)
            self._requests.append(_Request(gateway, port, nonce, sock, self._note, self._observer))

    def _note(self) -> None:
        self._on_change(self.externals)


class _Request:
    """The port's mapping at one gateway. Asks from `sock`, and closes it."""

    def __init__(
        self,
        gateway: Gateway,
        port: int,
        nonce: bytes | None,
        sock: socket.socket,
        on_change: Callable[[], None],
        observer: Observer | None,
    ) -> None:
        self.target = gateway, port
        self.external: Address | None = None
        self.released = asyncio.Event()
        self._on_change = on_change
        self._observer = observer
        self._sock = sock
        bind_to_interface(sock, gateway.interface)
        self._machine = PortMapper(
            Address(gateway.host, SERVER_PORT),
            client=gateway.source,
            internal_port=port,
            random=os.urandom,
            now=clock(),
            nonce=nonce,
        )
        self._driver = Driver(self._machine, on_event=self._take_event, observer=observer)
        self._driver.open({VIA: sock})

    def ask_again(self) -> None:
        """The network has changed, and maybe the gateway, or the interface of that name."""
        bind_to_interface(self._sock, self.target[0].interface)
        self._machine.network_changed((), clock())
        self._driver.pump()

    def release(self) -> None:
        """Asks the gateway to release the mapping; sets `released` once it has answered, or doesn't
        in time."""
        self._machine.close(clock())
        self._driver.pump()

    def close(self) -> None:
        self._driver.close()

    def _take_event(self, event: Event) -> None:
        before, self.external = self.external, event.external if isinstance(event, Mapped) else None
        if isinstance(event, Unmapped):
            self.released.set()
        elif self.external != before:
            self._on_change()
        if self._observer is not None:
            self._observer(event)


def _nonce(secret: bytes, gateway: Gateway, port: int) -> bytes:
    """Always the same for a mapping. It reveals nothing about the secret."""
    mapping = f"netpunch/2 port mapping|{gateway.host}|{gateway.source}|{port}"
    return hmac.digest(secret, mapping.encode(), "sha256")[:NONCE_LENGTH]


def _forwards_to(gateway: Gateway, address: Address) -> bool:
    return address.host == gateway.source or (
        address.host in WILDCARDS.values() and address.family == Address(gateway.host, 0).family
    )
