"""TLS streams of the virtual network: lossless, ordered pipes between ends and controls.

What blocks UDP lets them pass. They outlive no change of an address on their way: what is sent
then is repeated in vain, until the sender's system gives the stream up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from netpunch.address import Address
from netpunch.core.events import Via
from netpunch.net.tls_client import CONNECT_WITHIN, FIRST_PAUSE, LONGEST_PAUSE
from tests.sim.nat import Nat
from tests.sim.network import Network
from tests.sim.tcp import Flow, Losses, handshake_time

if TYPE_CHECKING:
    from tests.sim.hosts import Place, SimHost

NOTICED_AFTER = 0.25
"""Seconds between two looks whether a client can learn that its stream has ended."""


class Way:
    """From a host to a control at the internet, as it is now. Raises LookupError if there is
    none."""

    def __init__(self, client: SimHost, control: Address, network: Network) -> None:
        place, there = client.place(control.family), network.internet.attachment(control.host)
        if place is None or there is None:
            raise LookupError(control)
        self.client = client
        self.control = control
        self.server = cast("SimHost", there.node)
        self.place: Place = place
        self.nats = list(_nats(place))
        self._mappings = [nat.reboots for nat in self.nats]
        seen_as = self.nats[-1].public if self.nats else place.host
        self.peer = Address(seen_as, network.random.randint(1024, 65535))
        """The client, as the server sees it."""
        last = self.nats[-1].uplink if self.nats else place.attachment
        self._delays = {True: last.up.delay + there.down.delay}
        self._delays[False] = there.up.delay + last.down.delay
        self.losses = Losses(last.up.loss, there.up.loss)
        self._network = network

    @property
    def round_trip(self) -> float:
        return sum(self._delays.values())

    @property
    def is_intact(self) -> bool:
        """Whether both addresses and all mappings are what they were."""
        return (
            self.place.host in self.client.host_addresses
            and [nat.reboots for nat in self.nats] == self._mappings
        )

    @property
    def passes(self) -> bool:
        """Whether something gets through at this moment."""
        down = any(nat.down for nat in self.nats)
        return self.is_intact and not down and not self.client.asleep

    def carry(self, arrived: Callable[[], object], *, to_server: bool) -> None:
        """Sends a segment, and calls when it has arrived, unless it is lost."""
        network = self._network
        loss = self.losses.up if to_server else self.losses.down
        is_lost = loss and not network.faultless and network.random.random() < loss
        if self.passes and not is_lost:
            network.call_at(network.now + self._delays[to_server], arrived)

    def is_asleep(self, *, at_server: bool) -> bool:
        """Whether the host there is."""
        return not at_server and self.client.asleep


def _nats(place: Place) -> Sequence[Nat]:
    nats, segment = [], place.segment
    while isinstance(nat := segment.gateway(4), Nat):
        nats.append(nat)
        segment = nat.outside
    return nats


class Stream:
    """One connection. Both sides are told when it has ended, unless nothing gets there."""

    def __init__(
        self, way: Way, network: Network, take: Callable[[bytes], None], on_end: Callable[[], None]
    ) -> None:
        """`take` gets what arrives at the client, `on_end` is called when the client learns that
        the stream has ended."""
        self.way = way
        self.control = way.control
        self._network = network
        self._take = take
        self._on_end = on_end
        self._open = True
        self._flows = {to_server: self._flow(to_server=to_server) for to_server in (True, False)}

    def _flow(self, *, to_server: bool) -> Flow:
        return Flow(
            self.way,
            self._network,
            to_server=to_server,
            deliver=partial(self._deliver, to_server=to_server),
            give_up=partial(self.end, by_client=to_server),
        )

    def send(self, data: bytes, *, to_server: bool) -> None:
        """Queues a datagram, unless the stream has ended."""
        self._flows[to_server].send(data)

    def end(self, *, by_client: bool = False) -> None:
        """One of both sides closes it, or gives it up. The client learns of the server's end when
        something gets there; else it goes on until it gives up itself."""
        if by_client and not self._flows[True].closed:
            self._open = False
            for flow in self._flows.values():
                flow.closed = True
            self._on_end()
        elif self._open:
            self._open = False
            self._flows[False].closed = True
            self._tell_client()

    def _tell_client(self) -> None:
        if self.way.passes:
            self.end(by_client=True)
        elif not self._flows[True].closed:
            self._network.call_at(self._network.now + NOTICED_AFTER, self._tell_client)

    def _deliver(self, data: bytes, *, to_server: bool) -> None:
        if not self._open:
            return
        if to_server:
            assert self.way.server.listener is not None
            self.way.server.listener.take(data, self.way.peer)
        elif self.way.client.asleep:
            self.way.client.when_awake(lambda: self._deliver(data, to_server=to_server))
        else:
            self._take(data)


class Listener:
    """A control's TLS port: one socket of its machine."""

    def __init__(self, port: int, receive: Callable[[bytes, Address], None]) -> None:
        self.port = port
        self.streams: dict[Address, Stream] = {}
        """By the address of the TCP peer."""
        self._receive = receive

    def take(self, data: bytes, peer: Address) -> None:
        if peer in self.streams:
            self._receive(data, peer)

    def send(self, data: bytes, peer: Address) -> None:
        """Lost if the connection is gone."""
        if peer in self.streams:
            self.streams[peer].send(data, to_server=False)

    def close(self) -> None:
        for stream in list(self.streams.values()):
            stream.end()
        self.streams.clear()


class StreamKeeper:
    """What an end's driver does while streams are wanted: keeps one to each control."""

    def __init__(self, host: SimHost) -> None:
        self.streams: dict[Via, Stream] = {}
        """By socket."""
        self._host = host
        self._network = host.network
        self._controls: set[Address] = set()
        self._closed = False

    def keep(self, controls: Sequence[Address]) -> None:
        """To these from now on, and to no others."""
        new = set(controls) - self._controls
        self._controls = set(controls)
        for stream in [each for each in self.streams.values() if each.control not in controls]:
            stream.end(by_client=True)
        for control in controls:
            if control in new:
                self._connect(control, FIRST_PAUSE)

    def close(self) -> None:
        """Ends all of them. (The host tells its machine, if that still lives.)"""
        self._closed = True
        for stream in list(self.streams.values()):
            stream.end(by_client=True)

    def _connect(self, control: Address, pause: float) -> None:
        if self._closed or control not in self._controls:
            return
        if self._host.asleep:
            self._host.when_awake(lambda: self._connect(control, pause))
            return
        now = self._network.now
        try:
            way = Way(self._host, control, self._network)
        except LookupError:
            self._again(control, pause)
            return
        until = now + CONNECT_WITHIN
        ready = now + handshake_time(way.losses, way.round_trip, self._network.random)
        self._network.call_at(min(ready, until), self._connected, control, way, pause, until)

    def _connected(self, control: Address, way: Way, pause: float, until: float) -> None:
        listener = way.server.listener
        too_late = self._network.now >= until
        if self._closed or listener is None or not way.passes or too_late:
            self._network.call_at(until, self._again, control, pause)
            return
        via = self._host.new_via()

        def on_end() -> None:
            self.streams.pop(via, None)
            listener.streams.pop(way.peer, None)
            if not self._closed:
                self._host.disconnected(via)
                self._again(control, FIRST_PAUSE)

        stream = Stream(way, self._network, partial(self._take, control, via), on_end)
        self.streams[via] = listener.streams[way.peer] = stream
        self._host.connected(via, control, way.place.host)

    def _take(self, control: Address, via: Via, data: bytes) -> None:
        if not self._closed:
            self._host.take(data, control, via)

    def _again(self, control: Address, pause: float) -> None:
        later = min(2 * pause, LONGEST_PAUSE)
        self._network.call_at(self._network.now + pause, self._connect, control, later)
