"""Where a NAT that allocates ports in steps has put a ping."""

from typing import NamedTuple


class Bracket(NamedTuple):
    """A NAT that allocates in steps has put the ping of this `round` between `port` and `span`
    steps further on."""

    port: int = 0
    step: int = 0
    span: int = 0
    round: int = 0

    def port_at(self, steps: int) -> int:
        """The port so many steps after the bracket's begin, around the end of the port range."""
        return (self.port + steps * self.step - 1) % 65535 + 1
