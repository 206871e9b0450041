"""Rungs that send nothing of their own."""

from __future__ import annotations

from collections.abc import Iterable

from netpunch.core.ladder import budget
from netpunch.core.ladder.field import Field
from netpunch.core.ladder.tactic import Probe, Tactic
from netpunch.core.partner import Partner


class FreshPort(Tactic):
    """Both NATs are easy, and yet nothing passes: a NAT may have given the port away, as Linux
    does when a ping comes before ours went out. Both ends begin anew, each from a fresh port."""

    budget = budget.FRESH_PORT

    def __init__(self, field: Field, partner: Partner, now: float, patience: float) -> None:
        super().__init__(field, partner, now)
        self.next_timer = now + patience

    def begin_round(self) -> Iterable[Probe] | None:
        self._field.fresh_port()
        return ()


class Hopeless(Tactic):
    """No tactic opens this pairing of NATs; plain pings get a while, for classes can be wrong."""

    budget = budget.HOPELESS

    def begin_round(self) -> Iterable[Probe] | None:
        return ()
