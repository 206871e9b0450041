"""A link in a program's hands beside a plain asyncio datagram endpoint, on loopback.

    python -m tests.bench library [--rounds N] [--count N] [--loop asyncio|uvloop]

Both ends, control and the plain endpoints share a process and a loop; all are measured in turn in
each round. Two kinds of programs are compared with what they would be without netpunch:

- `await`: `link.send` until `link.recv` returns, beside `sendto` of an endpoint until `get` returns
  from the asyncio.Queue that its protocol fills;
- `protocol`: transports of `create_link_endpoint`, beside those of `create_datagram_endpoint`: from
  `sendto` until `datagram_received`.

`time` is that of one datagram that travels alone, `rate` that of datagrams that are sent in bursts
(a link's leave as few messages, a plain endpoint's one by one).
The figures are the best of many short rounds: other work on the machine only adds to them.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import uvloop

import netpunch
from tests.bench.processes import machine

SIZE = 1200
"""Bytes, as QUIC sends."""
BURST = 64
"""Datagrams of this size that any socket's queue has room for."""
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}
PAIR = "bench"


class Queued(asyncio.DatagramProtocol):
    """What a program that awaits datagrams has of asyncio."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.queue.put_nowait(data)


class Counting(asyncio.DatagramProtocol):
    """Tells when as many have arrived as were awaited."""

    def __init__(self) -> None:
        self.missing = 0
        self.done: asyncio.Future[float]

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.missing -= 1
        if not self.missing:
            self.done.set_result(time.perf_counter())

    def expect(self, count: int) -> None:
        self.missing, self.done = count, asyncio.get_running_loop().create_future()


Send = Callable[[bytes], object]


class Awaiting:
    """A subject that awaits each datagram."""

    def __init__(
        self, send: Callable[[bytes], Awaitable[None]], receive: Callable[[], Awaitable[bytes]]
    ) -> None:
        self._send, self._receive = send, receive

    async def time(self, count: int) -> float:
        """Seconds of one alone."""
        data, send, receive = bytes(SIZE), self._send, self._receive
        begun = time.perf_counter()
        for _ in range(count):
            await send(data)
            await receive()
        return (time.perf_counter() - begun) / count

    async def rate(self, count: int) -> float:
        """Datagrams a second."""
        data, send, receive = bytes(SIZE), self._send, self._receive
        begun = time.perf_counter()
        for _ in range(count // BURST):
            for _ in range(BURST):
                await send(data)
            for _ in range(BURST):
                await receive()
        return count // BURST * BURST / (time.perf_counter() - begun)


class Called:
    """A subject whose protocol is called."""

    def __init__(self, send: Send, receiver: Counting) -> None:
        self._send, self._receiver = send, receiver

    async def time(self, count: int) -> float:
        data, receiver, spent = bytes(SIZE), self._receiver, 0.0
        for _ in range(count):
            receiver.expect(1)
            begun = time.perf_counter()
            self._send(data)
            spent += await receiver.done - begun
        return spent / count

    async def rate(self, count: int) -> float:
        data, send, receiver = bytes(SIZE), self._send, self._receiver
        begun = time.perf_counter()
        for _ in range(count // BURST):
            receiver.expect(BURST)
            for _ in range(BURST):
                send(data)
            await receiver.done
        return count // BURST * BURST / (time.perf_counter() - begun)


async def endpoints(stack: AsyncExitStack, factory: Callable[[], Any]) -> tuple[Any, Any]:
    """A transport that sends to a protocol, without netpunch: both are connected."""
    loop = asyncio.get_running_loop()
    far, receiver = await loop.create_datagram_endpoint(factory, local_addr=("127.0.0.1", 0))
    at = far.get_extra_info("sockname")
    near, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=at)
    stack.callback(far.close)
    stack.callback(near.close)
    return near, receiver


async def subjects(stack: AsyncExitStack) -> dict[str, Awaiting | Called]:
    key = netpunch.new_key()
    control = await stack.enter_async_context(
        netpunch.start_control(listen="127.0.0.1:0", pairs={PAIR: netpunch.control_key(key, PAIR)})
    )
    at = str(control.addresses[0])
    how: dict[str, Any] = {"pair": PAIR, "secret": key, "control": at, "local": "127.0.0.1:0"}
    plain, queued = await endpoints(stack, Queued)

    async def send(data: bytes) -> None:
        plain.sendto(data)

    found: dict[str, Awaiting | Called] = {"await, plain": Awaiting(send, queued.queue.get)}
    for name, sealed in (("", False), (", sealed", True)):
        a, b = await asyncio.gather(
            *(
                stack.enter_async_context(netpunch.link(end=end, sealed=sealed, **how))
                for end in "ab"
            )
        )
        found[f"await, link{name}"] = Awaiting(a.send, b.recv)
    transport, receiver = await endpoints(stack, Counting)
    found["protocol, plain"] = Called(transport.sendto, receiver)
    for name, sealed in (("", False), (", sealed", True)):
        (near, _), (far, receiver) = await asyncio.gather(
            *(
                netpunch.create_link_endpoint(Counting, end=end, sealed=sealed, **how)
                for end in "ab"
            )
        )
        stack.callback(near.close)
        stack.callback(far.close)
        found[f"protocol, link{name}"] = Called(near.sendto, receiver)
    return found


async def measure(rounds: int, count: int) -> dict[str, tuple[float, float]]:
    """The shortest time (s) and the highest rate (1/s) by subject."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    rates: defaultdict[str, list[float]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        measured = await subjects(stack)
        for _ in range(rounds):
            for name, subject in measured.items():
                times[name].append(await subject.time(count))
                rates[name].append(await subject.rate(count))
    return {name: (min(times[name]), max(rates[name])) for name in measured}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--count", type=int, default=192, help="datagrams of each measurement")
    parser.add_argument("--loop", choices=LOOPS, action="append")
    arguments = parser.parse_args()
    bytearray(8 << 20)  # freed, it lets the allocator keep the 256 KiB that asyncio receives into
    print(f"{SIZE}-byte datagrams, best of {arguments.rounds} rounds; {machine()}")
    for name in arguments.loop or LOOPS:
        with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
            figures = runner.run(measure(arguments.rounds, arguments.count))
        print(f"{name}:")
        for subject, (alone, rate) in figures.items():
            plain_time, plain_rate = figures[subject.partition(",")[0] + ", plain"]
            print(
                f"  {subject:22} time {alone * 1e6:6.1f} us ({alone / plain_time:4.2f} x)"
                f"  rate {rate:9,.0f} /s ({rate / plain_rate:4.2f} x)"
            )


if __name__ == "__main__":
    main()
