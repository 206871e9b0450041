from __future__ import annotations

import asyncio
from typing import Any

import pytest

from netpunch.node.waiting import first, outlast
from tests.node.children import Run, on_both_loops

pytestmark = on_both_loops


def test_outlast_gives_the_result(run: Run[Any]) -> None:
    async def main() -> None:
        assert await outlast(asyncio.ensure_future(asyncio.sleep(0, "slept"))) == "slept"

    run(main())


@pytest.mark.parametrize("cancelled", [True, False])
def test_what_is_outlasted_fails(run: Run[Any], cancelled: bool) -> None:
    async def main() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        outlasting = asyncio.create_task(outlast(future))
        await asyncio.sleep(0)
        if cancelled:
            outlasting.cancel()
            await asyncio.sleep(0)
        future.set_exception(ZeroDivisionError())
        with pytest.raises(asyncio.CancelledError if cancelled else ZeroDivisionError):
            await outlasting
        assert isinstance(future.exception(), ZeroDivisionError)

    run(main())


def test_outlast_cancelled_again_and_again(run: Run[Any]) -> None:
    async def main() -> None:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        outlasting = asyncio.create_task(outlast(future))
        for _ in range(3):
            await asyncio.sleep(0)
            outlasting.cancel()
            await asyncio.sleep(0)
            assert not outlasting.done()
        future.set_result("done")
        with pytest.raises(asyncio.CancelledError):
            await outlasting
        assert future.result() == "done"

    run(main())


def test_the_first_ends_the_others(run: Run[Any]) -> None:
    ended: list[str] = []

    async def for_ever() -> str:
        try:
            await asyncio.Event().wait()
            return "never"
        finally:
            ended.append("cancelled")

    async def main() -> None:
        assert await first([for_ever(), asyncio.sleep(0, "first"), for_ever()]) == "first"
        assert ended == ["cancelled"] * 2

    run(main())
