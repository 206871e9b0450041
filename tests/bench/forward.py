"""`forward` at both ends of a link: throughput, CPU, round trip and fairness, on loopback.

    python -m tests.bench forward [--rounds N] [--seconds S]

Each end is a process of its own; both share one core. A sender and a sink, or an echo, share the
other one. The sender sends as fast as it can: plain datagrams one by one, or messages of segments
(UDP_SEGMENT), as wireguard-go does; then the sink takes such messages, too (UDP_GRO). The same
sender and sink without netpunch are measured in the same round. CPU is an end's own, user and
system, as the kernel counts it, for each datagram that arrives at the sink.

`timers` is how late a timer of an end rings meanwhile, one that another link's keepalive could hang
on. `strangers` send to the port of the link, `imitators` what begins like netpunch's own. A round
trip passes both ends twice; beside them are two bare uvloop processes that relay between two
sockets. `sealed` are the same datagrams and messages by way of a pair with `forward: {sealed: on}`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from netpunch.core.settings import ControlAt, EndSettings
from netpunch.net.forward import Forwarder
from netpunch.net.loop import run
from netpunch.net.punch import Punch
from netpunch.net.segments import UDP_GRO, UDP_SEGMENT, Segments
from netpunch.wire.envelope import PEER_DATAGRAM, VERSION
from netpunch.wire.keys import KEY_LENGTH, control_key
from netpunch.wire.v2 import Kind
from tests.bench.processes import Server, cpu, machine, server
from tests.bench.subjects import GENERATOR_CORE, SERVER_CORE, control, pin

SIZE = 1280
"""Bytes: the smallest MTU of IPv6, which tunnels like."""
SEGMENTS = 50
"""Datagrams in a message: as many as fit."""
PAIR = "bench"
TIMER = 0.002
"""Seconds from one ring of the timer to the next."""
SINK_BUFFER = 4 << 20
SINK_PAUSE = 0.0005
"""Seconds: being woken for each datagram would keep the sender from its core."""
STRANGERS = 100
SETTLE = 0.2
"""Seconds until all that was sent has arrived."""
BURST = 16
"""Messages that the sender sends between two looks at the clock."""
NICE = 5
"""Of the sender: the sink goes first, or what has passed both ends would be lost there."""
WINDOW, WINDOWS = 1024, 10
"""Datagrams of strangers that wait at once: the queue has room for them."""
STRANGERS_SEND = {
    "strangers": bytes(SIZE),
    "imitators": bytes((VERSION, Kind.PING)).ljust(PEER_DATAGRAM, b"x"),
}
QUESTIONS, TURNS = 2000, 10


def settings(end: str, secret: bytes, port: int, *, local: str, sealed: bool) -> EndSettings:
    return EndSettings(
        pair=PAIR,
        end="a" if end == "a" else "b",
        secret=secret,
        controls=(ControlAt("127.0.0.1", port),),
        local=(local, 0),
        holds=True,
        sealed=sealed,
    )


class Lateness:
    """Of a timer, in seconds."""

    def __init__(self) -> None:
        self.all: list[float] = []
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self.all = []
        self._task = asyncio.ensure_future(self._measure())

    def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _measure(self) -> None:
        while True:
            due = time.monotonic() + TIMER
            await asyncio.sleep(TIMER)
            self.all.append(time.monotonic() - due)


def hold(
    pipe: Connection, end: str, secret: bytes, control: int, to: int, *, sealed: bool = False
) -> None:
    """One end, until its pipe is closed. Says the port that its program sends to and that of its
    link; then how late its timer was, whenever it is asked."""
    pin(SERVER_CORE)

    async def main() -> None:
        forwarder = Forwarder(("127.0.0.1", 0), ("127.0.0.1", to) if to else None)
        await forwarder.open()
        assert forwarder._sock is not None
        how = settings(end, secret, control, local="127.0.0.1", sealed=sealed)
        punch = Punch(how, program=forwarder)
        await punch.open()
        linked = await punch.linked()
        forwarder.attach(punch)
        pipe.send((forwarder._sock.getsockname()[1], linked.local.port))
        lateness = Lateness()
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def heed() -> None:
            try:
                begins = pipe.recv()
            except EOFError:
                ended.set_result(None)
                return
            lateness.end()
            pipe.send(lateness.all)
            if begins:
                lateness.begin()

        asyncio.get_running_loop().add_reader(pipe.fileno(), heed)
        await ended
        asyncio.get_running_loop().remove_reader(pipe.fileno())
        lateness.end()
        await punch.close()
        forwarder.close()

    run(main())


class End(NamedTuple):
    """A running one: where its program sends to, and the port of its link."""

    pid: int
    pipe: Connection
    entrance: int
    link: int

    def ask(self, *, begins: bool = False) -> list[float]:
        """How late its timer was since it was asked to begin, in seconds."""
        self.pipe.send(begins)
        answer: list[float] = self.pipe.recv()
        return answer

    def cpu(self) -> float:
        return cpu(self.pid)


@contextmanager
def linked(to: int, *, sealed: bool = False) -> Iterator[tuple[End, End]]:
    """Both ends of a pair; end b delivers to this port."""
    secret = os.urandom(KEY_LENGTH)
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        at = stack.enter_context(server(control, {PAIR: control_key(secret, PAIR)}, {}))
        pipes = []
        for end, target in (("a", 0), ("b", to)):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=hold,
                args=(theirs, end, secret, at.port, target),
                kwargs={"sealed": sealed},
                daemon=True,
            )
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(ours.close)
            pipes.append((process.pid or 0, ours))
        a, b = (End(pid, pipe, *pipe.recv()) for pid, pipe in pipes)
        yield a, b


# The sender, the sink and the echo.


def send_for(to: int, seconds: float, segments: int) -> None:
    pin(GENERATOR_CORE)
    os.nice(NICE)
    data = bytes(SIZE * segments)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", to))
        if segments > 1:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SIZE)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for _ in range(BURST):
                sock.send(data)


def sink_for_ever(pipe: Connection, octets: Any, joins: Any) -> None:
    """Says its port, and counts the bytes that arrive. `joins`: takes messages of segments."""
    pin(GENERATOR_CORE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SINK_BUFFER)
        sock.bind(("127.0.0.1", 0))
        pipe.send(sock.getsockname()[1])
        sock.setblocking(False)
        buffers = Segments(sock.family)
        while True:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, joins.value)
            try:
                octets.value += sum(buffers.take(sock).lengths)
            except BlockingIOError:
                time.sleep(SINK_PAUSE)


def echo_for_ever(pipe: Connection) -> None:
    pin(GENERATOR_CORE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        pipe.send(sock.getsockname()[1])
        while True:
            data, source = sock.recvfrom(65535)
            sock.sendto(data, source)


def relay_for_ever(pipe: Connection, to: int) -> None:
    """The least that an end could do: each datagram goes from one of two sockets to the other."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        near, far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        program: Any = None
        for sock in (near, far):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)

        def to_partner() -> None:
            nonlocal program
            data, program = near.recvfrom(65535)
            far.sendto(data, ("127.0.0.1", to))

        def to_program() -> None:
            near.sendto(far.recv(65535), program)

        pipe.send(near.getsockname()[1])
        loop.add_reader(near, to_partner)
        loop.add_reader(far, to_program)
        await loop.create_future()

    run(main())


@contextmanager
def spawned(run: Callable[..., None], *arguments: Any) -> Iterator[Server]:
    """A process that first says its port."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run, args=(theirs, *arguments), daemon=True)
    process.start()
    try:
        assert process.pid is not None
        yield Server(process.pid, ours.recv())
    finally:
        process.terminate()
        process.join()


def move(pid: int, core: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(pid, {cores[core % len(cores)]})


@contextmanager
def first(*pids: int) -> Iterator[None]:
    """Processes run on one core before all other work on the machine, if that may be. Other work
    that waits for this core gets 5 % of it even so, 50 ms at a time (sched_rt_runtime_us)."""
    for pid in pids:
        move(pid, SERVER_CORE)
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        for pid in pids:
            os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


def round_trips(*ports: int) -> Iterator[float]:
    """Medians of each, in microseconds. In turns, as other work on the machine comes and goes."""
    asked = [[round_trip(port, QUESTIONS // TURNS) for port in ports] for _ in range(TURNS)]
    return map(statistics.median, zip(*asked, strict=True))


def round_trip(to: int, count: int) -> float:
    """Median, in microseconds."""
    times = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2.0)
        for _ in range(count):
            begun = time.perf_counter()
            sock.sendto(bytes(SIZE), ("127.0.0.1", to))
            sock.recv(65535)
            times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e6


# What is measured.


class Bench:
    """Keeps all figures, by what they are of."""

    def __init__(self, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.figures: defaultdict[str, list[float]] = defaultdict(list)
        self._seconds = seconds
        self._octets = context.Value("Q", 0, lock=False)
        self._joins = context.Value("i", 0, lock=False)

    def run(self, rounds: int) -> None:
        with ExitStack() as stack:
            sink = stack.enter_context(spawned(sink_for_ever, self._octets, self._joins))
            echo = stack.enter_context(spawned(echo_for_ever))
            a, b = stack.enter_context(linked(sink.port))
            sealed = stack.enter_context(linked(sink.port, sealed=True))
            for _ in range(rounds):
                for name, segments in (("plain", 1), ("segments", SEGMENTS)):
                    self._joins.value = int(segments > 1)
                    self._add(
                        f"{name}, without netpunch: datagrams/s", self._rate(sink.port, segments)
                    )
                    self._one_way(name, a, b, segments)
                    self._one_way(f"sealed {name}", *sealed, segments)
                    self._lateness(name, a, b, segments)
                for name, data in STRANGERS_SEND.items():
                    self._strangers(name, data, a)
            near, far = stack.enter_context(linked(echo.port))
            second = stack.enter_context(spawned(relay_for_ever, echo.port))
            bare = stack.enter_context(spawned(relay_for_ever, second.port))
            for _ in range(rounds):
                # On one core: in a virtual machine, waking the other one takes most of the time.
                with first(echo.pid, near.pid, far.pid, bare.pid, second.pid, os.getpid()):
                    direct, through, least = round_trips(echo.port, near.entrance, bare.port)
                self._add("round trip, without netpunch: us", direct)
                self._add("added round trip: us", through - direct)
                self._add("added by two bare relays: us", least - direct)
                self._add("added, to that of bare relays", (through - direct) / (least - direct))

    def _one_way(self, name: str, a: End, b: End, segments: int) -> None:
        before = a.cpu(), b.cpu(), self._octets.value
        self._add(f"{name}: datagrams/s", self._rate(a.entrance, segments))
        arrived = (self._octets.value - before[2]) / SIZE
        for letter, end, used in (("a", a, before[0]), ("b", b, before[1])):
            self._add(f"{name}: us of end {letter}", (end.cpu() - used) / arrived * 1e6)

    def _lateness(self, name: str, a: End, b: End, segments: int) -> None:
        """Of each end in turn, with a core for itself: of two busy processes on one, each waits
        for the clock of the kernel to ring, mostly 4 ms."""
        for letter, end, other in (("a", a, b), ("b", b, a)):
            move(other.pid, GENERATOR_CORE)
            with first(end.pid):
                end.ask(begins=True)
                self._rate(a.entrance, segments)
            late = sorted(end.ask())
            self._add(f"{name}: timers of end {letter}, 99 %: ms", late[-len(late) // 100] * 1e3)
            self._add(f"{name}: timers of end {letter}, worst: ms", late[-1] * 1e3)
            move(other.pid, SERVER_CORE)

    def _rate(self, to: int, segments: int) -> float:
        """Datagrams a second that arrive at the sink."""
        before = self._octets.value
        sender = multiprocessing.get_context("spawn").Process(
            target=send_for, args=(to, self._seconds, segments)
        )
        sender.start()
        sender.join()
        time.sleep(SETTLE)
        return float(self._octets.value - before) / SIZE / self._seconds

    def _strangers(self, name: str, data: bytes, end: End) -> None:
        """Their datagrams are let into the queue while the end is stopped."""
        with ExitStack() as stack:
            strangers = [
                stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                for _ in range(STRANGERS)
            ]
            begun = end.cpu()
            for _ in range(WINDOWS):
                os.kill(end.pid, signal.SIGSTOP)
                for number in range(WINDOW):
                    strangers[number % STRANGERS].sendto(data, ("127.0.0.1", end.link))
                os.kill(end.pid, signal.SIGCONT)
                end.ask()
            used = end.cpu() - begun
            self._add(f"{name}: us of end a", used / (WINDOWS * WINDOW) * 1e6)

    def _add(self, name: str, value: float) -> None:
        self.figures[name].append(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    arguments = parser.parse_args()
    print(f"forward, {SIZE}-byte datagrams, medians of {arguments.rounds} rounds; {machine()}")
    bench = Bench(arguments.seconds)
    bench.run(arguments.rounds)
    for name, values in bench.figures.items():
        low, high = min(values), max(values)
        print(f"  {name:42} {statistics.median(values):11,.2f} ({low:,.2f} to {high:,.2f})")


if __name__ == "__main__":
    main()
