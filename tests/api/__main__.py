"""Many links of the library's calls, one after the other and some at a time, on loopback.

    python -m tests.api first [--count 1000] [--loop asyncio|uvloop]
    python -m tests.api cancel [--count 1000] [--loop asyncio|uvloop]

`first`: both ends link, one of them begins later, and each sends at the moment it is linked; one
waits before it receives. Every first datagram must arrive.
`cancel`: tasks that link, send, receive and close are cancelled at random moments. No task, socket
or descriptor may be left, and the next link must work.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from contextlib import AbstractAsyncContextManager

import netpunch
from netpunch import Address, NetpunchError
from netpunch.wire.keys import control_key
from tests.net.conftest import LOOPS, open_descriptors
from tests.net.nodes import LOCAL, SECRET

AT_ONCE = 10
"""Pairs that link at a time: some are slowed down by the others."""
LONGEST = 0.1
"""Seconds that linking, a datagram each way and closing take at most, mostly."""
LATEST = 0.02
"""Seconds by which the second end begins later, at most."""


def pair_name(number: int) -> str:
    return f"p{number}"


def serving(pairs: int) -> AbstractAsyncContextManager[netpunch.Control]:
    """A control with so many pairs: one for each link, as it bounds how often one pair links."""
    names = [pair_name(number) for number in range(pairs)]
    return netpunch.start_control(
        listen=LOCAL, pairs={name: control_key(SECRET, name) for name in names}
    )


async def one_end(
    pair: str, end: str, at: Address, *, sealed: bool, later: float = 0.0, idle: float = 0.0
) -> bytes:
    """Begins `later`, and receives after having been `idle`; returns the first datagram."""
    await asyncio.sleep(later)
    async with netpunch.link(
        pair=pair, end=end, secret=SECRET, control=str(at), local=LOCAL, sealed=sealed
    ) as link:
        await link.send(f"first of {pair} {end}".encode())
        await asyncio.sleep(idle)
        async with asyncio.timeout(5.0):
            return await link.recv()


async def first_datagrams(count: int) -> int:
    """Returns how many of the first datagrams of `count` links arrived."""
    moments = random.Random(1)
    arrived = 0

    async def link(number: int, *, sealed: bool) -> int:
        pair = pair_name(number)
        late = moments.uniform(0, LATEST)
        later = moments.choice([(0.0, late), (late, 0.0)])
        idle = [moments.uniform(0, LATEST) for _ in "ab"]
        ends = [
            one_end(pair, end, at, sealed=sealed, later=later[n], idle=idle[n])
            for n, end in enumerate("ab")
        ]
        found = await asyncio.gather(*ends, return_exceptions=True)
        expected = [f"first of {pair} {partner}".encode() for partner in "ba"]
        return sum(got == wanted for got, wanted in zip(found, expected, strict=True))

    async with serving(count) as control:
        (at,) = control.addresses
        for begun in range(0, count, AT_ONCE):
            some = range(begun, min(begun + AT_ONCE, count))
            links = (link(number, sealed=bool(number % 2)) for number in some)
            arrived += sum(await asyncio.gather(*links))
    return arrived


async def cancellations(count: int) -> tuple[int, int]:
    """Cancels `count` tasks at random moments; returns how many tasks and descriptors are left."""
    moments = random.Random(2)

    async def cancelled(number: int) -> None:
        ends = [
            asyncio.create_task(one_end(pair_name(number), end, at, sealed=bool(number % 2)))
            for end in "ab"
        ]
        for task in ends:
            await asyncio.sleep(moments.uniform(0, LONGEST))
            task.cancel()
            if moments.random() < 0.2:
                await asyncio.sleep(moments.uniform(0, LONGEST / 10))
                task.cancel()  # also while it closes
        for result in await asyncio.gather(*ends, return_exceptions=True):
            if not isinstance(result, bytes | asyncio.CancelledError | NetpunchError):
                assert isinstance(result, TimeoutError), result  # the partner was cancelled

    pairs = count // 2
    async with serving(pairs + 2) as control:
        (at,) = control.addresses
        await cancelled(pairs)
        tasks, descriptors = asyncio.all_tasks(), open_descriptors()
        for begun in range(0, pairs, AT_ONCE):
            some = range(begun, min(begun + AT_ONCE, pairs))
            await asyncio.gather(*(cancelled(number) for number in some))
        left = len(asyncio.all_tasks() - tasks), open_descriptors() - descriptors
        last = pair_name(pairs + 1)
        for received in await asyncio.gather(
            *(one_end(last, end, at, sealed=True) for end in "ab")
        ):
            assert received
    return left


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["first", "cancel"])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--loop", choices=LOOPS, action="append")
    arguments = parser.parse_args()
    for name in arguments.loop or LOOPS:
        begun = time.monotonic()
        with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
            if arguments.what == "first":
                arrived = runner.run(first_datagrams(arguments.count))
                found = f"{arrived} of {2 * arguments.count} first datagrams arrived"
            else:
                tasks, descriptors = runner.run(cancellations(arguments.count))
                found = (
                    f"{arguments.count} cancelled: {tasks} tasks, {descriptors} descriptors left"
                )
        print(f"{name}: {found} ({time.monotonic() - begun:.0f} s)")


if __name__ == "__main__":
    main()
