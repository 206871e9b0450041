"""A short run of the benchmark: idle connections stay small, and attacks leave UDP alone."""

from __future__ import annotations

import sys

import pytest

LARGEST = 50 * 1024
"""Bytes that an idle connection may take."""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_idle_connections_are_small_and_attacks_on_tls_leave_udp_alone() -> None:
    from tests.bench.tls import control, measure_attack, measure_costs

    with control() as running:
        costs = measure_costs(running, 300)
        assert costs.idle <= LARGEST
        assert costs.used <= LARGEST
    with control() as running:
        result = measure_attack(running, 3.0, linking=5)
        assert result.connections > 100
        assert result.answered == result.announced
        assert result.linked is not None
