"""Where the relays of an end's controls are, as far as its attempts have learned."""

from __future__ import annotations

from collections.abc import Mapping

from netpunch.address import Address
from netpunch.core.events import Via

MOST_NAMED = 16
"""Relays that only partners name: more than an end has controls."""


class Relays:
    """`streams`: those to controls, by socket. Each has its control's relay at its far end."""

    def __init__(self, streams: Mapping[Via, Address]) -> None:
        self._streams = streams
        self._of_controls: dict[Address, Address | None] = {}
        self._named: set[Address] = set()

    def told(self, control: Address, relay: Address | None) -> None:
        """A control says where its relay is; None if it has none."""
        self._of_controls[control] = relay

    def named(self, address: Address) -> None:
        """The partner says that it uses the relay there."""
        if len(self._named) < MOST_NAMED:
            self._named.add(address)

    def of(self, control: Address, via: Via) -> Address | None:
        """The relay of a control to which socket `via` is bound; None if none is known."""
        return self._streams.get(via, self._of_controls.get(control))

    def is_relay(self, via: Via, address: Address) -> bool:
        """Whether what comes from there on socket `via` is passed on by a relay."""
        return (
            self._streams.get(via) == address
            or address in self._named
            or address in self._of_controls.values()
        )
