"""When the names of an end's controls are to be looked up again: a control that stays silent may
be elsewhere by now. The driver does it, for a core object resolves nothing."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from netpunch.address import Address
from netpunch.core.events import Event, LookupWanted
from netpunch.core.machine import NEVER
from netpunch.core.observers import Observers
from netpunch.core.registration import Registration

SILENCE = 30.0
"""Seconds: a control that has answered nothing for so long may have moved. Thirty announcements
are more than loss, and most restarts are over."""
INTERVAL = 60.0
"""Seconds between two lookups at least: records seldom live shorter, and a fleet whose control is
down must not be a burden to its name servers."""


class Names(NamedTuple):
    """What may change about where controls are. `addresses` are those that a name stands for now;
    `unresolved`: some name stands for none."""

    addresses: frozenset[Address] = frozenset()
    unresolved: bool = False


NO_NAMES = Names()
"""Controls that were given by their addresses: these don't change."""


class Whereabouts(NamedTuple):
    """Where an end's controls are, and which of their ports tell how our NAT maps."""

    controls: tuple[Address, ...]
    observers: tuple[Observers, ...] = ()
    names: Names = NO_NAMES


class Lookups:
    """Emits LookupWanted. `names` were looked up just before `now`."""

    def __init__(self, names: Names, emit: Callable[[Event], None], now: float) -> None:
        self.names = names
        self._emit = emit
        self._earliest = now + INTERVAL

    def next_timer(self, registrations: Iterable[Registration]) -> float:
        """`registrations` are the dialogues with the controls."""
        if self.names.unresolved:
            return self._earliest
        named = self.names.addresses
        silences = [each.silent_since for each in registrations if each.control in named]
        return max(self._earliest, min(silences, default=NEVER) + SILENCE)

    def handle_timer(self, registrations: Iterable[Registration], now: float) -> None:
        registrations = list(registrations)
        if now < self.next_timer(registrations):
            return
        self._earliest = now + INTERVAL
        silent = (each.control for each in registrations if each.silent_since + SILENCE <= now)
        self._emit(LookupWanted(frozenset(silent) & self.names.addresses))
