"""What an end waits for, told whenever that changes: for a control's answer, for its partner."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.verdict import Facts, verdict
from netpunch.core.events import Event, Introduced, Waiting
from netpunch.core.machine import NEVER
from netpunch.reasons import Reason

MOST_TOLD = 16
"""Different addresses of the partner that are told of: a log is no place for a flood."""


class WaitingNews:
    """Emits Waiting and Introduced while an end punches. Between two introductions at known
    addresses lies a Waiting, and of these there is one in WAITING_INTERVAL: recordings that let
    partners come and go tell little."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self.registered = False
        """Whether a control has ever said that the partner is not there."""
        self.introduced_to: set[Address] = set()
        self._emit = emit
        self._told: Reason | None = None
        """What it waits for; None before that is known, and once a partner is there."""
        self._registered_at = -NEVER

    def silent_at(self, silent_since: float, *, heard: bool) -> float:
        """When the controls, which all owe an answer since then, count as silent; NEVER if that
        is told already, or a partner is there. `heard`: one has answered before."""
        if self._told is Reason.SECRET_REJECTED_OR_SILENT or self._has_partner:
            return NEVER
        return silent_since + (timing.DESERTED_AFTER if heard else timing.SILENCE_NOTICE)

    def silent(self, controls: Sequence[Address]) -> None:
        """No control answers, or none does any more."""
        self._told = Reason.SECRET_REJECTED_OR_SILENT
        self._emit(Waiting(self._told, detail=verdict(self._told, Facts(tuple(controls)))))

    def partner_absent(self, observed: Address, now: float) -> None:
        """A control says so; it sees us at `observed`."""
        often = now - self._registered_at < timing.WAITING_INTERVAL
        if self._told is Reason.PARTNER_ABSENT or (self._has_partner and often):
            return
        self.registered = True
        self._told, self._registered_at = Reason.PARTNER_ABSENT, now
        self._emit(Waiting(self._told, observed))

    def introduced(self, partner: Address) -> None:
        """A control names the partner's address."""
        news = partner not in self.introduced_to and len(self.introduced_to) < MOST_TOLD
        if news:
            self.introduced_to.add(partner)
        if news or self._told is not None:
            self._told = None
            self._emit(Introduced(partner))

    @property
    def _has_partner(self) -> bool:
        return self._told is None and bool(self.introduced_to)
