"""Drives a machine: sockets and a timer, but no decisions.

The driver reads the sockets directly (`loop.add_reader`, until nothing is left) instead of through
asyncio's datagram transports. That is as fast as uvloop's and faster than asyncio's, behaves the
same on every loop, opens and closes at once, and has no queue of its own. What the system's send
buffer can't take is lost, as any UDP datagram may be.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from netpunch.address import Address
from netpunch.core.events import CloseSocket, Event, OpenSockets, Via
from netpunch.core.machine import NEVER, Machine, Transmit
from netpunch.errors import NetpunchError, UsageError
from netpunch.net.datagrams import Datagrams
from netpunch.net.sockets import (
    Ancillary,
    Bind,
    SocketOptions,
    bind,
    bind_to_interface_again,
    moved,
    queue_drops,
    send_from,
)
from netpunch.wire.envelope import Buffer

T = TypeVar("T")

clock = time.monotonic
"""The time that machines get, in seconds. uvloop's `loop.time()` has whole milliseconds and stands
still while a callback runs: too coarse for a round trip within a LAN."""

MAX_DATAGRAM = 2048
"""Bytes to read: more than any netpunch datagram, so what is cut off can't be authentic."""

MAX_PAYLOAD = 65535
"""Bytes to read where programs' datagrams arrive, too: any UDP datagram."""

DATAGRAMS_PER_WAKEUP = 64
"""Datagrams to read from one socket before the timer and the other sockets get their turn."""

LONGEST_QUEUE = 4096
"""Datagrams after which a socket that is given away is not read any further: somebody sends faster
than that."""

FEW = 8
"""With fewer datagrams to send, checking whether they fit into a batch costs more than it saves."""

HOP_LIMIT = {
    socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TTL),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
}

ADDRESS_GONE = {errno.EINVAL, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.ENODEV}
"""What Linux answers if it is to send from an address or by an interface that this host does not
have now."""
NO_ROUTE = {
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
}
"""What the system answers if it can't reach an address now: it has no route, or no address of its
own to send from."""

TIMER_ROUNDING = 0.0005
"""Seconds. uvloop rounds to milliseconds; adding half of one keeps timers from ringing early."""


class Datagram(NamedTuple):
    """A datagram that was sent or received. `data` is as on the wire, `text` describes it."""

    sent: bool
    local: Address
    remote: Address
    data: bytes
    text: str


Observer = Callable[[Datagram | Event], None]
"""Is called with every datagram and every event of a machine."""


class Endpoint:
    """A socket of a driver. `local` is the address it is bound to."""

    __slots__ = (
        *("_address_of", "_driver", "_pinned", "_sock", "_source"),
        *("local", "put", "room", "via"),
    )

    def __init__(self, driver: Driver, via: Via, sock: socket.socket) -> None:
        self._driver = driver
        self._sock = sock
        self._address_of = _ipv6_address if sock.family == socket.AF_INET6 else _ipv4_address
        self.via = via
        self.local = self._address_of(sock.getsockname())
        self.room = driver.max_datagram
        """Bytes to read of a datagram."""
        self._pinned: Address | None = None
        self._source: Ancillary = []
        self.put: Callable[[Buffer, Address], object] = sock.sendto
        """Sends at once, or raises OSError: BlockingIOError if the system has no room now. (No
        method, as each datagram that leaves would need one call more.)"""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts to read."""
        loop.add_reader(self._sock, self.read)

    def read(self) -> None:
        """The loop calls it when datagrams have arrived: passes them to the machine."""
        for _ in range(DATAGRAMS_PER_WAKEUP):
            if not self._read_one():
                break
            self._driver.drain()
        self._driver.arm()

    def send_batch(self, _datagrams: Sequence[bytes], _destinations: Sequence[Address], /) -> bool:
        """Sends all of them in one system call if it can; returns whether it did."""
        return False

    def send_payloads(self, _datagrams: Datagrams, _destination: Address, /) -> bool:
        """Sends programs' datagrams in bulk if it can; returns whether it can."""
        return False

    def joinable(self, _payloads: Sequence[Buffer], /) -> int:
        """How many of a program's datagrams, from the first on, can leave as one message."""
        return 1

    def put_together(self, _payloads: Sequence[Buffer], _destination: Address, /) -> bool:
        """Sends a program's datagrams as one message, as `put` does one. Returns whether the system
        takes such a message."""
        return False

    def send(self, data: bytes, destination: Address, ttl: int = 0) -> bool:
        """Sends at once or not at all, and counts a failure. `ttl` is in hops, 0 for the system's
        default. Returns whether it was sent."""
        if ttl:
            return self._send_near(data, destination, ttl)
        try:
            self.put(data, destination)
        except OSError as error:
            self._driver.refused(error, self.via, destination)
            return False
        return True

    def when_writable(
        self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None] | None
    ) -> None:
        """Calls `callback` whenever the system has room, until it is None."""
        if self._sock.fileno() == -1:
            return
        if callback is None:
            loop.remove_writer(self._sock)
        else:
            loop.add_writer(self._sock, callback)

    @property
    def sock(self) -> socket.socket:
        return self._sock

    def pin(self, destination: Address, host: str, interface: str = "") -> None:
        """Sends datagrams to `destination` from this address of the host from now on, whenever the
        host has it, and by this interface only, if given. Raises OSError if there is no such
        interface. For wildcard sockets on Linux."""
        self._pinned, self._source = destination, send_from(host, interface)
        self.put = self._put_pinned

    def unpin(self) -> None:
        """Lets the system choose again."""
        self._pinned = None
        self.put = self._sock.sendto

    def _put_pinned(self, data: Buffer, destination: Address) -> None:
        if destination != self._pinned:
            self._sock.sendto(data, destination)
            return
        try:
            self._sock.sendmsg((data,), self._source, 0, destination)
        except OSError as error:
            if error.errno not in ADDRESS_GONE:
                raise
            self._sock.sendto(data, destination)

    def _send_near(self, data: bytes, destination: Address, ttl: int) -> bool:
        level, option = HOP_LIMIT[self._sock.family]
        usual = self._sock.getsockopt(level, option)
        self._sock.setsockopt(level, option, ttl)
        try:
            return self.send(data, destination)
        finally:
            self._sock.setsockopt(level, option, usual)

    def bind_to_interface_again(self, options: SocketOptions) -> None:
        """See `net.sockets.bind_to_interface_again`."""
        bind_to_interface_again(self._sock, options)

    @property
    def queue_drops(self) -> int:
        return queue_drops(self._sock)

    def release(self, loop: asyncio.AbstractEventLoop) -> socket.socket | None:
        """Stops, and gives its socket away; keeps it if that is no socket for datagrams."""
        loop.remove_reader(self._sock)
        loop.remove_writer(self._sock)
        return moved(self._sock)

    def surrender(self, loop: asyncio.AbstractEventLoop, remote: Address) -> socket.socket | None:
        """As `release`, connected to `remote`. What has arrived is read before."""
        self._sock.connect(remote)
        for _ in range(LONGEST_QUEUE):
            if not self._read_one():
                break
            self._driver.drain()
        return self.release(loop)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        """The port is free when this returns."""
        loop.remove_reader(self._sock)
        loop.remove_writer(self._sock)
        self._sock.close()

    def _read_one(self) -> bool:
        """Returns whether there was a datagram."""
        driver = self._driver
        try:
            data, source = self._sock.recvfrom(self.room)
        except OSError as error:
            self._count(error)
            return False
        driver.take(data, self._address_of(source), clock(), self.via)
        return True

    def _count(self, error: OSError) -> None:
        """Counts why reading ended, unless nothing was left or a callback closed the socket, or
        gave it away."""
        if not isinstance(error, BlockingIOError) and self._sock.fileno() != -1:
            self._driver.count_error(error)


Take = Callable[[bytes, Address, float, Via], None]
EndpointFactory = Callable[["Driver", Via, socket.socket], Endpoint]


class Driver:
    """Drives one machine. Make and use it within a running loop, one that can watch sockets: else
    the constructor raises UsageError.

    `bind` makes the sockets that the machine asks for; `on_event` gets its other events; `observer`
    gets every datagram. What these two raise goes to the loop's exception handler and stops nothing
    here.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        on_event: Callable[[Event], None],
        bind: Bind = bind,
        observer: Callable[[Datagram], None] | None = None,
        max_datagram: int = MAX_DATAGRAM,
    ) -> None:
        self.max_datagram = max_datagram
        self.send_errors: Counter[str] = Counter()
        """How many datagrams the system refused to send, by errno name (ENETUNREACH, EPERM...)."""
        self.take: Take = machine.receive_datagram if observer is None else self._take_observed
        """Passes the machine one datagram. Call `pump()` after the last one."""
        self._machine = machine
        self._on_event = on_event
        self._bind = bind
        self._observer = observer
        self.observes = observer is not None
        """Whether every datagram is to go through the machine."""
        self._loop = _watching_loop()
        self.endpoints: dict[Via, Endpoint] = {}
        """Of the sockets that are open."""
        self._next_via: Via = 0
        self._hosts: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER
        self._closed = False

    def open(
        self, sockets: Mapping[Via, socket.socket], *, endpoint: EndpointFactory = Endpoint
    ) -> None:
        """Takes over the sockets that the machine was made with, and sets it going. `close()`
        closes them."""
        for via, sock in sockets.items():
            self._watch(endpoint(self, via, sock))
        self._hosts = [self.endpoints[via].local.host for via in sockets]
        self.pump()

    def attach(self, sock: socket.socket, *, endpoint: EndpointFactory = Endpoint) -> Endpoint:
        """Takes over one more socket, with the next number."""
        return self._watch(endpoint(self, self._next_via, sock))

    def detach(self, via: Via) -> None:
        """Closes one socket, if it is still open."""
        endpoint = self.endpoints.pop(via, None)
        if endpoint is not None:
            endpoint.close(self._loop)

    def surrender(self, via: Via, remote: Address) -> socket.socket | None:
        """See `Endpoint.surrender`. Raises OSError if the system has no route to `remote` now."""
        endpoint = self.endpoints[via]
        sock = endpoint.surrender(self._loop, remote)
        del self.endpoints[via]
        return sock

    def replace(self, via: Via, *, endpoint: EndpointFactory) -> None:
        """Has another endpoint go on with a socket, if it is one for datagrams and nobody observes
        them."""
        former = self.endpoints.get(via)
        if former is None or self._observer is not None:
            return
        sock = former.release(self._loop)
        if sock is not None:
            self._watch(endpoint(self, via, sock))

    def pin(self, via: Via, destination: Address, host: str, interface: str = "") -> None:
        """See `Endpoint.pin`."""
        self.endpoints[via].pin(destination, host, interface)

    def bind_to_interface_again(self, options: SocketOptions) -> None:
        """Every socket; see `net.sockets.bind_to_interface_again`."""
        for endpoint in self.endpoints.values():
            endpoint.bind_to_interface_again(options)

    def unpin(self, via: Via) -> None:
        """See `Endpoint.unpin`. The socket may be closed already."""
        endpoint = self.endpoints.get(via)
        if endpoint is not None:
            endpoint.unpin()

    @property
    def queue_drops(self) -> int:
        """How many datagrams the system dropped because the queues of the sockets open now were
        full."""
        return sum(endpoint.queue_drops for endpoint in self.endpoints.values())

    def pump(self) -> None:
        """Does what the machine asks for. Call it after calling one of the machine's methods."""
        self.drain()
        self.arm()

    def close(self) -> None:
        """Closes every socket and stops the timer: the ports are free when it returns, and the
        machine is not called any more. May be repeated."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for endpoint in self.endpoints.values():
            endpoint.close(self._loop)
        self.endpoints.clear()

    # For endpoints.

    def arm(self) -> None:
        """Sets the timer, unless it rings early enough anyway: almost every datagram moves a
        machine's next time, mostly to later."""
        due = self._machine.next_timer()
        if due >= self._timer_at or self._closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_later(max(0.0, due - clock()) + TIMER_ROUNDING, self._ring)

    def drain(self) -> None:
        """Sends the machine's datagrams and handles its events. Datagrams first: what it sent
        before it closes a socket still leaves that socket."""
        machine = self._machine
        while not self._closed:
            transmits = machine.datagrams_to_send()
            if len(transmits) < FEW or not self._send_batch(transmits):
                self._send_each(transmits)
            event = machine.next_event()
            if event is None:
                return
            self._handle(event)

    def count_error(self, error: OSError, count: int = 1) -> None:
        """Counts datagrams that were not sent; the system may report that at the next read."""
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        self.send_errors[name] += count

    def refused(self, error: OSError, via: Via, destination: Address, count: int = 1) -> None:
        """Counts datagrams that the system did not take, and tells the machine if it has no
        route."""
        self.count_error(error, count)
        if error.errno in NO_ROUTE:
            self._machine.no_route(via, destination)

    # Inside.

    def _send_each(self, transmits: Sequence[Transmit]) -> None:
        endpoints = self.endpoints
        for data, destination, via, ttl in transmits:
            endpoint = endpoints.get(via)
            if endpoint is None or not endpoint.send(data, destination, ttl):
                continue
            if self._observer is not None:
                self._observe(True, via, destination, data)

    def _send_batch(self, transmits: Sequence[Transmit]) -> bool:
        """Sends them if all leave from one socket with the usual hop limit; returns whether it
        did."""
        datagrams, destinations, vias, ttls = zip(*transmits, strict=True)
        if self._observer is not None or len(set(vias)) > 1 or any(ttls):
            return False
        endpoint = self.endpoints.get(vias[0])
        return endpoint is not None and endpoint.send_batch(datagrams, destinations)

    def _take_observed(self, data: bytes, source: Address, now: float, via: Via) -> None:
        self._observe(False, via, source, data)
        self._machine.receive_datagram(data, source, now, via)

    def _watch(self, endpoint: Endpoint) -> Endpoint:
        self.endpoints[endpoint.via] = endpoint
        self._next_via = max(self._next_via, endpoint.via + 1)
        endpoint.start(self._loop)
        return endpoint

    def _ring(self) -> None:
        self._timer, self._timer_at = None, NEVER
        now = clock()
        if self._machine.next_timer() <= now:
            self._machine.handle_timer(now)
        self.pump()

    def _handle(self, event: Event) -> None:
        match event:
            case OpenSockets(request, count, family):
                self._open_fresh_ports(request, count, family)
            case CloseSocket(via):
                self.detach(via)
            case _:
                self._call(self._on_event, event)

    def _open_fresh_ports(self, request: int, count: int, family: int) -> None:
        """Binds them to the address of the first socket of that family, as many as the system has:
        fewer may still reach a partner."""
        opened: dict[Via, Address] = {}
        host = next((host for host in self._hosts if Address(host, 0).family == family), None)
        try:
            for _ in range(count if host is not None else 0):
                for sock in self._bind(host or "", 0):
                    endpoint = self.attach(sock)
                    opened[endpoint.via] = endpoint.local
        except NetpunchError:
            pass
        self._machine.sockets_opened(request, opened, clock())

    def _observe(self, sent: bool, via: Via, remote: Address, data: bytes) -> None:
        assert self._observer is not None
        local, text = self.endpoints[via].local, self._machine.describe(data)
        self._call(self._observer, Datagram(sent, local, remote, data, text))

    def _call(self, callback: Callable[[T], None], value: T) -> None:
        try:
            callback(value)
        except Exception as error:
            message = f"netpunch: {callback!r} failed"
            self._loop.call_exception_handler({"message": message, "exception": error})


def _watching_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.get_running_loop()
    if type(loop).add_reader is asyncio.AbstractEventLoop.add_reader:  # Windows' default has none
        raise UsageError(
            f"this event loop ({type(loop).__name__}) can't watch sockets: start the program by "
            "netpunch.run(), or on asyncio.SelectorEventLoop"
        )
    return loop


_ipv4_address: Callable[[tuple[Any, ...]], Address] = partial(tuple.__new__, Address)
"""As `Address(*raw)` in two thirds of the time: it is called for each datagram."""


def _ipv6_address(raw: tuple[Any, ...]) -> Address:
    """Without scope and flow label, which an `Address` doesn't have."""
    return Address(raw[0].partition("%")[0], raw[1])
