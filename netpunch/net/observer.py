"""What an observer of a driver sees."""

from collections.abc import Callable
from typing import NamedTuple

from netpunch.address import Address
from netpunch.core.events import Event


class Datagram(NamedTuple):
    """A datagram that was sent or received. `data` is as on the wire, `text` what it says."""

    sent: bool
    local: Address
    remote: Address
    data: bytes
    text: str


Observer = Callable[[Datagram | Event], None]
