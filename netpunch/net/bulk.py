"""Programs' datagrams in bulk: many in one call from socket to socket, out of the buffers that they
were received into. Linux only.

`Inlet` receives them. `Outlet` sends them: as the segments of one message where they are equally
long (`net.segments`), one by one where the system or the path takes no segments.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

from netpunch.address import Address
from netpunch.net.batch import BATCH, SIZE, TURN, address_of, next_batch
from netpunch.net.datagrams import Datagrams, pieces
from netpunch.net.driver import ADDRESS_GONE, clock
from netpunch.net.segments import (
    INCAPABLE,
    TOO_LONG,
    UDP_SEGMENT,
    Received,
    groups,
    join_on_arrival,
    longest_segment,
    shared,
)
from netpunch.wire.envelope import Buffer

SINGLE = BATCH, SIZE
"""Messages to receive in one call, at least and at most, while all are single datagrams."""
JOINED = 2, 8
"""The same while some are of segments: up to 64 datagrams each, which take 0.3 ms where they are
sealed."""
BUFFER = 4 * 1024 * 1024
"""Bytes to ask for, of datagrams that wait to be received or to be sent: where the process shares a
core it may not run for 4 ms, in which a tunnel brings thousands. The system grants what its
administrator allows, often a twentieth."""

ALONE = 17
"""Datagrams that come alone before they are received one by one, and then between two checks
whether more wait. Python's own call takes half of the time for them. Not a power of two, as
many bursts are: each check could fall to the end of one, behind which nothing waits."""

_LENGTH = Struct("@H")

Item = tuple[int, int, bytes]
"""Of ancillary data, as `socket.sendmsg` takes it."""
SendOne = Callable[[Buffer, Address], object]
Refused = Callable[[OSError, Address, int], object]


class Inlet:
    """Receives the datagrams of one socket: by `receive`, or, while they come alone, by
    `receive_one`, which knows of no segments; meanwhile the system joins none. Messages of one call
    go by numbers, from 0."""

    def __init__(self, sock: socket.socket, *, joins: bool = True, alone: int = ALONE) -> None:
        """`joins` lets the system pass equally long ones as one message; `alone` are received one
        by one between two checks whether many wait."""
        self._sock = sock
        self._family = int(sock.family)
        self._buffers = shared(self._family)
        self._waiting = select.poll()
        self._waiting.register(sock, select.POLLIN)
        self._most = BATCH if joins else SIZE
        """Messages to receive in the next call."""
        self._begun = self._ended = 0.0
        """When the last call was made, and when what it received had been passed on."""
        self.receive_one: Callable[[int], tuple[bytes, Any]] = sock.recvfrom
        """Gets how many bytes to read at most; returns a datagram, and its source as Python has
        it."""
        self.alone = 0
        """How many to receive so before `receive` is to look whether many wait."""
        self._alone = alone
        self._few = 0
        """How many times in a row `receive` has found few."""
        self._joins = self._joining = joins
        """Whether the system may join them, and whether it does now."""
        self.name_length = self._buffers.step
        """Bytes of a source in `Received`."""
        if joins:
            join_on_arrival(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)

    def receive(self) -> Received:
        """What has arrived; raises OSError: BlockingIOError if that is nothing. It is valid until
        anybody receives again."""
        if self._joins:
            self._begun = clock()
            if self._begun - self._ended > TURN:  # they have gathered, maybe of many segments each
                self._most = min(self._most, BATCH)
        received = self._buffers.take(self._sock, self._most)
        if any(received.cuts) or len(received.lengths) >= BATCH:
            self._few = 0
            self._join()
        else:
            self._few += 1
            if not self._joining or (self._few >= ALONE and self._separate()):
                self.alone = self._alone
        return received

    def done(self, received: Received) -> None:
        """They have been passed on: the next call receives as many as should fit into a turn of
        the loop then."""
        if not self._joins:
            return  # all are single datagrams, of which a full batch fits into a turn
        self._ended = clock()
        few, many = JOINED if any(received.cuts) else SINGLE
        self._most = next_batch(len(received.lengths), self._ended - self._begun, few, many)

    def still_alone(self) -> int:
        """After so many that came alone, how many more to receive one by one: none if others wait.
        (`receive` would tell, too, but takes so many steps that a datagram is delayed by a third of
        its round trip.)"""
        self.alone = 0 if self._waiting.poll(0) else self._alone
        return self.alone

    def _join(self) -> None:
        if self._joins and not self._joining:
            join_on_arrival(self._sock)
            self._joining = True

    def _separate(self) -> bool:
        """Has the system join no more; returns whether it does not. What waits by then may be
        joined, and the system says so only while it may join: then it goes on."""
        join_on_arrival(self._sock, on=False)
        self._joining = bool(self._waiting.poll(0))
        if self._joining:
            join_on_arrival(self._sock)
        return not self._joining

    def address(self, name: bytes) -> Address:
        """A source."""
        return address_of(self._family, name)

    def datagrams(self, received: Received, first: int, end: int) -> Datagrams:
        """Those of the messages from number `first` to before number `end`."""
        lengths, cuts = received.lengths[first:end], received.cuts[first:end]
        parts = self._buffers.views(first, lengths)
        return Datagrams(parts, lengths, cuts if any(cuts) else None)


class Outlet:
    """Sends from one socket. `send_one` sends what leaves alone, and reports its errors itself;
    `refused` gets the error of so many others that were not sent."""

    def __init__(self, sock: socket.socket, send_one: SendOne, refused: Refused) -> None:
        self._sock = sock
        self._send_one = send_one
        self._refused = refused
        self._longest = self._possible = longest_segment(sock)
        """Bytes of a segment: longer ones were refused, or no system would take them."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)

    def new_path(self) -> None:
        """What the last one took says nothing about the next one."""
        self._longest = self._possible

    def send(
        self, datagrams: Datagrams, destination: Address, ancillary: Sequence[Item] = ()
    ) -> None:
        """Sends each at once or not at all; `ancillary` goes with those that leave together."""
        parts, lengths, cuts = datagrams
        if cuts is not None:
            for part, cut in zip(parts, cuts, strict=True):
                if cut:
                    self._send_together((part,), cut, destination, ancillary)
                else:
                    self._send_one(part, destination)
        elif len(lengths) == 1:
            self._send_one(parts[0], destination)
        else:
            for first, end in groups(lengths, self._longest):
                if end == first + 1:
                    self._send_one(parts[first], destination)
                else:
                    some = parts[first:end]
                    self._send_together(some, lengths[first], destination, ancillary)

    def joinable(self, lengths: Sequence[int]) -> int:
        """How many datagrams of these lengths, from the first on, can be one message."""
        return next(groups(lengths, self._longest))[1]

    def put_together(
        self,
        parts: Sequence[Buffer],
        cut: int,
        destination: Address,
        ancillary: Sequence[Item] = (),
    ) -> bool:
        """Sends these buffers as one message of datagrams of `cut` bytes, of which the last may be
        shorter. Returns whether the system takes such a message at all; raises OSError if it does
        not take this one."""
        try:
            self._sock.sendmsg(parts, [_cut(cut), *ancillary], 0, destination)
        except OSError as error:
            if error.errno in TOO_LONG:
                self._longest = min(self._longest, cut - 1)
            elif error.errno in INCAPABLE:
                self._longest = 0
            elif not ancillary or error.errno not in ADDRESS_GONE:
                raise
            return False
        return True

    def _send_together(
        self, parts: Sequence[Buffer], cut: int, destination: Address, ancillary: Sequence[Item]
    ) -> None:
        """As one message if the system takes it, otherwise one by one."""
        try:
            if cut <= self._longest and self.put_together(parts, cut, destination, ancillary):
                return
        except OSError as error:
            self._refused(error, destination, sum(pieces(len(part), cut) for part in parts))
            return
        for part in parts:
            for start in range(0, len(part), cut):
                self._send_one(part[start : start + cut], destination)


@lru_cache(maxsize=64)
def _cut(length: int) -> Item:
    """Has the system cut a message into segments of this length."""
    return socket.IPPROTO_UDP, UDP_SEGMENT, _LENGTH.pack(length)
