"""Memory of a control node for each end that is registered (v2).

    python -m tests.bench control-memory [--ends N ...]

Each number of ends gets a process of its own. Measured is what the process holds resident: before
the control exists, when it knows all pairs, when both ends of every pair have announced
themselves. Names and keys of the pairs belong to the configuration and are counted apart.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from netpunch.address import Address
from netpunch.core.control.control import ControlV2
from netpunch.wire.envelope import EndName
from netpunch.wire.keys import KEY_LENGTH
from tests.bench.processes import machine, resident
from tests.bench.questions import Announcer

ENDS: tuple[EndName, EndName] = ("a", "b")
SIZES = [1_000, 100_000, 1_000_000]
SECONDS = 15.0
"""All ends announce themselves within the interval in which waiting ends do."""


class Result(NamedTuple):
    """Bytes an end; microseconds an end, sealing its two announcements included."""

    configuration: float
    known: float
    registered: float
    time: float


def voices(pairs: dict[str, bytes]) -> Iterator[Announcer]:
    """Of each end."""
    for pair, key in pairs.items():
        for end in ENDS:
            yield Announcer(pair, end, key=key)


def held() -> int:
    gc.collect()
    return resident(os.getpid())


def measure(ends: int) -> Result:
    """To be called in a fresh process."""
    warm_up = ControlV2({}, random=os.urandom)
    begun = held()
    pairs = {f"pair-{number}": os.urandom(KEY_LENGTH) for number in range(ends // 2)}
    configured = held()
    control = ControlV2(pairs, random=os.urandom)
    known = held()
    started = time.perf_counter()
    for number, voice in enumerate(voices(pairs)):
        source = Address(f"198.51.{number // 256 % 256}.{number % 256}", 1024 + number % 60_000)
        now = 1000.0 + number / ends * SECONDS
        for _ in range(2):  # the second one brings the cookie
            control.receive_datagram(voice.announcement(), source, now, 0)
            voice.take(control.datagrams_to_send()[0].data)
            control.next_event()
    elapsed = time.perf_counter() - started
    assert control.registered == ends
    registered = held()
    del warm_up
    return Result(
        (configured - begun) / ends,
        (known - configured) / ends,
        (registered - configured) / ends,
        elapsed / ends * 1e6,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ends", type=int, nargs="+", default=SIZES)
    sizes = parser.parse_args().ends
    print(f"control node, bytes of memory an end; {machine()}")
    print(f"  {'ends':>10} {'names, keys':>12} {'known':>8} {'registered':>11} {'µs each':>8}")
    for ends in sizes:
        with multiprocessing.get_context("spawn").Pool(1) as process:
            result = process.apply(measure, (ends,))
        print(
            f"  {ends:10,} {result.configuration:12.0f} {result.known:8.0f} "
            f"{result.registered:11.0f} {result.time:8.1f}"
        )


if __name__ == "__main__":
    main()
