"""Ports that another program owns, shared by it and by any number of pairs.

There is one raw socket for each port and family, however many ends of this process use it. What
comes goes to the end of the pair whose tag it has.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

from netpunch.address import Address
from netpunch.core.events import Via
from netpunch.core.settings import EndSettings
from netpunch.errors import NetpunchError, PortInUseError
from netpunch.net.driver import DATAGRAMS_PER_WAKEUP, Driver, Endpoint, clock
from netpunch.net.port_owner import owned_families, sockets_at
from netpunch.net.raw_socket import RawSocket, refuse_if_not_permitted
from netpunch.net.sockets import WILDCARDS, SocketOptions, options_of
from netpunch.wire.envelope import TAG_SLICE
from netpunch.wire.keys import pair_tag

LOOK_FOR_OWNER = 1.0
"""Seconds between two looks whether a program has the port by now: a VPN that starts with the host
needs some, and a look costs 0.1 ms."""


class _Key(NamedTuple):
    host: str
    port: int
    options: SocketOptions


class SharedPort:
    """A raw socket and the ends that use it. It is closed with the last one."""

    def __init__(self, key: _Key, ports: dict[_Key, SharedPort]) -> None:
        """Raises what `RawSocket` raises. `ports`: those of the loop, which it joins."""
        self.raw = RawSocket(*key)
        self.ends: dict[bytes, SharedEndpoint] = {}
        """By the tag of their pair."""
        self.users = 0
        self._key = key
        self._ports = ports
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.raw.socket, self._read)
        ports[key] = self

    def release(self) -> None:
        """One of the users has done with it."""
        self.users -= 1
        if not self.users:
            del self._ports[self._key]
            self._loop.remove_reader(self.raw.socket)
            self.raw.close()

    def _read(self) -> None:
        for _ in range(DATAGRAMS_PER_WAKEUP):
            try:
                data, source = self.raw.receive()
            except OSError:  # nothing is left, an end has closed it, or its interface is down
                return
            end = self.ends.get(data[TAG_SLICE])
            if end is not None:
                end.arrived(data, source)


class SharedEndpoint(Endpoint):
    """What an end has of a shared port."""

    __slots__ = ("_port", "_tag")

    def __init__(
        self, driver: Driver, via: Via, sock: socket.socket, *, port: SharedPort, tag: bytes
    ) -> None:
        super().__init__(driver, via, sock)
        self.local = port.raw.local
        self._port = port
        self._tag = tag

    def start(self, _loop: asyncio.AbstractEventLoop) -> None:
        self._port.ends[self._tag] = self

    def arrived(self, data: bytes, source: Address) -> None:
        """Takes a datagram of the end's pair."""
        self._driver.take(data, source, clock(), self.via)
        self._driver.pump()

    def send(self, data: bytes, destination: Address, ttl: int = 0) -> bool:
        try:
            self._port.raw.send(data, destination, ttl)
        except OSError as error:
            self._driver.refused(error, self.via, destination)
            return False
        return True

    def close(self, _loop: asyncio.AbstractEventLoop) -> None:
        if self._port.ends.get(self._tag) is self:
            del self._port.ends[self._tag]
        self._port.release()


class Shares:
    """What an end has of the port that its settings name, in each family."""

    def __init__(self, settings: EndSettings) -> None:
        """Raises what `RawSocket` raises, and PortInUseError if the pair has it already."""
        self._tag = pair_tag(settings.pair)
        self._ports: dict[Via, SharedPort] = {}
        try:
            for key in _keys(settings):
                self._ports[len(self._ports)] = self._join(key, settings)
        except NetpunchError:
            self.close()
            raise
        self.sockets = {via: port.raw.socket for via, port in self._ports.items()}
        self.addresses = {via: port.raw.local for via, port in self._ports.items()}

    def endpoint(self, driver: Driver, via: Via, sock: socket.socket) -> Endpoint:
        """For the driver. It closes what it has been given."""
        return SharedEndpoint(driver, via, sock, port=self._ports[via], tag=self._tag)

    def close(self) -> None:
        """Closes all of it. Not once the driver has it."""
        for port in self._ports.values():
            port.release()

    def _join(self, key: _Key, settings: EndSettings) -> SharedPort:
        ports = _ports.setdefault(asyncio.get_running_loop(), {})
        port = ports.get(key) or SharedPort(key, ports)
        if self._tag in port.ends:
            raise PortInUseError(
                f"{port.raw.local}: another end of the pair {settings.pair} shares it already"
            )
        port.users += 1
        return port


_ports: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, SharedPort]] = WeakKeyDictionary()


async def until_owned(settings: EndSettings, on_waiting: Callable[[str], None]) -> None:
    """Waits until a program has the port; `on_waiting` gets a sentence about that. Without one, the
    system would tell the partner that the port is closed. Raises PermissionsError at once if this
    process may not share ports."""
    refuse_if_not_permitted()
    if not _look(settings).is_owned:
        port = settings.local[1]
        on_waiting(f"no program of this host has UDP port {port}: start the one that shares it")
    while not _look(settings).is_owned:  # noqa: ASYNC110 - the system does not tell by itself
        await asyncio.sleep(LOOK_FOR_OWNER)


async def until_unowned(settings: EndSettings) -> bool:
    """Waits until the program that has the port has none of its sockets there any more. Returns
    whether there are others: it was restarted. In any case it needs to be told the partner's
    address anew."""
    _looks.pop(settings.local, None)  # it may have been restarted because of this very link
    sockets = _look(settings).sockets
    while (look := _look(settings)).is_owned:
        if sockets and sockets.isdisjoint(look.sockets):
            return True
        await asyncio.sleep(LOOK_FOR_OWNER)
    return False


class _Look(NamedTuple):
    at: float
    is_owned: bool
    """Whether a program has the port, as far as the system tells."""
    sockets: frozenset[int]
    """The inodes of its sockets there; none if the system does not tell."""


_looks: dict[tuple[str, int], _Look] = {}
"""The latest one at each port: many ends share it."""


def _look(settings: EndSettings) -> _Look:
    now, at = clock(), settings.local
    latest = _looks.get(at)
    if latest is None or now - latest.at >= LOOK_FOR_OWNER / 2:
        families = owned_families(*at)
        sockets = frozenset(sockets_at("", settings.local[1]) or ())
        latest = _looks[at] = _Look(now, families is None or bool(families), sockets)
    return latest


def _keys(settings: EndSettings) -> list[_Key]:
    host, port = settings.local
    options = options_of(settings)
    if host:
        return [_Key(host, port, options)]
    families = owned_families(host, port) or WILDCARDS.keys()
    wildcards = (wildcard for family, wildcard in WILDCARDS.items() if family in families)
    return [_Key(wildcard, port, options) for wildcard in wildcards]
