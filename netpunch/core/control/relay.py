"""The relay of a control: which ends are bound to it, and how much may pass between them.

An end binds the address from which it sends to the relay. What comes from there and is nothing for
control itself goes on, verbatim, to the address that its partner has bound, out of the socket to
which the partner sent its BIND. Everything else is dropped and counted.

A BIND counts for the attempt that is registered at this control and has proved its address, or for
the one that is bound already, and only with a cookie of the very address that it comes from. So a
recording binds nobody: the cookie of another address, boot or attempt is no good, and its counter
was used. Once made, a binding outlives the registration: an end that hands its port over leaves
its controls. It ends when another attempt of that end binds, after BINDING_LIFETIME without a
datagram from its address, with its stream, and with its pair.

`Relay` decides, and keeps the counts; `core.control.control` authenticates and answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from heapq import nlargest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.control.expiries import Expiries
from netpunch.core.control.registrations import EndRecord
from netpunch.core.events import Via
from netpunch.core.machine import NEVER
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import EndName
from netpunch.wire.v2 import pack_address

HEADERS = 28
"""Bytes that count for each datagram besides its own: IPv4's and UDP's. Empty ones cost, too."""
LARGEST = 65_535
"""Bytes: a burst has room for the longest datagram, however low the rate."""


class State(Enum):
    """Whether an end's datagrams are relayed."""

    UNBOUND = "unbound"
    BOUND = "bound"


UNBOUND, BOUND = State
# By name, as reading them off their class is slow: 0.1 µs each in Python 3.11.


class Cause(StrEnum):
    """What changes a binding."""

    BIND = "BIND"
    """Of the attempt and from the address that are bound."""
    COOKIE = "BIND with cookie"
    """Of an attempt that may bind, from any address that has returned its cookie."""
    SILENCE = "silence"
    REMOVAL = "pair removed or stream ended"


TRANSITIONS: dict[tuple[State, Cause], State] = {
    (UNBOUND, Cause.COOKIE): BOUND,
    (BOUND, Cause.BIND): BOUND,
    (BOUND, Cause.COOKIE): BOUND,
    (BOUND, Cause.SILENCE): UNBOUND,
    (BOUND, Cause.REMOVAL): UNBOUND,
}
"""What isn't here changes nothing: without a cookie no address is bound."""


class Figures:
    """What was relayed, and what was not, since the start."""

    __slots__ = ("datagrams", "no_partner", "octets", "over_rate")

    def __init__(self) -> None:
        self.datagrams = 0
        self.octets = 0
        self.no_partner = 0
        """Datagrams dropped because the partner of their sender was not bound."""
        self.over_rate = 0
        """Datagrams dropped because they were too many for the pair's rate or for the total."""

    @property
    def drops(self) -> dict[str, int]:
        """By reason."""
        return {"over_rate": self.over_rate, "no_partner": self.no_partner}


class RelayedPair(Figures):
    """A pair of which an end was bound at least once."""

    __slots__ = ("a", "b", "name", "spent_until")

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.spent_until = -NEVER
        """When its allowance is whole again; see `core.allowances`."""
        self.a, self.b = Binding(self), Binding(self)
        self.a.partner, self.b.partner = self.b, self.a

    def end(self, name: EndName) -> Binding:
        return self.a if name == "a" else self.b


_NOWHERE = Address("", 0)


@dataclass(slots=True, eq=False, repr=False)
class Binding:
    """One end at the relay. `source` is its bound address as 19 bytes, `heard` when a datagram came
    from there last. Without meaning while it is unbound, but for `awaits_expiry`."""

    pair: RelayedPair
    partner: Binding = field(init=False)
    state: State = UNBOUND
    attempt: bytes = b""
    counter: int = 0
    source: bytes = b""
    address: Address = _NOWHERE
    via: Via = 0
    heard: float = -NEVER
    refreshed_until: float = -NEVER
    """When its allowance of BINDs is whole again."""
    awaits_expiry: bool = False


class Relay:
    """The bindings of a control, and the allowances of its pairs.

    `rate` and `total` are in bits a second, for each pair and for all. A relay serves no socket
    until `serve` names one."""

    def __init__(self, rate: float = timing.RELAY_RATE, total: float = timing.RELAY_TOTAL) -> None:
        self.port = 0
        """What OBSERVED tells ends; 0: this control does not relay."""
        self.more_ports = 0
        """So many after that one relay, too: an end that shares one port among its pairs needs one
        for each that is relayed, as its datagrams have nothing else to tell these pairs by."""
        self.sources: dict[Via, dict[bytes, Binding]] = {}
        """What is bound, by socket and address (19 bytes). Drivers may look here to tell the
        datagrams of bound ends from those of strangers."""
        self.changes = 0
        """Rises whenever an end is bound, bound elsewhere or unbound."""
        self.total = Figures()
        self.strangers = 0
        """Datagrams dropped because they came from no bound address."""
        self._pairs: dict[str, RelayedPair] = {}
        self._spent_until = -NEVER
        self._expiries: Expiries[Binding] = Expiries()
        self.limit(rate, total)

    def limit(self, rate: float, total: float) -> None:
        """From now on, these are the rates, in bits a second."""
        self._pair_cost, self._pair_burst = _allowance(rate)
        self._total_cost, self._total_burst = _allowance(total)

    def serve(self, via: Via) -> None:
        """From now on, ends may bind at this socket: one at the relay's port, or one that stands
        for the streams of many ends."""
        self.sources.setdefault(via, {})

    def busiest(self, count: int) -> list[RelayedPair]:
        """The pairs for which most was relayed, at most so many, the busiest first."""
        return nlargest(count, self._pairs.values(), key=lambda pair: pair.octets)

    @property
    def bound(self) -> int:
        """How many ends are bound."""
        return sum(map(len, self.sources.values()))

    # Binding.

    def refusal(
        self, record: EndRecord, attempt: bytes, counter: int, via: Via, now: float
    ) -> Drop | None:
        """Why this authentic BIND cannot count, with whatever cookie; None if it may."""
        if via not in self.sources:
            return Drop.UNEXPECTED
        own = self._binding(record)
        if own is not None and own.state is BOUND and own.attempt == attempt:
            if counter <= own.counter:
                return Drop.STALE
            if own.refreshed_until - now > 1.0:
                return Drop.OVER_LIMIT
            return None
        registered = record.registration
        if registered is None or not registered.is_proved or registered.attempt != attempt:
            return Drop.WRONG_ATTEMPT
        return None

    def refresh(
        self, record: EndRecord, attempt: bytes, counter: int, source: bytes, via: Via, now: float
    ) -> Binding | None:
        """The binding, if it is this attempt's at this address: no cookie is needed then. For a
        BIND that nothing refuses."""
        own = self._binding(record)
        if own is None or (own.state, Cause.BIND) not in TRANSITIONS:
            return None
        if own.attempt != attempt or own.source != source or own.via != via:
            return None
        own.counter = counter
        own.heard = now
        own.refreshed_until = max(own.refreshed_until, now) + 1.0 / timing.BIND_RATE
        return own

    def bind(
        self,
        record: EndRecord,
        attempt: bytes,
        counter: int,
        source: bytes,
        address: Address,
        via: Via,
        now: float,
    ) -> Binding | None:
        """Binds an end, newly or elsewhere; None if another end is bound there. For a BIND that
        nothing refuses, with a good cookie."""
        name = record.pair.name
        if name not in self._pairs:
            self._pairs[name] = RelayedPair(name)
        own = self._pairs[name].end(record.end)
        if self.sources[via].get(source, own) is not own:
            return None
        if own.state is BOUND:
            del self.sources[own.via][own.source]
        own.state = TRANSITIONS[own.state, Cause.COOKIE]
        own.attempt, own.counter = attempt, counter
        own.source, own.address, own.via = source, address, via
        own.heard = now
        self.sources[via][source] = own
        self.changes += 1
        if not own.awaits_expiry:
            own.awaits_expiry = True
            self._expiries.add(own, now + timing.BINDING_LIFETIME)
        return own

    def remove(self, name: str) -> None:
        """The pair of this name is no longer served."""
        relayed = self._pairs.pop(name, None)
        if relayed is not None:
            self._unbind(relayed.a, Cause.REMOVAL)
            self._unbind(relayed.b, Cause.REMOVAL)

    def forget(self, via: Via, source: Address) -> None:
        """The stream from there has ended: whoever comes from that address next is not its end."""
        binding = self.sources[via].get(pack_address(source)) if via in self.sources else None
        if binding is not None:
            self._unbind(binding, Cause.REMOVAL)

    def next_timer(self) -> float:
        return self._expiries.next_timer()

    def handle_timer(self, now: float) -> None:
        """Ends the bindings that have been silent for BINDING_LIFETIME."""
        for binding in self._expiries.take(now):
            if binding.state is BOUND and binding.heard + timing.BINDING_LIFETIME > now:
                self._expiries.add(binding, binding.heard + timing.BINDING_LIFETIME)
                continue
            binding.awaits_expiry = False
            self._unbind(binding, Cause.SILENCE)

    def _binding(self, record: EndRecord) -> Binding | None:
        pair = self._pairs.get(record.pair.name)
        return None if pair is None else pair.end(record.end)

    def _unbind(self, binding: Binding, cause: Cause) -> None:
        if (binding.state, cause) in TRANSITIONS:
            binding.state = TRANSITIONS[binding.state, cause]
            del self.sources[binding.via][binding.source]
            self.changes += 1

    # Relaying.

    def admit(self, sender: Binding, lengths: Sequence[int], now: float) -> int:
        """How many of these datagrams of a bound end may pass to its partner, from the first on;
        counts them, and the others as dropped. `lengths` are in bytes."""
        pair, count = sender.pair, len(lengths)
        if sender.partner.state is not BOUND:
            sender.heard = now
            pair.no_partner += count
            self.total.no_partner += count
            return 0
        if not self.admit_flows((sender,), (count,), (sum(lengths),), now):
            return count
        passed = 0
        while passed < count and not self.admit_flows((sender,), (1,), (lengths[passed],), now):
            passed += 1
        pair.over_rate += count - passed
        self.total.over_rate += count - passed
        return passed

    def admit_flows(
        self, senders: Sequence[Binding], counts: Sequence[int], octets: Sequence[int], now: float
    ) -> list[int]:
        """So many datagrams with so many bytes in all have come from each of these ends, whose
        partners are bound; an end may be there more than once. Counts those that may pass by the
        rates, all of an entry or none; returns the numbers of the entries of which none may. If the
        total has no room for all, these are all entries: some may pass on their own."""
        cost, latest = self._pair_cost, now + self._pair_burst
        datagrams, length = sum(counts), sum(octets)
        spent_until = max(self._spent_until, now)
        spent = (length + datagrams * HEADERS) * self._total_cost
        if spent_until + spent > now + self._total_burst:
            for sender in senders:
                sender.heard = now
            return list(range(len(senders)))
        refused: list[int] = []
        for number, (sender, count, size) in enumerate(zip(senders, counts, octets, strict=True)):
            sender.heard = now
            pair = sender.pair
            until = pair.spent_until
            if until < now:
                until = now
            until += (size + count * HEADERS) * cost
            if until > latest:
                refused.append(number)
                continue
            pair.spent_until = until
            pair.datagrams += count
            pair.octets += size
        if refused:
            datagrams -= sum(counts[number] for number in refused)
            length -= sum(octets[number] for number in refused)
            spent = (length + datagrams * HEADERS) * self._total_cost
        self._spent_until = spent_until + spent
        self.total.datagrams += datagrams
        self.total.octets += length
        return refused


def burst(rate: float) -> float:
    """How many bytes may pass at once at a rate in bits a second."""
    return max(rate / 8 * timing.RELAY_BURST, LARGEST + HEADERS)


def _allowance(rate: float) -> tuple[float, float]:
    """What a byte costs, and what may be spent at once, in seconds."""
    cost = 8 / rate
    return cost, burst(rate) * cost
