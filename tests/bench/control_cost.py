"""CPU time of a control node per datagram, beside a bare uvloop endpoint in the same run.

    python -m tests.bench control-cost [--rounds N] [--count N] [--profile classic|v2|forged]

The servers are pinned to one core, the generator to another; CPU time is the server process's
own, user and system, as the kernel counts it. `saturated` keeps 256 datagrams outstanding,
so a server finds many at each wakeup; with `one outstanding` each costs a wakeup of its own.

A thousand waiting ends announce themselves in turn, with a pause between the rounds: a control
takes 20 announcements a second of one end. So the ciphers of all of them are used, which costs
about 1 µs of cache misses beside a single end. Forgeries are v2 announcements whose signature is
wrong, all of one pair or of all thousand; one datagram in 64 is honest and answered, and the bare
endpoint beside it answers one in 64.

What limits it: the generator is Python too. `busy` says how much of the time the server's core
was in use: well below 100 %, and the server was waiting for the generator. No generator is faster
than a control that answers nothing: the flood is let into its queue, 256 at a time, while it is
stopped (SIGSTOP), so that it finds what a flood above its capacity would leave there. What it
takes to wake up is counted.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import socket
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import NamedTuple

from netpunch.address import Address
from netpunch.net.batch import Receiver, Sender
from netpunch.net.driver import MAX_DATAGRAM
from netpunch.net.listener import RECEIVE_BUFFER
from netpunch.wire import classic
from tests.bench.processes import Server, machine, server
from tests.bench.questions import (
    CLASSIC,
    CLASSIC_SECRET,
    PAIRS,
    Announcer,
    announcements,
    classic_announcements,
    forged,
)
from tests.bench.subjects import GENERATOR_CORE, ONE_HONEST_IN, control, echo, pin, sink

WINDOW = 256
PAUSE = 1.0
"""Seconds: after it every end may announce itself 20 times at once again."""
TIMEOUT = 5.0
"""Seconds without an answer: something is broken."""

Datagrams = Sequence[bytes]


class Cost(NamedTuple):
    """Microseconds of CPU a datagram, and the share of wall time that the server was busy."""

    cpu: float
    busy: float


class Client:
    """Asks a server, and measures what that costs it."""

    def __init__(self, target: Server) -> None:
        self._server = target
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._sock.connect(("127.0.0.1", target.port))
        self._sock.settimeout(TIMEOUT)
        self._target = Address(*self._sock.getpeername())
        self._sender = Sender(socket.AF_INET, MAX_DATAGRAM)
        self._receiver = Receiver(socket.AF_INET, MAX_DATAGRAM)

    def close(self) -> None:
        self._sock.close()

    def register(self, voices: Iterable[Announcer]) -> None:
        """They prove their addresses, so that their later announcements are answered as usual."""
        for voice in voices:
            for _ in range(2):  # the second one brings the cookie
                self._sock.send(voice.announcement())
                voice.take(self._sock.recv(MAX_DATAGRAM))

    def saturate(self, datagrams: Datagrams) -> Cost:
        return self._measure(len(datagrams), lambda: self._stream(datagrams, WINDOW))

    def ask_one_by_one(self, datagrams: Datagrams) -> Cost:
        return self._measure(len(datagrams), lambda: self._stream(datagrams, 1))

    def flood(self, datagrams: Datagrams) -> Cost:
        """One in `ONE_HONEST_IN` is answered."""
        return self._measure(len(datagrams), lambda: self._fill_queue(datagrams))

    def _stream(self, datagrams: Datagrams, window: int) -> None:
        """In batches: otherwise the generator is slower than the server, which then idles."""
        sent = min(window, len(datagrams))
        missing = len(datagrams)
        self._send(datagrams[:sent])
        while missing > 0:
            answers = self._receive()
            missing -= answers
            self._send(datagrams[sent : sent + answers])
            sent += answers
        _expect_no_more(missing)

    def _fill_queue(self, datagrams: Datagrams) -> None:
        for start in range(0, len(datagrams), WINDOW):
            queued = datagrams[start : start + WINDOW]
            os.kill(self._server.pid, signal.SIGSTOP)
            self._send(queued)
            os.kill(self._server.pid, signal.SIGCONT)
            missing = len(queued) // ONE_HONEST_IN
            while missing > 0:
                missing -= self._receive()
            _expect_no_more(missing)

    def _send(self, datagrams: Datagrams) -> None:
        if len(datagrams) == 1:
            self._sock.send(datagrams[0])
        else:
            to = [self._target] * len(datagrams)
            self._sender.send(self._sock, datagrams, to, _fail)

    def _receive(self) -> int:
        """The number of answers that have arrived, at least one."""
        self._sock.recv(MAX_DATAGRAM)
        try:
            return 1 + len(self._receiver.receive(self._sock))
        except BlockingIOError:
            return 1

    def _measure(self, count: int, ask: Callable[[], None]) -> Cost:
        cpu, wall = self._server.cpu(), time.perf_counter()
        ask()
        cpu, wall = self._server.cpu() - cpu, time.perf_counter() - wall
        return Cost(cpu / count * 1e6, cpu / wall)


def _expect_no_more(missing: int) -> None:
    if missing < 0:
        raise SystemExit("more answers than questions: something else is being measured")


def _fail(error: OSError) -> None:
    raise error


@contextmanager
def classic_partner(port: int) -> Iterator[Callable[[], None]]:
    """Register end `b` at a control, which answers `a` only then; it is introduced to `a` here.
    Call what it yields before each round: registrations expire."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:

        def register() -> None:
            sock.sendto(classic.sign(CLASSIC_SECRET, b"b"), ("127.0.0.1", port))

        register()
        yield register


def take(datagrams: Iterable[bytes], count: int) -> list[bytes]:
    return list(itertools.islice(datagrams, count))


def flood(honest: Iterable[bytes], attacked: Iterable[bytes], count: int) -> list[bytes]:
    """Forgeries of what is `attacked`, every 64th datagram an honest one."""
    mixed = zip(take(honest, whole_windows(count)), attacked, strict=False)
    return [
        datagram if i % ONE_HONEST_IN == ONE_HONEST_IN - 1 else forged(victim)
        for i, (datagram, victim) in enumerate(mixed)
    ]


def whole_windows(count: int) -> int:
    return count // WINDOW * WINDOW


def measure(rounds: int, count: int) -> dict[str, list[Cost]]:
    """Each round measures everything once, one after the other."""
    costs: dict[str, list[Cost]] = {}
    voices = [Announcer(pair) for pair in PAIRS]
    v2_questions, classic_questions = announcements(voices), classic_announcements()
    one_pair = announcements([Announcer(next(iter(PAIRS)))])
    all_pairs = announcements(Announcer(pair) for pair in PAIRS)
    few = count // 16
    with ExitStack() as stack:
        bare = stack.enter_context(closing(Client(stack.enter_context(server(echo)))))
        mute = stack.enter_context(closing(Client(stack.enter_context(server(sink)))))
        target = stack.enter_context(server(control, PAIRS, CLASSIC))
        register_partner = stack.enter_context(classic_partner(target.port))
        node = stack.enter_context(closing(Client(target)))
        node.register(voices)
        pin(GENERATOR_CORE)
        for _ in range(rounds):
            time.sleep(PAUSE)
            register_partner()
            short, long = take(classic_questions, count), take(v2_questions, count)
            done = {
                "bare 41": bare.saturate(short),
                "classic": node.saturate(short),
                "bare 384": bare.saturate(long),
                "v2": node.saturate(long),
                "bare 41, one": bare.ask_one_by_one(short[:few]),
                "classic, one": node.ask_one_by_one(short[:few]),
                "bare 384, one": bare.ask_one_by_one(long[:few]),
                "v2, one": node.ask_one_by_one(take(v2_questions, few)),
                "bare flood": mute.flood(long[: whole_windows(count)]),
                "forged, one": node.flood(flood(v2_questions, one_pair, count)),
                "forged, all": node.flood(flood(v2_questions, all_pairs, count)),
            }
            for name, cost in done.items():
                costs.setdefault(name, []).append(cost)
    return costs


ROWS = [
    ("classic, saturated", "classic", "bare 41"),
    ("v2, saturated", "v2", "bare 384"),
    ("classic, one outstanding", "classic, one", "bare 41, one"),
    ("v2, one outstanding", "v2, one", "bare 384, one"),
    ("v2, bad signature, one pair", "forged, one", "bare flood"),
    ("v2, bad signature, all pairs", "forged, all", "bare flood"),
]


def report(costs: dict[str, list[Cost]]) -> None:
    print(
        f"  {'µs of CPU a datagram':32} {'bare':>7} {'control':>8} {'more':>6} {'ratio':>6}  busy"
    )
    for title, ours, bare in ROWS:
        base = statistics.median(cost.cpu for cost in costs[bare])
        own = statistics.median(cost.cpu for cost in costs[ours])
        more = statistics.median(
            one.cpu - other.cpu for one, other in zip(costs[ours], costs[bare], strict=True)
        )
        busy = [statistics.median(cost.busy for cost in costs[key]) for key in (bare, ours)]
        shares = " / ".join(f"{share:.0%}" for share in busy)
        print(f"  {title:32} {base:7.2f} {own:8.2f} {more:+6.2f} {own / base:6.2f}  {shares}")


def profile(what: str, count: int) -> None:
    with (
        server(control, PAIRS, CLASSIC, "127.0.0.1:0", True) as target,
        classic_partner(target.port),
        closing(Client(target)) as node,
    ):
        voices = [Announcer(pair) for pair in PAIRS]
        node.register(voices)
        if what == "classic":
            node.saturate(take(classic_announcements(), count))
        elif what == "v2":
            node.saturate(take(announcements(voices), count))
        else:
            node.flood(flood(announcements(voices), announcements(voices[:1]), count))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=16_000, help="datagrams a round")
    parser.add_argument("--profile", choices=["classic", "v2", "forged"])
    arguments = parser.parse_args()
    if arguments.profile:
        profile(arguments.profile, arguments.count)
        return
    print(f"control, medians of {arguments.rounds} rounds of {arguments.count}; {machine()}")
    report(measure(arguments.rounds, arguments.count))


if __name__ == "__main__":
    main()
