"""Receives many datagrams in one call and sends them from the buffers that they were received into.

Linux only. The datagrams of one source stay together. Those of them that are equally long leave as
the segments of one message (UDP_SEGMENT, udp(7)), and what the system received as such a message
(UDP_GRO) stays one: that takes a fraction of the time that as many messages take.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import socket
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, lru_cache, partial
from itertools import accumulate, chain
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
from netpunch.net.driver import FEW, MAX_PAYLOAD

UDP_SEGMENT, UDP_GRO = 103, 104
"""Options of linux/udp.h; Python's socket module has no names for them."""

MOST_SEGMENTS = 64
"""UDP_MAX_SEGMENTS of Linux before 6.9."""
MOST_OCTETS = 65_000
"""Of all segments: an IP datagram has 65,535 bytes with its headers."""

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

_Message = tuple[Address, list[int], list[int], int, "Run | None"]
"""To be sent: where to, the addresses and lengths of its buffers, the length of its segments, 0 if
it is one datagram; and what it was received as, if that is known."""

_PART = ctypes.sizeof(Part)
_ZEROS = bytes(12)


class Received(NamedTuple):
    """What one call has received: each message's source in the system's form (`names`, one after
    the other), length in bytes, and the length of its segments, 0 if it is one datagram."""

    names: bytes
    lengths: list[int]
    cuts: list[int]


class Run(NamedTuple):
    """Datagrams from one source (19 bytes, as on the wire) in the order in which they came, by
    the addresses at which they start. `joined`: they came as one message."""

    source: bytes
    starts: list[int]
    lengths: list[int]
    joined: bool = False

    def part(self, first: int, end: int) -> Run:
        """Only those from number `first` to before number `end`."""
        return Run(self.source, self.starts[first:end], self.lengths[first:end], self.joined)


_run = partial(tuple.__new__, Run)
_received = partial(tuple.__new__, Received)
"""As the classes themselves, in half of the time."""

LENGTHS_KEPT = 8
"""Lengths of which the views of all buffers are kept: a tunnel mostly sends one or two."""


@cache
def shared(family: int) -> Segments:
    """Buffers for all of a thread who are done with what they have received before they return to
    the loop."""
    return Segments(family)


def join_on_arrival(sock: socket.socket) -> None:
    """Lets the system pass datagrams of equal lengths as one message, if it can."""
    with suppress(OSError):  # before Linux 5.0
        sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)


class Segments:
    """Buffers for the datagrams of one batch. Sources are of one family, destinations of any."""

    def __init__(self, family: int) -> None:
        self._source_of = _source_v4 if family == socket.AF_INET else _source_v6
        self._sources: dict[bytes, bytes] = {}
        """By their names: putting one together takes as long as all else about a datagram."""
        self.step = NAMES_IN[family]
        """Bytes of a name in `Received`."""
        self._longest = MAX_PAYLOAD
        """Longer segments were refused."""
        # Mapped, not allocated: only pages that datagrams reach take memory.
        self._memory = mmap.mmap(-1, SIZE * BUFFER)
        self._view = memoryview(self._memory)
        self._views: dict[int, list[memoryview]] = {}
        self._origin = _place(self._memory)
        self._starts = [self._origin + number * BUFFER for number in range(SIZE)]
        self._in, self._out = _Table(self.step), _Table(NAME)
        self._in.bases[:] = _longs(self._starts)
        self._in.capacities[:] = _longs([MAX_PAYLOAD] * SIZE)
        self._rooms = _longs([ANCILLARY] * SIZE)
        self._used = SIZE
        """Messages whose headers the last call has changed; at first all are to be set."""
        self._sock: socket.socket | None = None
        self._queue: list[_Message] = []
        """To be sent from that socket."""
        self._room = SIZE
        """For buffers of messages in the queue."""

    # Receiving.

    def take(self, sock: socket.socket, most: int = SIZE) -> Received:
        """Receives up to `most` messages, at least one, into the first buffers, or raises OSError:
        BlockingIOError if there is none."""
        table, step, used = self._in, self.step, self._used
        if used == 1:
            table.rooms[0] = ANCILLARY
        else:
            table.rooms[:used] = self._rooms[:used]
        count = self._used = receive_messages(sock.fileno(), table.address, most)
        if count == 1:  # as when a program waits for each answer
            cut = table.numbers[0] if table.rooms[0] else 0
            return _received((bytes(table.names[:step]), [table.lengths[0]], [cut]))
        names = bytes(table.names[: count * step])
        lengths: list[int] = table.lengths[:count].tolist()
        cuts: list[int] = table.rooms[:count].tolist()
        if any(cuts):
            sizes = table.numbers[:count].tolist()
            cuts = [size if room else 0 for size, room in zip(sizes, cuts, strict=True)]
        return _received((names, lengths, cuts))

    def receive(self, sock: socket.socket) -> list[Run]:
        """As `take`, sorted by source."""
        names, lengths, cuts = self.take(sock)
        count = len(lengths)
        if not any(cuts) and names == names[: self.step] * count:
            source = self._source_of(names[: self.step])
            return [_run((source, self._starts[:count], lengths, False))]
        return self._sorted(names, lengths, cuts)

    def view(self, number: int, length: int) -> memoryview:
        """So many bytes of a buffer, until the next datagrams are received."""
        start = number * BUFFER
        return self._view[start : start + length]

    def views(self, first: int, lengths: list[int]) -> Sequence[memoryview]:
        """Datagrams of these lengths, from buffer `first` on."""
        length, count = lengths[0], len(lengths)
        if lengths.count(length) != count:
            return [self.view(number, each) for number, each in enumerate(lengths, first)]
        views = self._views.get(length)
        if views is None:
            if len(self._views) == LENGTHS_KEPT:
                self._views.clear()
            views = self._views[length] = [self.view(number, length) for number in range(SIZE)]
        return views[first : first + count]

    def _sorted(self, names: bytes, lengths: list[int], joined: list[int]) -> list[Run]:
        """By source. `joined` are the lengths of the segments of a message, 0 if it has none."""
        step, sources, starts = self.step, self._sources, self._starts
        runs: list[Run] = []
        open_runs: dict[bytes, Run] = {}
        at = 0
        for start, length, size in zip(starts, lengths, joined, strict=False):
            name = names[at : at + step]
            at += step
            run = open_runs.get(name)
            if size == 0 and run is not None:
                run.starts.append(start)
                run.lengths.append(length)
                continue
            source = sources.get(name) or self._learn(name)
            if size:
                parts = _cut(length, size)
                places = list(accumulate(parts[:-1], initial=start))
                runs.append(Run(source, places, parts, joined=True))
                open_runs.pop(name, None)  # what follows comes after it
            else:
                open_runs[name] = run = _run((source, [start], [length], False))
                runs.append(run)
        return runs

    def _learn(self, name: bytes) -> bytes:
        if len(self._sources) == ADDRESSES_KEPT:
            self._sources.clear()
        source = self._sources[name] = self._source_of(name)
        return source

    def byte_at(self, start: int) -> int:
        """The first byte of a datagram that starts there."""
        return self._memory[start - self._origin]

    def copy(self, start: int, length: int) -> bytes:
        """A datagram."""
        start -= self._origin
        return self._memory[start : start + length]

    # Sending.

    def send(self, sock: socket.socket, run: Run, destination: Address, refused: Refused) -> None:
        """Sends what was received, by the next `flush` at the latest."""
        if sock is not self._sock:
            self.flush(refused)
            self._sock = sock
        _, starts, lengths, joined = run
        if len(lengths) == 1:
            if not self._room:
                self.flush(refused)
            self._room -= 1
            self._queue.append((destination, starts, lengths, 0, run))
        elif joined and lengths[0] <= self._longest:
            if not self._room:
                self.flush(refused)
            self._room -= 1
            self._queue.append((destination, starts[:1], [sum(lengths)], lengths[0], run))
        else:
            for first, end in groups(lengths, self._longest):
                if self._room < end - first:  # only if a message is sent as many
                    self.flush(refused)
                self._room -= end - first
                some, cut = lengths[first:end], lengths[first] if end > first + 1 else 0
                self._queue.append((destination, starts[first:end], some, cut, None))

    def flush(self, refused: Refused) -> None:
        """Sends what is left."""
        queue, count = self._queue, len(self._queue)
        if self._sock is None or not count:
            return
        self._load(count)
        for number, error in send_messages(self._sock.fileno(), self._out.address, count):
            self._send_again(self._sock, queue[number], error, refused)
        queue.clear()
        self._room = SIZE

    def _load(self, count: int) -> None:
        """Fills in the headers of so many messages."""
        table = self._out
        destinations, starts, lengths, cuts, _ = zip(*self._queue, strict=True)
        bases, capacities = list(chain.from_iterable(starts)), list(chain.from_iterable(lengths))
        table.bases[: len(bases)] = _longs(bases)
        table.capacities[: len(bases)] = _longs(capacities)
        if len(bases) == count:
            table.parts[:count] = table.each_part[:count]
            table.part_counts[:count] = table.ones[:count]
        else:
            counts = list(map(len, starts))
            firsts = accumulate(counts[:-1], initial=0)
            table.parts[:count] = _longs([table.list + first * _PART for first in firsts])
            table.part_counts[:count] = _longs(counts)
        table.names[: count * NAME] = b"".join(map(_name, destinations))
        if any(cuts):
            table.rooms[:count] = _longs([ANCILLARY if cut else 0 for cut in cuts])
            table.cuts[:count] = memoryview(array("H", cuts))
        else:
            table.rooms[:count] = table.none[:count]

    def _send_again(
        self, sock: socket.socket, message: _Message, error: OSError, refused: Refused
    ) -> None:
        """One by one, if segments were the reason why a message was refused."""
        destination, starts, lengths, cut, run = message
        if run is not None:
            starts, lengths = run.starts, run.lengths
        if not cut or error.errno not in TOO_LONG | INCAPABLE:
            for _ in lengths:
                refused(error)
            return
        self._longest = min(self._longest, cut - 1 if error.errno in TOO_LONG else 0)
        for start, length in zip(starts, lengths, strict=True):
            try:
                sock.sendto(self.copy(start, length), destination)
            except OSError as again:
                refused(again)


class _Table:
    """Headers for a batch, and columns of them that are read and written at once. Each has `step`
    bytes for an address, and room for one item of ancillary data."""

    def __init__(self, step: int) -> None:
        self.names = bytearray(SIZE * step)
        self._headers = (Message * SIZE)()
        self._parts = (Part * SIZE)()
        self._ancillary = bytearray(SIZE * ANCILLARY)
        self.address = ctypes.addressof(self._headers)
        self.list = ctypes.addressof(self._parts)
        """Where the list of buffers begins."""
        words = memoryview(self._parts).cast("B").cast("L")
        self.bases, self.capacities = words[::2], words[1::2]
        """The addresses of the buffers in that list, and how many bytes of them are in use."""
        self.each_part = _longs([self.list + number * _PART for number in range(SIZE)])
        self.ones, self.none = _longs([1] * SIZE), _longs([0] * SIZE)
        """What those columns hold that follow, of messages with one buffer each and without
        ancillary data."""
        self.parts = self._column("L", Header.parts.offset)
        self.part_counts = self._column("L", Header.part_count.offset)
        """Where the buffers of a message begin in the list, and how many it has."""
        self.lengths = self._column("I", Message.length.offset)
        """Of the messages that were received."""
        self.rooms = self._column("L", Header.control_length.offset)
        """Bytes of ancillary data: before receiving those that there is room for."""
        numbers = memoryview(self._ancillary).cast("B").cast("i")
        self.numbers = numbers[_ITEM.size // numbers.itemsize :: ANCILLARY // numbers.itemsize]
        """What the ancillary data says, of messages that have any."""
        halves = memoryview(self._ancillary).cast("B").cast("H")
        self.cuts = halves[_ITEM.size // halves.itemsize :: ANCILLARY // halves.itemsize]
        """The same of messages to be sent: into which segments the system is to cut them."""
        for number, message in enumerate(self._headers):
            header = message.header
            header.name, header.name_length = _place(self.names) + number * step, step
            header.parts, header.part_count = ctypes.addressof(self._parts[number]), 1
            header.control = _place(self._ancillary) + number * ANCILLARY
            length = _ITEM.size + _SEGMENT.size
            item = (length, socket.IPPROTO_UDP, UDP_SEGMENT)
            _ITEM.pack_into(self._ancillary, number * ANCILLARY, *item)

    def _column(self, code: Literal["I", "L"], offset: int) -> memoryview:
        words = memoryview(self._headers).cast("B").cast(code)
        return words[offset // words.itemsize :: len(words) // SIZE]


def _place(memory: mmap.mmap | bytearray) -> int:
    """Its address. From now on it cannot be resized."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _longs(numbers: list[int]) -> memoryview:
    return memoryview(array("L", numbers))


def _cut(total: int, length: int) -> list[int]:
    """The lengths of the datagrams in a message of segments."""
    whole, rest = divmod(total, length)
    return [length] * whole + ([rest] if rest else [])


def groups(lengths: Sequence[int], longest: int) -> Iterator[tuple[int, int]]:
    """Which of these datagrams can be one message, from the first to before the last number: all
    are equally long, but the last may be shorter."""
    first, count = 0, len(lengths)
    same = count > FEW and lengths.count(lengths[0]) == count
    while first < count:
        length, end = lengths[first], first + 1
        if 0 < length <= longest:
            most = min(count, first + min(MOST_SEGMENTS, MOST_OCTETS // length))
            if same:
                end = max(most, end)
            while end < most and lengths[end] == length:
                end += 1
            if end < most and 0 < lengths[end] < length:
                end += 1
        yield first, end
        first = end


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
