"""The programs that benchmarks measure, each run by `processes.subject` in a process of its own:

    python -P tests/bench/subjects.py NAME <arguments.pickle

PYTHONPATH chooses the checkout of netpunch, which may be an older one. So a subject uses public
names of netpunch only, and where it can't, this file is the one place that knows both spellings.
A subject prints one line when it is ready, and one for each line that it reads afterwards."""

from __future__ import annotations

import asyncio
import cProfile
import ctypes
import itertools
import json
import os
import pickle
import pstats
import signal
import socket
import struct
import sys
import time
from array import array
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from typing import Any, cast

import uvloop

SERVER_CORE = 0
GENERATOR_CORE = 1
RECEIVE_BUFFER = 4 * 1024 * 1024
"""Bytes, of a bare endpoint."""
MSG_WAITFORONE = 0x10000
"""Of recvmmsg(2): waits for the first datagram, takes those that have come with it."""
PROFILE_LINES = 25
ONE_HONEST_IN = 64
"""Datagrams of a flood: the honest ones are answered, which paces the generator."""
PAIRS = [f"bench{number}" for number in range(200)]
"""Linked in turn: a control takes a limited number of announcements at once of one end."""


def pin(core: int) -> None:
    """Keep this process on one core: the only one, if there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """The same until the block ends, for a process that goes on to other things: a test."""
    before = os.sched_getaffinity(0)
    pin(core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def answer(value: object) -> None:
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


# Servers. They answer with their port, and run until SIGTERM.


class _Echo(asyncio.DatagramProtocol):
    """What a datagram and its answer cost at the very least: no protocol at all."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._send = cast(asyncio.DatagramTransport, transport).sendto

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._send(data, addr)


class _Sink(_Echo):
    """Answers one datagram of ONE_HONEST_IN, as many as are honest in a flood."""

    _count = 0

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._count += 1
        if self._count % ONE_HONEST_IN == 0:
            self._send(data, addr)


def echo() -> None:
    """A bare uvloop endpoint that answers everything."""
    pin(SERVER_CORE)
    uvloop.run(_bare(_Echo))


def sink() -> None:
    """A bare uvloop endpoint under a flood."""
    pin(SERVER_CORE)
    uvloop.run(_bare(_Sink))


async def _bare(protocol: type[_Echo]) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.bind(("127.0.0.1", 0))
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(protocol, sock=sock)
    answer(sock.getsockname()[1])
    await loop.create_future()


def system_calls(destinations: Sequence[tuple[str, int]]) -> None:
    """What the system calls of a relay take alone: receives datagrams by recvmmsg(2) and sends each
    on to the next of the destinations by sendmmsg(2), 64 a call, out of headers made once."""
    from netpunch.net.batch import SIZE, Header, Message, Part, send_messages

    pin(SERVER_CORE)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.bind(("127.0.0.1", 0))
    names = [
        socket.AF_INET.to_bytes(2, sys.byteorder)
        + struct.pack("!H4s8x", port, socket.inet_aton(ip))
        for ip, port in destinations
    ]
    every = b"".join(itertools.islice(itertools.cycle(names), len(names) + SIZE))
    step, room = len(names[0]), 2048
    buffers, sources, targets = (bytearray(SIZE * each) for each in (room, step, step))
    parts = (Part * SIZE)()

    def table(places: bytearray) -> ctypes.Array[Message]:
        first, at = (
            ctypes.addressof(ctypes.c_char.from_buffer(each)) for each in (buffers, places)
        )
        messages = (Message * SIZE)()
        for number, message in enumerate(messages):
            parts[number].base, parts[number].length = first + number * room, room
            part = ctypes.addressof(parts[number])
            message.header = Header(at + number * step, step, part, 1)
        return messages

    incoming, outgoing = table(sources), table(targets)
    lengths = memoryview(incoming).cast("B").cast("I")
    lengths = lengths[Message.length.offset // 4 :: ctypes.sizeof(Message) // 4]
    capacities = memoryview(parts).cast("B").cast("L")[1::2]
    rooms = array("L", [room] * SIZE)
    receive = ctypes.CDLL(None, use_errno=True).recvmmsg
    calls = sock.fileno(), ctypes.byref(incoming), SIZE, MSG_WAITFORONE, None
    answer(sock.getsockname()[1])
    turn = 0
    while True:
        capacities[:] = rooms
        count = max(0, receive(*calls))
        capacities[:count] = array("L", lengths[:count].tolist())
        targets[: count * step] = every[turn * step : (turn + count) * step]
        turn = (turn + count) % len(names)
        send_messages(sock.fileno(), ctypes.addressof(outgoing), count)


def control(
    pairs: Mapping[str, bytes],
    classic: Mapping[str, bytes],
    listen: str = "127.0.0.1:0",
    profile: bool = False,
) -> None:
    """A control node as programs run it. With `profile` it ends with a table of where time went."""
    pin(SERVER_CORE)
    if classic:
        _let_a_classic_end_ask_at_any_rate()
    profiler = cProfile.Profile()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if profile:
            profiler.enable()
        runner.run(_serve(pairs, classic, listen))
    if profile:
        profiler.disable()
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(PROFILE_LINES)


async def _serve(pairs: Mapping[str, bytes], classic: Mapping[str, bytes], listen: str) -> None:
    async with _control(listen, pairs, classic) as port:
        answer(port)
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        await stopped.wait()


@asynccontextmanager
async def _control(
    listen: str, pairs: Mapping[str, bytes], classic: Mapping[str, bytes]
) -> AsyncIterator[int]:
    """Its port. Older checkouts have `serve_control` instead."""
    import netpunch

    if hasattr(netpunch, "start_control"):
        async with netpunch.start_control(
            listen=listen, observe=False, pairs=pairs, classic=classic
        ) as control:
            yield control.addresses[0].port
        return
    ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(
        netpunch.serve_control(
            listen=listen, pairs=pairs, classic=classic, on_ready=ready.set_result
        )
    )
    yield (await ready)[0].port
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def control_over_tls(pairs: Mapping[str, bytes]) -> None:
    """A control that takes TLS connections, too. Answers with its UDP and its TCP port."""
    pin(SERVER_CORE)
    uvloop.run(_serve_tls(pairs))


async def _serve_tls(pairs: Mapping[str, bytes]) -> None:
    from netpunch.core.classic.control import ClassicControl
    from netpunch.core.control.control import ControlV2
    from netpunch.core.control.node import ControlNode
    from netpunch.net.listener import Listener, TlsAt
    from netpunch.net.tls_certificate import server_context

    node = ControlNode(ControlV2(pairs, random=os.urandom), ClassicControl({}))
    at = TlsAt("127.0.0.1", 0, server_context())
    listener = Listener(node, [("127.0.0.1", 0)], tls=at)
    listener.open()
    assert listener.tls is not None
    answer([listener.addresses[0].port, listener.tls.local.port])
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    listener.close()


def _let_a_classic_end_ask_at_any_rate() -> None:
    """The question is what an answer costs."""
    try:
        module = import_module("netpunch.core.classic.control")
    except ImportError:
        module = import_module("netpunch.core.classic_control")
    vars(module)["ANNOUNCE_BURST"] = sys.maxsize


# Subjects that measure themselves: each line that they read is a number of rounds.


def rounds() -> Iterator[int]:
    answer("ready")
    return map(int, sys.stdin)


def links() -> None:
    """Answers with the milliseconds that each link took: for the later end, and for both."""
    uvloop.run(_links())


async def _links() -> None:
    from netpunch.wire.keys import control_key

    secret = bytes(range(32))
    keys = {pair: control_key(secret, pair) for pair in PAIRS}
    async with _control("127.0.0.1:0", keys, {}) as port:
        address = f"127.0.0.1:{port}"
        order = itertools.cycle(itertools.product(("ab", "ba"), PAIRS))
        await _one_link(address, secret, *next(order))  # imports and caches are warm afterwards
        for count in rounds():
            links = [await _one_link(address, secret, *o) for o in itertools.islice(order, count)]
            answer(links)


async def _one_link(control: str, secret: bytes, order: str, pair: str) -> tuple[float, float]:
    """Milliseconds from before the later end starts until it reports the link, and both do."""
    import netpunch

    waiting = asyncio.Event()
    linked: list[float] = []

    def watch(seen: object) -> None:
        if isinstance(seen, netpunch.Waiting):
            waiting.set()
        elif isinstance(seen, netpunch.Linked):
            linked.append(time.perf_counter())

    async def punch(end: str) -> None:
        await netpunch.punch(
            pair=pair,
            end=end,
            secret=secret,
            control=control,
            local="127.0.0.1:0",
            protocol="v2",
            observer=watch,
        )

    early = asyncio.ensure_future(punch(order[0]))
    await waiting.wait()
    begun = time.perf_counter()
    await asyncio.gather(early, punch(order[1]))
    first, last = ((moment - begun) * 1000 for moment in linked)
    return first, last


def simulator() -> None:
    """Answers with the CPU seconds of some cells of the matrix of NATs, in so many runs each."""
    from tests.sim import matrix

    cells = [("port-restricted", "port-restricted"), ("open", "hard-random"), 2 * ("hard-step",)]
    for count in rounds():
        begun = time.process_time()
        for a, b in cells:
            matrix.measure(matrix.KINDS[a], matrix.KINDS[b], count)
        answer(time.process_time() - begun)


SUBJECTS = {
    each.__name__: each
    for each in (echo, sink, system_calls, control, control_over_tls, links, simulator)
}

if __name__ == "__main__":
    arguments = pickle.load(sys.stdin.buffer)
    SUBJECTS[sys.argv[1]](*arguments)
