"""A short flood in every test run: no forgery is answered, and memory stays level."""

from __future__ import annotations

import sys

import pytest

from tests.bench.forger import may_forge

MAX_GROWTH = 2 * 1024 * 1024
RATE = 5_000
"""Datagrams a second; `python -m tests.bench flood` sends twenty times as many."""
FLOODS = 3
"""On a busy machine the control may hardly run during one of them."""


@pytest.mark.skipif(
    sys.platform != "linux" or not may_forge(), reason="forged sources need Linux and root"
)
def test_no_forged_datagram_is_answered_or_takes_memory() -> None:
    from tests.bench.flood import measure  # what it imports, Windows lacks

    for _ in range(FLOODS):
        result = measure(3.0, RATE, linking=2)
        assert result.forged > 1000
        assert result.strays == 0
        assert result.longest <= 384
        assert result.growth <= MAX_GROWTH
        assert result.linked is not None
        if result.answered:
            return
    raise AssertionError(f"no honest end is answered during {FLOODS} floods: {result}")
