"""Memory of a control node for each end that is registered (v2).

    python -m tests.bench.control_memory [--ends N ...]

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
from netpunch.core.control_v2 import ControlV2
from netpunch.wire import v2
from netpunch.wire.envelope import NONCE_LENGTH, ControlChannel, EndName
from netpunch.wire.keys import KEY_LENGTH
from tests.bench.machine import machine, resident

ENDS: tuple[EndName, EndName] = ("a", "b")
SIZES = [1_000, 100_000, 1_000_000]
SECONDS = 15.0
"""All ends announce themselves within the interval in which waiting ends do."""


class Result(NamedTuple):
    """Bytes an end; microseconds an end, sealing its announcement included."""

    configuration: float
    known: float
    registered: float
    time: float


def announcements(pairs: dict[str, bytes]) -> Iterator[bytes]:
    """The first one of each end."""
    for pair, key in pairs.items():
        for end in ENDS:
            announce = v2.Announce(
                os.urandom(v2.ATTEMPT_LENGTH),
                1,
                v2.NO_COOKIE,
                v2.Purpose.PUNCH,
                os.urandom(v2.SEALED_CARD_LENGTH),
            )
            channel = ControlChannel(key, pair, end)
            yield channel.to_control.seal(announce, os.urandom(NONCE_LENGTH))


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
    for number, data in enumerate(announcements(pairs)):
        source = Address(f"198.51.{number // 256 % 256}.{number % 256}", 1024 + number % 60_000)
        control.receive_datagram(data, source, 1000.0 + number / ends * SECONDS, 0)
        control.datagrams_to_send()
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
