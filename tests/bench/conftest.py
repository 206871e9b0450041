"""Benchmarks set up the process that runs them; a test must not leave that to those after it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _keeps_to_no_core() -> Iterator[None]:
    """All tests that follow, and their processes, would share the one core."""
    if sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    yield
    assert os.sched_getaffinity(0) == before
