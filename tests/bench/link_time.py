"""How long a link takes on loopback, from before the later end binds until both report it.

    python -m tests.bench.link_time [--rounds N]

Everything is real: sockets, control and both ends, in one process. One end waits, registered;
the clock starts when the other one is told to begin, before it binds its socket.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time

from netpunch.address import Address
from netpunch.api import serve_control
from netpunch.core.events import Event, Waiting
from netpunch.core.settings import ControlAt, EndSettings
from netpunch.net.driver import Datagram
from netpunch.net.loop import run
from netpunch.net.punch import Punch
from netpunch.wire.envelope import EndName
from netpunch.wire.keys import control_key
from tests.bench.machine import machine

PAIR = "bench"


def spec(end: str, control: Address, secret: bytes) -> EndSettings:
    role: EndName = "a" if end == "a" else "b"
    controls = (ControlAt(control.host, control.port),)
    return EndSettings(PAIR, role, secret, controls=controls, local=("127.0.0.1", 0))


async def one_link(control: Address, secret: bytes, late: str) -> tuple[float, float]:
    """Seconds until the later end, and until both, report the link."""
    registered = asyncio.Event()

    def watch(seen: Datagram | Event) -> None:
        if isinstance(seen, Waiting):
            registered.set()

    early = "b" if late == "a" else "a"
    first = Punch(spec(early, control, secret), watch, trace=False)
    second = Punch(spec(late, control, secret), trace=False)
    try:
        await first.open()
        await registered.wait()
        begun = time.perf_counter()
        await second.open()
        await second.linked()
        own = time.perf_counter() - begun
        await first.linked()
        both = time.perf_counter() - begun
    finally:
        await asyncio.gather(first.released(), second.released())
        await asyncio.gather(first.close(), second.close())
    return own, both


async def measure(rounds: int) -> list[tuple[float, float]]:
    secret = os.urandom(32)
    ready: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
    control = asyncio.create_task(
        serve_control(
            listen="127.0.0.1:0",
            pairs={PAIR: control_key(secret, PAIR)},
            on_ready=lambda addresses: ready.set_result(addresses[0]),
        )
    )
    address = await ready
    await one_link(address, secret, "b")  # imports and caches are warm afterwards
    results = [await one_link(address, secret, "ab"[i % 2]) for i in range(rounds)]
    control.cancel()
    await asyncio.gather(control, return_exceptions=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    results = run(measure(rounds))
    print(f"time to link on loopback, {rounds} links; {machine()}")
    for name, column in (("later end", 0), ("both ends", 1)):
        times = sorted(result[column] * 1000 for result in results)
        p95 = times[int(len(times) * 0.95)]
        print(f"  {name}: median {statistics.median(times):.2f} ms, p95 {p95:.2f} ms")


if __name__ == "__main__":
    main()
