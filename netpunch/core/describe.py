"""A v2 datagram in words, for traces."""

from __future__ import annotations

from collections.abc import Iterable

from netpunch.address import Address
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import CONTROL_DATAGRAM, PEER_DATAGRAM, ControlChannel, PeerChannel

HIDDEN = {"card", "cookie"}
"""Fields of no use to a reader."""


def describe(
    data: bytes, controls: Iterable[ControlChannel], peers: Iterable[PeerChannel] = ()
) -> str:
    """`PING sender=… receiver=…`, or why it is no message of these channels."""
    opened: v2.Message | Drop = Drop.MALFORMED
    if len(data) == CONTROL_DATAGRAM:
        directions = [d for channel in controls for d in (channel.to_control, channel.from_control)]
    elif len(data) == PEER_DATAGRAM:
        directions = [d for channel in peers for d in (channel.outgoing, channel.incoming)]
    else:
        directions = []
    for direction in directions:
        opened = direction.open(data)
        if not isinstance(opened, Drop):
            return _words(opened)
    return f"{len(data)} bytes: {opened}"


def _words(message: v2.Message) -> str:
    fields = [
        f"{name}={_value(value)}" for name, value in message._asdict().items() if name not in HIDDEN
    ]
    return " ".join([type(message).__name__.upper(), *fields])


def _value(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, Address) else repr(value)
