from __future__ import annotations

import asyncio
import sys

import pytest
import uvloop

from netpunch.net.loop import loop_factory, run


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
