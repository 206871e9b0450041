"""Which of the controls' ports tell how our NAT maps: those of a control that is alive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from netpunch.address import Address
from netpunch.core import timing

Reflectors = tuple[Address, Address]
"""Two addresses of one family: both ports of a control, or two controls."""

NEVER_HEARD = -inf


def live_reflectors(
    choices: Sequence[Reflectors], heard_at: Mapping[Address, float]
) -> Reflectors | None:
    """The first choice whose controls were heard as lately as any, give or take a retry.

    `heard_at`: when each control was heard last. None if there is no choice."""

    def last_heard(choice: Reflectors) -> float:
        return min((heard_at[each] for each in choice if each in heard_at), default=NEVER_HEARD)

    latest = max(map(last_heard, choices), default=NEVER_HEARD)
    lately = latest - timing.ANNOUNCE_RETRY
    return next((choice for choice in choices if last_heard(choice) >= lately), None)
