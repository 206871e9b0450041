"""netpunch.net.threads: work beside the loop, done now or not at all."""

from __future__ import annotations

import asyncio
import threading

import pytest

from netpunch.errors import ResourcesError
from netpunch.net.threads import in_thread

PATIENCE = 10.0


def test_results_and_errors_come_back() -> None:
    async def main() -> None:
        assert await in_thread(lambda: threading.current_thread().name, "x") == "netpunch-x"
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda: 1 // 0, "x")

    asyncio.run(main())


def test_without_a_thread_nothing_is_done_neither_now_nor_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An executor keeps what it had no thread for, and does it when it gets one."""
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


def test_the_loop_does_not_wait_for_what_nobody_waits_for() -> None:
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
