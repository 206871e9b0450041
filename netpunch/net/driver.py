"""The one driver of all core objects: sockets, a timer, and nothing that decides anything.

Datagrams are read straight from the sockets (`loop.add_reader`, then until nothing is left)
instead of through asyncio's datagram transports: that is as fast as uvloop's and faster than
asyncio's, the same on every loop, opens and closes at once, and has no queue of its own. What
the system's send buffer can't take is lost, as anything may be that UDP carries.
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
from netpunch.errors import NetpunchError
from netpunch.net.sockets import Ancillary, Bind, bind, queue_drops, send_from

T = TypeVar("T")

clock = time.monotonic
"""The time that machines are told, in seconds. `loop.time()` of uvloop has whole milliseconds
and stands still while a callback runs: too coarse for a round trip within a LAN."""

MAX_DATAGRAM = 2048
"""Bytes to read. More than any netpunch datagram, so what is cut off can't be authentic."""

MAX_PAYLOAD = 65535
"""Bytes to read where programs' datagrams pass, too: any UDP datagram."""

DATAGRAMS_PER_WAKEUP = 64
"""A flood on one socket gets so many before the timer and the other sockets get their turn."""

FEW = 8
"""Datagrams to send that are not worth looking at them all first."""

HOP_LIMIT = {
    socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TTL),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
}

ADDRESS_GONE = {errno.EINVAL, errno.EADDRNOTAVAIL, errno.ENETUNREACH}
"""What Linux answers when it is to send from an address that this host does not have now."""
NO_ROUTE = {
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
}
"""How the system says that it has no way to an address now: no route, or no address of its own to
send from."""

TIMER_ROUNDING = 0.0005
"""uvloop rounds to milliseconds. Half of one more makes that up, so no timer is early."""


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

    __slots__ = ("_address_of", "_driver", "_pinned", "_sock", "_source", "local", "via")

    def __init__(self, driver: Driver, via: Via, sock: socket.socket) -> None:
        self._driver = driver
        self._sock = sock
        self._address_of = _ipv6_address if sock.family == socket.AF_INET6 else _ipv4_address
        self.via = via
        self.local = self._address_of(sock.getsockname())
        self._pinned: Address | None = None
        self._source: Ancillary = []

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to read."""
        loop.add_reader(self._sock, self.read)

    def read(self) -> None:
        """Feeds the driver what has arrived; the loop calls it."""
        for _ in range(DATAGRAMS_PER_WAKEUP):
            if not self._read_one():
                break
            self._driver.drain()
        self._driver.arm()

    def send_together(
        self, _datagrams: Sequence[bytes], _destinations: Sequence[Address], /
    ) -> bool:
        """Sends all of them at the cost of few, if it can; returns whether it did."""
        return False

    def send(self, data: bytes, destination: Address, ttl: int = 0) -> bool:
        """Sends at once or not at all; a failure is counted. Returns whether it was sent.
        `ttl` is in hops, 0 the system's default."""
        if ttl:
            return self._send_near(data, destination, ttl)
        try:
            if destination == self._pinned:
                self._send_pinned(data, destination)
            else:
                self._sock.sendto(data, destination)
        except OSError as error:
            self._driver.refused(error, self.via, destination)
            return False
        return True

    def pin(self, destination: Address, host: str) -> None:
        """From now on datagrams to `destination` leave from this own address, whenever this host
        has it. For wildcard sockets on Linux."""
        self._pinned, self._source = destination, send_from(host)

    def _send_pinned(self, data: bytes, destination: Address) -> None:
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

    @property
    def queue_drops(self) -> int:
        return queue_drops(self._sock)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        """The port is free when this returns."""
        loop.remove_reader(self._sock)
        self._sock.close()

    def _read_one(self) -> bool:
        """Whether there was one."""
        driver = self._driver
        try:
            data, source = self._sock.recvfrom(driver.max_datagram)
        except OSError as error:
            self._count(error)
            return False
        driver.take(data, self._address_of(source), clock(), self.via)
        return True

    def _count(self, error: OSError) -> None:
        """Counts why reading ended, unless there was nothing left, or a callback closed us."""
        if not isinstance(error, BlockingIOError) and self._sock.fileno() != -1:
            self._driver.count_error(error)


Take = Callable[[bytes, Address, float, Via], None]
EndpointFactory = Callable[["Driver", Via, socket.socket], Endpoint]


class Driver:
    """Feeds a machine and carries out what it asks for. Made and used within a running loop.

    `on_event` gets the machine's events, except the requests for sockets, which `bind` makes;
    `observer` every datagram. What events and datagrams make them raise goes to the loop's
    exception handler and stops nothing here.
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
        """Datagrams the system refused to send, by errno name (ENETUNREACH, EPERM...)."""
        self.take: Take = machine.receive_datagram if observer is None else self._take_observed
        """Feeds the machine one datagram; `pump()` is to follow when there are no more."""
        self._machine = machine
        self._on_event = on_event
        self._bind = bind
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self._endpoints: dict[Via, Endpoint] = {}
        self._next_via: Via = 0
        self._hosts: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER
        self._closed = False

    def open(
        self, sockets: Mapping[Via, socket.socket], *, endpoint: EndpointFactory = Endpoint
    ) -> None:
        """Takes over the sockets that the machine was told of, and sets it going. They are
        closed by `close()`."""
        for via, sock in sockets.items():
            self._attach(endpoint(self, via, sock))
        self._hosts = [self._endpoints[via].local.host for via in sockets]
        self.pump()

    def attach(self, sock: socket.socket, *, endpoint: EndpointFactory = Endpoint) -> Endpoint:
        """Takes over one more socket, under a number of its own."""
        return self._attach(endpoint(self, self._next_via, sock))

    def pin(self, via: Via, destination: Address, host: str) -> None:
        """See `Endpoint.pin`."""
        self._endpoints[via].pin(destination, host)

    @property
    def queue_drops(self) -> int:
        """Datagrams that the system threw away because its queues, of the sockets open now, were
        full."""
        return sum(endpoint.queue_drops for endpoint in self._endpoints.values())

    def pump(self) -> None:
        """Carries out what the machine wants; to be called after calling one of its methods."""
        self.drain()
        self.arm()

    def close(self) -> None:
        """Closes every socket and stops the timer; the ports are free when it returns. The
        machine is not called any more. May be repeated."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for endpoint in self._endpoints.values():
            endpoint.close(self._loop)
        self._endpoints.clear()

    # For endpoints.

    def arm(self) -> None:
        """Sets the timer, unless it rings early enough anyway: a machine's next time moves with
        almost every datagram, mostly to later."""
        due = self._machine.next_timer()
        if due >= self._timer_at or self._closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_later(max(0.0, due - clock()) + TIMER_ROUNDING, self._ring)

    def drain(self) -> None:
        """Carries out what the machine wants by now. Datagrams before events: what was said before
        a socket is closed still leaves it."""
        machine = self._machine
        while not self._closed:
            transmits = machine.datagrams_to_send()
            if len(transmits) < FEW or not self._send_together(transmits):
                self._send_each(transmits)
            event = machine.next_event()
            if event is None:
                return
            self._handle(event)

    def count_error(self, error: OSError) -> None:
        """Counts a datagram that was not sent (the system may tell so at the next read)."""
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        self.send_errors[name] += 1

    def refused(self, error: OSError, via: Via, destination: Address) -> None:
        """Counts a datagram that the system did not take."""
        self.count_error(error)
        if error.errno in NO_ROUTE:
            self._machine.no_route(via, destination)

    # Inside.

    def _send_each(self, transmits: Sequence[Transmit]) -> None:
        endpoints = self._endpoints
        for data, destination, via, ttl in transmits:
            endpoint = endpoints.get(via)
            if endpoint is None or not endpoint.send(data, destination, ttl):
                continue
            if self._observer is not None:
                self._observe(True, via, destination, data)

    def _send_together(self, transmits: Sequence[Transmit]) -> bool:
        """Whether they were sent: all from one socket, to whom they reach in the usual way."""
        datagrams, destinations, vias, ttls = zip(*transmits, strict=True)
        if self._observer is not None or len(set(vias)) > 1 or any(ttls):
            return False
        endpoint = self._endpoints.get(vias[0])
        return endpoint is not None and endpoint.send_together(datagrams, destinations)

    def _take_observed(self, data: bytes, source: Address, now: float, via: Via) -> None:
        self._observe(False, via, source, data)
        self._machine.receive_datagram(data, source, now, via)

    def _attach(self, endpoint: Endpoint) -> Endpoint:
        self._endpoints[endpoint.via] = endpoint
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
                endpoint = self._endpoints.pop(via, None)
                if endpoint is not None:
                    endpoint.close(self._loop)
            case _:
                self._tell(self._on_event, event)

    def _open_fresh_ports(self, request: int, count: int, family: int) -> None:
        """On the host of the first socket of that family. As many as the system gives: a partner
        may still be reached from fewer."""
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
        local, text = self._endpoints[via].local, self._machine.describe(data)
        self._tell(self._observer, Datagram(sent, local, remote, data, text))

    def _tell(self, callback: Callable[[T], None], value: T) -> None:
        try:
            callback(value)
        except Exception as error:
            message = f"netpunch: {callback!r} failed"
            self._loop.call_exception_handler({"message": message, "exception": error})


_ipv4_address: Callable[[tuple[Any, ...]], Address] = partial(tuple.__new__, Address)
"""As `Address(*raw)`, in two thirds of the time: each datagram has one."""


def _ipv6_address(raw: tuple[Any, ...]) -> Address:
    """Without scope and flow: an `Address` has none."""
    return Address(raw[0].partition("%")[0], raw[1])
