"""Receives and sends many datagrams in one system call: recvmmsg(2) and sendmmsg(2), by ctypes.

Linux only. For a single datagram such a call costs more than Python's own; from a handful on it
saves system calls, and most of the work that Python does for each address.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from itertools import accumulate
from struct import Struct

from netpunch.address import Address
from netpunch.core.events import Via
from netpunch.net.driver import Driver, Endpoint, clock

SIZE = 64
"""Datagrams a call: larger batches hardly lower the cost of each."""

ADDRESSES_KEPT = 1024
"""Peers whose addresses are cached in both forms: converting one costs as much as receiving a
datagram."""

BATCH = 4
"""Datagrams that are worth a batch: fewer cost less one by one."""

TURN = 0.001
"""Seconds that a batch should take at most, as other sockets and timers wait meanwhile."""

CHECK_INTERVAL = 0.01
"""Seconds between two checks for a batch. A check after each datagram would make answers to single
ends a third more expensive; with rare checks a batch would wait where many sockets share a loop."""

_NAMES: dict[int, Struct] = {
    socket.AF_INET: Struct("!2xH4s8x"),
    socket.AF_INET6: Struct("!2xH4x16s4x"),
}
"""Port and IP of struct sockaddr_in and sockaddr_in6, ip(7) and ipv6(7); the family is skipped."""

_LIBC = ctypes.CDLL(None, use_errno=True)
_RECEIVE, _SEND = _LIBC.recvmmsg, _LIBC.sendmmsg
_SEND.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
_RECEIVE.argtypes = [*_SEND.argtypes, ctypes.c_void_p]


NO_SOCKET = -1


@cache
def batches_allowed() -> bool:
    """Whether this process may make both calls: some sandboxes let only the older ones through.
    Then datagrams go one by one."""
    nothing = (NO_SOCKET, None, 0, 0)
    calls = partial(_RECEIVE, *nothing, None), partial(_SEND, *nothing)
    return all(call() < 0 and ctypes.get_errno() == errno.EBADF for call in calls)


def next_batch(taken: int, took: float, few: int, many: int) -> int:
    """How many messages to receive at most, from `few` to `many`, after so many took so many
    seconds: up to twice as many, if they fit into a turn, but at least half: another process may
    have run meanwhile."""
    fitting = int(taken * TURN / took) if took > 0.0 else many
    return min(max(few, taken // 2, min(2 * taken, fitting)), many)


class Part(ctypes.Structure):
    """struct iovec, readv(2): a buffer."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Header(ctypes.Structure):
    """struct msghdr, recvmsg(2)."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("parts", ctypes.c_void_p),
        ("part_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class Message(ctypes.Structure):
    """struct mmsghdr, recvmmsg(2): `length` is that of the datagram received or sent."""

    _fields_ = (("header", Header), ("length", ctypes.c_uint))


class _Batch:
    """Buffers for `SIZE` datagrams of up to `capacity` bytes, and their addresses of one family."""

    def __init__(self, family: int, capacity: int) -> None:
        self.layout = _NAMES[family]
        self._data = ctypes.create_string_buffer(SIZE * capacity)
        self._names = ctypes.create_string_buffer(SIZE * self.layout.size)
        self._parts = (Part * SIZE)()
        self._messages = (Message * SIZE)()
        for index, message in enumerate(self._messages):
            message.header.name = ctypes.addressof(self._names) + index * self.layout.size
            message.header.name_length = self.layout.size
            message.header.parts = ctypes.addressof(self._parts[index])
            message.header.part_count = 1
        self.address = ctypes.addressof(self._messages)
        self.data = memoryview(self._data).cast("B")
        self.names = memoryview(self._names).cast("B")

    def lay_out(self, lengths: Sequence[int]) -> None:
        """Lays out buffers for datagrams of these lengths, one after the other."""
        start = ctypes.addressof(self._data)
        for part, length, offset in zip(
            self._parts, lengths, accumulate(lengths, initial=0), strict=False
        ):
            part.base, part.length = start + offset, length

    @property
    def lengths(self) -> memoryview:
        """The length of each datagram."""
        entry = ctypes.sizeof(Message)
        words = memoryview(self._messages).cast("B").cast("I")
        return words[Message.length.offset // words.itemsize :: entry // words.itemsize]


class Receiver:
    """Receives up to `capacity` bytes of each datagram from sockets of one family."""

    def __init__(self, family: int, capacity: int) -> None:
        self._family = family
        self._capacity = capacity
        self._batch = _Batch(family, capacity)
        self._batch.lay_out([capacity] * SIZE)
        self._lengths = self._batch.lengths
        self._step = self._batch.layout.size
        self._known: dict[bytes, Address] = {}

    def receive(self, sock: socket.socket) -> list[tuple[bytes, Address]]:
        """Returns up to `SIZE` datagrams with their sources, at least one.

        Raises OSError, which is BlockingIOError if there is none."""
        count = receive_messages(sock.fileno(), self._batch.address, SIZE)
        batch, known, capacity, step = self._batch, self._known, self._capacity, self._step
        data, names = (
            batch.data[: count * capacity].tobytes(),
            batch.names[: count * step].tobytes(),
        )
        arrived, start, at = [], 0, 0
        for length in self._lengths[:count].tolist():
            name = names[at : at + step]
            source = known.get(name) or self._learn(name)
            arrived.append((data[start : start + length], source))
            start += capacity
            at += step
        return arrived

    def _learn(self, name: bytes) -> Address:
        if len(self._known) == ADDRESSES_KEPT:
            self._known.clear()
        source = self._known[name] = address_of(self._family, name)
        return source


class Sender:
    """Sends datagrams of up to `capacity` bytes from sockets of one family."""

    def __init__(self, family: int, capacity: int) -> None:
        self._batch = _Batch(family, capacity)
        self._lengths: list[int] = []
        self._name = lru_cache(maxsize=ADDRESSES_KEPT)(lambda address: system_name(family, address))

    def send(
        self,
        sock: socket.socket,
        datagrams: Sequence[bytes],
        destinations: Sequence[Address],
        refused: Callable[[OSError], None],
    ) -> None:
        """Sends each at once or not at all; `refused` gets the error of each that was not sent."""
        for start in range(0, len(datagrams), SIZE):
            chosen = slice(start, start + SIZE)
            count = self._load(datagrams[chosen], destinations[chosen])
            for _, error in send_messages(sock.fileno(), self._batch.address, count):
                refused(error)

    def _load(self, datagrams: Sequence[bytes], destinations: Sequence[Address]) -> int:
        batch = self._batch
        lengths = list(map(len, datagrams))
        if lengths != self._lengths:
            batch.lay_out(lengths)
            self._lengths = lengths
        data, names = b"".join(datagrams), b"".join(map(self._name, destinations))
        batch.data[: len(data)] = data
        batch.names[: len(names)] = names
        return len(lengths)


def receive_messages(descriptor: int, address: int, count: int) -> int:
    """Fills up to `count` of the Messages at `address`, at least one; returns how many.

    Raises OSError, which is BlockingIOError if there is no datagram."""
    received: int = _RECEIVE(descriptor, address, count, socket.MSG_DONTWAIT, None)
    if received < 0:
        raise _error()
    return received


def send_messages(descriptor: int, address: int, count: int) -> list[tuple[int, OSError]]:
    """Sends `count` Messages, the first at `address`, each at once or not at all. Returns which
    were not sent, counted from 0, and why."""
    refused: list[tuple[int, OSError]] = []
    done = 0
    while done < count:
        rest = address + done * ctypes.sizeof(Message)
        sent = _SEND(descriptor, rest, count - done, socket.MSG_DONTWAIT)
        if sent < 0:
            refused.append((done, _error()))
        done += max(sent, 1)  # the system reports an error of the first one only
    return refused


class BatchEndpoint(Endpoint):
    """Reads single datagrams one by one, and many in batches."""

    __slots__ = ("_batching", "_check_at", "_receiver", "_sender")

    def __init__(self, driver: Driver, via: Via, sock: socket.socket) -> None:
        super().__init__(driver, via, sock)
        self._receiver = Receiver(sock.family, driver.max_datagram)
        self._sender = Sender(sock.family, driver.max_datagram)
        self._batching = False
        self._check_at = clock()

    def read(self) -> None:
        now = clock()
        if self._batching or now >= self._check_at:
            self._batching = self._read_batch(now) >= BATCH
            self._check_at = now + CHECK_INTERVAL
        else:
            self._read_one()  # the loop calls again if more have arrived
        self._driver.pump()

    def send_batch(self, datagrams: Sequence[bytes], destinations: Sequence[Address], /) -> bool:
        self._sender.send(self._sock, datagrams, destinations, self._driver.count_error)
        return True

    def _read_batch(self, now: float) -> int:
        """Returns how many there were."""
        try:
            arrived = self._receiver.receive(self._sock)
        except OSError as error:
            self._count(error)
            return 0
        take, via = self._driver.take, self.via
        for data, source in arrived:
            take(data, source, now, via)
        return len(arrived)


def system_name(family: int, address: Address) -> bytes:
    """An address as struct sockaddr_in or sockaddr_in6."""
    name = _NAMES[family].pack(address.port, socket.inet_pton(family, address.host))
    return family.to_bytes(2, sys.byteorder) + name[2:]


def address_of(family: int, name: bytes) -> Address:
    """The address of a struct sockaddr_in or sockaddr_in6."""
    port, ip = _NAMES[family].unpack(name)
    return Address(socket.inet_ntop(family, ip), port)


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
