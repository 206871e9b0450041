from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys
import threading
from collections.abc import Iterator

import pytest
import uvloop

from netpunch.errors import ResourcesError
from netpunch.net.loop import in_thread, loop_factory, run

PATIENCE = 10.0
MANY = 256
"""More descriptors than the tests have open."""


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_run_uses_uvloop() -> None:
    assert isinstance(run(running_loop()), uvloop.Loop)


def test_run_uses_asyncio_where_uvloop_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert isinstance(run(running_loop()), asyncio.SelectorEventLoop)


def test_windows_gets_a_selector_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert loop_factory() is asyncio.SelectorEventLoop


def test_run_raises_what_the_coroutine_raises() -> None:
    async def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run(fail())


def test_run_without_descriptors_for_a_loop_starts_nothing() -> None:
    """At any limit, though uvloop aborts or breaks the process if descriptors run out half-way."""
    verdicts = []
    for room in range(25):
        with only_free_descriptors(room), contextlib.suppress(ResourcesError):
            assert isinstance(run(running_loop()), uvloop.Loop)
            verdicts.append(room)
    assert verdicts == list(range(verdicts[0], 25)), "from some limit on it works"
    assert verdicts[0] > 2


@contextlib.contextmanager
def only_free_descriptors(count: int) -> Iterator[None]:
    """The process can open only so many more descriptors."""
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


def test_in_thread_returns_results_and_raises_errors() -> None:
    async def main() -> None:
        assert await in_thread(lambda: threading.current_thread().name, "x") == "netpunch-x"
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda: 1 // 0, "x")

    asyncio.run(main())


def test_in_thread_does_nothing_if_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An executor would keep the work, and do it once it gets a thread."""
    done: list[str] = []

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(ResourcesError, match="TasksMax="):
                await in_thread(lambda: done.append("stale"), "x")
        await in_thread(lambda: done.append("new"), "x")

    asyncio.run(main())
    assert done == ["new"]


def test_the_loop_ends_before_a_thread_whose_caller_was_cancelled() -> None:
    begun, released, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        released.wait(PATIENCE)
        ended.set()

    async def main() -> None:
        task = asyncio.create_task(in_thread(work, "x"))
        await asyncio.to_thread(begun.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not ended.is_set(), "the loop has ended before"
    released.set()
    assert ended.wait(PATIENCE)
