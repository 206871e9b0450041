"""Many links held in real time for a moment: `python -m tests.bench hold` does so for minutes."""

from __future__ import annotations

import os

from tests.bench.hold import hold
from tests.node.children import needs_proc

PAIRS = 50
SECONDS = float(os.environ.get("NETPUNCH_HOLD_SECONDS") or (20 if os.environ.get("CI") else 8))


@needs_proc
def test_many_held_links_take_no_more_memory_threads_or_descriptors_over_time() -> None:
    for name, result in hold(PAIRS, SECONDS).items():
        assert result.problems == [], f"{name}: {result}"
        assert name == "control" or result.links > PAIRS, "something happened"
