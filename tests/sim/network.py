"""A virtual network: segments, links and datagrams on a virtual clock, all from one seed.

Nothing here knows wall-clock time, so a run takes as long as its computing, and the same seed
replays the same run, datagram by datagram.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any, NamedTuple, Protocol

from netpunch.address import Address

DEFAULT_TTL = 64
INTERNET_HOPS = 6
"""Routers between any two places on the internet: more than an opener's few hops."""


class Datagram(NamedTuple):
    """What is on the wire at one place: a NAT makes a new one with another address."""

    data: bytes
    source: Address
    destination: Address
    ttl: int = DEFAULT_TTL


class Record(NamedTuple):
    """A datagram as host `host` sent or received it at `time`, addresses as that host saw them."""

    time: float
    host: str
    datagram: Datagram


class Stray(NamedTuple):
    """A datagram for an address where nobody is."""

    time: float
    datagram: Datagram


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of an attachment. Seconds and probabilities.

    `jitter` is the most that is added to `delay`, evenly distributed; a jitter above the spacing
    of datagrams reorders them."""

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0


PERFECT = Link()


class Node(Protocol):
    """Whatever can be attached to a segment: hosts, NATs, firewalls."""

    def receive(self, datagram: Datagram, segment: Segment) -> None: ...


@dataclass(eq=False, slots=True)
class Attachment:
    """A node's place in a segment: `up` leads from the node into it, `down` back."""

    node: Node
    up: Link = PERFECT
    down: Link = PERFECT


class Network:
    """The clock, the randomness, the records, and the internet in the middle."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.sent: list[Record] = []
        """Everything that a host sent, in order; lost ones too."""
        self.received: list[Record] = []
        """Everything that reached a host, whether or not a socket was there."""
        self.strays: list[Stray] = []
        self.faultless = False
        """Suspends loss and duplication, for what a test itself has to learn for certain."""
        self.on_send: list[Callable[[Record], None]] = []
        """Called for each datagram that a host sends: to observe, or to inject more."""
        self._queue: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = count()
        self.internet = Segment(self, "internet", INTERNET_HOPS)

    def call_at(self, time: float, callback: Callable[..., object], *arguments: Any) -> None:
        """Calls back at a virtual time; callbacks of the same time keep their order."""
        heapq.heappush(self._queue, (max(time, self.now), next(self._order), callback, arguments))

    def run_until(self, time: float, stop: Callable[[], bool] | None = None) -> bool:
        """Lets the network live until `time`, or until `stop()` is true (asked after each event).

        Returns whether `stop` ended it."""
        queue = self._queue
        while queue and queue[0][0] <= time:
            self.now, _, callback, arguments = heapq.heappop(queue)
            callback(*arguments)
            if stop is not None and stop():
                return True
        self.now = max(self.now, time)
        return False

    def inject(self, data: bytes, source: Address, destination: Address) -> None:
        """Puts a datagram with any source address into the internet, as an attacker would."""
        self.internet.carry(Datagram(data, source, destination), Attachment(_Nobody()))

    def record_sent(self, record: Record) -> None:
        self.sent.append(record)
        for hook in self.on_send:
            hook(record)


class Segment:
    """One address space: the internet, or the LAN behind a NAT. `hops`: routers on every way."""

    def __init__(self, network: Network, name: str, hops: int = 0) -> None:
        self.network = network
        self.name = name
        self._hops = hops
        self.cuts: set[tuple[Node, Node]] = set()
        """Passes no UDP from the first to the second."""
        self._attached: dict[str, Attachment] = {}
        self._gateways: dict[int, Attachment] = {}

    def attach(self, host: str, attachment: Attachment) -> Attachment:
        """Gives a node the address `host` here."""
        assert host not in self._attached, f"{host} is taken in {self.name}"
        self._attached[host] = attachment
        return attachment

    def detach(self, host: str) -> Attachment:
        return self._attached.pop(host)

    def attachment(self, host: str) -> Attachment | None:
        """Of who has an address here."""
        return self._attached.get(host)

    def gateway(self, family: int) -> Node | None:
        attachment = self._gateways.get(family)
        return None if attachment is None else attachment.node

    def set_gateway(self, family: int, attachment: Attachment) -> None:
        """Where datagrams of a family (4 or 6) go whose destination isn't here."""
        self._gateways[family] = attachment

    def carry(self, datagram: Datagram, sender: Attachment) -> None:
        """Takes a datagram from `sender` to whoever has its destination, if the links let it."""
        datagram = datagram._replace(ttl=datagram.ttl - self._hops)
        if datagram.ttl <= 0:
            return
        destination = datagram.destination
        receiver = self._attached.get(destination.host)
        if receiver is None:
            gateway = self._gateways.get(destination.family)
            receiver = None if gateway is sender else gateway
        if receiver is None:
            self.network.strays.append(Stray(self.network.now, datagram))
            return
        if self.cuts and (sender.node, receiver.node) in self.cuts:
            return
        for _ in range(self._copies(sender.up, receiver.down)):
            self._deliver(datagram, sender.up, receiver)

    def _copies(self, up: Link, down: Link) -> int:
        if self.network.faultless:
            return 1
        chance = self.network.random.random
        if (up.loss and chance() < up.loss) or (down.loss and chance() < down.loss):
            return 0
        doubled = (up.duplicate and chance() < up.duplicate) or (
            down.duplicate and chance() < down.duplicate
        )
        return 2 if doubled else 1

    def _deliver(self, datagram: Datagram, up: Link, receiver: Attachment) -> None:
        network, down = self.network, receiver.down
        delay = up.delay + down.delay
        if jitter := up.jitter + down.jitter:
            delay += jitter * network.random.random()
        network.call_at(network.now + delay, receiver.node.receive, datagram, self)


class _Nobody:
    """The node behind injected datagrams; nothing is ever delivered to it."""

    def receive(self, datagram: Datagram, segment: Segment) -> None:
        raise AssertionError("nothing is attached here")
