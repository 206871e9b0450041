"""From which address of this host the datagrams of a held link leave."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from netpunch.address import Address, is_loopback
from netpunch.core.events import Linked, Moved, Via
from netpunch.net.driver import Driver
from netpunch.net.routes import route_to, source_towards
from netpunch.net.sockets import WILDCARDS, SocketOptions

LOOPBACK = "lo"
"""The interface that the route to an own address names; asked for it by that, the system knows
none."""


class HeldPath:
    """A held link's path, as this host's addresses and routes see it.

    The partner and the NATs know the path by the address that it was agreed with. On a wildcard
    socket the system may choose another one while that still works, such as a new temporary IPv6
    address or that of a new interface: so the driver goes on sending from the one agreed with, by
    its interface. By another one, a router there would give the partner's flow to an address that
    is not behind it, and no answer would ever come back. (In IPv6 the system may leave the
    interface nevertheless.)"""

    def __init__(self, driver: Driver, options: SocketOptions, *, pins: bool = True) -> None:
        """`options` are those of the driver's sockets. Not `pins`: another program sends on the
        path, too, by the system's choice, and a path that is not that one's own is of no use."""
        self._driver = driver
        self._options = options
        self._pins = pins
        self._pinned: Via | None = None
        self._source = ""
        """The address agreed with; empty if the system doesn't tell."""
        self._interface = ""
        """The one agreed with, as long as the driver keeps to it; empty if the system doesn't tell,
        or if no router is behind it."""
        self._partner = Address("", 0)
        self._port = 0

    def agreed(self, path: Linked | Moved) -> None:
        """The link uses this path from now on."""
        if (self._pinned, self._partner) == (path.via, path.remote):
            return  # by way of the same relay: its datagrams already left from there
        self.follow_routes()
        if path.local.host not in WILDCARDS.values():
            self._source = path.local.host
            return
        self._partner, self._port = path.remote, path.local.port
        route = None
        if self._pins:
            route = route_to(self._partner, port=self._port, options=self._options)
        if route is None or not route.source:
            self._source = source_towards(path.remote, self._options)
            return
        self._source = route.source
        self._interface = route.interface if route.gateway else ""
        interface = "" if route.interface == LOOPBACK else route.interface
        with contextlib.suppress(OSError):  # it has just gone, which will be told
            self._driver.pin(path.via, path.remote, route.source, interface)
            self._pinned = path.via

    def follow_routes(self) -> None:
        """From now on the system chooses the way of each datagram."""
        self._interface = ""
        if self._pinned is not None:
            self._driver.unpin(self._pinned)
            self._pinned = None

    def is_gone(self, hosts: Collection[str]) -> bool:
        """Whether the address agreed with is not among `hosts`, those that this host can send from
        (none: not known), or no route leads by its interface to the partner any more."""
        known = bool(hosts and self._source) and not is_loopback(self._source)
        if known and self._source not in hosts:
            return True
        return bool(self._interface) and not self._has_router

    @property
    def _has_router(self) -> bool:
        """Whether the way to the partner is by the interface and a router. Asked for the way by one
        interface, the system takes everybody for a neighbour in IPv4 if no route says otherwise; in
        IPv6 it may give another one's."""
        options = self._options
        if self._partner.family == 4:
            options = options._replace(interface=self._interface)
        route = route_to(self._partner, port=self._port, source=self._source, options=options)
        return route is not None and route.interface == self._interface and bool(route.gateway)
