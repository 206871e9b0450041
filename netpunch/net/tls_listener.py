"""TLS at a control: each connection is one more source of datagrams.

To the machine the whole listener is one socket; a source is the address of a TCP peer. Sending to
an address whose connection is gone, or does not take more, loses the datagram, as UDP would.

A connection is a *stranger* until the machine reports an end registered at its address: this end
has a key, and is no recording. Strangers get a handshake, the bytes of a few announcements and a
few seconds. If there are too many the oldest goes, so that slow ones keep nobody out. Any datagram
that no end would send then closes the connection, without a word.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from functools import partial

from netpunch.address import Address
from netpunch.core.events import Via
from netpunch.core.pacing import TokenBucket
from netpunch.net.driver import Driver, Endpoint, clock
from netpunch.net.tls_stream import LONGEST_DATAGRAM, Allowance, Stream
from netpunch.wire.envelope import CONTROL_DATAGRAM, VERSION

HANDSHAKES = 100.0
HANDSHAKES_AT_ONCE = 50.0
"""Connections accepted in a second. A handshake takes 0.7 ms, so a flood of them gets 7 % of a
core; what is not accepted yet waits in the system's queue."""
HANDSHAKE_WITHIN = 5.0
PROOF_WITHIN = 10.0
"""Seconds from accepting a connection to the end of the handshake, and to the proof of an end: four
and six round trips, of two seconds at worst."""
STRANGER_SIZE, STRANGER_READS = 16 * 1024, 64
"""What a stranger may send: a handshake and thirty announcements."""
MOST_STRANGERS = 256
MOST_ENDS = 4096
"""Connections, by their kind. A quiet one takes 20 KiB, so all together take 90 MiB."""
MOST_OF_HOST = 64
"""Connections from one host (IPv6: one /64), strangers included: as many ends may share a NAT."""
IDLE = 120.0
"""Seconds of silence after which an end has gone; it announces itself every 15 s."""
SWEEP = 1.0
"""Seconds between two looks at who has taken too long."""
LACK_PAUSE = 1.0
"""Seconds without accepting after the system had no descriptor left."""


class Guest:
    """A connection. `heard` is when it was accepted or, for an end, when something came last;
    `pairs` are those of the ends that registered over it."""

    __slots__ = ("address", "heard", "host", "pairs", "stream")

    def __init__(self, address: Address, stream: Stream, now: float) -> None:
        self.address = address
        self.host = host_of(address)
        self.stream = stream
        self.heard = now
        self.pairs: frozenset[str] = frozenset()


class TlsEndpoint(Endpoint):
    """Socket of a driver over all TLS connections to one listening TCP socket."""

    __slots__ = (
        "_accepts",
        "_ends",
        "_loop",
        "_of_host",
        "_of_pair",
        "_strangers",
        "_timer",
        "context",
        "on_gone",
        "refused",
    )

    def __init__(
        self, driver: Driver, via: Via, sock: socket.socket, *, context: ssl.SSLContext
    ) -> None:
        super().__init__(driver, via, sock)
        self.context = context
        self._accepts = TokenBucket(HANDSHAKES + HANDSHAKES_AT_ONCE, HANDSHAKES_AT_ONCE)
        self._strangers: dict[Address, Guest] = {}
        self._ends: dict[Address, Guest] = {}
        self._of_host: Counter[str] = Counter()
        self._of_pair: dict[str, set[Address]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.refused = 0
        """How many connections did not prove to be an end's, or were too many."""
        self._loop = asyncio.get_running_loop()
        self.on_gone: Callable[[Address], None] = lambda _: None
        """Is called when the connection from an address has ended."""

    @property
    def ends(self) -> int:
        """How many ends are connected."""
        return len(self._ends)

    @property
    def strangers(self) -> int:
        """How many connections have not proved to be an end's."""
        return len(self._strangers)

    @property
    def queue_drops(self) -> int:
        return 0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_reader(self._sock, self.read)

    def read(self) -> None:
        """Accepts one connection; the loop calls again if more wait."""
        now = clock()
        if not self._accepts.take(now):
            self._pause(self._accepts.refill)
            return
        try:
            sock, peer = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self._driver.count_error(error)
            self._pause(LACK_PAUSE)
            return
        self._admit(sock, self._canonical(peer), now)

    def send(self, data: bytes, destination: Address, _ttl: int = 0) -> bool:
        """Queues it for the connection from there."""
        guest = self._ends.get(destination) or self._strangers.get(destination)
        if guest is not None and guest.stream.send(data):
            return True
        self._driver.count_error(OSError(errno.ENOTCONN if guest is None else errno.ENOBUFS, ""))
        return False

    def registered(self, pair: str, address: Address) -> None:
        """An end of this pair has proved that it is there."""
        guest = self._ends.get(address) or self._promoted(address)
        if guest is not None:
            guest.pairs |= {pair}
            self._of_pair.setdefault(pair, set()).add(address)

    def _promoted(self, address: Address) -> Guest | None:
        """A stranger that is none any more, unless there are too many ends."""
        guest = self._strangers.pop(address, None)
        if guest is None:
            return None
        if len(self._ends) >= MOST_ENDS:
            self.refused += 1
            self._forget(guest)
            return None
        guest.stream.allowance = None
        guest.stream.unframer.longest = LONGEST_DATAGRAM
        self._ends[address] = guest
        return guest

    def removed(self, pair: str) -> None:
        """The pair is no longer served: its ends are strangers, and have had their time."""
        for address in list(self._of_pair.get(pair, ())):
            self._ended(address)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for guest in (*self._strangers.values(), *self._ends.values()):
            guest.stream.close()
        self._strangers.clear()
        self._ends.clear()
        self._of_pair.clear()
        super().close(loop)

    def _canonical(self, peer: tuple[str, int]) -> Address:
        address = self._address_of(peer)
        return address._replace(host=address.host.removeprefix("::ffff:"))

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._sock)
        self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        if self._sock.fileno() != -1:
            self.start(self._loop)

    def _admit(self, sock: socket.socket, address: Address, now: float) -> None:
        self._ended(address)  # one from the same port has broken, which was not noticed yet
        if self._of_host[host_of(address)] >= MOST_OF_HOST:
            self.refused += 1
            sock.close()
            return
        if len(self._strangers) >= MOST_STRANGERS:
            self._ended(next(iter(self._strangers)))
        stream = Stream(
            sock,
            self.context,
            server=True,
            on_datagrams=partial(self._arrived, address),
            on_end=partial(self._ended, address),
        )
        stream.allowance = Allowance(STRANGER_SIZE, STRANGER_READS)
        stream.unframer.longest = CONTROL_DATAGRAM
        guest = self._strangers[address] = Guest(address, stream, now)
        self._of_host[guest.host] += 1
        if self._timer is None:
            self._timer = self._loop.call_later(SWEEP, self._sweep)
        stream.start()

    def _arrived(self, address: Address, datagrams: list[bytes]) -> None:
        now = clock()
        guest = self._ends.get(address)
        if guest is not None:
            guest.heard = now
        elif not all(map(_may_be_an_ends, datagrams)):
            self._ended(address)
            return
        driver = self._driver
        for data in datagrams:
            driver.take(data, address, now, self.via)
        driver.pump()

    def _sweep(self) -> None:
        now = clock()
        for guest in list(self._strangers.values()):
            age = now - guest.heard
            if age > PROOF_WITHIN or (age > HANDSHAKE_WITHIN and not guest.stream.is_ready):
                self._ended(guest.address)
        for guest in [each for each in self._ends.values() if now - each.heard > IDLE]:
            self._ended(guest.address)
        more = self._strangers or self._ends
        self._timer = self._loop.call_later(SWEEP, self._sweep) if more else None

    def _ended(self, address: Address) -> None:
        guest = self._strangers.pop(address, None)
        if guest is not None:
            self.refused += 1
        else:
            guest = self._ends.pop(address, None)
        if guest is not None:
            self._forget(guest)

    def _forget(self, guest: Guest) -> None:
        guest.stream.close()
        self.on_gone(guest.address)
        self._of_host[guest.host] -= 1
        if not self._of_host[guest.host]:
            del self._of_host[guest.host]
        for pair in guest.pairs:
            self._of_pair[pair].discard(guest.address)
            if not self._of_pair[pair]:
                del self._of_pair[pair]


def host_of(address: Address) -> str:
    """Who is counted: an IPv4 address, or the /64 network of an IPv6 one."""
    if address.family == 4:
        return address.host
    return str(ipaddress.ip_network((address.host, 64), strict=False))


def _may_be_an_ends(data: bytes) -> bool:
    return len(data) == CONTROL_DATAGRAM and data[0] == VERSION
