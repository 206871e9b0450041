"""The contract of every core object, and what all of them share.

A core object does no I/O and knows no clock. Its driver calls, always with a time `now` that
never runs backwards (seconds, any origin):

- `receive_datagram(data, source, now, via)` for what socket `via` received;
- `handle_timer(now)` when `next_timer()` is reached;

and after each such call (for a control node: after a crowd's datagrams together, as it never asks
for sockets to be closed) drains `datagrams_to_send()` and `next_event()`, then re-arms one timer
from `next_timer()`. Nothing that arrives from the network raises: it is dropped and counted.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from netpunch.address import Address
from netpunch.core.events import Event, Via
from netpunch.wire.drop import Drop

Random = Callable[[int], bytes]
"""`random(n)` gives n unpredictable bytes (os.urandom; seeded in simulations)."""

NEVER = float("inf")

_NONE_TAKEN: Iterator[Event] = iter(())
"""One for all, as nothing is ever taken from it."""


class Transmit(NamedTuple):
    """A datagram to be sent from socket `via`; `ttl` hops far, 0 for the system's default."""

    data: bytes
    destination: Address
    via: Via
    ttl: int = 0


class Machine(Protocol):
    """What a driver needs to know of a core object."""

    @property
    def drops(self) -> Counter[Drop]: ...

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None: ...

    def handle_timer(self, now: float) -> None: ...

    def next_timer(self) -> float:
        """The time at which `handle_timer` is due, or NEVER."""

    def datagrams_to_send(self) -> list[Transmit]: ...

    def next_event(self) -> Event | None: ...

    def describe(self, data: bytes) -> str:
        """A datagram in words, for traces: its decoded content if it is authentic here."""


class Outbox:
    """The drained half of the contract: base class of the core objects."""

    def __init__(self) -> None:
        self._drops: defaultdict[Drop, int] = defaultdict(int)
        """And no Counter: counting with one takes twice as long."""
        self._transmits: list[Transmit] = []
        self._events: list[Event] = []
        self._taken = _NONE_TAKEN

    @property
    def drops(self) -> Counter[Drop]:
        """How many datagrams were dropped, by reason."""
        return Counter(self._drops)

    def datagrams_to_send(self) -> list[Transmit]:
        """Everything to be sent now, in order; asking empties the list."""
        transmits, self._transmits = self._transmits, []
        return transmits

    def next_event(self) -> Event | None:
        """The oldest event not yet taken, or None."""
        event = next(self._taken, None)
        if event is None and self._events:
            # Not one by one from a deque: that takes 600 bytes for every end, even when empty.
            self._taken = iter(self._events[:])
            self._events.clear()  # and not replaced: others may know this list
            event = next(self._taken)
        return event

    def _send(self, data: bytes, destination: Address, via: Via, ttl: int = 0) -> None:
        self._transmits.append(Transmit(data, destination, via, ttl))

    def _emit(self, event: Event) -> None:
        self._events.append(event)

    def _drop(self, reason: Drop) -> None:
        self._drops[reason] += 1
