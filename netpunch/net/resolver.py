"""Looks names up: hosts, and the prefix of a NAT64."""

from __future__ import annotations

import socket
from functools import partial

from netpunch.address import Address, canonical_host
from netpunch.core.nat64 import DISCOVERY_NAME, Nat64, learned
from netpunch.errors import ControlUnreachableError, ResourcesError, lack_behind
from netpunch.net.loop import in_thread

ADVICE = "check the spelling, this host's DNS, or give the IP address instead"
NO_SERVER_ADVICE = "check the network and /etc/resolv.conf, or give the IP address instead"
ADVICE_BY_CODE = {
    socket.EAI_NONAME: "there is no such name: check its spelling, or give the IP address instead",
    socket.EAI_AGAIN: f"no name server answers: {NO_SERVER_ADVICE}",
}
"""By getaddrinfo's error."""


def is_literal(host: str) -> bool:
    """Whether this is an IP address rather than a name."""
    try:
        canonical_host(host)
    except ValueError:
        return False
    return True


async def resolve(host: str, port: int) -> list[Address]:
    """All addresses of a name, at least one, IPv4 first. An IP address is not looked up.

    Raises ControlUnreachableError if there is none, and ResourcesError."""
    if is_literal(host):
        return [Address(canonical_host(host), port)]
    try:
        found = await _look_up(host)
    except (OSError, UnicodeError, ResourcesError) as error:
        if lack := lack_behind(error, f"cannot resolve {host!r}"):
            raise lack from error
        cause = (error.strerror if isinstance(error, OSError) else None) or error
        number = error.errno if isinstance(error, socket.gaierror) else None
        advice = ADVICE_BY_CODE.get(number or 0, ADVICE)
        raise ControlUnreachableError(f"cannot resolve {host!r}: {cause}; {advice}") from error
    if not found:
        raise ControlUnreachableError(f"cannot resolve {host!r}: no address; {ADVICE}")
    addresses = dict.fromkeys(Address(canonical_host(each), port) for each in found)
    return sorted(addresses, key=lambda address: address.family)


async def discover_nat64() -> Nat64 | None:
    """The prefix of this network's translator to IPv4, if it has one: RFC 7050.

    Raises ControlUnreachableError if no name server answers, and ResourcesError."""
    return learned(await resolve(DISCOVERY_NAME, 0))


async def _look_up(host: str) -> list[str]:
    """getaddrinfo(3) in a thread that nothing waits for: a lookup can't be interrupted, and takes
    half a minute if no server answers. With the loop's own getaddrinfo the process would not end
    for that long."""
    ask = partial(socket.getaddrinfo, host, None, type=socket.SOCK_DGRAM)
    return [str(sockaddr[0]) for *_, sockaddr in await in_thread(ask, "resolve")]
