"""Candidates: which addresses are offered to a partner, and which of its addresses are tried.

A new kind of path is named in `PathKind`, `wire.v2.PATH_NUMBERS` and RANK; `with_candidates` puts
our addresses of that kind into the card, and `partner_candidates` takes the partner's out of it.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from typing import NamedTuple

from netpunch.address import Address, is_loopback, is_nat64, is_pingable, is_private
from netpunch.core.events import PathKind, Via
from netpunch.core.nat64 import Nat64
from netpunch.wire.card import MAX_HOSTS, MAX_OBSERVED, Card

RANK: dict[PathKind, int] = {
    PathKind.HOST: 0,
    PathKind.IPV6: 1,
    PathKind.MAPPED: 2,
    PathKind.OBSERVED: 3,
    PathKind.PREDICTED: 4,
    PathKind.SPRAY: 5,
    PathKind.RELAY: 6,
}
"""Of several valid paths the most direct is chosen: the one with the lowest rank."""

WILDCARDS = {"0.0.0.0", "::"}  # noqa: S104 - compared with, not bound


class Candidate(NamedTuple):
    """An address of the partner that may work."""

    address: Address
    kind: PathKind


LOOPBACK = ("127.0.0.1", "::1")


def in_turn(addresses: Iterable[Address]) -> list[Address]:
    """Both families alternately, each in its order, IPv4 first, without duplicates: so neither
    family takes all places of a bounded list."""
    distinct = dict.fromkeys(addresses)
    families = ([a for a in distinct if a.family == family] for family in (4, 6))
    return [a for a in chain.from_iterable(zip_longest(*families)) if a is not None]


def best_hosts(host_addresses: Iterable[str]) -> tuple[str, ...]:
    """As many of each family as a card may have room for: a host may have thousands."""
    families: dict[bool, dict[str, None]] = {False: {}, True: {}}
    for host in host_addresses:
        family = families[":" in host]
        if len(family) < MAX_HOSTS:
            family[host] = None
    return tuple(chain.from_iterable(families.values()))


def host_candidates(
    sockets: Mapping[Via, Address], host_addresses: Iterable[str], *, loopback: bool
) -> tuple[Address, ...]:
    """This host's own addresses at which the sockets can be reached, best first: as many as a
    card holds, of both families where there are both.

    `host_addresses` are the candidates among the host's addresses, best first; a socket bound to
    one address has that only. `loopback`: this end's control is on loopback, so its partner may
    be, too."""
    hosts = [*(LOOPBACK if loopback else ()), *host_addresses]
    found = []
    for local in sockets.values():
        if local.host in WILDCARDS:
            found += [Address(h, local.port) for h in hosts if (":" in h) == (":" in local.host)]
        else:
            found.append(local)
    pingable = (a for a in in_turn(found) if is_pingable(a, loopback=loopback))
    return tuple(islice(pingable, MAX_HOSTS))


def reflexive_candidates(
    mapped: Iterable[Address], observed: Iterable[Address], hosts: Sequence[Address]
) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
    """The mapped and the observed addresses that a card has room for, beside `hosts`: each kind
    has half of the room, if it has so many, shared by both families. Private ones come last: a
    control within our network saw them, or a gateway behind another granted them."""
    seen = in_turn(sorted((a for a in observed if a not in hosts), key=_is_inside))
    most_mapped = max(MAX_OBSERVED // 2, MAX_OBSERVED - len(seen))
    by_gateways = in_turn(sorted(mapped, key=_is_inside))[:most_mapped]
    return tuple(by_gateways), tuple(seen[: MAX_OBSERVED - len(by_gateways)])


def with_candidates(
    card: Card,
    hosts: tuple[Address, ...],
    observed: Iterable[Address],
    external: Mapping[PathKind, tuple[Address, ...]],
) -> Card:
    """Our card, with our candidates in it."""
    mapped, seen = reflexive_candidates(external.get(PathKind.MAPPED, ()), observed, hosts)
    return card._replace(hosts=hosts, observed=seen, mapped=mapped)


def _is_inside(address: Address) -> bool:
    return is_private(address.host)


def partner_candidates(card: Card, observed: Address, *, loopback: bool) -> Iterator[Candidate]:
    """The candidates of a card and an introduction, in the order of trying; never a forbidden
    address.

    The observed IP with the host port works where a NAT preserves ports towards all but control,
    or where the partner's port is forwarded by hand."""
    for address in card.hosts:
        if is_pingable(address, loopback=loopback):
            yield Candidate(address, direct_kind(address))
    for address in card.mapped:
        if is_pingable(address, loopback=loopback):
            yield Candidate(address, PathKind.MAPPED)
    reflexive = [observed, *card.observed]
    reflexive += [Address(observed.host, a.port) for a in card.hosts if a.family == observed.family]
    for address in dict.fromkeys(reflexive):
        if is_pingable(address, loopback=loopback):
            yield Candidate(address, reflexive_kind(address))


def reflexive_target(card: Card, observed: Address, *, loopback: bool) -> Address | None:
    """Where traversal strategies aim: where control sees the partner, unless that is a private
    address and the card names a public one. None if it may not be pinged."""
    alike = (a for a in card.observed if a.family == observed.family)
    allowed = [a for a in (observed, *alike) if is_pingable(a, loopback=loopback)]
    return min(allowed, key=_is_inside, default=None)


def direct_kind(address: Address) -> PathKind:
    """The kind of a host address: direct, unless it is a global IPv6 one, which may be far away.
    Unique local ones (fc00::/7) are like private IPv4."""
    if address.family == 4 or is_loopback(address.host):
        return PathKind.HOST
    unique_local = ipaddress.IPv6Address(address.host).packed[0] & 0xFE == 0xFC
    return PathKind.HOST if unique_local else PathKind.IPV6


def reflexive_kind(address: Address) -> PathKind:
    """The kind of an address as seen from outside: direct on loopback; behind NAT64 it is IPv4."""
    if is_loopback(address.host):
        return PathKind.HOST
    return (
        PathKind.IPV6 if address.family == 6 and not is_nat64(address.host) else PathKind.OBSERVED
    )


def with_translated(nat64: Nat64, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """A partner's candidates as a host behind the translator can try them. Public IPv4 addresses
    are translated, and also tried as they are, as the host may get a route to them. Private ones
    are not translated: they would be addresses in the translator's own network.

    An IPv6 address that stands for a forbidden IPv4 one is left out: a hostile partner could
    otherwise aim the translator at itself."""
    for candidate in candidates:
        address = candidate.address
        if address.family == 4 and not is_private(address.host):
            translated = nat64.translated(address)
            if is_pingable(translated, loopback=False):
                direct = candidate.kind is PathKind.HOST
                yield Candidate(translated, PathKind.OBSERVED if direct else candidate.kind)
        original = nat64.original(address)
        if original is None or (
            is_pingable(original, loopback=False) and not is_private(original.host)
        ):
            yield candidate
