"""The event loop that netpunch runs on, and threads for work that would block it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from netpunch.errors import UsageError, lack_behind, resource_errors

T = TypeVar("T")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]

LOOP_DESCRIPTORS = 12
"""Descriptors that uvloop opens when it starts, with signals and two io_uring rings, and one to
import with. If they run out half-way, libuv aborts the process, and uvloop leaves a loop that can
neither run nor be closed."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, like asyncio.run(), on uvloop where that is installed.

    Raises UsageError if `main` is no coroutine or a loop runs already, and ResourcesError, before
    the coroutine starts, if there can be no loop."""
    if not isinstance(main, Coroutine):
        got = type(main).__name__
        raise UsageError(f"main: expected a coroutine, as the call of a function is, got {got}")
    try:
        if _runs_already():
            raise UsageError("main: an event loop runs already: await the coroutine instead")
        with resource_errors("no event loop"):
            _check_room()
            runner = asyncio.Runner(loop_factory=loop_factory())
            runner.get_loop()
        with runner:
            return runner.run(main)
    finally:
        if inspect.getcoroutinestate(main) == inspect.CORO_CREATED:
            main.close()  # Python would warn that it was never awaited


async def in_thread(function: Callable[[], T], name: str) -> T:
    """Run `function` in a thread of its own, called `netpunch-` and `name`; return or raise what it
    does. After a cancellation the thread goes on, and its result is lost.

    The loop's executor won't do: the process would not end while something hangs in it (a lookup,
    a dead file system), and it queues work that it finds no thread for, to be done much later.

    Raises ResourcesError if no thread can be started; then nothing was done."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return  # cancelled
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast(T, result))

    def run() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = function()
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, result, failure)

    with resource_errors():
        threading.Thread(target=run, name=f"netpunch-{name}", daemon=True).start()
    return await future


def loop_factory() -> LoopFactory:
    """uvloop's, else asyncio's selector loop: the driver needs `add_reader`, which the default
    loop of Windows lacks."""
    if sys.platform != "win32":
        try:
            import uvloop
        except ImportError as error:
            if lack := lack_behind(error):
                raise lack from error
        else:
            return uvloop.new_event_loop
    return asyncio.SelectorEventLoop


def _runs_already() -> bool:
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        return True
    return False


def _check_room() -> None:
    """Raises OSError if a loop would find too few descriptors."""
    with contextlib.ExitStack() as opened:
        for _ in range(LOOP_DESCRIPTORS):
            opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))
