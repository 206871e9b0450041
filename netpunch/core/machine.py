"""The contract of every machine (core object): what its driver calls, and what it must do then.

A machine does no I/O and knows no clock. Its driver calls it, always with a time `now` that never
runs backwards (seconds, any origin):

- `receive_datagram(data, source, now, via)` for what socket `via` received;
- `handle_timer(now)` when `next_timer()` is reached;
- the methods that answer a request or report a change, such as `sockets_opened` or `close`.

After each such call (for a control node: after a batch of datagrams, as it never asks for sockets
to be closed) the driver drains `datagrams_to_send()` and `next_event()`, then re-arms one timer
from `next_timer()`. Nothing that arrives from the network raises: it is dropped and counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from netpunch.address import Address
from netpunch.core.events import Event, PathKind, Via
from netpunch.wire.drop import Drop

if TYPE_CHECKING:
    from netpunch.core.endpoints import ControlEndpoints
    from netpunch.wire.sealed import Sealing

Random = Callable[[int], bytes]
"""`random(n)` gives n unpredictable bytes (os.urandom; seeded in simulations)."""

NEVER = float("inf")

State = TypeVar("State", bound=Enum)

_NO_EVENTS: Iterator[Event] = iter(())
"""Shared by all machines: nothing is ever taken from it."""


def next_state(transitions: Mapping[tuple[State, str], State], state: State, event: str) -> State:
    """How every machine with a table of transitions moves. Raises AssertionError if the table has
    no transition for `event`."""
    after = transitions.get((state, event))
    assert after is not None, f"{state} has no transition for {event!r}"
    return after


class Transmit(NamedTuple):
    """A datagram to send from socket `via`; `ttl` in hops, 0 for the system's default."""

    data: bytes
    destination: Address
    via: Via
    ttl: int = 0


class LinkFigures(NamedTuple):
    """How a held link does; times in seconds.

    `rtt` is smoothed, `jitter` the mean deviation from it; `loss` is the part of the last 20 pings
    that stayed unanswered. `since` is when the present path was agreed, in the driver's time;
    `moves` counts the paths before it. Datagrams are programs', not netpunch's; `drops` are those
    that did not open on a sealed link, by reason."""

    path: PathKind
    rtt: float | None
    jitter: float | None
    loss: float
    since: float
    moves: int
    sent_datagrams: int = 0
    sent_bytes: int = 0
    received_datagrams: int = 0
    received_bytes: int = 0
    drops: Mapping[Drop, int] = MappingProxyType({})


class Traffic:
    """Programs' datagrams and bytes, over all paths of a link."""

    __slots__ = ("received", "received_bytes", "sent", "sent_bytes")

    def __init__(self) -> None:
        self.sent = self.sent_bytes = self.received = self.received_bytes = 0


class Flow(Protocol):
    """Programs' datagrams on a path that is held, or was lately: what their machine is told. For
    one that travels alone a call takes long, so who sends or receives it may do what the methods
    do with the attributes."""

    traffic: Traffic
    unheard_since: float
    """When one was sent first after the last one that came; NEVER if none was."""
    silence_at: float
    """When their silence is looked at next; NEVER if it is not."""

    def payloads_sent(self, count: int, octets: int, now: float) -> bool:
        """So many were sent. Returns whether the next timer may be earlier than before."""
        ...

    def begin_unheard(self, now: float) -> bool:
        """The first one after the last one that came was sent. Returns the same."""
        ...

    def payloads_received(self, count: int, octets: int) -> None:
        """So many have come."""
        ...


class Machine(ABC):
    """The base class of the core objects. What a kind of machine has no use for does nothing."""

    def __init__(self) -> None:
        self._drops: defaultdict[Drop, int] = defaultdict(int)
        """Not a Counter: counting with one takes twice as long."""
        self._transmits: list[Transmit] = []
        self._events: list[Event] = []
        self._taken = _NO_EVENTS
        self.tag = bytes(8)
        """Of its pair, in each of netpunch's own datagrams to it."""
        # Of a held link. Attributes, not methods, as each program's datagram needs them: one that
        # comes alone finds cold caches, with which a call takes about a microsecond.
        self.path: tuple[Via, Address, Flow] | None = None
        """The socket from which a program's datagrams are to be sent now, where to, and what is
        told of them; None without a held link."""
        self.partners: Mapping[Via, Mapping[Address, Flow]] = {}
        """Whose datagrams at a socket are of the partner's program, unless they have the first byte
        and a length of netpunch's own. What a socket has stays the same object until it changes."""
        self.sealing: Sealing | None = None
        """Seals what is sent on `path`, and opens what comes from `partners`, before it is counted;
        None if programs' datagrams pass as they are. (`send_payload` and Payload need no more of
        it.)"""

    @abstractmethod
    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None: ...

    @abstractmethod
    def next_timer(self) -> float:
        """The time at which `handle_timer` is due, or NEVER."""

    @abstractmethod
    def handle_timer(self, now: float) -> None: ...

    @abstractmethod
    def describe(self, data: bytes) -> str:
        """A datagram in words, for traces: its decoded content if it is authentic here."""

    def close(self, now: float) -> None:
        """Stops. A machine with a farewell to send emits its last event once that is sent."""

    # What the driver drains.

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
            self._events.clear()  # not replaced: the halves of a control node share this list
            event = next(self._taken)
        return event

    # Answers to an end's requests, and changes that it cannot see itself.

    def sockets_opened(self, request: int, opened: Mapping[Via, Address], now: float) -> None:
        """Answers the OpenSockets of this number: the sockets that could be had, maybe none, with
        their local addresses."""

    def turn_granted(self, sockets: int, now: float) -> None:
        """The turn that TurnWanted asked for is there; `sockets` more may be open during it."""

    def controls_found(self, endpoints: ControlEndpoints, now: float) -> None:
        """Where the controls are now: some of them have moved."""

    def reachable_at(self, kind: PathKind, addresses: tuple[Address, ...], now: float) -> None:
        """The external addresses of this kind at which the end is reached have changed: for MAPPED
        those that gateways forward to its port."""

    def no_route(self, via: Via, remote: Address) -> None:
        """The system had no way to send a datagram there."""

    def network_changed(
        self, host_addresses: Sequence[str], now: float, *, gone: bool = False, woke: bool = False
    ) -> None:
        """This host has these addresses now, or other routes. `gone`: the address from which the
        held path was used is no longer among them; `woke`: the host was suspended."""

    def control_connected(self, via: Via, control: Address, local: Address, now: float) -> None:
        """A stream to a control works as socket `via` from now on, between `local` and
        `control`."""

    def control_disconnected(self, via: Via, now: float) -> None:
        """The stream has ended."""

    # A held link.

    def rekey(self, secrets: Sequence[bytes], now: float) -> bool:
        """The end's keys are these from now on: one, or two. Returns False if it holds no link:
        then nothing changes."""
        del secrets, now
        return False

    def hand_over(self) -> None:
        """Leaves the held link to a program, as soon as the partner needs nothing more to hold it:
        tells the controls, but not the partner, then emits Finished."""

    @property
    def rtt(self) -> float | None:
        """The latest round trip of the link in seconds; None without one."""
        return None

    @property
    def figures(self) -> LinkFigures | None:
        """How the link does; None without one."""
        return None

    def send_payload(self, data: bytes, now: float) -> bool:
        """Sends a program's datagram on a held link; without one it is lost. Returns whether the
        next timer may be earlier than before."""
        del data, now
        return False

    # The same in batches: the driver passes programs' datagrams on by itself, and tells of it.

    def strangers_dropped(self, count: int) -> None:
        """So many came from elsewhere and can't be netpunch's own."""
        self._drops[Drop.MALFORMED] += count

    # For the machines themselves.

    def _send(self, data: bytes, destination: Address, via: Via, ttl: int = 0) -> None:
        self._transmits.append(Transmit(data, destination, via, ttl))

    def _emit(self, event: Event) -> None:
        self._events.append(event)

    def _drop(self, reason: Drop) -> None:
        self._drops[reason] += 1
