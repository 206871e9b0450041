"""A control's relay: CPU time for each datagram that it passes or drops, and memory for its pairs.

    python -m tests.bench relay [--rounds N] [--count N] [--pairs N]

The control is pinned to one core, the ends to another; CPU time is the control process's own, user
and system, as the kernel counts it: delivering to the socket of an end on this host is in it, as
handing over to a network card would be. Datagrams are let into its queue, 256 at a time, while it
is stopped (SIGSTOP), so that it finds what a relay at its limit would. `one by one` sends the next
when the last has arrived, so each costs a wakeup. Beside it is a bare uvloop endpoint that sends
each datagram back, and what a relay's system calls take alone, without joining equal lengths.

Memory is what 10,000 pairs, both ends bound, take more than the same pairs registered.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import multiprocessing
import os
import signal
import socket
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import NamedTuple

from netpunch.address import Address
from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.net.listener import RECEIVE_BUFFER, Listener
from netpunch.net.loop import run
from netpunch.wire import v2
from netpunch.wire.envelope import NONCE_LENGTH, EndName
from netpunch.wire.keys import KEY_LENGTH
from tests.bench.processes import Server, machine, resident, server
from tests.bench.questions import PAIRS, Announcer
from tests.bench.subjects import GENERATOR_CORE, SERVER_CORE, echo, pin, system_calls

ENDS: tuple[EndName, EndName] = ("a", "b")
WINDOW = 256
SIZE = 1280
"""Bytes: the smallest MTU of IPv6, which tunnels like."""
MIXED = (1280, 60, 1280, 148, 700, 1280, 80, 1400)
TUNNEL = (1452,) * 12 + (96,) + (1452,) * 9 + (620, 96) + (1452,) * 7 + (96,)
"""A file through WireGuard: trains of full datagrams, the rest of what was written at once, and
acknowledgments of what comes the other way."""
FLOWS = 100
"""Pairs that send in turn."""
SEGMENTS = 32
UDP_SEGMENT = 103
UNLIMITED = 1e12
TIMEOUT = 5.0
BARE = "bare endpoint"
"""Of the figures, the one that the others are compared with: machines differ."""


class Cost(NamedTuple):
    """Microseconds of CPU a datagram."""

    cpu: float


def serve(ports: Connection) -> None:
    """A control with a relay, until it is terminated. Answers with both ports."""
    pin(SERVER_CORE)

    async def main() -> None:
        node = ControlNode(ControlV2(PAIRS, random=os.urandom), ClassicControl({}))
        node.v2.relay.limit(UNLIMITED, UNLIMITED)
        listener = Listener(node, [("127.0.0.1", 0)], relay=[("127.0.0.1", 0)])
        listener.open()
        ports.send((listener.addresses[0].port, listener.relay_addresses[0].port))
        await asyncio.get_running_loop().create_future()

    run(main())


class Relay(NamedTuple):
    """A running control."""

    process: Server
    listen: tuple[str, int]
    relay: tuple[str, int]


@contextmanager
def running() -> Iterator[Relay]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    listen, relay = ours.recv()
    assert process.pid is not None
    try:
        yield Relay(Server(process.pid, relay), ("127.0.0.1", listen), ("127.0.0.1", relay))
    finally:
        process.terminate()
        process.join()


class Binder(Announcer):
    """An end that binds, without sockets."""

    binds = 0
    bind_cookie = v2.NO_COOKIE

    def bind(self) -> bytes:
        self.binds += 1
        message = v2.Bind(self.attempt, self.binds, self.bind_cookie)
        return self.channel.to_control.seal(message, os.urandom(NONCE_LENGTH))

    def take_cookie(self, answer: bytes) -> None:
        message = self.channel.from_control.open(answer)
        if isinstance(message, v2.Challenge):
            self.bind_cookie = message.cookie


def open_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(TIMEOUT)
    return sock


def bound(pair: str, end: EndName, at: Relay) -> socket.socket:
    """The socket of an end that is registered and bound."""
    sock, voice = open_socket(), Binder(pair, end)
    for _ in range(2):
        sock.sendto(voice.announcement(), at.listen)
        voice.take(sock.recv(2048))
    for _ in range(2):
        sock.sendto(voice.bind(), at.relay)
        while len(answer := sock.recv(2048)) == 384:
            voice.take_cookie(answer)
            if isinstance(voice.channel.from_control.open(answer), v2.Bound | v2.Challenge):
                break
    return sock


def addresses(sockets: Sequence[socket.socket]) -> list[tuple[str, int]]:
    return [sock.getsockname() for sock in sockets]


class Traffic:
    """Sends windows of datagrams while the server is stopped, and waits for what arrives."""

    def __init__(self, process: Server, destination: tuple[str, int]) -> None:
        self._process = process
        self._destination = destination
        self._sent = 0
        """Of all windows: the next one goes on with whose turn it is."""

    def windows(
        self,
        senders: Sequence[socket.socket],
        receivers: Sequence[socket.socket],
        lengths: Sequence[int],
        count: int,
        *,
        segments: int = 1,
    ) -> Cost:
        """Of each window, all datagrams arrive, in turns at the receivers."""
        pairs = itertools.cycle(zip(senders, receivers, strict=True))
        turns = itertools.islice(pairs, self._sent % len(senders), None)
        sizes = itertools.cycle(lengths)
        begun, sent = self._process.cpu(), 0
        while sent < count:
            expected: dict[socket.socket, int] = {}
            os.kill(self._process.pid, signal.SIGSTOP)
            for _ in range(WINDOW // segments):
                sender, receiver = next(turns)
                self._send(sender, next(sizes), segments)
                expected[receiver] = expected.get(receiver, 0) + segments
            os.kill(self._process.pid, signal.SIGCONT)
            for receiver, number in expected.items():
                for _ in range(number):
                    receiver.recv(2048)
            sent += WINDOW
        self._sent += sent
        return Cost((self._process.cpu() - begun) / sent * 1e6)

    def flood(
        self, strangers: Sequence[socket.socket], a: socket.socket, b: socket.socket, count: int
    ) -> Cost:
        """Of each window, one datagram at the end is an end's, and arrives."""
        turns = itertools.cycle(strangers)
        begun, sent = self._process.cpu(), 0
        while sent < count:
            os.kill(self._process.pid, signal.SIGSTOP)
            for _ in range(WINDOW - 1):
                self._send(next(turns), SIZE)
            self._send(a, SIZE)
            os.kill(self._process.pid, signal.SIGCONT)
            b.recv(2048)
            sent += WINDOW
        return Cost((self._process.cpu() - begun) / sent * 1e6)

    def one_by_one(self, a: socket.socket, b: socket.socket, count: int) -> Cost:
        begun = self._process.cpu()
        for _ in range(count):
            self._send(a, SIZE)
            b.recv(2048)
        return Cost((self._process.cpu() - begun) / count * 1e6)

    def _send(self, sender: socket.socket, length: int, segments: int = 1) -> None:
        if segments == 1:
            sender.sendto(bytes(length), self._destination)
            return
        size = length.to_bytes(2, "little")
        option = (socket.IPPROTO_UDP, UDP_SEGMENT, size)
        sender.sendmsg([bytes(length * segments)], [option], 0, self._destination)


def measure(rounds: int, count: int) -> dict[str, list[float]]:
    """Each round measures everything once."""
    costs: dict[str, list[float]] = {}
    with ExitStack() as stack:
        at = stack.enter_context(running())
        bare = stack.enter_context(server(echo))
        ends = {
            (pair, end): stack.enter_context(bound(pair, end, at))
            for pair in list(PAIRS)[:FLOWS]
            for end in ENDS
        }
        every_a = [sock for (_, end), sock in ends.items() if end == "a"]
        every_b = [sock for (_, end), sock in ends.items() if end == "b"]
        a, b, mirror = every_a[:1], every_b[:1], stack.enter_context(open_socket())
        strangers = [stack.enter_context(open_socket()) for _ in range(200)]
        relayed, echoed = Traffic(at.process, at.relay), Traffic(bare, ("127.0.0.1", bare.port))
        to_one, to_each = (
            Traffic(calls, ("127.0.0.1", calls.port))
            for receivers in (b, every_b)
            for calls in [stack.enter_context(server(system_calls, addresses(receivers)))]
        )
        pin(GENERATOR_CORE)
        for _ in range(rounds):
            done = {
                BARE: echoed.windows([mirror], [mirror], [SIZE], count),
                "calls alone, mixed lengths": to_one.windows(a, b, MIXED, count),
                f"calls alone, {FLOWS} in turn": to_each.windows(every_a, every_b, MIXED, count),
                "one pair, equal lengths": relayed.windows(a, b, [SIZE], count),
                "one pair, mixed lengths": relayed.windows(a, b, MIXED, count),
                f"{FLOWS} pairs in turn": relayed.windows(every_a, every_b, MIXED, count),
                "one pair, a tunnel's": relayed.windows(a, b, TUNNEL, count),
                f"{FLOWS} pairs in turn, tunnels'": relayed.windows(
                    every_a, every_b, TUNNEL, count
                ),
                "one pair, segments": relayed.windows(a, b, [SIZE], count, segments=SEGMENTS),
                "one pair, one by one": relayed.one_by_one(a[0], b[0], count // 16),
                "strangers": relayed.flood(strangers, a[0], b[0], count),
            }
            for name, cost in done.items():
                costs.setdefault(name, []).append(cost.cpu)
    return costs


# Memory.


def held() -> int:
    gc.collect()
    return resident(os.getpid())


def bind_all(pairs: int) -> tuple[float, float]:
    """MiB of registrations and of bindings. To be called in a fresh process."""
    keys = {f"pair-{number}": os.urandom(KEY_LENGTH) for number in range(pairs)}
    control = ControlV2(keys, random=os.urandom)
    control.relay.serve(1)
    ends = [Binder(pair, end, key=key) for pair, key in keys.items() for end in ENDS]
    for end in ends:
        end.bind(), end.channel.from_control
    sources = [
        Address(f"198.51.{number // 256 % 256}.{number % 256}", 1024 + number % 60_000)
        for number in range(len(ends))
    ]
    known = held()
    for number, (end, source) in enumerate(zip(ends, sources, strict=True)):
        now = 1000.0 + number / 1000
        for _ in range(2):
            control.receive_datagram(end.announcement(), source, now, 0)
            end.take(control.datagrams_to_send()[0].data)
            control.next_event()
    registered = held()
    for number, (end, source) in enumerate(zip(ends, sources, strict=True)):
        now = 1100.0 + number / 1000
        for _ in range(2):
            control.receive_datagram(end.bind(), source, now, 1)
            end.take_cookie(control.datagrams_to_send()[0].data)
    assert control.relay.bound == 2 * pairs
    mebibyte = 1 << 20
    return (registered - known) / mebibyte, (held() - registered) / mebibyte


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=32_768, help="datagrams a round")
    parser.add_argument("--pairs", type=int, default=10_000, help="for memory")
    arguments = parser.parse_args()
    print(f"relay, {SIZE}-byte datagrams, medians of {arguments.rounds} rounds; {machine()}")
    measured = measure(arguments.rounds, arguments.count)
    bare = statistics.median(measured[BARE])
    for name, costs in measured.items():
        middle, low, high = statistics.median(costs), min(costs), max(costs)
        print(f"  {name:28} {middle:6.2f} µs ({low:.2f} to {high:.2f}), {middle / bare:.2f} x bare")
    with multiprocessing.get_context("spawn").Pool(1) as process:
        registered, bound_pairs = process.apply(bind_all, (arguments.pairs,))
    print(
        f"  {arguments.pairs:,} pairs: {bound_pairs:.1f} MiB for their bindings, "
        f"{registered:.1f} MiB for their registrations"
    )


if __name__ == "__main__":
    main()
