"""How a NAT maps (RFC 4787), judged from where control's two ports saw a few throw-away sockets.

A NAT class chooses the strategy; it never rules a candidate out: NATs are misjudged now and then.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

from netpunch.address import Address, is_private
from netpunch.wire.card import NatClass

MAX_STEP = 32
"""Ports: the largest step seen in the field is 2 for even/odd pairs, the rest is foreign
allocations in between."""
MAX_UNEVENNESS = 16
"""Largest gap over smallest: so many foreign allocations between two of ours still look like
steps; of random ports fewer than one set in 10^9 does."""

EASY_CLASSES = frozenset({NatClass.UNKNOWN, NatClass.OPEN, NatClass.EASY})
"""Plain pings suffice; a firewall looks open and is easy."""


class Sample(NamedTuple):
    """One socket: its local port, and where each reflector saw it (None: no answer)."""

    local_port: int
    seen: tuple[Address | None, ...]


class NatReport(NamedTuple):
    """A class and, for HARD_STEP, the signed step from one allocation to the next."""

    nat_class: NatClass = NatClass.UNKNOWN
    step: int = 0


class Bracket(NamedTuple):
    """A NAT that allocates ports in steps has put the ping of this `round` between `port` and
    `span` steps further on."""

    port: int = 0
    step: int = 0
    span: int = 0
    round: int = 0

    def port_at(self, steps: int) -> int:
        """The port so many steps after the bracket's begin, around the end of the port range."""
        return (self.port + steps * self.step - 1) % 65535 + 1


def classify(
    samples: Sequence[Sample], own_hosts: Collection[str], reflectors: Sequence[Address]
) -> NatReport:
    """The class that the samples, in the order of their allocation, speak for.

    UNKNOWN where the `reflectors` show another translation than ours: a public one that sees a
    private address is behind one that hides us (a container's published port), and so is one of
    two that disagree about this. UNKNOWN, too, where they see our own private address: they are
    in our network and don't see the NAT at its border."""
    answered = [tuple(seen for seen in sample.seen if seen) for sample in samples]
    if not any(len(seen) > 1 for seen in answered):
        return NatReport()
    inside = {is_private(address.host) for seen in answered for address in seen}
    if inside != {False} and (
        len(inside) > 1 or not all(is_private(each.host) for each in reflectors)
    ):
        return NatReport()
    if all(len(set(seen)) == 1 for seen in answered if seen):
        local = all(
            seen[0].host in own_hosts and seen[0].port == sample.local_port
            for sample, seen in zip(samples, answered, strict=True)
            if seen
        )
        if local and True in inside:
            return NatReport()
        return NatReport(NatClass.OPEN if local else NatClass.EASY)
    addresses = [address for seen in answered for address in seen]
    if len({address.host for address in addresses}) > 1:
        return NatReport(NatClass.HARD_RANDOM)
    step = _step([address.port for address in addresses])
    if step is None:
        return NatReport(NatClass.HARD_RANDOM)
    return NatReport(NatClass.HARD_STEP, step)


def _step(ports: Sequence[int]) -> int | None:
    """The signed step between allocations, of two ports at least; None if there is none. A lost
    and repeated question may have swapped two ports, so the order shows only the direction."""
    gaps = [high - low for low, high in pairwise(sorted(set(ports)))]
    smallest = min(gaps)
    if smallest > MAX_STEP or max(gaps) > MAX_UNEVENNESS * smallest:
        return None
    size, often = Counter(gaps).most_common(1)[0]
    if often == 1:
        size = smallest
    rising = sum(1 if later > earlier else -1 for earlier, later in pairwise(ports))
    return size if rising >= 0 else -size
