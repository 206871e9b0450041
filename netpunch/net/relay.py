"""The sockets of a control's relay.

The machine's relay (`core.control.relay`) knows whose datagrams go where, and how many. On Linux an
endpoint here asks it once for each batch, and sends the datagrams from where they were received
(`net.segments`). Only what may be for control itself goes through the machine. On other systems,
in a sandbox that forbids batches, and while datagrams are traced, everything does.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, compress, count, repeat
from operator import attrgetter
from typing import NamedTuple

from netpunch.address import Address
from netpunch.core.control.relay import BOUND, Binding, Relay, RelayedPair
from netpunch.core.events import Via
from netpunch.net.driver import MAX_PAYLOAD, Driver, Endpoint, clock
from netpunch.net.wildcard import on_wildcard
from netpunch.wire.envelope import CONTROL_DATAGRAM, VERSION

if sys.platform == "linux":
    from netpunch.net.batch import (
        ADDRESSES_KEPT,
        SIZE,
        TURN,
        address_of,
        batches_allowed,
        next_batch,
    )
    from netpunch.net.segments import (
        Messages,
        Segments,
        join_on_arrival,
        longest_segment,
        name_of,
        source_v4,
        source_v6,
        split,
        sums,
    )


MOST_MESSAGES = 256
"""Messages to receive in one call, of a socket at which many wait: more of them go to one
destination and leave as one message. Their buffers take 1 MiB at the usual lengths, 17 MiB if all
datagrams are as long as can be."""
FEW_MESSAGES = 8
"""At least so many, however long they take."""
WORTH_SORTING = 2
"""Messages of each flow in a batch, on average, that are worth bringing them together: to sort them
costs as much as it saves where there are fewer."""


class RelayPaths:
    """What the endpoints of one relay share: each may send what another one has received."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.sockets: dict[Via, socket.socket] = {}
        self._segments: dict[int, Segments] = {}
        self._routes: dict[Via, Routes] = {}

    def segments(self, sock: socket.socket) -> Segments:
        """The buffers for datagrams of a socket's family."""
        family = sock.family
        if family not in self._segments:
            longest = longest_segment(sock)
            self._segments[family] = Segments(family, longest=longest, size=MOST_MESSAGES)
        return self._segments[family]

    def open(self, via: Via, sock: socket.socket) -> Routes:
        """From now on, this socket sends, too. Returns where its own datagrams go."""
        self.sockets[via] = sock
        self._forget()
        self._routes[via] = Routes(self, via, sock.family)
        return self._routes[via]

    def close(self, via: Via) -> None:
        """From now on, it does not."""
        del self.sockets[via], self._routes[via]
        self._forget()

    def _forget(self) -> None:
        for routes in self._routes.values():
            routes.clear()


def relay_endpoint(
    paths: RelayPaths, is_traced: bool, driver: Driver, via: Via, sock: socket.socket
) -> Endpoint:
    """The endpoint for a socket of the relay, which may be a wildcard."""
    kind = PlainRelayEndpoint
    if sys.platform == "linux" and not is_traced and batches_allowed():
        kind = RelayEndpoint
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


class Route:
    """From a bound end to its partner: the socket to send from, and the name of the destination.
    `sock` is None if the partner is not bound or has no socket of ours, and for strangers."""

    __slots__ = ("name", "sender", "sock")

    def __init__(
        self, sender: Binding, sock: socket.socket | None = None, name: bytes = b""
    ) -> None:
        self.sender = sender
        self.sock = sock
        self.name = name


OF_STRANGERS = Route(RelayedPair("").a)


class Routes(dict[bytes, Route]):
    """Of a socket, by the name of the source: one look for each datagram, not one at each of its
    names, its binding, its partner and that one's name."""

    __slots__ = ("_changes", "_relay", "_senders", "_sockets", "_source_of", "_strangers")

    def __init__(self, paths: RelayPaths, via: Via, family: int) -> None:
        super().__init__()
        self._relay, self._sockets = paths.relay, paths.sockets
        self._senders = paths.relay.sources[via]
        self._source_of = source_v4 if family == socket.AF_INET else source_v6
        self._changes = paths.relay.changes
        self._strangers = 0

    def refresh(self) -> None:
        """Forgets all, if something may have changed, or too many strangers have come."""
        if self._changes != self._relay.changes or self._strangers > ADDRESSES_KEPT:
            self._changes, self._strangers = self._relay.changes, 0
            self.clear()

    def __missing__(self, name: bytes) -> Route:
        sender = self._senders.get(self._source_of(name))
        if sender is None:
            self._strangers += 1
            route = OF_STRANGERS
        else:
            partner = sender.partner
            sock = self._sockets.get(partner.via) if partner.state is BOUND else None
            route = Route(sender) if sock is None else Route(sender, sock, name_of(partner.address))
        self[name] = route
        return route


class Batch(NamedTuple):
    """Messages by their routes: so many of them in a row as `sizes` says go by each of `routes`. A
    route may come again, but only with messages that are one datagram each: what of these is above
    the rate is not sent, whereas some segments of a message may be, ahead of all else."""

    routes: Sequence[Route]
    sizes: Sequence[int]
    messages: Messages

    def only(self, wanted: Sequence[bool]) -> Batch:
        """What goes by those of the routes that are wanted."""
        each = chain.from_iterable(map(repeat, wanted, self.sizes))
        messages = self.messages.chosen(compress(count(), each))
        routes, sizes = compress(self.routes, wanted), compress(self.sizes, wanted)
        return Batch(list(routes), list(sizes), messages)

    @property
    def flows(self) -> Iterator[tuple[Route, Messages]]:
        """The messages of each route."""
        first = 0
        for route, size in zip(self.routes, self.sizes, strict=True):
            yield route, self.messages.part(first, first + size)
            first += size


_batch = partial(tuple.__new__, Batch)
"""As the class itself, in half of the time."""
_sender_of, _sock_of, _name_of = map(attrgetter, ("sender", "sock", "name"))


class RelayEndpoint(PlainRelayEndpoint):
    """Relays in batches. For a socket that is bound to one address."""

    __slots__ = ("_most", "_paths", "_routes", "_segments")

    def __init__(self, paths: RelayPaths, driver: Driver, via: Via, sock: socket.socket) -> None:
        super().__init__(paths, driver, via, sock)
        self._paths = paths
        self._segments = paths.segments(sock)
        self._most = SIZE
        self._routes = paths.open(via, sock)
        join_on_arrival(sock)

    def read(self) -> None:
        now = clock()
        try:
            names, messages = self._segments.receive(self._sock, self._most)
        except OSError as error:
            self._count(error)
            return
        taken = len(messages.lengths)
        if messages.may_have(CONTROL_DATAGRAM):
            names, messages = self._without_own(names, messages, now)
        if names:
            self._routes.refresh()
            self._relay(self._sorted(names, messages), now)
        took = clock() - now
        if took > TURN or taken == self._most:
            self._most = next_batch(taken, took, FEW_MESSAGES, MOST_MESSAGES)

    # For control itself.

    def _without_own(self, names: bytes, messages: Messages, now: float) -> tuple[bytes, Messages]:
        """Gives the machine the messages in which a datagram has the length and first byte of those
        that it must see."""
        own = {
            number
            for number, start, length in messages.each
            if length == CONTROL_DATAGRAM and self._segments.byte_at(start) == VERSION
        }
        if not own:
            return names, messages
        sources = split(names, self._segments.step)
        for number in sorted(own):
            source = address_of(self._sock.family, sources[number])
            self._take(messages.part(number, number + 1), source, now)
        others = [number for number in range(len(sources)) if number not in own]
        return b"".join(sources[number] for number in others), messages.chosen(others)

    def _take(self, messages: Messages, source: Address, now: float) -> None:
        starts, lengths, _ = messages.apart
        for start, length in zip(starts, lengths, strict=True):
            self._driver.take(self._segments.copy(start, length), source, now, self.via)
        self._driver.pump()  # only here: what is relayed leaves the machine nothing to do

    # For others.

    def _sorted(self, names: bytes, messages: Messages) -> Batch:
        routes, step, total = self._routes, self._segments.step, len(messages.lengths)
        if names == names[:step] * total:
            return _batch(((routes[names[:step]],), (total,), messages))
        each = list(map(routes.__getitem__, split(names, step)))
        flows = len(set(each))
        if flows == total or (messages.cuts is None and total < WORTH_SORTING * flows):
            return _batch((each, (1,) * total, messages))
        numbers: defaultdict[Route, list[int]] = defaultdict(list)
        for number, route in enumerate(each):
            numbers[route].append(number)  # in the order in which they came first
        order = chain.from_iterable(numbers.values())
        return _batch((list(numbers), list(map(len, numbers.values())), messages.chosen(order)))

    def _relay(self, batch: Batch, now: float) -> None:
        sockets = list(map(_sock_of, batch.routes))
        if sockets.count(self._sock) == len(sockets):
            self._send(self._sock, batch, now)
            return
        for sock in set(sockets):
            some = batch.only([each is sock for each in sockets])
            if sock is not None:
                self._send(sock, some, now)
                continue
            for route, messages in some.flows:
                self._keep(route, messages, now)

    def _send(self, sock: socket.socket, batch: Batch, now: float) -> None:
        relay, segments, refused = self._paths.relay, self._segments, self._driver.count_error
        routes, sizes, messages = batch
        datagrams = sizes if messages.cuts is None else sums(messages.datagrams, sizes)
        octets = sums(messages.lengths, sizes)
        over = relay.admit_flows(list(map(_sender_of, routes)), datagrams, octets, now)
        if over:
            for route, some in batch.only([number in over for number in range(len(routes))]).flows:
                each = some.apart
                passed = relay.admit(route.sender, each.lengths, now)
                segments.send_flow(sock, route.name, each.part(0, passed), refused)
            batch = batch.only([number not in over for number in range(len(routes))])
            routes, sizes, messages = batch
        if routes:
            segments.send(sock, list(map(_name_of, routes)), sizes, messages, refused)

    def _keep(self, route: Route, messages: Messages, now: float) -> None:
        """What no socket here is to send."""
        relay, sender = self._paths.relay, route.sender
        if route is OF_STRANGERS:
            relay.strangers += sum(messages.datagrams)
        elif sender.partner.state is BOUND:
            self._take(messages, sender.address, now)  # the partner is at a socket of another kind
        else:
            relay.admit(sender, messages.apart.lengths, now)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        self._paths.close(self.via)
        super().close(loop)
