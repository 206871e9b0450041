"""Every reason for a failure comes with a sentence that helps."""

from __future__ import annotations

import pytest

from netpunch.core.events import Reason
from netpunch.core.verdict import verdict
from tests.core.v2_pair import CONTROL

FAILURES = sorted(set(Reason) - {Reason.SPRAY_QUEUE})
"""The other one is why an end waits; it never ends it."""


@pytest.mark.parametrize("reason", FAILURES)
def test_every_reason_has_a_sentence_of_its_own(reason: Reason) -> None:
    detail = verdict(reason)
    assert len(detail) > 30
    assert [other for other in FAILURES if verdict(other) == detail] == [reason]


def test_silence_names_the_controls_that_were_asked() -> None:
    detail = verdict(Reason.SECRET_REJECTED_OR_SILENT, controls=(CONTROL, CONTROL))
    assert f"{CONTROL}, {CONTROL}" in detail


def test_a_mode_is_told_from_this_ends_view() -> None:
    assert "this end holds the hole, the partner hands over" in verdict(
        Reason.PARTNER_MODE, holds=True
    )
    assert "this end hands over the hole, the partner holds" in verdict(Reason.PARTNER_MODE)


def test_the_infeasible_names_both_nats_and_what_would_help() -> None:
    detail = verdict(Reason.INFEASIBLE, nats=("hard_step", "hard_random"))
    assert "hard_step" in detail
    assert "hard_random" in detail
    assert "IPv6" in detail
