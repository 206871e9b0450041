"""What an end is told to do."""

from typing import NamedTuple

from netpunch.redacted import redacted
from netpunch.wire.envelope import EndName


class EndSettings(NamedTuple):
    """Durations in seconds; `secret` is the pair's 32 bytes.

    `holds`: keep the socket after the link. `any_port`: another local port may win, which all
    tactics against hard NATs need. `deadline` counts from the start, or (`deadline_from_start`
    False) from when a partner has proved to be there; None: never. `asks_gateways`: the driver
    does, and tells `End.mapped`."""

    pair: str
    end: EndName
    secret: bytes
    holds: bool = False
    offer_hosts: bool = True
    try_observed: bool = True
    any_port: bool = True
    deadline: float | None = 60.0
    deadline_from_start: bool = True
    keepalive: float = 15.0
    asks_gateways: bool = False

    def __repr__(self) -> str:
        return redacted(self, "secret")
