"""What the bindings of a relay take, in every test run."""

from __future__ import annotations

import multiprocessing

from tests.bench.relay import bind_all
from tests.node.children import needs_proc

PAIRS = 1000
MOST = 2 * 1.024 * 1.1
"""MiB: 20 for ten times as many, and a tenth for the measure."""


@needs_proc
def test_bound_pairs_take_two_kibibytes_each() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as process:
        _, bound = process.apply(bind_all, (PAIRS,))
    assert bound <= MOST
