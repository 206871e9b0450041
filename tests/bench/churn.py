"""Pairs that come and go at a control while others link, hold their links, wait and are relayed.

    python -m tests.bench churn [--pairs 1000]

A control and all ends in one process, with real sockets on loopback. Each pair is added and
removed; a tenth of them link in between. All along

- other pairs link, one after another: each must, and the time is shown beside that without churn;
- a held link and a relayed one carry a datagram for each pair that comes: none may be lost;
- an end waits for its partner: control must not hear of it anew, or lose it.

Whatever of that goes wrong is counted as disturbed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import time
from collections import deque
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import netpunch
from netpunch import Control, Moved, NetpunchError
from netpunch.wire.envelope import EndName
from tests.core.control.relaying import Binder
from tests.core.v2_pair import CONTROL_KEY, PAIR, Voice, read
from tests.net.machines import Client, client
from tests.net.nodes import LOCAL, Watcher

SERVED_AT_ONCE = 50
"""Pairs that have come before the first of them goes."""
LINKS_ONE_IN = 10
"""Of the pairs that come."""
OTHERS = [f"other-{number}" for number in range(512)]
"""Linked in turn: what a control sends to a host because of one pair is limited, until that host
has proved itself."""
LINKS_AT_ONCE = 8
CALM_ROUNDS = 4
"""So many of these before the churn, to compare with."""
LATE = 5.0
"""Seconds after which a link or a datagram on loopback counts as disturbed."""
SECRET = bytes(range(32))
RELAYED, HELD, WAITING = PAIR, "held", "waiting"


class Result(NamedTuple):
    """`calm` and `churned` are the seconds that each link of the others took; `carried` counts
    datagrams."""

    pairs: int
    calm: list[float]
    churned: list[float]
    carried: int
    disturbed: list[str]


class Network:
    """A control, and those that must not notice what comes and goes there."""

    def __init__(self, control: Control, a: Client, b: Client) -> None:
        self.control = control
        self.carried = 0
        self.disturbed: list[str] = []
        self._a, self._b = a, b

    async def link(self, pair: str) -> float:
        """Both ends; the seconds that they took."""
        begun = time.perf_counter()
        how: dict[str, Any] = {
            "secret": SECRET,
            "control": str(self.control.addresses[0]),
            "local": LOCAL,
        }
        ends = (netpunch.punch(pair=pair, end=end, deadline=LATE, **how) for end in "ab")
        await self.undisturbed(f"link of {pair}", asyncio.gather(*ends))
        return time.perf_counter() - begun

    async def bind(self) -> None:
        """Both ends of RELAYED at the relay."""
        ends: dict[EndName, Client] = {"a": self._a, "b": self._b}
        for name, end in ends.items():
            voice = Voice(name, end.address, b"attempt" + name.encode())
            binder = Binder(name, voice.attempt, end.address)
            for _ in range(2):
                answer, _ = await end.ask(voice.announcement(), self.control.addresses[0])
                voice.cookie = getattr(read(answer), "cookie", voice.cookie)
            for _ in range(2):
                answer, _ = await end.ask(binder.message(), self.control.relay_addresses[0])
                binder.cookie = getattr(read(answer), "cookie", binder.cookie)

    async def carry(self, number: int, a: netpunch.HeldLink, b: netpunch.HeldLink) -> None:
        """One datagram by the relay, and one by the held link."""
        data = b"%d" % number
        self._a.send(data, self.control.relay_addresses[0])
        await self.undisturbed("relayed datagram", self._relayed(data))
        await a.send(data)
        await self.undisturbed("datagram of the held link", b.recv())
        self.carried += 2

    async def _relayed(self, data: bytes) -> None:
        while (await self._b.receive())[0] != data:  # what control says may come in between
            pass

    async def undisturbed(self, what: str, done: Awaitable[object]) -> None:
        try:
            await asyncio.wait_for(done, LATE)
        except (NetpunchError, TimeoutError) as error:
            self.disturbed.append(f"{what}: {error!r}")


async def churn(pairs: int) -> Result:
    others: dict[str, bytes | str] = {
        name: netpunch.control_key(SECRET, name) for name in (*OTHERS, HELD, WAITING)
    }
    others[RELAYED] = CONTROL_KEY
    watcher = Watcher()
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(
            netpunch.start_control(
                listen=LOCAL, observe=False, relay=LOCAL, pairs=others, on_event=watcher
            )
        )
        network = Network(control, stack.enter_context(client()), stack.enter_context(client()))
        at = str(control.addresses[0])
        moved: list[Moved] = []
        a, b = await asyncio.gather(
            *(
                stack.enter_async_context(
                    netpunch.link(pair=HELD, end=end, secret=SECRET, control=at, local=LOCAL)
                )
                for end in "ab"
            )
        )
        a.on_moved(moved.append)
        b.on_moved(moved.append)
        waiting = asyncio.ensure_future(
            netpunch.punch(
                pair=WAITING, end="a", secret=SECRET, control=at, local=LOCAL, deadline=None
            )
        )
        await watcher.wait_for(netpunch.Registered, pair=WAITING)
        await network.bind()
        turns = itertools.cycle(OTHERS)

        async def several() -> list[float]:
            return await asyncio.gather(*(network.link(next(turns)) for _ in range(LINKS_AT_ONCE)))

        calm = [each for _ in range(CALM_ROUNDS) for each in await several()]
        coming = asyncio.ensure_future(_come_and_go(network, pairs, a, b))
        churned: list[float] = []
        while not coming.done():
            churned += await several()
        await coming
        heard = [event for event in watcher.events if getattr(event, "pair", "") == WAITING]
        network.disturbed += [f"waiting end: {event!r}" for event in heard[1:]]
        network.disturbed += [f"held link: {event!r}" for event in moved]
        if waiting.done():
            network.disturbed.append("the waiting end has given up")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    return Result(pairs, calm, churned, network.carried, network.disturbed)


async def _come_and_go(
    network: Network, pairs: int, a: netpunch.HeldLink, b: netpunch.HeldLink
) -> None:
    control, served = network.control, deque[str]()
    for number in range(pairs):
        served.append(f"guest-{number}")
        control.add_pair(served[-1], netpunch.control_key(SECRET, served[-1]))
        if number % LINKS_ONE_IN == 0:
            await network.link(served[-1])
        if len(served) > SERVED_AT_ONCE:
            control.remove_pair(served.popleft())
        await network.carry(number, a, b)
    while served:
        control.remove_pair(served.popleft())
        await asyncio.sleep(0)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench churn",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pairs", type=int, default=1000)
    result = netpunch.run(churn(parser.parse_args().pairs))
    print(f"{result.pairs} pairs were added and removed, {result.pairs // LINKS_ONE_IN} linked")
    print(f"meanwhile {len(result.churned)} others linked, {result.carried} datagrams were carried")
    for name in ("calm", "churned"):
        times = [1000 * each for each in getattr(result, name)]
        last = statistics.quantiles(times, n=100)[94]
        print(f"{name:8} median {statistics.median(times):6.1f} ms, p95 {last:6.1f} ms to link")
    print(f"disturbed: {len(result.disturbed)}")
    for each in result.disturbed[:10]:
        print(f"  {each}")


if __name__ == "__main__":
    main()
