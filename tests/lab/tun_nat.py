"""The process that is the internet of a `TunLab`: all its NATs and links, in user space.

    python -m tests.lab.tun_nat DESCRIPTOR

It carries packets between TUN devices by way of the virtual network of `tests.sim`, which here
follows the real clock: one model of NATs serves simulations and real programs. What to build
comes as calls over the connection of that descriptor; when its other side closes, so does this.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import time
from multiprocessing.connection import Connection
from selectors import EVENT_READ, SelectSelector
from typing import Any

from tests.lab import ipv4
from tests.sim.nat import Nat, NatBehavior
from tests.sim.network import Attachment, Datagram, Link, Network, Segment

TUN_DEVICE = "/dev/net/tun"
# linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
INTERFACE_REQUEST = struct.Struct("16sH22x")
"""struct ifreq: a name and flags."""
ANY_NAME = b"tun%d"
"""The kernel puts a number in."""
PACKET_BYTES = 65536
PACKETS_AT_ONCE = 64
"""Packets of one device in a row, before the others and the clock get their turn."""


class RealTimeNetwork(Network):
    """The virtual network, with a clock that follows the machine's."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._origin = time.monotonic()

    def catch_up(self) -> None:
        """Does all that is due."""
        self.run_until(time.monotonic() - self._origin)

    def pause(self) -> float | None:
        """Seconds until something is due; None if nothing ever is."""
        if not self._queue:
            return None
        return max(0.0, self._origin + self._queue[0][0] - time.monotonic())


class Tun:
    """A TUN device as a node of the virtual network: what a host sends and receives."""

    def __init__(self, segment: Segment, host: str, up: Link, down: Link) -> None:
        """It appears in the namespace of this process, and may be moved to another one."""
        self._descriptor = os.open(TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK)
        request = INTERFACE_REQUEST.pack(ANY_NAME, IFF_TUN | IFF_NO_PI)
        answer = fcntl.ioctl(self._descriptor, TUNSETIFF, request)
        name: bytes = INTERFACE_REQUEST.unpack(answer)[0]
        self.interface = name.rstrip(b"\0").decode()
        self._segment = segment
        self._place = segment.attach(host, Attachment(self, up, down))

    def fileno(self) -> int:
        return self._descriptor

    def receive(self, datagram: Datagram, segment: Segment) -> None:
        os.write(self._descriptor, ipv4.build(datagram))

    def carry_packets(self) -> None:
        """Takes what the host has sent; all but UDP over IPv4 is dropped."""
        for _ in range(PACKETS_AT_ONCE):
            try:
                packet = os.read(self._descriptor, PACKET_BYTES)
            except BlockingIOError:
                return
            datagram = ipv4.parse(packet)
            if datagram is not None:
                self._segment.carry(datagram, self._place)


class Internet:
    """What can be called from the other side. NATs are known by their number; 0 is none of
    them, but the internet itself."""

    def __init__(self, seed: int) -> None:
        self.network = RealTimeNetwork(seed)
        self.selector = SelectSelector()  # the finest timeouts: others round up to milliseconds
        self._nats: list[Nat] = []

    def add_nat(self, behavior: NatBehavior, public: str, behind: int, up: Link, down: Link) -> int:
        """Gives its number."""
        nat = Nat(behavior, self._segment(behind), public, up=up, down=down)
        self._nats.append(nat)
        return len(self._nats)

    def add_host(self, host: str, behind: int, up: Link, down: Link) -> str:
        """Gives the name of the host's device, which is to be moved to it."""
        tun = Tun(self._segment(behind), host, up, down)
        self.selector.register(tun, EVENT_READ, tun.carry_packets)
        return tun.interface

    def rebind(self, number: int, public: str | None) -> None:
        self._nats[number - 1].rebind(public)

    def set_faultless(self, faultless: bool) -> None:
        self.network.faultless = faultless

    def _segment(self, number: int) -> Segment:
        return self._nats[number - 1].inside if number else self.network.internet


def serve(connection: Connection[Any, Any]) -> None:
    """Runs until the other side closes. The first message is the seed; then each is a method of
    `Internet` and its arguments, and is answered by its result."""
    internet = Internet(connection.recv())
    network, selector = internet.network, internet.selector

    def call() -> None:
        method, arguments = connection.recv()
        connection.send(getattr(internet, method)(*arguments))

    selector.register(connection, EVENT_READ, call)
    try:
        while True:
            ready = selector.select(network.pause())
            network.catch_up()
            for key, _ in ready:
                key.data()
            network.catch_up()
    except EOFError:
        return


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
