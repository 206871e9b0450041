"""The comparison with another checkout runs; no test judges its ratios."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and CPU clocks")


@pytest.mark.parametrize("measure", ["control-cost", "link-time", "start", "memory", "simulator"])
def test_a_measure_compares_this_checkout_with_itself(measure: str) -> None:
    from tests.bench.compare import SMALL, compare  # imports what only Linux has
    from tests.bench.processes import ROOT

    for comparison in compare(measure, ROOT, 2, SMALL).values():
        assert comparison.here > 0
        assert comparison.there > 0
