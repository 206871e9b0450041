"""A control that takes TLS connections: what they cost, and what UDP notices of attacks on them.

    python -m tests.bench tls [--connections N] [--seconds N] [--flood RATE]

Linux; loopback alone. First N ends connect, register and then only announce themselves: memory of
each. Then one of them sends datagrams of a program: CPU for each. Then attackers connect from many
addresses of 127.0.0.0/8 as fast as they can: some never finish the handshake, some drip bytes, some
send garbage, some finish it and say nothing. Meanwhile a hundred ends wait on UDP and fifty new
pairs begin to link, as in the benchmark `flood`; with --flood forged datagrams come at that rate,
too, as there (which needs root).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import multiprocessing
import os
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from typing import NamedTuple

from netpunch.net.loop import run
from netpunch.wire import v2
from netpunch.wire.keys import KEY_LENGTH
from tests.bench.flood import INTERVAL, LINKING, WAITING, Waiter, honest
from tests.bench.forger import forge
from tests.bench.processes import Server, Subject, machine, subject
from tests.bench.questions import PAIRS, Announcer
from tests.bench.subjects import GENERATOR_CORE, control_over_tls, pin, pinned

HOST_SHARE = 50
"""Connections from one address: fewer than a control allows."""
DATAGRAMS, SIZE = 50_000, 1200
WARM = 10
"""Connections before memory is measured."""
ATTACKERS = 200
"""Connections that each attack has open at any time."""
DRIP = 0.5
"""Seconds between two bytes of a slow attacker."""


OWN_PAIRS = {f"tls{number}": os.urandom(KEY_LENGTH) for number in range(10_000)}
"""Of each, one end connects."""


def sources(first: int) -> Iterator[str]:
    """Addresses of loopback, each as often as a control allows."""
    for number in itertools.count(first << 16):
        for _ in range(HOST_SHARE):
            yield f"127.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class End:
    """A registered end over TLS, on plain sockets: it is not what is measured."""

    def __init__(self, port: int, source: str, voice: Announcer, context: ssl.SSLContext) -> None:
        raw = socket.create_connection(("127.0.0.1", port), source_address=(source, 0))
        self.sock = context.wrap_socket(raw)
        self.voice = voice
        self.announce()
        self.announce()

    def announce(self) -> None:
        """On a busy machine it may have been silent for so long that it has to prove itself."""
        answer = None
        while not isinstance(answer, v2.Waiting):
            self.send(self.voice.announcement())
            length = int.from_bytes(self.read(2), "big")
            answer = self.voice.take(self.read(length))

    def send(self, *datagrams: bytes) -> None:
        self.sock.sendall(b"".join(len(each).to_bytes(2, "big") + each for each in datagrams))

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.sock.recv(size - len(data))
        return data


class Costs(NamedTuple):
    """Bytes a connection, then after it has carried datagrams; CPU seconds for a connection with
    its first two announcements, an announcement, and a program's datagram."""

    idle: float
    used: float
    connecting: float
    announcement: float
    datagram: float


def measure_costs(control: Subject, connections: int) -> Costs:
    _, port = control.ready
    target = Server(control.pid, port)
    context = any_certificate()
    voices = (Announcer(name, key=key) for name, key in OWN_PAIRS.items())
    warm = [End(port, "127.0.0.2", next(voices), context) for _ in range(WARM)]
    before, cpu = target.resident(), target.cpu()
    ends = [
        End(port, source, voice, context)
        for source, voice in zip(itertools.islice(sources(1), connections), voices, strict=False)
    ]
    connecting = (target.cpu() - cpu) / connections
    idle = (target.resident() - before) / connections
    cpu = target.cpu()
    rounds = 5
    for _ in range(rounds):
        for end in ends:
            end.announce()
    announcement = (target.cpu() - cpu) / connections / rounds
    cpu = target.cpu()
    for _ in range(DATAGRAMS // 100):
        warm[0].send(*[bytes(SIZE)] * 100)
    warm[0].announce()
    datagram = (target.cpu() - cpu) / DATAGRAMS
    for end in ends:
        end.send(*[bytes(SIZE)] * 20)
        end.announce()
    used = (target.resident() - before) / connections
    for end in (*ends, *warm):
        end.sock.close()
    return Costs(idle, used, connecting, announcement, datagram)


# Attacks. Each holds ATTACKERS connections, and makes new ones as fast as it can.


async def unfinished(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begins a handshake and says nothing more."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        any_certificate().wrap_bio(incoming, outgoing).do_handshake()
    writer.write(outgoing.read())
    await reader.read()


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte now and then."""
    for byte in b"\x16\x03\x01\x40" + bytes(1000):
        writer.write(bytes((byte,)))
        await asyncio.sleep(DRIP)


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x80" * 4096)
    await reader.read()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Finishes the handshake."""
    await writer.start_tls(any_certificate())
    await reader.read()


ATTACKS = (unfinished, dripping, garbage, silent)


async def attack(port: int, seconds: float) -> int:
    """Returns how many connections were made."""
    made = 0
    places = [sources(2 + number) for number in range(len(ATTACKS))]

    async def one(number: int) -> None:
        nonlocal made
        while True:
            with contextlib.suppress(OSError, ssl.SSLError):
                source = (next(places[number]), 0)
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
                made += 1
                try:
                    await ATTACKS[number](reader, writer)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.001)

    tasks = [asyncio.create_task(one(n)) for n in range(len(ATTACKS)) for _ in range(ATTACKERS)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return made


def run_attack(done: multiprocessing.connection.Connection, port: int, seconds: float) -> None:
    pin(GENERATOR_CORE)
    done.send(run(attack(port, seconds)))


class Result(NamedTuple):
    """`linked` in seconds (None: not all), `growth` in bytes, `busy` as part of a core."""

    connections: int
    announced: int
    answered: int
    linked: float | None
    growth: int
    busy: float


@pinned(GENERATOR_CORE)
def measure_attack(
    control: Subject, seconds: float, linking: int = LINKING, flood: int = 0
) -> Result:
    """`flood`: forged datagrams a second on UDP."""
    udp, tcp = control.ready
    target = Server(control.pid, udp)
    spawn = multiprocessing.get_context("spawn")
    waiter = Waiter(list(PAIRS)[:WAITING])
    run(honest(waiter, target, 2 * INTERVAL, 0))  # everybody is registered afterwards
    waiter.announced = waiter.answered = 0
    done, tell = spawn.Pipe(duplex=False)
    before, cpu, begun = target.resident(), target.cpu(), time.perf_counter()
    attacker = spawn.Process(target=run_attack, args=(tell, tcp, seconds))
    attacker.start()
    forging, told = spawn.Pipe(duplex=False)
    tags = list(waiter.voices)
    forger = spawn.Process(target=forge, args=(told, tags, 9, udp, flood, seconds))
    if flood:
        forger.start()
    linked = run(honest(waiter, target, seconds, linking))
    connections = done.recv()
    attacker.join()
    if flood:
        forging.recv()
        forger.join()
    busy = (target.cpu() - cpu) / (time.perf_counter() - begun)
    growth = target.resident() - before
    return Result(connections, waiter.announced, waiter.answered, linked, growth, busy)


@contextlib.contextmanager
def control() -> Iterator[Subject]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 16_384)), hard))
    try:
        with subject(control_over_tls, PAIRS | OWN_PAIRS) as running:
            yield running
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--flood", type=int, default=0, metavar="RATE")
    arguments = parser.parse_args()
    with control() as running:
        costs = measure_costs(running, arguments.connections)
    print(f"a control over TLS; {machine()}")
    print(f"  {arguments.connections} idle connections: {costs.idle / 1024:.1f} KiB each")
    print(f"  after 20 datagrams of {SIZE} bytes: {costs.used / 1024:.1f} KiB each")
    print(f"  CPU for a connection and its registration: {costs.connecting * 1e3:.2f} ms")
    print(f"  CPU for an announcement and its answer: {costs.announcement * 1e6:.1f} us")
    print(f"  CPU for a program's datagram of {SIZE} bytes: {costs.datagram * 1e6:.1f} us")
    with control() as running:
        result = measure_attack(running, arguments.seconds, flood=arguments.flood)
    linked = "not all" if result.linked is None else f"all within {result.linked:.2f} s"
    share = result.answered / result.announced
    print(f"  under attack for {arguments.seconds:.0f} s: {result.connections:,} connections")
    print(f"    announcements on UDP: {result.answered} of {result.announced} ({share:.1%})")
    print(f"    {LINKING} new pairs linked on UDP: {linked}")
    print(f"    memory growth: {result.growth / 1024:.0f} KiB")
    print(f"    CPU of the control: {result.busy:.0%} of its core")


if __name__ == "__main__":
    main()
