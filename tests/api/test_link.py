"""netpunch.link on real sockets, on both event loops."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

import netpunch
from netpunch import Address, HeldLink
from tests.api.__main__ import cancellations, first_datagrams
from tests.net.conftest import Run
from tests.net.nodes import LOCAL, PAIR, SECRET, control

by_seal = pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "unsealed"])


def end(name: str, at: Address, **more: Any) -> AbstractAsyncContextManager[HeldLink]:
    how: dict[str, Any] = {"pair": PAIR, "secret": SECRET, "control": str(at), "local": LOCAL}
    return netpunch.link(end=name, **how | more)


@by_seal
def test_what_either_end_sends_the_other_receives(run: Run, sealed: bool) -> None:
    async def one(name: str, at: Address) -> list[bytes]:
        async with end(name, at, sealed=sealed) as link:
            await link.send(b"from " + name.encode())
            await link.send(bytearray(b"then"))
            return [await link.recv(), await link.recv()]

    async def main() -> None:
        async with control() as at:
            a, b = await asyncio.gather(one("a", at), one("b", at))
        assert a == [b"from b", b"then"]
        assert b == [b"from a", b"then"]

    run(main())


def test_iterating_ends_when_the_partner_has_closed_the_link(run: Run) -> None:
    async def sender(at: Address) -> None:
        async with end("a", at) as link:
            await link.send(b"1")
            await link.send(b"2")

    async def receiver(at: Address) -> list[bytes]:
        async with end("b", at) as link:
            received = [each async for each in link]
            assert (await link.closed).reason == "partner_stopped"
            assert link.closed
            with pytest.raises(netpunch.LinkClosedError, match="the partner has ended it"):
                await link.send(b"3")
        return received

    async def main() -> None:
        async with control() as at:
            _, received = await asyncio.gather(sender(at), receiver(at))
        assert received == [b"1", b"2"]

    run(main())


def test_nothing_is_lost_between_link_and_first_datagram(run: Run) -> None:
    async def main() -> None:
        assert await first_datagrams(20) == 40

    run(main())


def test_cancelled_at_any_moment_it_leaves_nothing_open(run: Run) -> None:
    async def main() -> None:
        assert await cancellations(40) == (0, 0)

    run(main())
