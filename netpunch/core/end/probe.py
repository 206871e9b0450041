"""A question to a control over a stream, by an end whose link cannot use streams: whether it is UDP
alone that does not get through."""

from __future__ import annotations

from netpunch.address import Address
from netpunch.core.end.resources import Resources
from netpunch.core.events import Via
from netpunch.wire import v2


class Probe:
    """Asks at once."""

    def __init__(self, resources: Resources, via: Via, control: Address) -> None:
        self._resources = resources
        self._via = via
        self._echo = resources.random(v2.ECHO_LENGTH)
        resources.observe(via, control, self._echo)

    def answered(self, data: bytes, via: Via) -> bool:
        """Whether a datagram is the answer."""
        if via != self._via:
            return False
        message = self._resources.open_of_control(data)
        return isinstance(message, v2.Observed) and message.echo == self._echo
