"""Work that would hold up the loop, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar, cast

from netpunch.errors import lacks_told

T = TypeVar("T")


async def in_thread(function: Callable[[], T], name: str) -> T:
    """What `function` returns or raises; the thread is called `netpunch-` and `name`.

    Not in the loop's executor: the end of the process would wait for what hangs in it (a look-up,
    a dead file system), and work that it found no thread for stays in its queue, to be done at
    some later moment. Cancelled, the thread goes on, and nobody learns what comes of it.

    Raises ResourcesError, and then has done nothing, when no thread can be started."""
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

    with lacks_told():
        threading.Thread(target=run, name=f"netpunch-{name}", daemon=True).start()
    return await future
