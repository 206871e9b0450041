"""Reasons for silence on this host: the system refuses datagrams, or routes them into a tunnel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from netpunch.address import Address
from netpunch.net.routes import route_to
from netpunch.net.sockets import DEFAULT_OPTIONS, SocketOptions
from netpunch.tunnels import is_tunnel

CAUSES = {
    "EPERM": "a firewall on this host?",
    "EACCES": "a firewall on this host?",
    "ENOBUFS": "its queues are full",
    "ENETUNREACH": "is there a network, and a route?",
    "EHOSTUNREACH": "is there a network, and a route?",
    "ENETDOWN": "is there a network, and a route?",
}
ABSENT_NETWORK = {"ENETUNREACH", "EHOSTUNREACH", "ENETDOWN", "EADDRNOTAVAIL"}
"""Errors that are usual for some of a partner's addresses: few hosts reach all of them."""


def refusals(errors: Counter[str], *, to_control: bool) -> str:
    """A clause about a driver's `send_errors`; empty if none of them matters. `to_control`: the
    end can't reach its controls."""
    relevant = {name: n for name, n in errors.items() if to_control or name not in ABSENT_NETWORK}
    if not relevant:
        return ""
    name = max(relevant, key=relevant.__getitem__)
    cause = f": {CAUSES[name]}" if name in CAUSES else ""
    return f"the system refuses to send ({relevant[name]} x {name}){cause}"


def tunnel_towards(
    destinations: Iterable[Address], *, port: int = 0, options: SocketOptions = DEFAULT_OPTIONS
) -> str:
    """A sentence if the route to one of these leads into a tunnel of this host; else empty."""
    for destination in destinations:
        route = route_to(destination, port=port, options=options)
        if route is not None and is_tunnel(route.interface):
            return (
                f"the route to {destination} leads into the tunnel {route.interface}: if that "
                "tunnel runs over this link, set `mark: 51820` (the mark that wg-quick chooses; "
                "`wg show` shows it) or `interface:` for this end"
            )
    return ""
