"""How long a link takes on loopback, from before the later end starts until both report it.

    python -m tests.bench link-time [--rounds N]

Everything is real: sockets, control and both ends, in one process. One end waits, registered;
the clock starts when the other one is told to begin, before it binds its socket.
"""

from __future__ import annotations

import argparse
import statistics

from tests.bench.processes import machine, subject
from tests.bench.subjects import links


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    with subject(links) as running:
        results = running.ask(rounds)
    print(f"time to link on loopback, {rounds} links; {machine()}")
    for name, column in (("the first end", 0), ("both ends", 1)):
        times = sorted(result[column] for result in results)
        p95 = times[int(len(times) * 0.95)]
        print(f"  {name}: median {statistics.median(times):.2f} ms, p95 {p95:.2f} ms")


if __name__ == "__main__":
    main()
