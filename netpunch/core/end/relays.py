"""Where the relays of an end's controls are, as far as its attempts have learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from netpunch.address import Address
from netpunch.core.events import Via

MOST_NAMED = 16
"""Relays that only partners name: more than an end has controls."""


class RelayAt(NamedTuple):
    """A control's relay: so many ports of a host, from the first one on."""

    host: str
    first_port: int
    ports: int = 1

    def port(self, number: int) -> Address:
        """One of them; after the last comes the first again."""
        return Address(self.host, self.first_port + number % self.ports)

    def has(self, address: Address) -> bool:
        return address.host == self.host and 0 <= address.port - self.first_port < self.ports


class Relays:
    """`streams`: those to controls, by socket. Each has its control's relay at its far end.

    A relay tells pairs by their source and its own port. Pairs that share a port of their host may
    thus need different ones: each begins with number `first`, and tries the next if it is not bound
    there."""

    def __init__(self, streams: Mapping[Via, Address], first: int = 0) -> None:
        self._streams = streams
        self._of_controls: dict[Address, RelayAt | None] = {}
        self._named: set[Address] = set()
        self._first = first
        self._skipped: Counter[tuple[Address, Via]] = Counter()

    def told(self, control: Address, relay: RelayAt | None) -> None:
        """A control says where its relay is; None if it has none."""
        self._of_controls[control] = relay

    def named(self, address: Address) -> None:
        """The partner says that it uses the relay there."""
        if len(self._named) < MOST_NAMED:
            self._named.add(address)

    def of(self, control: Address, via: Via) -> Address | None:
        """The relay of a control to which socket `via` is bound; None if none is known."""
        if via in self._streams:
            return self._streams[via]
        relay = self._of_controls.get(control)
        return None if relay is None else relay.port(self._first + self._skipped[control, via])

    def skip(self, control: Address, via: Via) -> None:
        """From now on, that socket is to be bound at the next port of the control's relay."""
        self._skipped[control, via] += 1

    def is_relay(self, via: Via, address: Address) -> bool:
        """Whether what comes from there on socket `via` is passed on by a relay."""
        return (
            self._streams.get(via) == address
            or address in self._named
            or any(relay is not None and relay.has(address) for relay in self._of_controls.values())
        )
