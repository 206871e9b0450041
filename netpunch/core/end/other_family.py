"""Where controls see us in the family in which they are not announced to.

An end announces to each control in one family. What its NAT or firewall makes of the other one, an
OBSERVE to the same control shows: it registers nothing, and the answer goes into the card.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.events import Via
from netpunch.core.machine import NEVER, Random
from netpunch.wire.v2 import ECHO_LENGTH

Ask = Callable[[Via, Address, bytes], None]
"""`ask(via, control, echo)` sends an OBSERVE."""


class OtherFamily:
    """Asks `controls`, each from the socket at its side, a few times at once and then as often as
    a waiting end announces: mappings are kept, and an address that changes is noticed."""

    def __init__(
        self, controls: Sequence[tuple[Address, Via]], *, ask: Ask, random: Random, now: float
    ) -> None:
        self.observed: tuple[Address, ...] = ()
        """Where they see us."""
        self.next_timer = now if controls else NEVER
        self.asked = frozenset(control for control, _ in controls)
        """Whose answers may count."""
        self._controls = tuple(controls)
        self._ask = ask
        self._random = random
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
                echo = self._echoes.setdefault(control, self._random(ECHO_LENGTH))
                self._ask(via, control, echo)

    def answered(self, echo: bytes, control: Address, observed: Address) -> bool:
        """An answer; False if it is none to a question of ours."""
        if self._echoes.get(control) != echo:
            return False
        del self._echoes[control]
        self._seen[control] = observed
        self.observed = tuple(dict.fromkeys(self._seen.values()))
        return True
