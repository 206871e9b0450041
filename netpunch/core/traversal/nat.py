"""How a NAT maps, judged from what control's two ports saw of a few throw-away sockets.

A NAT class orders tactics; it never rules a candidate out: NATs are misjudged now and then.
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
steps; of random ports fewer than one in 10^9 sets does."""

EASY_CLASSES = frozenset({NatClass.UNKNOWN, NatClass.OPEN, NatClass.EASY})
"""Plain pings can do it; a firewall looks open and is easy."""


class Sample(NamedTuple):
    """One socket: its local port, and where each observer saw it (None: no answer)."""

    local_port: int
    seen: tuple[Address | None, ...]


class NatReport(NamedTuple):
    """A class and, for HARD_STEP, the signed step from one allocation to the next."""

    nat_class: NatClass = NatClass.UNKNOWN
    step: int = 0


def classify(
    samples: Sequence[Sample], own_hosts: Collection[str], observers: Sequence[Address]
) -> NatReport:
    """The class that the samples, in the order of their allocation, speak for.

    UNKNOWN where the `observers` tell of another translation than ours: a public one that sees a
    private address stands behind one that hides us (a container's published port), and so does
    one of two that disagree about this. UNKNOWN, too, where they see our own private address:
    they are in our network and know nothing of the NAT at its border."""
    answered = [tuple(seen for seen in sample.seen if seen) for sample in samples]
    if not any(len(seen) > 1 for seen in answered):
        return NatReport()
    inside = {is_private(address.host) for seen in answered for address in seen}
    if inside != {False} and (len(inside) > 1 or not all(is_private(o.host) for o in observers)):
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
    and repeated question may have swapped two of them, so only the direction goes by order."""
    gaps = [high - low for low, high in pairwise(sorted(set(ports)))]
    smallest = min(gaps)
    if smallest > MAX_STEP or max(gaps) > MAX_UNEVENNESS * smallest:
        return None
    size, often = Counter(gaps).most_common(1)[0]
    if often == 1:
        size = smallest
    rising = sum(1 if later > earlier else -1 for earlier, later in pairwise(ports))
    return size if rising >= 0 else -size
