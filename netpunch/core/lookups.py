"""When the names of an end's controls are to be looked up again: a control that stays silent may
be elsewhere by now, and one that answers may be about to be moved. The driver does it, for a core
object resolves nothing."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from netpunch.address import Address
from netpunch.core.end.nat64 import Nat64
from netpunch.core.end.registration import Registration
from netpunch.core.events import Event, LookupWanted
from netpunch.core.machine import NEVER, Random
from netpunch.core.traversal.reflectors import Reflectors

SILENCE = 30.0
"""Seconds: a control that has answered nothing for so long may have moved. Thirty announcements
are more than loss, and most restarts are over."""
INTERVAL = 60.0
"""Seconds between two lookups at least: records seldom live shorter, and a fleet whose control is
down must not be a burden to its name servers."""
REVIEW = 300.0
"""Seconds between two lookups at most, also while all controls answer: so long the old place of
one that is moved has to be kept up. Records seldom live longer than that."""
REVIEW_SPREAD = 0.5
"""Part of REVIEW by which an end may be early: ends that start together don't ask together."""


class Names(NamedTuple):
    """What may change about where controls are. `addresses` are those that a name stands for now;
    `unresolved`: some name stands for none."""

    addresses: frozenset[Address] = frozenset()
    unresolved: bool = False


NO_NAMES = Names()
"""Controls that were given by their addresses: these don't change."""


class ControlEndpoints(NamedTuple):
    """Where an end's controls are, and which of their ports tell how our NAT maps."""

    controls: tuple[Address, ...]
    observers: tuple[Reflectors, ...] = ()
    names: Names = NO_NAMES
    other_family: tuple[Address, ...] = ()
    """Where controls are in the family in which they are not announced to."""
    nat64: Nat64 | None = None
    """The translator by which a host without IPv4 reaches IPv4 addresses."""


class Lookups:
    """Emits LookupWanted. `names` were looked up just before `now`."""

    __slots__ = ("_earliest", "_emit", "_random", "_review_at", "names")

    def __init__(
        self, names: Names, emit: Callable[[Event], None], random: Random, now: float
    ) -> None:
        self.names = names
        self._emit = emit
        self._random = random
        self._earliest, self._review_at = NEVER, NEVER
        self._looked_up(now)

    def next_timer(self, registrations: Iterable[Registration]) -> float:
        """`registrations` are the dialogues with the controls."""
        return min(self._review_at, self._missed_at(registrations))

    def handle_timer(
        self, registrations: Iterable[Registration], now: float, *, punching: bool
    ) -> None:
        """`punching`: a partner is there. Who has found it needs no news of controls now."""
        registrations = list(registrations)
        missed = self._missed_at(registrations) <= now
        if self._review_at <= now and punching and not missed:
            self._review_at = now + INTERVAL
        elif self._review_at <= now or missed:
            self._looked_up(now)
            silent = (each.control for each in registrations if each.silent_since + SILENCE <= now)
            self._emit(LookupWanted(frozenset(silent) & self.names.addresses))

    def _missed_at(self, registrations: Iterable[Registration]) -> float:
        """When a control has been missed for so long that it may be elsewhere."""
        if self.names.unresolved:
            return self._earliest
        named = self.names.addresses
        silences = [each.silent_since for each in registrations if each.control in named]
        return max(self._earliest, min(silences, default=NEVER) + SILENCE)

    def _looked_up(self, now: float) -> None:
        self._earliest = now + INTERVAL
        if self.names != NO_NAMES:
            self._review_at = now + REVIEW * (1 - REVIEW_SPREAD * self._random(1)[0] / 256)
