"""Where controls see us in the family in which they are not announced to.

An end announces to each control in one family. How its NAT or firewall treats the other one, an
OBSERVE to the same control shows: it registers nothing, and the answer goes into the card.
"""

from __future__ import annotations

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.resources import Resources
from netpunch.core.machine import NEVER
from netpunch.wire.v2 import ECHO_LENGTH


class OtherFamily:
    """Asks the controls, each from our socket of its family, a few times at once and then as often
    as a waiting end announces: mappings are kept, and an address that changes is noticed."""

    def __init__(self, resources: Resources, now: float) -> None:
        self._controls = resources.other_family()
        self.observed: tuple[Address, ...] = ()
        """Where they see us."""
        self.next_timer = now if self._controls else NEVER
        self.asked = frozenset(control for control, _ in self._controls)
        """Controls whose answers may count."""
        self._resources = resources
        self._rounds = 0
        self._echoes: dict[Address, bytes] = {}
        self._seen: dict[Address, Address] = {}

    def handle_timer(self, now: float) -> None:
        if now < self.next_timer:
            return
        retries = timing.ANNOUNCE_RETRIES
        again = self._rounds > len(retries)
        gap = retries[self._rounds] if self._rounds < len(retries) else timing.WAITING_INTERVAL
        self.next_timer = now + gap
        self._rounds += 1
        for control, via in self._controls:
            if again or control not in self._seen:
                echo = self._echoes.setdefault(control, self._resources.random(ECHO_LENGTH))
                self._resources.observe(via, control, echo)

    def answered(self, echo: bytes, control: Address, observed: Address) -> bool:
        """Takes an answer; False if it was not asked for."""
        if self._echoes.get(control) != echo:
            return False
        del self._echoes[control]
        self._seen[control] = observed
        self.observed = tuple(dict.fromkeys(self._seen.values()))
        return True
