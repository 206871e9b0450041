"""When an end asks its driver to look up its controls' names again: a silent control may have
moved, and one that answers may be about to move."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from netpunch.core.end.registration import Registration
from netpunch.core.endpoints import LOOKUP_INTERVAL, NO_NAMES, Names
from netpunch.core.events import Event, LookupWanted
from netpunch.core.machine import NEVER, Random

SILENCE = 30.0
"""Seconds after which a silent control may have moved: thirty lost announcements are no accident,
and most restarts are over."""
SILENCE_ELSEWHERE = 2.0
"""The same after a change of this host's network: there a name may have other addresses, and ten
lost announcements show that it has."""
REVIEW = 300.0
"""Seconds between two lookups at most, also while all controls answer: so long a control that moves
must stay at its old address, too. Records seldom live longer."""
REVIEW_SPREAD = 0.5
"""Part of REVIEW by which an end may be early: ends that start together don't ask together."""


class Lookups:
    """Emits LookupWanted. `names` were looked up just before `now`."""

    __slots__ = ("_earliest", "_emit", "_patience", "_random", "_review_at", "names")

    def __init__(
        self, names: Names, emit: Callable[[Event], None], random: Random, now: float
    ) -> None:
        self.names = names
        self._emit = emit
        self._random = random
        self._earliest, self._review_at = NEVER, NEVER
        self._patience = SILENCE
        """How long a control may be silent until its name is looked up again."""
        self._looked_up(now)

    def next_timer(self, registrations: Iterable[Registration]) -> float:
        return min(self._review_at, self._missed_at(registrations))

    def handle_timer(
        self, registrations: Iterable[Registration], now: float, *, punching: bool
    ) -> None:
        """`punching`: a partner is there, so the controls are no longer needed."""
        registrations = list(registrations)
        missed = self._missed_at(registrations) <= now
        if self._review_at <= now and punching and not missed:
            self._review_at = now + LOOKUP_INTERVAL
        elif self._review_at <= now or missed:
            since = now - self._patience
            silent = (each.control for each in registrations if each.silent_since <= since)
            self._looked_up(now)
            self._emit(LookupWanted(frozenset(silent) & self.names.addresses))

    def network_changed(self, now: float) -> None:
        """This host may be in another network: what was looked up in the old one says less."""
        self._earliest = min(self._earliest, now)
        self._patience = SILENCE_ELSEWHERE

    def _missed_at(self, registrations: Iterable[Registration]) -> float:
        """When a control has been silent for so long that it may have moved."""
        if self.names.unresolved:
            return self._earliest
        named = self.names.addresses
        silences = [each.silent_since for each in registrations if each.control in named]
        return max(self._earliest, min(silences, default=NEVER) + self._patience)

    def _looked_up(self, now: float) -> None:
        self._earliest = now + LOOKUP_INTERVAL
        self._patience = SILENCE
        if self.names != NO_NAMES:
            self._review_at = now + REVIEW * (1 - REVIEW_SPREAD * self._random(1)[0] / 256)
