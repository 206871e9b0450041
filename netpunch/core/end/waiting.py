"""What an end that is not linked yet waits for, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.events import Event, Introduced, Reason, Waiting
from netpunch.core.machine import NEVER
from netpunch.core.traversal.budget import LONGEST_QUEUE

MOST_REPORTED = 16
"""Different addresses of the partner that are reported: a log is no place for a flood."""

SILENT = {Reason.SECRET_REJECTED_OR_SILENT, Reason.UDP_BLOCKED}
"""Reasons why no control answers on UDP."""


class WaitingReports:
    """Emits Waiting and Introduced whenever what the end waits for changes: a control's answer, or
    its partner. Between two introductions at known addresses lies a Waiting, and there is one of
    these in WAITING_INTERVAL: recordings that let partners come and go cause few events."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self.registered = False
        """Whether a control has ever said that the partner is not there."""
        self.introduced_to: set[Address] = set()
        self._emit = emit
        self._reported: Reason | None = None
        """What it waits for; None before that is known, and once a partner is there."""
        self._registered_at = -NEVER

    def silent_at(self, silent_since: float, *, heard: bool) -> float:
        """When the controls, which all owe an answer since then, count as silent; NEVER if that
        is reported already, or a partner is there. `heard`: one has answered before."""
        if self._reported in SILENT or self._has_partner:
            return NEVER
        return silent_since + (timing.DESERTED_AFTER if heard else timing.SILENCE_NOTICE)

    def silent(self, controls: Sequence[Address]) -> None:
        """No control answers, or none does any more."""
        self._reported = Reason.SECRET_REJECTED_OR_SILENT
        self._explain(self._reported, controls)

    def udp_blocked(self, controls: Sequence[Address], *, holds: bool) -> None:
        """A control that is silent on UDP has answered over a stream. `holds`: the link may use
        streams."""
        unknown = self._reported is None and not self._has_partner
        if unknown or self._reported is Reason.SECRET_REJECTED_OR_SILENT:
            self._reported = Reason.UDP_BLOCKED
            self._explain(self._reported, controls, holds=holds)

    def _explain(self, reason: Reason, controls: Sequence[Address], *, holds: bool = False) -> None:
        from netpunch.core.end.verdict import Facts, verdict  # nobody needs it before

        detail = verdict(reason, Facts(tuple(controls), holds))
        self._emit(Waiting(reason, detail=detail))

    @property
    def udp_is_blocked(self) -> bool:
        """Whether that is the latest that is known."""
        return self._reported is Reason.UDP_BLOCKED

    def partner_absent(self, observed: Address, now: float) -> None:
        """A control says so; it sees us at `observed`."""
        often = now - self._registered_at < timing.WAITING_INTERVAL
        if self._reported is Reason.PARTNER_ABSENT or (self._has_partner and often):
            return
        self.registered = True
        self._reported, self._registered_at = Reason.PARTNER_ABSENT, now
        self._emit(Waiting(self._reported, observed))

    def introduced(self, partner: Address) -> None:
        """A control names the partner's address."""
        is_new = partner not in self.introduced_to and len(self.introduced_to) < MOST_REPORTED
        if is_new:
            self.introduced_to.add(partner)
        if is_new or self._reported is not None:
            self._reported = None
            self._emit(Introduced(partner))

    @property
    def _has_partner(self) -> bool:
        return self._reported is None and bool(self.introduced_to)


class Deadline:
    """When an end gives up: so many seconds after the start, or after a partner has proved to be
    there. The time during which this end or its partner queues for a turn does not count, within a
    bound."""

    def __init__(self, seconds: float, now: float, *, from_start: bool = True) -> None:
        self._seconds = seconds
        self._at = now + seconds if from_start else NEVER
        self._queued_since = NEVER
        self._may_queue = LONGEST_QUEUE

    def next_timer(self) -> float:
        return self._at + (self._may_queue if self._queued_since != NEVER else 0.0)

    def is_over(self, now: float) -> bool:
        return now >= self._at

    def start(self, proved_at: float) -> None:
        """Begins if it has not begun yet."""
        if self._at == NEVER:
            self._at = proved_at + self._seconds

    def update(self, now: float, *, queued: bool) -> None:
        """Accounts for the time since the last call. `queued`: this end or its partner waits for
        a turn from now on."""
        if self._queued_since != NEVER:
            waited = min(now - self._queued_since, self._may_queue)
            self._at += waited
            self._may_queue -= waited
        self._queued_since = now if queued and self._may_queue > 0 else NEVER
