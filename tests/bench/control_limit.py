"""What one control process holds: 100,000 pairs, both of whose ends wait, on loopback.

    python -m tests.bench control-limit [--pairs N] [--seconds S]

Linked ends that are kept stay registered: each says every 15 s that it is there, and is answered.
First all of them register, as fast as the control takes them; then some announce themselves again
for `--seconds` at the rate of all of them, 2 N / 15 s, in random order; then the rest as fast as
the control takes them. The control listens as a real one does, on the wildcard of both families.

Every end has an address of its own within 127.0.0.0/8, and hardly any announcement finds its
end's ciphers kept: there are far more ends than `CIPHERS_KEPT`. CPU time is the control
process's own, user and system; a network card's interrupts are not in it.

Beside it, the same with so few ends that all their ciphers are kept: the difference is what making
them anew costs, and what no longer fits into the processor's caches. And a bare uvloop endpoint:
what any datagram and its answer cost on this machine at this moment.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from netpunch.core.control.ciphers import CIPHERS_KEPT
from netpunch.core.timing import WAITING_INTERVAL
from netpunch.net.listener import RECEIVE_BUFFER
from netpunch.wire import v2
from netpunch.wire.envelope import EndName
from netpunch.wire.keys import KEY_LENGTH
from tests.bench.processes import Server, machine, server
from tests.bench.questions import Announcer
from tests.bench.subjects import GENERATOR_CORE, control, echo, pin

PAIRS = 100_000
SECONDS = 10.0
ENDS: tuple[EndName, EndName] = ("a", "b")
WINDOW = 256
"""Announcements without an answer at a time: a control then finds many at each wakeup."""
BATCH = 16
"""Announcements between two readings of the clock."""
LISTEN = ":0"
"""As a real one does: the wildcard of both families."""
MAX_DATAGRAM = 2048
LAST_ANSWERS = 0.5
"""Seconds for the last answers to come."""
TIMEOUT = 10.0
"""Seconds without an answer: something is broken."""
FEW = CIPHERS_KEPT // 4
"""Pairs whose ends' ciphers are all kept."""
FEW_TIMES = 16
"""Announcements of each of those ends once it is registered: a control takes 20 at once of one."""
FIRST_HOST = (127 << 24) + (1 << 16)
"""Ends are at 127.1.0.0 and above."""
IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
"""Linux; Python 3.11 does not name it."""

PKTINFO = struct.Struct("@I4s4s")


End = tuple[bytes, Announcer]
"""After the control message that makes its announcements come from its address."""
Question = tuple[bytes, bytes]
"""An announcement, after the control message that makes it come from its end's address."""


class Limit(NamedTuple):
    """Of a control with so many `ends`. Bytes resident, knowing all pairs and with all ends
    registered; microseconds of CPU: both announcements that register an end, then one announcement
    `paced` at `rate` a second, then as fast as it goes, when the control's core was `busy` for
    that share of the time."""

    ends: int
    known: int
    registered: int
    registering: float
    rate: float
    asked: int
    answered: int
    paced: float
    saturated: float
    busy: float

    @property
    def share(self) -> float:
        """Of a core, at the rate of all ends."""
        return self.paced * self.rate / 1e6

    @property
    def most(self) -> float:
        """A second, on one core."""
        return 1e6 / self.saturated


def make_pairs(count: int) -> dict[str, bytes]:
    return {f"pair-{number}": os.urandom(KEY_LENGTH) for number in range(count)}


def all_ends(pairs: Mapping[str, bytes]) -> Iterator[End]:
    hosts = itertools.count(FIRST_HOST)
    for (pair, key), end in itertools.product(pairs.items(), ENDS):
        source = PKTINFO.pack(0, next(hosts).to_bytes(4, "big"), bytes(4))
        yield source, Announcer(pair, end, key=key, purpose=v2.Purpose.STANDBY)


def questions(ends: Sequence[End]) -> list[Question]:
    """The next announcement of each end, sealed before the measurement."""
    return [(source, voice.announcement()) for source, voice in ends]


class Crowd:
    """Many ends on one socket: it sends from each one's address, and hears all answers."""

    def __init__(self, target: Server) -> None:
        self._server = target
        self._control = ("127.0.0.1", target.port)
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._sock.bind(("0.0.0.0", 0))

    def register(self, ends: Sequence[End]) -> float:
        """Each announces itself twice, the second time with its cookie: microseconds of CPU for
        both. A control answers in order."""
        self._sock.settimeout(TIMEOUT)
        begun = self._server.cpu()
        for start in 2 * [*range(0, len(ends), WINDOW)]:
            some = ends[start : start + WINDOW]
            for question in questions(some):
                self._say(question)
            for _, voice in some:
                voice.take(self._sock.recv(MAX_DATAGRAM))
        return (self._server.cpu() - begun) / len(ends) * 1e6

    def saturate(self, asked: Sequence[Question]) -> tuple[float, float]:
        """All are answered, WINDOW outstanding at a time: microseconds of CPU each, and the share
        of the time that the control was busy."""
        self._sock.settimeout(TIMEOUT)
        hear, rest = self._sock.recv, iter(asked)
        cpu, wall = self._server.cpu(), time.perf_counter()
        for question in itertools.islice(rest, WINDOW):
            self._say(question)
        for _ in asked:
            hear(MAX_DATAGRAM)
            for question in itertools.islice(rest, 1):
                self._say(question)
        cpu, wall = self._server.cpu() - cpu, time.perf_counter() - wall
        return cpu / len(asked) * 1e6, cpu / wall

    def pace(self, asked: Sequence[Question], rate: float) -> tuple[float, int]:
        """So many a second: microseconds of CPU each, and how many were answered."""
        self._sock.setblocking(False)
        answered, cpu, begun = 0, self._server.cpu(), time.perf_counter()
        for sent in range(0, len(asked), BATCH):
            time.sleep(max(0.0, begun + sent / rate - time.perf_counter()))
            for question in asked[sent : sent + BATCH]:
                self._say(question)
            answered += self._hear_all()
        time.sleep(LAST_ANSWERS)
        answered += self._hear_all()
        return (self._server.cpu() - cpu) / len(asked) * 1e6, answered

    def _say(self, question: Question) -> None:
        source, data = question
        self._sock.sendmsg([data], [(socket.IPPROTO_IP, IP_PKTINFO, source)], 0, self._control)

    def _hear_all(self) -> int:
        count = 0
        with contextlib.suppress(BlockingIOError):
            while self._sock.recv(MAX_DATAGRAM):
                count += 1
        return count


def measure(pair_count: int, seconds: float) -> Limit:
    pairs = make_pairs(pair_count)
    ends = list(all_ends(pairs))
    rate = len(ends) / WAITING_INTERVAL
    asked = min(int(rate * seconds), len(ends) // 3 * 2)
    with server(control, pairs, {}, LISTEN) as target:
        pin(GENERATOR_CORE)
        crowd, known = Crowd(target), target.resident()
        registering = crowd.register(ends)
        registered = target.resident()
        later = questions(ends)
        random.shuffle(later)
        paced, answered = crowd.pace(later[:asked], rate)
        saturated, busy = crowd.saturate(later[asked:])
    return Limit(
        len(ends), known, registered, registering, rate, asked, answered, paced, saturated, busy
    )


def measure_kept() -> tuple[float, float]:
    """Microseconds of CPU a datagram and its answer, as fast as it goes: of a bare endpoint, and
    of a control that keeps all ciphers."""
    pairs = make_pairs(FEW)
    ends = list(all_ends(pairs))
    with server(echo) as bare, server(control, pairs, {}, LISTEN) as target:
        pin(GENERATOR_CORE)
        crowd = Crowd(target)
        crowd.register(ends)
        asked = list(itertools.chain(*(questions(ends) for _ in range(FEW_TIMES))))
        return Crowd(bare).saturate(asked)[0], crowd.saturate(asked)[0]


def report(limit: Limit, bare: float, kept: float) -> None:
    mib = 1024 * 1024
    lost = limit.asked - limit.answered
    print(f"  memory: {limit.known / mib:.0f} MiB knowing all pairs, ", end="")
    print(f"{limit.registered / mib:.0f} MiB with all ends registered")
    print(f"  registering: {limit.registering:.1f} µs of CPU each")
    print(
        f"  waiting, {limit.rate:,.0f} announcements a second: {limit.share:.1%} of a core, ",
        end="",
    )
    print(f"{limit.paced:.1f} µs each; {lost} of {limit.asked:,} unanswered")
    print(
        f"  waiting, as fast as it goes: {limit.saturated:.1f} µs each, core {limit.busy:.0%} busy"
    )
    ends = limit.most * WAITING_INTERVAL
    print(
        f"  so a core takes {limit.most:,.0f} a second: {ends:,.0f} ends, {ends / 2:,.0f} at 50 %"
    )
    print(f"  ciphers kept ({2 * FEW} ends, as fast as it goes): {kept:.1f} µs each")
    print(f"  a bare endpoint: {bare:.1f} µs each")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    arguments = parser.parse_args()
    print(f"one control process, {2 * arguments.pairs:,} ends that wait; {machine()}")
    report(measure(arguments.pairs, arguments.seconds), *measure_kept())


if __name__ == "__main__":
    main()
