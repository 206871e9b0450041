"""Some pairs come and go at a control: `python -m tests.bench churn` has a thousand."""

from __future__ import annotations

import netpunch
from tests.bench.churn import SERVED_AT_ONCE, churn

PAIRS = SERVED_AT_ONCE + 20


def test_pairs_that_come_and_go_disturb_no_other() -> None:
    result = netpunch.run(churn(PAIRS))
    assert result.disturbed == []
    assert result.carried == 2 * PAIRS
    assert result.churned
