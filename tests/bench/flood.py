"""A control node under a flood of forged datagrams: what honest ends notice of it.

    python -m tests.bench flood [--seconds N] [--rate N]

Root, Linux. The flood comes from a million addresses of 127.0.0.0/8 and stays on loopback. It and
the honest ends share one core, the control has the other. Meanwhile a hundred ends wait,
announcing themselves each second (once more after 0.2 s, as often as it takes), and fifty new
pairs begin to link one second after the flood has begun.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from netpunch.api.punch import punch
from netpunch.errors import NetpunchError
from netpunch.net.loop import run
from netpunch.wire import v2
from netpunch.wire.envelope import CONTROL_DATAGRAM
from netpunch.wire.keys import pair_tag
from tests.bench.forger import forge
from tests.bench.processes import Server, machine, server
from tests.bench.questions import CLASSIC, PAIRS, SECRET, Announcer
from tests.bench.subjects import GENERATOR_CORE, control, pinned

RATE = 110_000
WAITING = 100
LINKING = 50
INTERVAL = 1.0
"""Seconds between the announcements of an end, each of which is to be answered within as many."""
RETRY = 0.2
HEAD_START = 1.0
"""Seconds of flood before the new pairs begin."""
LINK_DEADLINE = 30.0


class Result(NamedTuple):
    """`growth` in bytes, `linked` in seconds (None: not all), `kernel_drops` datagrams that found
    the receive buffer full."""

    forged: int
    rate: float
    announced: int
    answered: int
    linked: float | None
    growth: int
    strays: int
    longest: int
    kernel_drops: int
    busy: float


class Waiter(asyncio.DatagramProtocol):
    """Honest ends that wait, on one socket."""

    def __init__(self, names: list[str]) -> None:
        self.voices = {pair_tag(name): Announcer(name) for name in names}
        self.due: set[bytes] = set()
        """Ends whose announcement is not answered yet."""
        self.announced = self.answered = self.longest = 0

    def datagram_received(self, data: bytes, addr: object) -> None:
        tag = data[2:10]
        self.longest = max(self.longest, len(data))
        if tag in self.due and isinstance(self.voices[tag].take(data), v2.Waiting):
            self.due.remove(tag)
            self.answered += 1

    async def announce(self, transport: asyncio.DatagramTransport) -> None:
        """Announce all of them once; returns when the next round is due."""
        self.due = set(self.voices)
        self.announced += len(self.due)
        for _ in range(round(INTERVAL / RETRY)):
            for tag in self.due:
                transport.sendto(self.voices[tag].announcement())
            await asyncio.sleep(RETRY)


async def link(name: str, address: str) -> None:
    """A new pair, both ends."""
    await asyncio.gather(
        *(
            punch(
                pair=name,
                end=end,
                secret=SECRET,
                control=address,
                local="127.0.0.1:0",
                candidates=["observed"],
                deadline=LINK_DEADLINE,
            )
            for end in "ab"
        )
    )


async def link_all(names: list[str], address: str) -> float | None:
    """Seconds until all are linked; None if some are not."""
    await asyncio.sleep(HEAD_START)
    begun = time.perf_counter()
    try:
        await asyncio.gather(*(link(name, address) for name in names))
    except NetpunchError:
        return None
    return time.perf_counter() - begun


async def honest(waiter: Waiter, target: Server, seconds: float, linking: int) -> float | None:
    """Link new pairs during the flood; how long that took."""
    loop = asyncio.get_running_loop()
    remote = ("127.0.0.1", target.port)
    transport, _ = await loop.create_datagram_endpoint(lambda: waiter, remote_addr=remote)
    begun = time.perf_counter()
    names = list(PAIRS)[WAITING : WAITING + linking]
    links = asyncio.create_task(link_all(names, f"127.0.0.1:{target.port}"))
    while time.perf_counter() - begun < seconds - INTERVAL:
        await waiter.announce(transport)
    transport.close()
    return await links


@contextlib.contextmanager
def stray_answers() -> Iterator[socket.socket]:
    """Receives what is sent to the port of the forged sources, at any address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 0))
        sock.setblocking(False)
        yield sock


def count(sock: socket.socket) -> int:
    received = 0
    with contextlib.suppress(BlockingIOError):
        while sock.recv(1):
            received += 1
    return received


def kernel_drops(port: int) -> int:
    """Of the socket on that port, from /proc/net/udp: the last column."""
    rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return sum(int(row[-1]) for row in rows if row[1].endswith(f":{port:04X}"))


def measure(seconds: float, rate: int, linking: int = LINKING) -> Result:
    spawn = multiprocessing.get_context("spawn")
    names = list(PAIRS)[:WAITING]
    waiter = Waiter(names)
    with (
        server(control, PAIRS, CLASSIC) as target,
        stray_answers() as strays,
        pinned(GENERATOR_CORE),
    ):
        run(honest(waiter, target, 2 * INTERVAL, 0))  # everybody is registered afterwards
        waiter.announced = waiter.answered = 0
        before, cpu = target.resident(), target.cpu()
        done, tell = spawn.Pipe(duplex=False)
        tags = [pair_tag(name) for name in names]
        source_port = strays.getsockname()[1]
        flood = spawn.Process(
            target=forge, args=(tell, tags, source_port, target.port, rate, seconds)
        )
        flood.start()
        linked = run(honest(waiter, target, seconds, linking))
        forged, elapsed = done.recv()
        flood.join()
        return Result(
            forged,
            forged / elapsed,
            waiter.announced,
            waiter.answered,
            linked,
            target.resident() - before,
            count(strays),
            waiter.longest,
            kernel_drops(target.port),
            (target.cpu() - cpu) / elapsed,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=RATE)
    arguments = parser.parse_args()
    result = measure(arguments.seconds, arguments.rate)
    linked = "not all" if result.linked is None else f"all within {result.linked:.2f} s"
    share = result.answered / result.announced
    print(f"control under a flood of {arguments.seconds:.0f} s; {machine()}")
    print(f"  forged: {result.forged:,} datagrams, {result.rate:,.0f} a second")
    print(f"  honest announcements answered: {result.answered} of {result.announced} ({share:.1%})")
    print(f"  {LINKING} new pairs linked: {linked}")
    print(f"  memory growth: {result.growth / 1024:.0f} KiB")
    print(f"  answers to forged sources: {result.strays}")
    print(f"  longest answer: {result.longest} bytes, to questions of {CONTROL_DATAGRAM}")
    print(f"  dropped by a full receive buffer: {result.kernel_drops:,}")
    print(f"  CPU of the control: {result.busy:.0%} of its core")


if __name__ == "__main__":
    main()
