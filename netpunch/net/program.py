"""What a held link needs of the program at its end, or of what stands for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from netpunch.core.machine import Machine
from netpunch.net.datagrams import Datagrams
from netpunch.net.driver import EndpointFactory
from netpunch.wire.envelope import Buffer


class Program(Protocol):
    """Gets what the partner's program sends on a held link, and says what happens to that which
    could not be sent to it."""

    receive: Callable[[bytes, Any], object]
    """Gets one that came alone, and `peer`. (No method, as that would be one call more for each.)
    Both may change at any time."""
    peer: Any

    def not_received(self, error: Exception, /) -> None:
        """`receive` has raised it."""
        ...

    def deliver(self, datagrams: Datagrams, /) -> None: ...

    def endpoint_for(self, machine: Machine, /) -> EndpointFactory:
        """Of the link's socket, on Linux."""
        ...

    def unsent(self, payload: Buffer, error: OSError, /) -> None:
        """The system did not take it: a BlockingIOError if it has no room now."""
        ...
