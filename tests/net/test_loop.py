from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys
from collections.abc import Iterator

import pytest
import uvloop

from netpunch.errors import ResourcesError
from netpunch.net.loop import loop_factory, run

MANY = 256
"""More descriptors than the tests have open."""


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_runs_on_uvloop() -> None:
    assert isinstance(run(running_loop()), uvloop.Loop)


def test_runs_on_asyncio_where_uvloop_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert isinstance(run(running_loop()), asyncio.SelectorEventLoop)


def test_windows_gets_a_loop_that_can_watch_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert loop_factory() is asyncio.SelectorEventLoop


def test_exceptions_pass() -> None:
    async def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run(fail())


def test_without_room_for_a_loop_nothing_is_begun() -> None:
    """At no limit, though uvloop, short of descriptors half-way, aborts or breaks the process."""
    verdicts = []
    for room in range(25):
        with only_free_descriptors(room), contextlib.suppress(ResourcesError):
            assert isinstance(run(running_loop()), uvloop.Loop)
            verdicts.append(room)
    assert verdicts == list(range(verdicts[0], 25)), "from some limit on it works"
    assert verdicts[0] > 2


@contextlib.contextmanager
def only_free_descriptors(count: int) -> Iterator[None]:
    """So many can be opened, and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fillers: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (MANY, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.dup(0))
        for _ in range(count):
            os.close(fillers.pop())
        yield
    finally:
        for filler in fillers:
            os.close(filler)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
