"""Where an end's controls are, and which of their ports show how a NAT maps (the reflectors)."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import NamedTuple

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.nat64 import Nat64

LOOKUP_INTERVAL = 60.0
"""Seconds between two lookups of the controls' names at least: records seldom live shorter, and a
fleet whose control is down must not be a burden to its name servers."""

Reflectors = tuple[Address, Address]
"""Two addresses of one family: both ports of a control, or two controls."""

NEVER_HEARD = -inf


def live_reflectors(
    choices: Sequence[Reflectors], heard_at: Mapping[Address, float]
) -> Reflectors | None:
    """The first choice whose controls were heard as lately as any, give or take a retry.

    `heard_at`: when each control was heard last. None if there is no choice."""

    def last_heard(choice: Reflectors) -> float:
        return min((heard_at[each] for each in choice if each in heard_at), default=NEVER_HEARD)

    latest = max(map(last_heard, choices), default=NEVER_HEARD)
    lately = latest - timing.ANNOUNCE_RETRY
    return next((choice for choice in choices if last_heard(choice) >= lately), None)


class Names(NamedTuple):
    """What may change about where controls are: `addresses` are those that a name stands for now;
    `unresolved`: some name has no address."""

    addresses: frozenset[Address] = frozenset()
    unresolved: bool = False


NO_NAMES = Names()
"""The controls are configured by address: these don't change."""


class ControlEndpoints(NamedTuple):
    """The controls' addresses, and what the driver found out along with them."""

    controls: tuple[Address, ...]
    reflectors: tuple[Reflectors, ...] = ()
    """In order of preference; the first whose controls are alive is asked."""
    names: Names = NO_NAMES
    other_family: tuple[Address, ...] = ()
    """The controls' addresses in the family in which they are not announced to."""
    nat64: Nat64 | None = None
    """The translator by which a host without IPv4 reaches IPv4 addresses."""
