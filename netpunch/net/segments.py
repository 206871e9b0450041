"""Receives many datagrams in one call and sends them from the buffers that they were received into.

Linux only. Datagrams of equal lengths for one destination leave as the segments of one message
(UDP_SEGMENT, udp(7)), and what the system received as such a message (UDP_GRO) stays one: that
takes a fraction of the time that as many messages take.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import socket
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from struct import Struct
from typing import Literal, NamedTuple

from netpunch.address import Address
from netpunch.net.batch import (
    ADDRESSES_KEPT,
    SIZE,
    Header,
    Message,
    Part,
    receive_messages,
    send_messages,
    system_name,
)
from netpunch.net.driver import MAX_PAYLOAD

UDP_SEGMENT, UDP_GRO = 103, 104
"""Options of linux/udp.h; Python's socket module has no names for them."""

MOST_SEGMENTS = 64
"""UDP_MAX_SEGMENTS of Linux before 6.9."""
MOST_OCTETS = 65_000
"""Of all segments: an IP datagram has 65,535 bytes with its headers."""
WORTH_JOINING = 3
"""Datagrams of equal lengths that are worth a message of their own."""

BUFFER = MAX_PAYLOAD + 1 + 17 * 64
"""Bytes from one buffer to the next: room for any datagram, and some lines of the cache, as buffers
that begin at the same place of a page would compete for the same lines."""

NAME = 28
"""Bytes of an address of any family in the system's form: struct sockaddr_in6, ipv6(7)."""
NAMES_IN: dict[int, int] = {socket.AF_INET: 16, socket.AF_INET6: NAME}

ANCILLARY = 24
"""Bytes for an item of ancillary data with one number: CMSG_SPACE(sizeof(int)), cmsg(3)."""
_ITEM = Struct("@Nii")
"""struct cmsghdr: length, level, kind. The number follows: an int from UDP_GRO."""
_SEGMENT = Struct("@H")
"""The same for UDP_SEGMENT."""

TOO_LONG = {errno.EINVAL, errno.EMSGSIZE}
"""What the system answers if a segment is longer than the path's MTU: it fragments none."""
INCAPABLE = {errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT}
"""Or if the system or the device cannot cut a message into segments."""

Refused = Callable[[OSError], None]
"""Gets the error of each datagram that was not sent."""

_ZEROS = bytes(12)


class Run(NamedTuple):
    """Datagrams from one source (19 bytes, as on the wire) in the order in which they came: each
    in a buffer of its own, from number `first` on, or (`joined`) all of them in that one."""

    source: bytes
    first: int
    lengths: list[int]
    joined: bool = False

    @property
    def places(self) -> list[tuple[int, int]]:
        """Where in the memory each begins and ends."""
        start, places = self.first * BUFFER, []
        for length in self.lengths:
            places.append((start, start + length))
            start += length if self.joined else BUFFER
        return places


_run = partial(tuple.__new__, Run)
"""As `Run(*fields)` in half of the time."""


def join_on_arrival(sock: socket.socket) -> None:
    """Lets the system pass datagrams of equal lengths as one message, if it can."""
    with suppress(OSError):  # before Linux 5.0
        sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)


class Segments:
    """Buffers for the datagrams of one batch. Sources are of one family, destinations of any."""

    def __init__(self, family: int) -> None:
        self._source_of = _source_v4 if family == socket.AF_INET else _source_v6
        self._step = NAMES_IN[family]
        self._longest = MAX_PAYLOAD
        """Longer segments were refused."""
        self._sock: socket.socket | None = None
        self._first = 0
        self._queued: list[int] = []
        self._names_out: list[bytes] = []
        """Lengths and destinations of what is to be sent, from buffer `_first` on."""
        # Mapped, not allocated: only pages that datagrams reach take memory.
        self._memory = mmap.mmap(-1, SIZE * BUFFER)
        self._names = bytearray(SIZE * self._step)
        self._destinations = bytearray(SIZE * NAME)
        self._destination = bytearray(NAME)
        self._numbers = bytearray(SIZE * ANCILLARY)
        self._number = bytearray(ANCILLARY)
        self._in = _Table(SIZE, self._memory, self._names, self._step, self._numbers)
        self._out = _Table(SIZE, self._memory, self._destinations, NAME)
        self._one = _Table(1, self._memory, self._destination, NAME, self._number)
        self._in.capacities[:] = memoryview(array("L", [MAX_PAYLOAD]) * SIZE)
        self._rooms = memoryview(array("L", [ANCILLARY]) * SIZE)
        words = memoryview(self._numbers).cast("B").cast("i")
        self._sizes = words[_ITEM.size // words.itemsize :: ANCILLARY // words.itemsize]
        length = _ITEM.size + _SEGMENT.size
        _ITEM.pack_into(self._number, 0, length, socket.IPPROTO_UDP, UDP_SEGMENT)

    # Receiving.

    def receive(self, sock: socket.socket) -> list[Run]:
        """Receives at least one datagram, or raises OSError: BlockingIOError if there is none."""
        table, step, source_of = self._in, self._step, self._source_of
        table.rooms[:] = self._rooms
        count = receive_messages(sock.fileno(), table.address, SIZE)
        packed = bytes(self._names[: count * step])
        names = [packed[start : start + step] for start in range(0, count * step, step)]
        lengths: list[int] = table.lengths[:count].tolist()
        joined: list[int] = table.rooms[:count].tolist()
        if any(joined):
            sizes = self._sizes[:count].tolist()
            joined = [size if room else 0 for size, room in zip(sizes, joined, strict=True)]
        runs, first = [], 0
        while first < count:
            name, size, end = names[first], joined[first], first + 1
            if size:
                parts = _cut(lengths[first], size)
            else:
                while end < count and names[end] == name and not joined[end]:
                    end += 1
                parts = lengths[first:end]
            runs.append(_run((source_of(name), first, parts, bool(size))))
            first = end
        return runs

    def byte_at(self, place: int) -> int:
        """The first byte of a datagram that begins there."""
        return self._memory[place]

    def copy(self, place: tuple[int, int]) -> bytes:
        """A datagram."""
        return self._memory[slice(*place)]

    # Sending.

    def send(self, sock: socket.socket, run: Run, destination: Address, refused: Refused) -> None:
        """Sends what was received, by the next `flush` at the latest."""
        _, first, lengths, joined = run
        if not joined and (len(lengths) < WORTH_JOINING or not self._may_join(lengths)):
            if sock is not self._sock or first != self._first + len(self._queued):
                self.flush(refused)
                self._sock, self._first = sock, first
            self._queued += lengths
            self._names_out.append(_name(destination) * len(lengths))
            return
        self.flush(refused)
        most = len(lengths) if joined else min(MOST_SEGMENTS, MOST_OCTETS // lengths[0])
        for start in range(0, len(lengths), most):
            some = Run(run.source, first + start, lengths[start : start + most], joined)
            self._send_joined(sock, some, destination, refused)

    def _may_join(self, lengths: Sequence[int]) -> bool:
        return lengths[0] <= self._longest and _are_segments(lengths)

    def flush(self, refused: Refused) -> None:
        """Sends what is queued."""
        if self._sock is None or not self._queued:
            return
        first, end = self._first, self._first + len(self._queued)
        self._destinations[first * NAME : end * NAME] = b"".join(self._names_out)
        self._out.capacities[first:end] = memoryview(array("L", self._queued))
        address = self._out.address + first * ctypes.sizeof(Message)
        send_messages(self._sock.fileno(), address, end - first, refused)
        self._queued.clear()
        self._names_out.clear()

    def _send_joined(
        self, sock: socket.socket, run: Run, destination: Address, refused: Refused
    ) -> None:
        """Sends datagrams of equal lengths as one message; the last may be shorter."""
        errors: list[OSError] = []
        if run.lengths[0] <= self._longest:
            parts = [sum(run.lengths)] if run.joined else run.lengths
            self._out.capacities[run.first : run.first + len(parts)] = memoryview(array("L", parts))
            header = self._one.headers[0].header
            header.parts = ctypes.addressof(self._out.parts[run.first])
            header.part_count = len(parts)
            self._destination[:] = _name(destination)
            _SEGMENT.pack_into(self._number, _ITEM.size, run.lengths[0])
            send_messages(sock.fileno(), self._one.address, 1, errors.append)
            if not errors:
                return
            if errors[0].errno not in TOO_LONG | INCAPABLE:
                for _ in run.lengths:
                    refused(errors[0])
                return
            self._longest = run.lengths[0] - 1 if errors[0].errno in TOO_LONG else 0
        for place in run.places:
            try:
                sock.sendto(self.copy(place), destination)
            except OSError as error:
                refused(error)


class _Table:
    """Headers for a batch, and columns of them that are read and written at once. Header N has
    buffer N of the memory, `step` bytes of `names` and, if there is any, its part of
    `ancillary`."""

    def __init__(
        self,
        count: int,
        memory: mmap.mmap,
        names: bytearray,
        step: int,
        ancillary: bytearray | None = None,
    ) -> None:
        self.headers = (Message * count)()
        self.parts = (Part * count)()
        self.address = ctypes.addressof(self.headers)
        self.lengths = self._column("I", Message.length.offset)
        """Of the messages that were received."""
        self.rooms = self._column("L", Header.control_length.offset)
        """Bytes of ancillary data: before receiving those that there is room for."""
        words = memoryview(self.parts).cast("B").cast("L")
        self.capacities = words[Part.length.offset // words.itemsize :: len(words) // count]
        """Bytes of the buffers that are in use."""
        for number in range(count):
            header, part = self.headers[number].header, self.parts[number]
            part.base = _place(memory) + number * BUFFER
            header.name, header.name_length = _place(names) + number * step, step
            header.parts, header.part_count = ctypes.addressof(part), 1
            if ancillary is not None:
                header.control = _place(ancillary) + number * ANCILLARY
                header.control_length = ANCILLARY

    def _column(self, code: Literal["I", "L"], offset: int) -> memoryview:
        words = memoryview(self.headers).cast("B").cast(code)
        return words[offset // words.itemsize :: len(words) // len(self.headers)]


def _place(memory: mmap.mmap | bytearray) -> int:
    """Its address. It must not be resized from now on, and cannot be."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _cut(total: int, length: int) -> list[int]:
    """The lengths of the datagrams in a message of segments."""
    whole, rest = divmod(total, length)
    return [length] * whole + ([rest] if rest else [])


def _are_segments(lengths: Sequence[int]) -> bool:
    """Whether all are equally long; the last may be shorter, but not empty."""
    first, last = lengths[0], lengths[-1]
    return 0 < last <= first and lengths.count(first) == len(lengths) - (last != first)


@lru_cache(maxsize=ADDRESSES_KEPT)
def _name(destination: Address) -> bytes:
    family = socket.AF_INET6 if destination.family == 6 else socket.AF_INET
    return system_name(family, destination).ljust(NAME, b"\0")


def _source_v4(name: bytes) -> bytes:
    """A struct sockaddr_in, ip(7), as the 19 bytes that the wire has for it."""
    return b"\x04" + name[4:8] + _ZEROS + name[2:4]


def _source_v6(name: bytes) -> bytes:
    """The same of a struct sockaddr_in6, ipv6(7)."""
    return b"\x06" + name[8:24] + name[2:4]
