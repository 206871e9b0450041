"""What a traversal strategy may do, beside sending pings through `partner.checks`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from netpunch.address import Address
from netpunch.core.end.partner import Partner
from netpunch.core.end.resources import Resources
from netpunch.core.endpoints import Reflectors
from netpunch.core.events import Via
from netpunch.core.traversal.nat import Bracket
from netpunch.core.traversal.turns import Turns

Opened = Callable[[Mapping[Via, Address], float], None]
"""`then(sockets, now)`: those that could be had, maybe none."""


class TraversalHost(Protocol):
    """Implemented by `Traversal`, one per attempt."""

    resources: Resources
    """The rate of probes (`probe_bucket`), randomness, and what is known of our NAT (`nat`)."""
    turns: Turns
    bracket: Bracket
    """Of the latest survey; our card tells it to the partner."""
    seen_at: tuple[str, ...]
    """Our public addresses in the latest survey."""
    plain_patience: float
    """Seconds for plain pings alone."""

    def reflectors(self) -> Reflectors | None:
        """Two ports of controls that are alive, to ask where they see us; None if there are
        none."""

    def primary(self) -> Via | None:
        """The end's first socket, of the reflectors' family."""

    def open_sockets(self, count: int, then: Opened) -> None:
        """Asks the driver for sockets on fresh ports, and calls `then` with them."""

    def close_socket(self, via: Via) -> None: ...

    def close_all(self, partner: Partner) -> None:
        """Closes what was opened for a partner attempt."""

    def observe(self, via: Via, reflector: Address, echo: bytes) -> None:
        """Asks a reflector where it sees socket `via`."""

    def share_card(self, now: float) -> None:
        """Sends our changed card to the partner, by way of the controls."""

    def take_fresh_port(self) -> None:
        """Begins a new attempt from a fresh port."""
