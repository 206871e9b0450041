"""What the network's half of an end is given of its configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from netpunch.config.model import End
from netpunch.net.controls import ControlAt
from netpunch.net.punch import PunchSpec
from netpunch.net.sockets import SocketOptions

if TYPE_CHECKING:
    from netpunch.net.forward import Forwarder


def punch_spec(end: End, secret: bytes, controls: tuple[ControlAt, ...]) -> PunchSpec:
    """What this end is to do."""
    return PunchSpec(
        pair=end.pair,
        end=end.end,
        secret=secret,
        controls=controls,
        protocol=end.protocol,
        slot=end.slot,
        local=(end.local.host, end.local.port),
        sockets=SocketOptions(end.mark, end.interface),
        candidates=frozenset(end.candidates),
        holds=end.holds,
        deadline=end.deadline,
        deadline_from_start=end.mode == "once",
        keepalive=end.keepalive,
    )


def forwarder_of(end: End, on_warning: Callable[[str], None]) -> Forwarder | None:
    """The relay for this end's program, if it has one; `on_warning` gets its lines for people."""
    if end.forward is None:
        return None
    from netpunch.net.forward import Forwarder  # few ends relay

    listen, to = end.forward.listen, end.forward.to
    return Forwarder(
        (listen.host, listen.port), None if to is None else (to.host, to.port), on_warning
    )
