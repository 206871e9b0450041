"""Notices that this host's network has changed: its addresses, or its way out."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

from netpunch.address import Address
from netpunch.core.pacing import TokenBucket
from netpunch.net import netlink
from netpunch.net.driver import clock
from netpunch.net.interfaces import host_addresses, usable_addresses
from netpunch.net.routes import Route, route_to, source_towards
from netpunch.net.sockets import SocketOptions
from netpunch.net.suspend import Wakefulness

SETTLE = 0.01
"""Seconds from the kernel's first message about a change until what has become of it is read: most
changes bring several messages within a few milliseconds."""
LOOKS = 1.0
LOOKS_AT_ONCE = 50
"""What is read a second, and at once, at most, at some 300 µs each. On a router routes may change
thousands of times a second, none of which matters here."""
MOST_MESSAGES = 64
"""To discard before each look. The queue holds a few."""
POLL = 5.0
"""Seconds between two looks where the kernel does not tell."""

SOMEWHERE = (Address("192.0.0.170", 9), Address("2001:2::1", 9))
"""Addresses that no network has, and to which nothing is sent: the system's routes to them are its
ways out, be it by a default route or by the halves of one that VPNs make."""


class Told(Protocol):
    """What a follower is called with."""

    def __call__(self, *, woke: bool) -> None:
        """This host's network has changed, or (`woke`) this process stood still for a while."""


Ways = tuple[Route | str, ...]
"""The way out in each family, as far as the system tells."""


class Network(NamedTuple):
    """What matters to a link. `ways` are those of sockets with these options."""

    addresses: frozenset[tuple[str, str]]
    ways: dict[SocketOptions, Ways]


class NetworkWatch:
    """Tells its followers of changes that make a difference. All ends of a process share one: see
    `network_watch`. It costs nothing without followers."""

    def __init__(self) -> None:
        self._followers: dict[Told, SocketOptions] = {}
        self._network = Network(frozenset(), {})
        self._looks = TokenBucket(LOOKS, LOOKS_AT_ONCE)
        self._changes: socket.socket | None = None
        self._next_look: asyncio.TimerHandle | None = None
        self._wakefulness = Wakefulness(self._wake)

    @property
    def hosts(self) -> frozenset[str]:
        """The IPs that this host could send from at the last look; none where it can't tell."""
        return frozenset(host for _, host in self._network.addresses)

    def follow(self, told: Told, options: SocketOptions) -> None:
        """Calls `told` from now on when addresses change, or the ways out of sockets with these
        options. Call it within the running loop."""
        if not self._followers:
            self._start()
        self._followers[told] = options
        self._network.ways.setdefault(options, _ways_out(options))

    def unfollow(self, told: Told) -> None:
        """Call it within the same loop. May be repeated."""
        if self._followers.pop(told, None) is not None and not self._followers:
            self._stop()

    def _start(self) -> None:
        self._network = Network(usable_addresses(), {})
        self._wakefulness.start()
        try:
            self._changes = netlink.open_changes()
        except (OSError, AttributeError):  # another system, or netlink is forbidden
            self._look_after(POLL)
        else:
            self._listen(self._changes)

    def _stop(self) -> None:
        self._wakefulness.stop()
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None
        if self._changes is not None:
            asyncio.get_running_loop().remove_reader(self._changes)
            self._changes.close()
            self._changes = None

    def _listen(self, changes: socket.socket) -> None:
        asyncio.get_running_loop().add_reader(changes, self._changing)

    def _changing(self) -> None:
        """The kernel tells of a change. It is not listened to until that is looked at."""
        assert self._changes is not None
        asyncio.get_running_loop().remove_reader(self._changes)
        self._look_soon()

    def _look_soon(self) -> None:
        """As soon as one more look is allowed."""
        if self._looks.take(clock()):
            self._look_after(SETTLE)
        else:
            loop = asyncio.get_running_loop()
            self._next_look = loop.call_later(self._looks.refill, self._look_soon)

    def _look_after(self, seconds: float) -> None:
        self._next_look = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._next_look = None
        if self._changes is None:
            self._look_after(POLL)
        else:
            netlink.discard(self._changes, MOST_MESSAGES)  # before it is read what has changed
            self._listen(self._changes)
        if self._has_changed():
            self._tell(woke=False)

    def _has_changed(self) -> bool:
        before = self._network
        ways = {options: _ways_out(options) for options in set(self._followers.values())}
        self._network = Network(usable_addresses(), ways)
        return self._network != before

    def _wake(self) -> None:
        self._has_changed()
        self._tell(woke=True)

    def _tell(self, *, woke: bool) -> None:
        host_addresses(afresh=True)  # for all followers
        self._tell_next(deque(self._followers), woke)

    def _tell_next(self, waiting: deque[Told], woke: bool) -> None:
        """One at a time: there may be thousands, and other sockets get their turn in between."""
        told = waiting.popleft()
        if waiting:
            asyncio.get_running_loop().call_soon(self._tell_next, waiting, woke)
        if told in self._followers:
            told(woke=woke)


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, NetworkWatch] = WeakKeyDictionary()


def network_watch() -> NetworkWatch:
    """The one that everything in the running loop shares."""
    return _watches.setdefault(asyncio.get_running_loop(), NetworkWatch())


def _ways_out(options: SocketOptions) -> Ways:
    return tuple(
        route_to(somewhere, options=options) or source_towards(somewhere, options)
        for somewhere in SOMEWHERE
    )
