"""Rungs that send nothing of their own."""

from __future__ import annotations

from collections.abc import Iterable

from netpunch.core.end.partner import Partner
from netpunch.core.traversal import budget
from netpunch.core.traversal.host import Field
from netpunch.core.traversal.strategy import Probe, Strategy


class FreshPort(Strategy):
    """Both NATs are easy, and yet nothing passes: a NAT may have given the port away, as Linux
    does when a ping comes before ours went out. Both ends begin anew, each from a fresh port."""

    budget = budget.FRESH_PORT

    def __init__(self, field: Field, partner: Partner, now: float, patience: float) -> None:
        super().__init__(field, partner, now)
        self.next_timer = now + patience

    def begin_round(self) -> Iterable[Probe] | None:
        self._field.fresh_port()
        return ()


class Hopeless(Strategy):
    """No tactic opens this pairing of NATs; plain pings get a while, for classes can be wrong."""

    budget = budget.HOPELESS

    def begin_round(self) -> Iterable[Probe] | None:
        return ()
