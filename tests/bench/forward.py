"""`forward` at both ends of a link: throughput, CPU, round trip and fairness, on loopback.

    python -m tests.bench forward [--rounds N] [--seconds S]

Each end is a process of its own; both share one core. A sender and a sink, or an echo, share the
other one. The sender sends as fast as it can: plain datagrams one by one, or messages of segments
(UDP_SEGMENT), as wireguard-go does; then the sink takes such messages, too (UDP_GRO). The same
sender and sink without netpunch are measured in the same round. CPU is an end's own, user and
system, as the kernel counts it, for each datagram that arrives at the sink.

`timers` is how late a timer of an end rings meanwhile, one that another link's keepalive could hang
on. `idle` is that of a process on the same core that does nothing else and goes first: so late is
the machine itself; `stolen` is what its host took from the core. `longest turn` is the most CPU
that the end has used between two returns to its loop. `strangers` send to the port of the link,
`imitators` what begins like netpunch's own. A round trip passes both ends twice; beside them are
two bare uvloop processes that relay between two sockets. `sealed` are the same datagrams and
messages by way of a pair with `forward: {sealed: on}`.
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
from pathlib import Path
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


class Punctuality(NamedTuple):
    """In seconds: how late a timer was, and the longest turn of the loop."""

    late: list[float]
    turn: float


class Watch:
    """On the punctuality of this process. Whoever is at the other end of the pipe says when it is
    to begin, and gets what was measured by then."""

    def __init__(self, pipe: Connection) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pipe = pipe
        self._late: list[float] = []
        self._turn = 0.0
        self._task: asyncio.Task[None] | None = None

    def time_turns(self, loop: Any) -> None:
        """Those of sockets that are added from now on: what is called for them is nearly all that
        the loop does in a turn, and only one of them is busy."""
        add_reader = loop.add_reader

        def add(sock: Any, callback: Callable[[], object]) -> None:
            def timed() -> None:
                begun = time.thread_time()
                callback()
                self._turn = max(self._turn, time.thread_time() - begun)

            add_reader(sock, timed)

        loop.add_reader = add

    def heed(self) -> None:
        """What the other end says, until it closes."""
        try:
            begins = self._pipe.recv()
        except EOFError:
            self.ended.set_result(None)
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            return
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._pipe.send(Punctuality(self._late, self._turn))
        if begins:
            self._late, self._turn = [], 0.0
            self._task = asyncio.ensure_future(self._measure())

    async def _measure(self) -> None:
        while True:
            due = time.monotonic() + TIMER
            await asyncio.sleep(TIMER)
            self._late.append(time.monotonic() - due)


def hold(
    pipe: Connection,
    end: str,
    secret: bytes,
    control: int,
    to: int,
    *,
    sealed: bool = False,
    timed: bool = False,
) -> None:
    """One end, until its pipe is closed. Says the port that its program sends to and that of its
    link; then its punctuality, whenever it is asked, with its turns if they are `timed`."""
    pin(SERVER_CORE)

    async def main() -> None:
        watch = Watch(pipe)
        loop = asyncio.get_running_loop()
        if timed:
            watch.time_turns(loop)
        to_program = ("127.0.0.1", to) if to else None
        forwarder = Forwarder(("127.0.0.1", 0), to_program, sealed=sealed)
        await forwarder.open()
        assert forwarder._sock is not None
        how = settings(end, secret, control, local="127.0.0.1", sealed=sealed)
        punch = Punch(how, program=forwarder)
        await punch.open()
        linked = await punch.linked()
        forwarder.attach(punch)
        pipe.send((forwarder._sock.getsockname()[1], linked.local.port))
        loop.add_reader(pipe.fileno(), watch.heed)
        await watch.ended
        await punch.close()
        forwarder.close()

    run(main())


def idle(pipe: Connection) -> None:
    """Nothing but its punctuality, whenever it is asked."""
    pin(SERVER_CORE)

    async def main() -> None:
        watch = Watch(pipe)
        asyncio.get_running_loop().add_reader(pipe.fileno(), watch.heed)
        pipe.send((0, 0))
        await watch.ended

    run(main())


class End(NamedTuple):
    """A running one: where its program sends to, and the port of its link."""

    pid: int
    pipe: Connection
    entrance: int
    link: int

    def ask(self, *, begins: bool = False) -> Punctuality:
        """Since it was asked to begin."""
        self.pipe.send(begins)
        answer: Punctuality = self.pipe.recv()
        return answer

    def cpu(self) -> float:
        return cpu(self.pid)


def started(
    stack: ExitStack, run: Callable[..., None], *arguments: Any, **options: Any
) -> tuple[int, Connection]:
    """A process with a pipe that ends it, and its number."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run, args=(theirs, *arguments), kwargs=options, daemon=True)
    process.start()
    theirs.close()
    stack.callback(process.join)
    stack.callback(ours.close)
    return process.pid or 0, ours


@contextmanager
def linked(to: int, **options: bool) -> Iterator[tuple[End, End]]:
    """Both ends of a pair, with the options of `hold`; end b delivers to this port."""
    secret = os.urandom(KEY_LENGTH)
    with ExitStack() as stack:
        at = stack.enter_context(server(control, {PAIR: control_key(secret, PAIR)}, {}))
        ends = [
            started(stack, hold, end, secret, at.port, target, **options)
            for end, target in (("a", 0), ("b", to))
        ]
        a, b = (End(pid, pipe, *pipe.recv()) for pid, pipe in ends)
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


def stolen(core: int) -> float:
    """Seconds that the host has taken from a core, as far as it tells: proc(5)."""
    cores = sorted(os.sched_getaffinity(0))
    name = f"cpu{cores[core % len(cores)]} "
    lines = Path("/proc/stat").read_text("ascii").splitlines()
    fields = next(line for line in lines if line.startswith(name)).split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")


def move(pid: int, core: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(pid, {cores[core % len(cores)]})


@contextmanager
def first(*pids: int, rank: int = 1) -> Iterator[None]:
    """Processes run on one core before all other work on the machine, if that may be. Other work
    that waits for this core gets 5 % of it even so, 50 ms at a time (sched_rt_runtime_us)."""
    for pid in pids:
        move(pid, SERVER_CORE)
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(rank))
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
            timed = stack.enter_context(linked(sink.port, timed=True))
            timed_sealed = stack.enter_context(linked(sink.port, sealed=True, timed=True))
            pid, pipe = started(stack, idle)
            beside = End(pid, pipe, *pipe.recv())
            for _ in range(rounds):
                for name, segments in (("plain", 1), ("segments", SEGMENTS)):
                    self._joins.value = int(segments > 1)
                    self._add(
                        f"{name}, without netpunch: datagrams/s", self._rate(sink.port, segments)
                    )
                    self._one_way(name, a, b, segments)
                    self._one_way(f"sealed {name}", *sealed, segments)
                    self._punctuality(name, beside, *timed, segments)
                    self._punctuality(f"sealed {name}", beside, *timed_sealed, segments)
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

    def _punctuality(self, name: str, beside: End, a: End, b: End, segments: int) -> None:
        """Of each end in turn, with a core for itself but for the idle process `beside` it: of two
        busy processes on one, each waits for the clock of the kernel to ring, mostly 4 ms."""
        for letter, end, other in (("a", a, b), ("b", b, a)):
            move(other.pid, GENERATOR_CORE)
            before = stolen(SERVER_CORE)
            with first(end.pid), first(beside.pid, rank=2):
                for each in (end, beside):
                    each.ask(begins=True)
                self._rate(a.entrance, segments)
            late, turn = end.ask()
            self._add_late(f"{name}: timers of end {letter}", late)
            self._add_late(f"{name}: timers of end {letter}, idle", beside.ask().late)
            self._add(f"{name}: stolen: ms", (stolen(SERVER_CORE) - before) * 1e3)
            self._add(f"{name}: longest turn of end {letter}: ms", turn * 1e3)
            move(other.pid, SERVER_CORE)

    def _add_late(self, name: str, late: list[float]) -> None:
        late.sort()
        self._add(f"{name}, 99 %: ms", late[-len(late) // 100] * 1e3)
        self._add(f"{name}, worst: ms", late[-1] * 1e3)

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
