"""A held link as an asyncio transport: what `loop.create_datagram_endpoint` gives, over a path that
is found, watched and changed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import warnings
from asyncio.trsock import TransportSocket
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar, cast

from netpunch.address import Address
from netpunch.core.events import Event, Finished, Linked, Lost, Moved, PathKind
from netpunch.core.machine import LinkFigures, Machine
from netpunch.core.settings import EndSettings
from netpunch.errors import LinkClosedError, resource_errors
from netpunch.net.datagrams import Datagrams, one
from netpunch.net.driver import Datagram, Endpoint, EndpointFactory, clock
from netpunch.net.end import FAREWELL
from netpunch.net.preload import HOLDING, IN_PROCESS, PAUSE, preload
from netpunch.net.punch import Punch
from netpunch.net.queues import Inbox, Outbox
from netpunch.reasons import Reason
from netpunch.wire.envelope import Buffer

P = TypeVar("P", bound=asyncio.DatagramProtocol)


class LinkEnd(NamedTuple):
    """Why a held link is over, in one word and in a sentence.

    `reason` is `stopped` (this end has closed it), `partner_stopped` (the other one has), or
    `silent`: nothing came any more, and no other path was found."""

    reason: Reason
    detail: str


BURST_GAP = 5e-6
"""Seconds. A program that sends another datagram so soon after one has left sends a burst: nothing
that it may have waited for takes less. A lone datagram never waits."""
CLOSED_HERE = LinkEnd(Reason.STOPPED, "this end has closed the link")


def octets(data: object) -> bytes | bytearray:
    """A datagram whose length is the number of its bytes, which a view's need not be. Raises
    TypeError."""
    if isinstance(data, bytes | bytearray):
        return data
    if isinstance(data, memoryview):
        return bytes(data)
    hint = ": encode it" if isinstance(data, str) else ""
    raise TypeError(f"expected bytes, bytearray or memoryview, got {type(data).__name__}{hint}")


class LinkTransport(asyncio.DatagramTransport):
    """The program's side of a held link, and its life from the first announcement on.

    The partner has one address for the protocol, for as long as the transport lives: the one that
    it was linked at. `remote` is where it is now."""

    def __init__(
        self, settings: EndSettings, observer: Callable[[Event], object] | None = None
    ) -> None:
        """`observer` is called with every event."""
        super().__init__()
        self.local = self.remote = Address("", 0)
        self.path = PathKind.OBSERVED
        self.end: LinkEnd | None = None
        """Why it is over, or about to be."""
        self._loop = asyncio.get_running_loop()
        self._observer = observer
        self._punch = Punch(settings, self._see, trace=False, program=self)
        self._protocol: asyncio.DatagramProtocol | None = None
        self.peer = Address("", 0)
        self._early = Inbox()
        """What has arrived before there was a protocol."""
        self.receive: Callable[[bytes, Address], object] = self._early.put
        self._outbox = Outbox(
            partial(self._tell, "pause_writing"), partial(self._tell, "resume_writing")
        )
        self.send: Callable[[Buffer], object] = self._send
        """As `sendto`, unchecked."""
        self._burst_until = 0.0
        """Until then, one more makes a burst."""
        self._blocked: Endpoint | None = None
        """Has no room at the moment."""
        self._flushed = asyncio.Event()
        self._flushed.set()
        self._closing: asyncio.Task[None] | None = None
        self._is_lost = False
        self._loading: asyncio.Handle

    async def open(self, factory: Callable[[], P]) -> P:
        """Links, and makes the protocol; returns that. Raises what `Punch.open` and `Punch.linked`
        raise. Then, or if it is cancelled, nothing is left open."""
        self._loading = self._loop.call_later(PAUSE, self._load, iter(HOLDING + IN_PROCESS))
        try:
            with resource_errors():
                await self._punch.open()
                await self._punch.linked()
            protocol = factory()
        except BaseException:
            self._closing = self._loop.create_task(self._punch.close())
            await self.closed()
            raise
        finally:
            self._loading.cancel()
        self._start(protocol)
        return protocol

    def _load(self, modules: Iterator[str]) -> None:
        """One in each turn of the loop, which may have others to serve."""
        for module in islice(modules, 1):
            self._loading = self._loop.call_soon(self._load, modules)
            preload((module,), self._punch.give_up)

    async def closed(self) -> None:
        """Waits until nothing is open any more, after `close` or a failure. Cancelled, that does
        not take long."""
        cancelled: asyncio.CancelledError | None = None
        assert self._closing is not None
        while not self._closing.done():
            try:
                await asyncio.wait((self._closing,))
            except asyncio.CancelledError as error:
                cancelled = error
                self.abort()
        if cancelled is not None:
            raise cancelled

    async def detached(self) -> socket.socket:
        """The link's socket, for the caller, and nothing else is left. Raises LinkClosedError if
        the link has ended."""
        self._send_gathered()
        sock = await self._punch.detached() if self.end is None else None
        self._over(CLOSED_HERE)
        try:
            await self.closed()
        except asyncio.CancelledError:
            if sock is not None:
                sock.close()
            raise
        if sock is None:
            assert self.end is not None
            raise LinkClosedError(self.end.detail, self.end.reason)
        return sock

    @property
    def figures(self) -> LinkFigures | None:
        return self._punch.figures

    @property
    def summary(self) -> str:
        """Its ends and path, or why it is over."""
        over = "" if self.end is None else f", over: {self.end.reason}"
        return f"{self.local} -> {self.remote}, {self.path}{over}"

    def __repr__(self) -> str:
        return f"<LinkTransport {self.summary}>"

    def __del__(self) -> None:
        if self._protocol is not None and self._closing is None:
            warnings.warn(
                f"unclosed transport {self!r}", ResourceWarning, stacklevel=2, source=self
            )

    # From the link.

    def deliver(self, datagrams: Datagrams) -> None:
        """Passes the protocol what the partner's program has sent."""
        peer = self.peer
        for each in datagrams.each:
            try:
                self.receive(each if type(each) is bytes else bytes(each), peer)
            except Exception as error:
                self.not_received(error)

    def not_received(self, error: Exception) -> None:
        """`receive` has raised it."""
        self.complain("datagram_received", error)

    def endpoint_for(self, machine: Machine) -> EndpointFactory:
        """Of the link's socket."""
        from netpunch.net.link_endpoint import LinkEndpoint

        return partial(LinkEndpoint, machine, self)

    def _drop(self, _datagram: bytes, _source: Address) -> None:
        """Nobody wants it any more."""

    def _see(self, event: Event | Datagram) -> None:
        assert not isinstance(event, Datagram)
        match event:
            case Linked(local=local, remote=remote, path=path):
                self.local, self.remote, self.path, self.peer = local, remote, path, remote
            case Moved(local=local, remote=remote, path=path):
                self.local, self.remote, self.path = local, remote, path
                if self._blocked is not None:
                    self._flush()  # on the new path
            case Lost(detail, ended):
                reason = Reason.PARTNER_STOPPED if ended else Reason.SILENT
                self._over(LinkEnd(reason, detail))
            case Finished():
                self._over(CLOSED_HERE)
        if self._observer is not None:
            try:
                self._observer(event)
            except Exception as error:
                self.complain("observer", error)

    def _start(self, protocol: asyncio.DatagramProtocol) -> None:
        self._protocol = protocol
        self._tell("connection_made", self)
        self.receive = protocol.datagram_received
        early = self._early
        while early.waiting:
            self.deliver(one(early.take()))
        if self.end is not None:
            self._over(self.end)

    def _over(self, end: LinkEnd) -> None:
        if self.end is None:
            self.end = end
        if self._closing is None and self._protocol is not None:
            self._closing = self._loop.create_task(self._close(self.end))
            self._closing.add_done_callback(lambda _: self._lost())  # cancelled before it began

    async def _close(self, end: LinkEnd) -> None:
        self.receive = self._drop
        try:
            if end is CLOSED_HERE:
                with contextlib.suppress(TimeoutError):  # there is no room, and will be none
                    async with asyncio.timeout(FAREWELL):
                        await self._flushed.wait()
            await self._punch.close()
        finally:
            self._lost()

    def _lost(self) -> None:
        """Nothing is open any more: tells the protocol, once."""
        end = self.end
        assert end is not None
        if not self._is_lost:
            self._is_lost = True
            self._punch.abort()
            self._outbox.clear()
            silent = end.reason is Reason.SILENT
            error = LinkClosedError(end.detail, end.reason) if silent else None
            self._tell("connection_lost", error)

    def _tell(self, method: str, *arguments: object) -> None:
        try:
            getattr(self._protocol, method)(*arguments)
        except Exception as error:
            self.complain(method, error)

    def complain(self, function: str, error: Exception) -> None:
        self._loop.call_exception_handler(
            {
                "message": f"netpunch: the program's {function} failed",
                "exception": error,
                "transport": self,
                "protocol": self._protocol,
            }
        )

    # As a transport.

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send to the partner; `addr` is None, or its address."""
        if type(data) is not bytes:
            data = octets(data)
        if addr is not None and addr != self.peer and not self._is_partner(addr):
            raise ValueError(f"expected None or the partner's address {self.peer}, got {addr!r}")
        if self.end is None:
            self.send(data)

    def _is_partner(self, addr: object) -> bool:
        """With the four parts that an IPv6 address has for asyncio, or where the partner is now."""
        return isinstance(addr, tuple) and addr[:2] in (self.peer, self.remote)

    def close(self) -> None:
        """Send what waits, tell the partner and the controls, then call `connection_lost`."""
        self._send_gathered()
        self._over(CLOSED_HERE)
        if not self._outbox.waiting:
            self._punch.leave()  # at once: the loop may be about to end

    def abort(self) -> None:
        """Close the link at once: what waits is lost, and nobody is told."""
        self._send_gathered()
        self._outbox.clear()
        self._flushed.set()
        self._punch.abort()
        self._over(CLOSED_HERE)

    def is_closing(self) -> bool:
        """Whether the link is over, or about to be."""
        return self.end is not None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername` is the partner's address for this transport; `sockname`, `socket`, `path`,
        `rtt` and `loss` are those of the present path."""
        match name:
            case "peername":
                return self.peer
            case "sockname":
                return self.local
            case "socket":
                endpoint = self._punch.endpoint
                return default if endpoint is None else TransportSocket(endpoint.sock)
            case "path":
                return self.path
            case "rtt" | "loss":
                figures = self.figures
                return default if figures is None else getattr(figures, name)
        return default

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The present protocol."""
        assert self._protocol is not None
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Go on with another protocol. Raises TypeError if it takes no datagrams."""
        if not callable(getattr(protocol, "datagram_received", None)):
            raise TypeError(f"expected an asyncio.DatagramProtocol, got {type(protocol).__name__}")
        self._protocol = cast(asyncio.DatagramProtocol, protocol)
        if self.end is None:
            self.receive = self._protocol.datagram_received

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Bytes that wait to be sent: above `high` the protocol is paused, at `low` resumed."""
        self._outbox.set_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Low and high, in bytes."""
        return self._outbox.low, self._outbox.high

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent."""
        return self._outbox.octets

    # What is sent now, and what waits.

    def _send(self, data: Buffer) -> None:
        """At once, unless it follows another one so soon that more may come: those of a burst leave
        together."""
        if clock() < self._burst_until:
            self.send = self._gather
            self._loop.call_soon(self._send_gathered)
            self._gather(data)
        else:
            self._punch.send_now(data)
            self._burst_until = clock() + BURST_GAP

    def _gather(self, data: Buffer) -> None:
        if self._outbox.gather(bytes(data)):
            self._flush()

    def _send_gathered(self) -> None:
        if self.send == self._gather:
            self._flush()

    def unsent(self, data: Buffer, error: OSError) -> None:
        """Keeps it, and all that follow, until there is room again."""
        if not isinstance(error, BlockingIOError):
            self._tell("error_received", error)
            return
        if self._outbox.waiting:  # it is the first of them
            self._outbox.consider_pause()
        else:
            self._wait(data)
        self.send = self._wait
        self._flushed.clear()
        self._blocked = self._punch.endpoint
        if self._blocked is not None:
            self._blocked.when_writable(self._loop, self._flush)

    def _wait(self, data: Buffer) -> None:
        self._outbox.put(bytes(data))

    def _flush(self) -> None:
        blocked, self._blocked = self._blocked, None
        if blocked is not None:
            blocked.when_writable(self._loop, None)
        self.send = self._wait  # what the protocol sends meanwhile, told of an error or of room
        waiting = self._outbox.waiting
        while waiting:
            count = self._punch.send_first(self._outbox.first())
            if self._blocked is not None:
                return
            self._outbox.sent(count)
        self.send = self._send
        self._burst_until = clock() + BURST_GAP
        self._flushed.set()
