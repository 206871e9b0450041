"""Which ways this host has: whether there is a route, and a translator to IPv4 (NAT64)."""

from __future__ import annotations

from netpunch.address import Address
from netpunch.core.nat64 import DISCOVERY_NAME, Nat64, learned
from netpunch.errors import NetpunchError
from netpunch.net.driver import Bind
from netpunch.net.resolve import resolve
from netpunch.net.sockets import WILDCARDS


def has_route(address: Address, bind: Bind) -> bool:
    """Whether the system would send to an address now. Nothing is sent."""
    wildcard = next(host for host in WILDCARDS.values() if (":" in host) == (address.family == 6))
    try:
        sockets = bind(wildcard, 0)
    except NetpunchError:
        return False
    try:
        for sock in sockets:
            sock.connect(address)
    except OSError:
        return False
    finally:
        for sock in sockets:
            sock.close()
    return True


async def discover() -> Nat64 | None:
    """The prefix of this network's translator, if it has one: RFC 7050.

    Raises ControlUnreachableError if no name server answers, ResourcesError."""
    return learned(await resolve(DISCOVERY_NAME, 0))
