"""Which addresses are offered to a partner, and which of its addresses are tried."""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from netpunch.address import Address, is_loopback, is_pingable
from netpunch.core.events import PathKind, Via
from netpunch.wire.card import Card

RANK = {
    PathKind.HOST: 0,
    PathKind.IPV6: 1,
    PathKind.MAPPED: 2,
    PathKind.OBSERVED: 3,
    PathKind.PREDICTED: 4,
    PathKind.SPRAY: 5,
}
"""Which path is chosen when several work: the most direct."""

WILDCARDS = {"0.0.0.0", "::"}  # noqa: S104 - compared with, not bound


class Candidate(NamedTuple):
    """An address of the partner that may work."""

    address: Address
    kind: PathKind


def host_candidates(
    sockets: Mapping[Via, Address], host_addresses: Iterable[str], *, loopback: bool
) -> tuple[Address, ...]:
    """This host's own addresses at which the sockets can be reached, best first.

    `host_addresses` are the candidates among the host's addresses; a socket bound to one address
    has that only. `loopback`: this end's control is on loopback, so its partner may be, too."""
    hosts = list(host_addresses)
    if loopback:
        hosts += ["127.0.0.1", "::1"]
    found = []
    for local in sockets.values():
        if local.host in WILDCARDS:
            found += [Address(h, local.port) for h in hosts if (":" in h) == (":" in local.host)]
        else:
            found.append(local)
    return tuple(dict.fromkeys(a for a in found if is_pingable(a, loopback=loopback)))


def partner_candidates(card: Card, observed: Address, *, loopback: bool) -> Iterator[Candidate]:
    """What a card and an introduction offer, in the order of trying; never a forbidden address.

    The observed IP with the host port works where a NAT preserves ports towards everybody but
    control, or where the partner forwarded its port by hand."""
    for address in card.hosts:
        if is_pingable(address, loopback=loopback):
            yield Candidate(address, direct_kind(address))
    for address in card.mapped:
        if is_pingable(address, loopback=loopback):
            yield Candidate(address, PathKind.MAPPED)
    reflexive = [observed, *card.observed]
    reflexive += [Address(observed.host, port) for port in dict.fromkeys(_ports(card.hosts))]
    for address in dict.fromkeys(reflexive):
        if is_pingable(address, loopback=loopback):
            yield Candidate(address, reflexive_kind(address))


def _ports(hosts: Sequence[Address]) -> Iterator[int]:
    return (host.port for host in hosts)


def direct_kind(address: Address) -> PathKind:
    """A host address is a direct path, unless it is an IPv6 one for all the world: the way
    there may be long. Unique local ones (fc00::/7) are like private IPv4."""
    if address.family == 4 or is_loopback(address.host):
        return PathKind.HOST
    unique_local = ipaddress.IPv6Address(address.host).packed[0] & 0xFE == 0xFC
    return PathKind.HOST if unique_local else PathKind.IPV6


def reflexive_kind(address: Address) -> PathKind:
    """What somebody saw from outside; on loopback there is no outside."""
    if is_loopback(address.host):
        return PathKind.HOST
    return PathKind.IPV6 if address.family == 6 else PathKind.OBSERVED
