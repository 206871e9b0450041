"""Which event loop netpunch runs on."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from netpunch.errors import lack_behind, lacks_told

T = TypeVar("T")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]

LOOP_DESCRIPTORS = 12
"""What uvloop opens when it starts to run, with signals and two io_uring rings, and one to import
with. Found missing half-way, libuv aborts the process and uvloop leaves a loop that can neither run
nor be closed."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end, like asyncio.run(), on uvloop where that is installed.

    Raises ResourcesError, before anything of it has run, when a loop cannot be had."""
    try:
        with lacks_told("no event loop"):
            _check_room()
            runner = asyncio.Runner(loop_factory=loop_factory())
            runner.get_loop()
        with runner:
            return runner.run(main)
    finally:
        if inspect.getcoroutinestate(main) == inspect.CORO_CREATED:
            main.close()  # Python would warn that it was never awaited


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


def _check_room() -> None:
    """Raises OSError where a loop would find too few descriptors."""
    with contextlib.ExitStack() as opened:
        for _ in range(LOOP_DESCRIPTORS):
            opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))
