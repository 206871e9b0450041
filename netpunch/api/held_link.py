"""A held link in the hands of a program that awaits."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Generator
from types import TracebackType
from typing import TypeVar

from netpunch import arguments
from netpunch.address import Address
from netpunch.core.events import Event, Moved, PathKind
from netpunch.errors import LinkClosedError, UsageError
from netpunch.net.link_transport import LinkEnd, LinkTransport, octets
from netpunch.net.queues import Inbox
from netpunch.reasons import Reason
from netpunch.wire.sealed import OVERHEAD

MovedCallback = TypeVar("MovedCallback", bound=Callable[[Moved], object])

LONGEST = 65507
"""Bytes of a UDP datagram over IPv4."""


FAIR = 64
"""Datagrams sent in a row until the loop gets a turn: timeouts, Ctrl-C and all other tasks wait
for one, which costs each datagram some 1 %."""


class Closed:
    """The end of a held link, to come or past: await it for the `LinkEnd`. It is true once there is
    one. A task that is cancelled while it waits disturbs no other."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[LinkEnd] = asyncio.get_running_loop().create_future()

    def __bool__(self) -> bool:
        return self._future.done()

    def __await__(self) -> Generator[object, None, LinkEnd]:
        return asyncio.shield(self._future).__await__()

    def __repr__(self) -> str:
        return f"<closed: {self._future.result().reason if self else 'not yet'}>"

    def set(self, end: LinkEnd) -> None:
        self._future.set_result(end)


class Receiver(asyncio.DatagramProtocol):
    """The protocol of a program that awaits."""

    def __init__(self, transport: LinkTransport, inbox: Inbox) -> None:
        self.closed = Closed()
        self.end: LinkEnd | None = None
        """Set with `closed`, which takes longer to ask."""
        self.paused: asyncio.Event | None = None
        """Set when the transport has room again."""
        self.datagram_received = inbox.put  # type: ignore[assignment,method-assign]
        self._transport = transport
        self._inbox = inbox

    def pause_writing(self) -> None:
        self.paused = asyncio.Event()

    def resume_writing(self) -> None:
        if self.paused is not None:
            self.paused.set()
            self.paused = None

    def connection_lost(self, _error: Exception | None) -> None:
        self.end = self._transport.end
        assert self.end is not None
        self.closed.set(self.end)
        self.resume_writing()
        self._inbox.wake_all()


class HeldLink:
    """A link to the partner's program, until either end closes it or its network is gone.

    What arrives waits until it is received, up to 4,096 datagrams or 4 MiB; what comes while the
    queue is full is dropped and counted (`dropped`). As with all of UDP, datagrams may be lost on
    the way, and come in another order; on a sealed link none comes twice, and none is forged."""

    def __init__(
        self, transport: LinkTransport, receiver: Receiver, inbox: Inbox, *, sealed: bool
    ) -> None:
        self._sealed = sealed
        self._transport = transport
        self._receiver = receiver
        self._inbox = inbox
        self._longest = LONGEST - OVERHEAD if sealed else LONGEST
        self._in_a_row = 0
        self._on_moved: list[Callable[[Moved], object]] = []

    async def send(self, datagram: bytes | bytearray | memoryview) -> None:
        """Send a datagram; wait as long as 64 KiB or more wait for room in the system. A lone one
        leaves at once, those of a burst in the loop's next turn at the latest.

        Raises UsageError if it is no bytes-like object or too long: 65,507 bytes, sealed 65,481, is
        the most. (Above 1,472, sealed 1,446, datagrams travel in fragments, which some networks
        drop.) Raises LinkClosedError if the link is over."""
        transport = self._transport
        if transport.end is not None:
            raise _closed(transport.end)
        if type(datagram) is not bytes:
            try:
                datagram = octets(datagram)
            except TypeError as error:
                raise UsageError(f"send: {error}") from None
        if len(datagram) > self._longest:
            raise UsageError(
                f"send: expected at most {self._longest} bytes, got {len(datagram)}: "
                "split them over several datagrams"
            )
        transport.send(datagram)
        if self._receiver.paused is not None:
            await self._receiver.paused.wait()
        self._in_a_row += 1
        if self._in_a_row == FAIR:
            self._in_a_row = 0
            await asyncio.sleep(0)

    async def recv(self) -> bytes:
        """Wait for the next datagram of the partner's program, and return it.

        Raises LinkClosedError once the link is over and all that has arrived was received."""
        inbox = self._inbox
        while not inbox.waiting:
            if self._receiver.end is not None:
                raise _closed(self._receiver.end)
            waiter = asyncio.get_running_loop().create_future()
            inbox.waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in inbox.waiters:
                    inbox.waiters.remove(waiter)
                elif inbox.waiting:
                    inbox.wake()  # it was woken for what another one can take
                raise
        datagram = inbox.waiting.popleft()
        inbox.octets -= len(datagram)
        return datagram

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """Ends when either end has closed the link; raises LinkClosedError if it is lost."""
        try:
            return await self.recv()
        except LinkClosedError as error:
            if error.reason == Reason.SILENT:
                raise
            raise StopAsyncIteration from None

    @property
    def local(self) -> Address:
        """This end's address on the present path; maybe a wildcard (`0.0.0.0` or `::`)."""
        return self._transport.local

    @property
    def remote(self) -> Address:
        """The partner's address on the present path."""
        return self._transport.remote

    @property
    def path(self) -> PathKind:
        """The kind of the present path."""
        return self._transport.path

    @property
    def rtt(self) -> float | None:
        """The present path's round trip in seconds, smoothed; None until one is measured."""
        figures = self._transport.figures
        return None if figures is None else figures.rtt

    @property
    def loss(self) -> float:
        """The part of the last 20 keepalives that stayed unanswered, 0.0 to 1.0."""
        figures = self._transport.figures
        return 0.0 if figures is None else figures.loss

    @property
    def dropped(self) -> int:
        """How many datagrams that arrived were dropped as the queue was full."""
        return self._inbox.dropped

    @property
    def closed(self) -> Closed:
        """The end of the link: await it for why, or test it for whether."""
        return self._receiver.closed

    def on_moved(self, callback: MovedCallback) -> MovedCallback:
        """Call `callback` with a `Moved` whenever the link has moved to another path. Returns it,
        for use as a decorator. What it raises goes to the loop's exception handler.

        Raises UsageError if it is no function, or a coroutine function."""
        arguments.function("callback", callback)
        self._on_moved.append(callback)
        return callback

    async def detach(self) -> socket.socket:
        """Take the socket out of netpunch's hands: wait until the partner is linked, too, and
        return it, non-blocking and connected to the partner. The link is closed for this object;
        what has arrived before can still be received.

        From now on nobody keeps the path open, watches it or moves it: that is up to you. Detach
        both ends, as one that still holds the link hears no answers any more, and gives it up. (On
        Linux, its pings do not reach you: datagrams of 128 or 384 bytes that begin with 0xF2 are
        kept from the socket.)

        Raises UsageError if the link is sealed or relayed, and LinkClosedError if it is over."""
        if self._sealed:
            raise UsageError(
                "detach: the link is sealed, which no plain socket is: pass sealed=False to link() "
                "at both ends"
            )
        if self.path is PathKind.RELAY:
            raise UsageError(
                "detach: the link is relayed, which takes netpunch at both ends: wait until it has "
                "moved, or link without 'relay' in candidates"
            )
        return await self._transport.detached()

    async def __aenter__(self) -> HeldLink:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<HeldLink {self._transport.summary}>"

    async def close(self) -> None:
        """Close the link: the partner is told, which takes 40 ms. May be repeated. Cancelled, it
        closes at once. What has arrived can still be received."""
        self._transport.close()
        await self._transport.closed()

    def _see(self, event: Event) -> None:
        if isinstance(event, Moved):
            for callback in list(self._on_moved):
                try:
                    callback(event)
                except Exception as error:
                    self._transport.complain("on_moved", error)


def _closed(end: LinkEnd) -> LinkClosedError:
    return LinkClosedError(end.detail, end.reason)
