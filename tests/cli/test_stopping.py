"""netpunch.cli.stopping: a signal cancels, and is what comes back."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from netpunch.cli.stopping import until_stopped
from netpunch.net.loop import run


async def answer() -> int:
    return 42


async def fail() -> int:
    raise LookupError


async def cancel_itself() -> int:
    raise asyncio.CancelledError


def test_work_that_ends_by_itself() -> None:
    assert run(until_stopped(answer())) == 42
    with pytest.raises(LookupError):
        run(until_stopped(fail()))
    with pytest.raises(asyncio.CancelledError):
        run(until_stopped(cancel_itself()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal(number: signal.Signals) -> None:
    cleaned_up = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            cleaned_up.append(True)

    before = signal.getsignal(number)
    assert run(until_stopped(work())) is number
    assert cleaned_up == [True]
    assert signal.getsignal(number) == before
