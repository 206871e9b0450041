"""Receives many datagrams in one call and sends them from the buffers that they were received into.

Linux only. Datagrams of one flow that are equally long leave as the segments of one message
(UDP_SEGMENT, udp(7)), and what the system received as such a message (UDP_GRO) stays one: that
takes a fraction of the time that as many messages take. What is known of a batch is kept in
columns, each of which is read, written or summed in one call: a tuple for each datagram would take
longer than all else that Python does about it.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import socket
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, lru_cache, partial
from itertools import accumulate, chain, pairwise, repeat
from operator import sub
from struct import Struct
from typing import Literal, NamedTuple

from netpunch.address import Address
from netpunch.net.batch import (
    ADDRESSES_KEPT,
    SIZE,
    Header,
    Message,
    Part,
    address_of,
    receive_messages,
    send_messages,
    system_name,
)
from netpunch.net.datagrams import pieces
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


class Received(NamedTuple):
    """What one call has received: each message's source in the system's form (`names`, one after
    the other), length in bytes, and the length of its segments, 0 if it is one datagram."""

    names: bytes
    lengths: list[int]
    cuts: list[int]


class Messages(NamedTuple):
    """Some of one batch: the address at which each starts, its length in bytes, and the length of
    its segments, 0 if it is one datagram; no list of these if all are."""

    starts: list[int]
    lengths: list[int]
    cuts: list[int] | None = None

    def part(self, first: int, end: int) -> Messages:
        """Only those from number `first` to before number `end`."""
        cuts = None if self.cuts is None else self.cuts[first:end]
        return Messages(self.starts[first:end], self.lengths[first:end], cuts)

    def chosen(self, numbers: Iterable[int]) -> Messages:
        """Only those, in that order."""
        starts, lengths, cuts = self
        order = list(numbers)
        return _messages(
            (
                [starts[number] for number in order],
                [lengths[number] for number in order],
                None if cuts is None else [cuts[number] for number in order],
            )
        )

    def may_have(self, length: int) -> bool:
        """Whether a datagram may be that long."""
        if self.cuts is None:
            return length in self.lengths
        return any(
            length in (cut, each % cut) if cut else each == length
            for each, cut in zip(self.lengths, self.cuts, strict=True)
        )

    @property
    def datagrams(self) -> list[int]:
        """How many each message has."""
        if self.cuts is None:
            return [1] * len(self.lengths)
        return list(map(pieces, self.lengths, self.cuts))

    @property
    def each(self) -> Iterator[tuple[int, int, int]]:
        """Each datagram: the number of its message, where it starts, and its length."""
        for number, (start, length) in enumerate(zip(self.starts, self.lengths, strict=True)):
            cut = 0 if self.cuts is None else self.cuts[number]
            parts = _cut(length, cut) if cut else (length,)
            for part in parts:
                yield number, start, part
                start += part

    @property
    def apart(self) -> Messages:
        """The same with a message for each datagram."""
        if self.cuts is None:
            return self
        _, starts, lengths = zip(*self.each, strict=True)
        return Messages(list(starts), list(lengths))


_received = partial(tuple.__new__, Received)
_messages = partial(tuple.__new__, Messages)
"""As the classes themselves, in half of the time."""

LENGTHS_KEPT = 8
"""Lengths of which the views of all buffers are kept: a tunnel mostly sends one or two."""


@cache
def shared(family: int) -> Segments:
    """Buffers for all of a thread who are done with what they have received before they return to
    the loop."""
    return Segments(family)


def join_on_arrival(sock: socket.socket, *, on: bool = True) -> None:
    """Lets the system pass datagrams of equal lengths as one message, if it can."""
    with suppress(OSError):  # before Linux 5.0
        sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, on)


def longest_segment(sock: socket.socket) -> int:
    """In bytes, as far as the system tells; 0 if it knows none (Linux before 4.18): it would send
    all of a message as one datagram."""
    try:
        sock.getsockopt(socket.IPPROTO_UDP, UDP_SEGMENT)
    except OSError:
        return 0
    return MAX_PAYLOAD


class Segments:
    """Buffers for the datagrams of one batch. Sources are of one family, destinations of any."""

    def __init__(self, family: int, *, longest: int = MAX_PAYLOAD, size: int = SIZE) -> None:
        """`longest`: bytes that a segment can have, of the sockets that are to send; `size`:
        messages of the largest batch."""
        self._size = size
        self.step = NAMES_IN[family]
        """Bytes of a name in `Received`."""
        self._longest = longest
        """Longer segments were refused."""
        # Mapped, not allocated: only pages that datagrams reach take memory.
        self._memory = mmap.mmap(-1, size * BUFFER)
        self._view = memoryview(self._memory)
        self._views: dict[int, list[memoryview]] = {}
        self._origin = _place(self._memory)
        self._starts = [self._origin + number * BUFFER for number in range(size)]
        self._in, self._out = _Table(self.step, size), _Table(NAME, size)
        self._in.bases[:] = _longs(self._starts)
        self._in.capacities[:] = _longs([MAX_PAYLOAD] * size)
        self._rooms = _longs([ANCILLARY] * size)
        self._are_apart = True
        """Whether the headers that send have a buffer each."""
        self._loaded: list[int] = []
        """The starts of the messages that were sent last."""
        self._used = size
        """Messages whose headers the last call has changed; at first all are to be set."""

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

    def receive(self, sock: socket.socket, most: int = SIZE) -> tuple[bytes, Messages]:
        """As `take`: their sources, and where in the buffers they are."""
        names, lengths, cuts = self.take(sock, most)
        starts = self._starts[: len(lengths)]
        return names, _messages((starts, lengths, cuts if any(cuts) else None))

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
            views = self._views[length] = [
                self.view(number, length) for number in range(self._size)
            ]
        return views[first : first + count]

    def byte_at(self, start: int) -> int:
        """The first byte of a datagram that starts there."""
        return self._memory[start - self._origin]

    def copy(self, start: int, length: int) -> bytes:
        """A datagram."""
        start -= self._origin
        return self._memory[start : start + length]

    # Sending.

    def send(
        self,
        sock: socket.socket,
        names: Sequence[bytes],
        sizes: Sequence[int],
        messages: Messages,
        refused: Refused,
    ) -> None:
        """Sends what was received, no more messages than the buffers hold: so many of them in a row
        as `sizes` says go to each of `names`, which are of `name_of`."""
        cuts = messages.cuts
        if cuts is not None and max(cuts) > self._longest:
            first = 0
            for name, size in zip(names, sizes, strict=True):
                some = messages.part(first, first + size).apart
                self.send_flow(sock, name, some, refused)
                first += size
            return
        if len(sizes) == len(messages.lengths):
            begins: Sequence[int] = range(len(sizes))
        else:
            begins, names = self._join(names, sizes, messages)
        self._load(begins, names, messages)
        for number, error in send_messages(sock.fileno(), self._out.address, len(begins)):
            end = begins[number + 1] if number + 1 < len(begins) else len(messages.lengths)
            together = messages.part(begins[number], end)
            self._send_again(sock, names[number], together, error, refused)

    def send_flow(
        self, sock: socket.socket, name: bytes, datagrams: Messages, refused: Refused
    ) -> None:
        """Sends any number of datagrams to one destination."""
        for first in range(0, len(datagrams.lengths), self._size):
            some = datagrams.part(first, first + self._size)
            self.send(sock, (name,), (len(some.lengths),), some, refused)

    def _join(
        self, names: Sequence[bytes], sizes: Sequence[int], messages: Messages
    ) -> tuple[list[int], list[bytes]]:
        """With which of these the messages begin that are to be sent, and where each goes."""
        _, lengths, cuts = messages
        if cuts is not None:  # what has segments is a message for itself, as an empty datagram is
            lengths = [0 if cut else length for length, cut in zip(lengths, cuts, strict=True)]
        begins = heads(lengths, self._longest, sizes)
        if len(sizes) == 1:
            return begins, [names[0]] * len(begins)
        each = list(chain.from_iterable(map(repeat, names, sizes)))
        return begins, list(map(each.__getitem__, begins))

    def _load(self, begins: Sequence[int], names: Sequence[bytes], messages: Messages) -> None:
        """Fills in the headers of the messages that begin with these."""
        starts, lengths, cuts = messages
        table, count, buffers = self._out, len(begins), len(starts)
        if starts != self._loaded:  # as when there was another order
            table.bases[:buffers] = _longs(starts)
            self._loaded = starts
        table.capacities[:buffers] = _longs(lengths)
        table.names[: count * NAME] = b"".join(names)
        if count == buffers:
            if not self._are_apart:
                table.parts[:] = table.each_part
                table.part_counts[:] = table.ones
                self._are_apart = True
        else:
            self._are_apart = False
            counts = list(map(sub, chain(begins[1:], (buffers,)), begins))
            table.parts[:count] = _longs(list(map(table.places.__getitem__, begins)))
            table.part_counts[:count] = _longs(counts)
            joined = [
                lengths[first] if some > 1 else 0
                for first, some in zip(begins, counts, strict=True)
            ]
            if cuts is not None:
                joined = [cuts[first] or cut for first, cut in zip(begins, joined, strict=True)]
            cuts = joined
        if cuts is None:
            table.rooms[:count] = table.none[:count]
        else:
            table.rooms[:count] = _longs([ANCILLARY if cut else 0 for cut in cuts])
            table.cuts[:count] = memoryview(array("H", cuts))

    def _send_again(
        self, sock: socket.socket, name: bytes, messages: Messages, error: OSError, refused: Refused
    ) -> None:
        """One by one, if segments were the reason why a message was refused."""
        starts, lengths, _ = messages.apart
        if len(lengths) == 1 or error.errno not in TOO_LONG | INCAPABLE:
            for _ in lengths:
                refused(error)
            return
        longest = lengths[0] - 1 if error.errno in TOO_LONG else 0
        self._longest = min(self._longest, longest)
        destination = _address_of(name)
        for start, length in zip(starts, lengths, strict=True):
            try:
                sock.sendto(self.copy(start, length), destination)
            except OSError as again:
                refused(again)


def split(names: bytes, step: int) -> tuple[bytes, ...]:
    """One by one."""
    return _layout(step, len(names) // step).unpack(names)


@lru_cache(maxsize=2 * SIZE)
def _layout(step: int, count: int) -> Struct:
    return Struct(f"{step}s" * count)


def sums(values: Sequence[int], sizes: Sequence[int]) -> Sequence[int]:
    """Of so many values in a row as each size says."""
    if len(sizes) == len(values):
        return values
    ends = accumulate(sizes, initial=0)
    return [sum(values[first:end]) for first, end in pairwise(ends)]


class _Table:
    """Headers for a batch, and columns of them that are read and written at once. Each has `step`
    bytes for an address, and room for one item of ancillary data."""

    def __init__(self, step: int, size: int) -> None:
        self.names = bytearray(size * step)
        self._headers = (Message * size)()
        self._parts = (Part * size)()
        self._ancillary = bytearray(size * ANCILLARY)
        self.address = ctypes.addressof(self._headers)
        words = memoryview(self._parts).cast("B").cast("L")
        self.bases, self.capacities = words[::2], words[1::2]
        """The addresses of the buffers in that list, and how many bytes of them are in use."""
        first = ctypes.addressof(self._parts)
        self.places = [first + number * ctypes.sizeof(Part) for number in range(size)]
        """Where in that list each buffer is."""
        self.each_part = _longs(self.places)
        self.ones, self.none = _longs([1] * size), _longs([0] * size)
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
        return words[offset // words.itemsize :: len(words) // len(self._headers)]


def _place(memory: mmap.mmap | bytearray) -> int:
    """Its address. From now on it cannot be resized."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _longs(numbers: list[int]) -> memoryview:
    return memoryview(array("L", numbers))


def _cut(total: int, length: int) -> list[int]:
    """The lengths of the datagrams in a message of segments."""
    whole, rest = divmod(total, length)
    return [length] * whole + ([rest] if rest else [])


def heads(lengths: Sequence[int], longest: int, flows: Sequence[int] = ()) -> list[int]:
    """With which of these datagrams a message begins. Those up to the next one are equally long,
    but the last may be shorter. So many in a row as `flows` says go to one destination, without it
    all."""
    count, first = len(lengths), lengths[0]
    if len(flows) <= 1 and count > FEW and lengths.count(first) == count:
        return list(range(0, count, _most(first, longest)))
    begins: list[int] = []
    ends = accumulate(flows or (count,))
    cut = end = flow = 0  # the length of segments, and before what the message and its flow end
    for number, length in enumerate(lengths):
        if length <= cut and number < end and length:
            if length < cut:
                cut = 0
        else:
            if number == flow:
                flow = next(ends)
            begins.append(number)
            cut, end = length, min(number + _most(length, longest), flow)
    return begins


@lru_cache(maxsize=LENGTHS_KEPT * SIZE)
def _most(length: int, longest: int) -> int:
    """How many segments of this length a message can have."""
    return min(MOST_SEGMENTS, MOST_OCTETS // length) or 1 if 0 < length <= longest else 1


def groups(lengths: Sequence[int], longest: int) -> Iterator[tuple[int, int]]:
    """Which of these datagrams can be one message, from the first to before the last number."""
    return pairwise((*heads(lengths, longest), len(lengths)))


@lru_cache(maxsize=ADDRESSES_KEPT)
def name_of(destination: Address) -> bytes:
    """Its name for `Segments.send`."""
    family = socket.AF_INET6 if destination.family == 6 else socket.AF_INET
    return system_name(family, destination).ljust(NAME, b"\0")


def _address_of(name: bytes) -> Address:
    family = int.from_bytes(name[:2], sys.byteorder)
    return address_of(family, name[: NAMES_IN[family]])


def source_v4(name: bytes) -> bytes:
    """A struct sockaddr_in, ip(7), as the 19 bytes that the wire has for it."""
    return b"\x04" + name[4:8] + _ZEROS + name[2:4]


def source_v6(name: bytes) -> bytes:
    """The same of a struct sockaddr_in6, ipv6(7)."""
    return b"\x06" + name[8:24] + name[2:4]


_ZEROS = bytes(12)
