"""An end's TLS streams to its controls, for as long as UDP to all of them is silent."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Callable, Collection
from functools import partial

from netpunch.address import Address
from netpunch.core.events import Via
from netpunch.core.machine import Machine
from netpunch.errors import NetpunchError
from netpunch.net.driver import Driver, Endpoint, clock
from netpunch.net.sockets import SocketOptions
from netpunch.net.tcp import connect
from netpunch.net.tls_stream import Stream
from netpunch.wire.envelope import Buffer

CONNECT_WITHIN = 5.0
"""Seconds for a connection and its handshake: four round trips, of one second at worst."""
ATTEMPTS = 4
ATTEMPT_INTERVAL = 0.5
"""Seconds until another connection is tried beside those whose handshakes are not done, so many in
all: TCP repeats a lost SYN after a second, and a lost part of the handshake ever more slowly. Two
round trips of nearly all networks are shorter, so there is one connection as a rule."""
FIRST_WORD_WITHIN = 10.0
"""Seconds until a control has to say something; another server at that port never will."""
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 60.0
"""Seconds between the end of a stream and the next try. They double as long as streams are of no
use: a control that is down, or has no TLS, must not be a burden to the network, nor a hundred
thousand ends to it. The first is short, as a link may wait for it."""
JITTER = 0.2
"""Part of a pause by which it varies: ends that lost their control together return one by one."""

Place = tuple[Address, str | None]
"""A control's TLS port, and the name it goes by, if any."""


class StreamEndpoint(Endpoint):
    """Socket of a driver over one stream to a control. Everything else is out of its reach."""

    __slots__ = ("_control", "heard", "stream")

    def __init__(
        self,
        driver: Driver,
        via: Via,
        sock: socket.socket,
        *,
        context: ssl.SSLContext,
        place: Place,
        on_ready: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(driver, via, sock)
        self.put = self._put
        self.heard = False
        """Whether anything has come."""
        self._control, name = place
        self.stream = Stream(
            sock,
            context,
            server=False,
            hostname=name,
            on_datagrams=self._arrived,
            on_ready=on_ready,
            on_end=on_end,
        )

    @property
    def queue_drops(self) -> int:
        return 0

    def start(self, _loop: asyncio.AbstractEventLoop) -> None:
        self.stream.start()

    def send(self, data: bytes, destination: Address, _ttl: int = 0) -> bool:
        return destination == self._control and self.stream.send(data)

    def when_writable(self, *_: object) -> None:
        """`put` never waits."""

    def release(self, _loop: asyncio.AbstractEventLoop) -> None:
        """It is none for datagrams."""

    def close(self, _loop: asyncio.AbstractEventLoop) -> None:
        self.stream.close()

    def _put(self, data: Buffer, destination: Address) -> None:
        """What there is no room for is lost, as anywhere on the way."""
        self.send(bytes(data), destination)

    def _arrived(self, datagrams: list[bytes]) -> None:
        self.heard = True
        driver, now = self._driver, clock()
        for data in datagrams:
            driver.take(data, self._control, now, self.via)
            driver.drain()
        driver.arm()


Connection = tuple[StreamEndpoint, asyncio.Future[None]]
"""One whose handshake is done, and what is done when it ends."""


class ControlStreams:
    """Keeps a stream to each of some places, until it is closed."""

    def __init__(self, machine: Machine, driver: Driver, options: SocketOptions) -> None:
        self._machine = machine
        self._driver = driver
        self._options = options
        self._context = client_context()
        self._tasks: dict[Place, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        """Cancelled, but not over yet."""
        self._open: set[StreamEndpoint] = set()
        self._changed = asyncio.Event()
        self._changes = 0
        """How often the host's network has changed."""

    def keep(self, places: Collection[Place]) -> None:
        """Keeps streams to these places from now on, and to no others."""
        for place in self._tasks.keys() - set(places):
            task = self._tasks.pop(place)
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        for place in places:
            if place not in self._tasks:
                self._tasks[place] = asyncio.create_task(self._keep(place))

    def network_changed(self, hosts: Collection[str]) -> None:
        """This host has these addresses now. A stream from another one is broken, though nothing
        says so yet; what failed before is tried again at once."""
        for endpoint in list(self._open):
            if endpoint.local.host not in hosts:
                endpoint.stream.end()
        self._changes += 1
        self._changed.set()
        self._changed.clear()

    async def close(self) -> None:
        """Ends all of them."""
        self.keep(())
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _keep(self, place: Place) -> None:
        pause = FIRST_PAUSE
        while True:
            changes = self._changes
            try:
                was_useful = await self._use(place)
            except (OSError, TimeoutError, NetpunchError, ValueError):  # a name that TLS can't have
                was_useful = False
            if changes != self._changes:
                pause = FIRST_PAUSE
                continue
            pause = FIRST_PAUSE if was_useful else pause
            spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
            try:
                async with asyncio.timeout(pause * spread):
                    await self._changed.wait()
                pause = FIRST_PAUSE
            except TimeoutError:
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _use(self, place: Place) -> bool:
        """Connects, and stays until the stream ends. Returns whether anything came."""
        endpoint, ended = await self._connected(place)
        try:
            await self._stay(endpoint, place[0], ended)
        finally:
            self._release(endpoint)
        return endpoint.heard

    async def _connected(self, place: Place) -> Connection:
        """The first of a few attempts to be done with its handshake, or to fail."""
        attempts: set[asyncio.Task[Connection]] = set()
        try:
            for number in range(1, ATTEMPTS + 1):
                attempts.add(asyncio.create_task(self._connect(place)))
                patience = ATTEMPT_INTERVAL if number < ATTEMPTS else None
                done, _ = await asyncio.wait(
                    attempts, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    break
            first = done.pop()
            attempts.remove(first)
            return first.result()
        finally:
            for attempt in attempts:
                attempt.cancel()
            for late in await asyncio.gather(*attempts, return_exceptions=True):
                if not isinstance(late, BaseException):
                    self._release(late[0])

    async def _connect(self, place: Place) -> Connection:
        loop = asyncio.get_running_loop()
        ready, ended = loop.create_future(), loop.create_future()
        make = partial(
            StreamEndpoint,
            context=self._context,
            place=place,
            on_ready=partial(_settle, ready),
            on_end=partial(_settle, ended),
        )
        async with asyncio.timeout(CONNECT_WITHIN):
            sock = await connect(place[0], self._options)
            try:
                endpoint = self._driver.attach(sock, endpoint=make)
            except BaseException:
                sock.close()
                raise
            assert isinstance(endpoint, StreamEndpoint)
            self._open.add(endpoint)
            try:
                await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
                if not ready.done():
                    raise ConnectionResetError("the handshake failed")
            except BaseException:
                self._release(endpoint)
                raise
        return endpoint, ended

    def _release(self, endpoint: StreamEndpoint) -> None:
        self._open.remove(endpoint)
        self._driver.detach(endpoint.via)

    async def _stay(
        self, endpoint: StreamEndpoint, control: Address, ended: asyncio.Future[None]
    ) -> None:
        machine, driver, via = self._machine, self._driver, endpoint.via
        machine.control_connected(via, control, endpoint.local, clock())
        driver.pump()
        try:
            await asyncio.wait((ended,), timeout=FIRST_WORD_WITHIN)
            if endpoint.heard:
                await asyncio.wait((ended,))
        finally:
            machine.control_disconnected(via, clock())
            driver.pump()


def client_context() -> ssl.SSLContext:
    """TLS that accepts any certificate: what is inside is sealed for the right control already."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
