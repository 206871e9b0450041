"""Runs each test on both event loops, and checks what it leaves open."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}
FILE_DESCRIPTORS = Path("/proc/self/fd")
TIMEOUT = 60.0
"""Seconds after which a test hangs: no test waits for long, but the machine may be loaded."""

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(scope="session", autouse=True)
def _what_loops_open_for_ever() -> None:
    """The first uvloop of a process opens descriptors that stay: these are no leak."""
    for new_loop in LOOPS.values():
        new_loop().close()


@pytest.fixture(scope="module", autouse=True)
def _collects_only_what_is_made_here() -> Iterator[None]:
    """After other tests a process has a million objects: each collection would take as long as
    twenty tests."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on each loop; it must leave no task and no file descriptor."""

    async def watched(main: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(TIMEOUT):
            await main
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def run(main: Coroutine[Any, Any, None]) -> None:
        before = open_descriptors()
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(watched(main))
        assert open_descriptors() == before

    return run


def open_descriptors() -> int:
    """How many there are after garbage collection."""
    gc.collect()
    return count_descriptors()


def count_descriptors() -> int:
    """How many there are now, for loops: a collection takes time."""
    return len(list(FILE_DESCRIPTORS.iterdir())) if FILE_DESCRIPTORS.exists() else 0
