"""The paths of a classic end, and how much it may send on each.

Classic messages carry no nonce: a recorded one, replayed from a forged source, looks like a new one
from there. So an address gets a few datagrams for each one that was received, never an open-ended
answer, and all addresses together get a few a second in the long run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import ItemsView
from dataclasses import dataclass
from typing import NamedTuple

from netpunch.address import Address
from netpunch.core.events import Via
from netpunch.core.pacing import TokenBucket

MOST_PATHS = 4
"""Addresses talked to at a time: a partner that moves is followed, ghosts are forgotten."""
MOST_FOR_ONE = 3
"""Datagrams to an address for each one that came from there or named it. Go sends ten pings or
pongs. With three, and three closes for each pong, 1,500 simulated links at 20 or 30 % loss strand
no end, at 40 % four (`tests.sim.test_punch_classic`)."""
BURST = 20.0
"""Datagrams at once: a link takes at most 15 pings in its first 1.5 s, and five closes."""
NAMED_REFILL, OTHER_REFILL = 3.0, 2.0
"""Datagrams a second then, to addresses that control has named and to others: five in all."""


class Path(NamedTuple):
    """A partner's address and the socket that talks to it."""

    via: Via
    remote: Address


@dataclass(slots=True)
class Sent:
    """What was sent on a path, and what may be."""

    allowed: int = 0
    """Datagrams that may still be sent for those that were received."""
    named: bool = False
    """Whether control has named the address."""
    pings: int = 0
    pinged_at: float = 0.0
    ponged: bool = False


class Paths:
    """The few paths that an end heard of last. Those that control has named have a budget of their
    own: the others, which anybody can make up by replays, must not use it up."""

    def __init__(self) -> None:
        self._paths: OrderedDict[Path, Sent] = OrderedDict()
        """The one heard of least recently comes first."""
        self._buckets = {
            named: TokenBucket(BURST + refill, BURST)
            for named, refill in ((True, NAMED_REFILL), (False, OTHER_REFILL))
        }

    def __contains__(self, path: Path) -> bool:
        return path in self._paths

    def get(self, path: Path) -> Sent | None:
        return self._paths.get(path)

    def items(self) -> ItemsView[Path, Sent]:
        return self._paths.items()

    def hear(self, path: Path, *, named: bool = False) -> Sent:
        """Counts a datagram from there, or (`named`) an introduction to it."""
        sent = self._paths.get(path)
        if sent is None:
            if len(self._paths) == MOST_PATHS:
                self._paths.popitem(last=False)
            sent = self._paths[path] = Sent()
        self._paths.move_to_end(path)
        sent.allowed += MOST_FOR_ONE
        sent.named = sent.named or named
        return sent

    def may_send(self, path: Path, now: float) -> bool:
        """Whether one more datagram may be sent there; if so it counts as sent."""
        sent = self._paths[path]
        if not sent.allowed or not self._buckets[sent.named].take(now):
            return False
        sent.allowed -= 1
        return True

    def clear(self) -> None:
        self._paths.clear()
