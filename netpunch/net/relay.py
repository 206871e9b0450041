"""The sockets of a control's relay.

The machine's relay (`core.control.relay`) knows whose datagrams go where, and how many. On Linux an
endpoint here asks it once for each run of datagrams from one source, and sends them from where they
were received (`net.segments`). Only what may be for control itself goes through the machine. On
other systems, and while datagrams are traced, everything does.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from functools import partial

from netpunch.core.control.relay import BOUND, Relay
from netpunch.core.events import Via
from netpunch.net.driver import MAX_PAYLOAD, Driver, Endpoint, clock
from netpunch.net.wildcard import on_wildcard
from netpunch.wire.envelope import CONTROL_DATAGRAM, VERSION
from netpunch.wire.v2 import unpack_address

if sys.platform == "linux":
    from netpunch.net.segments import Run, Segments, join_on_arrival


class RelayPaths:
    """What the endpoints of one relay share: each may send what another one has received."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.sockets: dict[Via, socket.socket] = {}
        self._segments: dict[int, Segments] = {}

    def segments(self, family: int) -> Segments:
        """The buffers for datagrams of a family."""
        if family not in self._segments:
            self._segments[family] = Segments(family)
        return self._segments[family]


def relay_endpoint(
    paths: RelayPaths, is_traced: bool, driver: Driver, via: Via, sock: socket.socket
) -> Endpoint:
    """The endpoint for a socket of the relay, which may be a wildcard."""
    kind = PlainRelayEndpoint if is_traced or sys.platform != "linux" else RelayEndpoint
    endpoint = on_wildcard(partial(kind, paths), driver, via, sock)
    endpoint.room = MAX_PAYLOAD
    paths.relay.serve(via)
    return endpoint


class PlainRelayEndpoint(Endpoint):
    """Passes everything to the machine."""

    __slots__ = ()

    def __init__(self, paths: RelayPaths, driver: Driver, via: Via, sock: socket.socket) -> None:
        super().__init__(driver, via, sock)
        self.room = MAX_PAYLOAD
        paths.relay.serve(via)


class RelayEndpoint(PlainRelayEndpoint):
    """Relays in batches. For a socket that is bound to one address."""

    __slots__ = ("_paths", "_segments", "_senders")

    def __init__(self, paths: RelayPaths, driver: Driver, via: Via, sock: socket.socket) -> None:
        super().__init__(paths, driver, via, sock)
        self._paths = paths
        self._segments = paths.segments(sock.family)
        self._senders = paths.relay.sources[via]
        paths.sockets[via] = sock
        join_on_arrival(sock)

    def read(self) -> None:
        driver = self._driver
        try:
            runs = self._segments.receive(self._sock)
        except OSError as error:
            self._count(error)
        else:
            self._relay(runs, clock())
        driver.pump()

    def _relay(self, runs: list[Run], now: float) -> None:
        relay, senders, sockets = self._paths.relay, self._senders, self._paths.sockets
        segments, refused = self._segments, self._driver.count_error
        for run in runs:
            lengths = run.lengths
            sender = senders.get(run.source)
            if CONTROL_DATAGRAM in lengths and self._may_be_for_control(run):
                self._take(run, now)
            elif sender is None:
                relay.strangers += len(lengths)
            elif (partner := sender.partner).state is BOUND and partner.via not in sockets:
                self._take(run, now)  # the partner is at a socket of another kind
            elif passed := relay.admit(sender, lengths, now):
                some = run if passed == len(lengths) else run.part(0, passed)
                segments.send(sockets[partner.via], some, partner.address, refused)
        segments.flush(refused)

    def _may_be_for_control(self, run: Run) -> bool:
        """Whether a datagram has the length and first byte of those that the machine must see."""
        return any(
            length == CONTROL_DATAGRAM and self._segments.byte_at(start) == VERSION
            for start, length in zip(run.starts, run.lengths, strict=True)
        )

    def _take(self, run: Run, now: float) -> None:
        source = unpack_address(run.source)
        for start, length in zip(run.starts, run.lengths, strict=True):
            self._driver.take(self._segments.copy(start, length), source, now, self.via)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        del self._paths.sockets[self.via]
        super().close(loop)
