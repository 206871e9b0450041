"""Servers under measurement: each in a process of its own, pinned to a core of its own."""

from __future__ import annotations

import asyncio
import contextlib
import cProfile
import multiprocessing
import os
import pstats
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, cast

from netpunch.api import serve_control
from netpunch.core.classic import control as classic_control
from netpunch.net.listener import RECEIVE_BUFFER
from netpunch.net.loop import loop_factory, run
from tests.bench.machine import resident

SERVER_CORE = 0
GENERATOR_CORE = 1
PROFILE_LINES = 25
ONE_HONEST_IN = 64
"""Datagrams of a flood: the honest ones are answered, which paces the generator."""

Announce = Callable[[int], None]
"""Tells the bound port."""


class Server(NamedTuple):
    """A running server on 127.0.0.1."""

    pid: int
    port: int

    def cpu(self) -> float:
        """Seconds of CPU time, user and system, that it has used."""
        process_clock = (~self.pid << 3) | 2  # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED), Linux
        return time.clock_gettime(process_clock)

    def resident(self) -> int:
        """Bytes of memory that it holds."""
        return resident(self.pid)


def pin(core: int) -> None:
    """This process runs on one core from now on, on whichever there is if there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


@contextlib.contextmanager
def server(serve: Callable[..., None], *arguments: Any) -> Iterator[Server]:
    """Runs `serve(announce, *arguments)` in a process until the block ends."""
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_serve, args=(sender, serve, arguments), daemon=True)
    process.start()
    assert process.pid is not None
    try:
        yield Server(process.pid, receiver.recv())
    finally:
        process.terminate()
        process.join()


def _serve(sender: Connection, serve: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    pin(SERVER_CORE)
    serve(sender.send, *arguments)


# The servers.


class _Echo(asyncio.DatagramProtocol):
    """What a datagram and its answer cost at the very least: no protocol at all."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._send = cast(asyncio.DatagramTransport, transport).sendto

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._send(data, addr)


class _Sink(_Echo):
    """Answers one datagram of so many, as few as are honest in a flood."""

    _count = 0

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._count += 1
        if self._count % ONE_HONEST_IN == 0:
            self._send(data, addr)


def echo(announce: Announce) -> None:
    """A bare uvloop endpoint that answers everything."""
    run(_bare(announce, _Echo))


def sink(announce: Announce) -> None:
    """A bare uvloop endpoint under a flood."""
    run(_bare(announce, _Sink))


async def _bare(announce: Announce, protocol: type[_Echo]) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.bind(("127.0.0.1", 0))
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(protocol, sock=sock)
    announce(sock.getsockname()[1])
    await loop.create_future()


def control(
    announce: Announce,
    pairs: Mapping[str, bytes],
    classic: Mapping[str, bytes],
    profile: bool = False,
    listen: str = "127.0.0.1:0",
) -> None:
    """A control node as programs run it, but that one classic end may ask as often as it can: what
    an answer costs is the question. With `profile` it says in the end where time went."""
    classic_control.ANNOUNCE_BURST = sys.maxsize
    profiler = cProfile.Profile()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        loop = runner.get_loop()

        async def main() -> None:
            task = asyncio.ensure_future(
                serve_control(
                    listen=listen,
                    pairs=pairs,
                    classic=classic,
                    on_ready=lambda addresses: announce(addresses[0].port),
                )
            )
            loop.add_signal_handler(signal.SIGTERM, task.cancel)
            await asyncio.gather(task, return_exceptions=True)

        if profile:
            profiler.enable()
        runner.run(main())
    if profile:
        profiler.disable()
        pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(PROFILE_LINES)
