"""From which address of this host the datagrams of a held link leave."""

from __future__ import annotations

from collections.abc import Collection

from netpunch.address import is_loopback
from netpunch.core.events import Linked, Moved, Via
from netpunch.net.driver import Driver
from netpunch.net.routes import route_to, source_towards
from netpunch.net.sockets import WILDCARDS, SocketOptions


class HeldPath:
    """A held link's path, as this host's addresses and routes see it.

    The partner and the NATs know the path by the address that it was agreed with. On a wildcard
    socket the system may choose another one while that still works, such as a new temporary IPv6
    address or that of a new interface: so the driver goes on sending from the one agreed with."""

    def __init__(self, driver: Driver, options: SocketOptions) -> None:
        """`options` are those of the driver's sockets."""
        self._driver = driver
        self._options = options
        self._pinned: Via | None = None
        self._source = ""
        """The address agreed with; empty if the system doesn't tell."""

    def agreed(self, path: Linked | Moved) -> None:
        """The link uses this path from now on."""
        self.follow_routes()
        if path.local.host not in WILDCARDS.values():
            self._source = path.local.host
            return
        route = route_to(path.remote, port=path.local.port, options=self._options)
        if route is not None and route.source:
            self._source, self._pinned = route.source, path.via
            self._driver.pin(path.via, path.remote, route.source)
        else:
            self._source = source_towards(path.remote, self._options)

    def follow_routes(self) -> None:
        """From now on the system chooses the address of each datagram."""
        if self._pinned is not None:
            self._driver.unpin(self._pinned)
            self._pinned = None

    def is_gone(self, hosts: Collection[str]) -> bool:
        """Whether the address agreed with is not among `hosts`, those that this host can send from
        (none: not known)."""
        known = bool(hosts and self._source) and not is_loopback(self._source)
        return known and self._source not in hosts
