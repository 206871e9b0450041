"""`python -m tests.bench`: lists the benchmarks, runs one of them or all quick ones.

python -m tests.bench                           list them
python -m tests.bench NAME [OPTION ...]         run one; --help explains it
python -m tests.bench quick                     run all quick ones, in some minutes
python -m tests.bench compare OTHER [MEASURE]   ratios to another checkout of netpunch
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NamedTuple


class Benchmark(NamedTuple):
    module: str
    summary: str
    quick: str | None = None
    """Options with which it takes some seconds; None: `quick` leaves it out."""


BENCHMARKS = {
    "churn": Benchmark("churn", "pairs that come and go while others link", "--pairs 100"),
    "compare": Benchmark("compare", "this checkout beside another one, as ratios"),
    "control-cost": Benchmark(
        "control_cost", "CPU of a control for a datagram", "--rounds 3 --count 4096"
    ),
    "control-limit": Benchmark(
        "control_limit", "100,000 waiting pairs at one control", "--pairs 2000 --seconds 2"
    ),
    "control-memory": Benchmark(
        "control_memory", "memory of a control for an end", "--ends 1000 10000"
    ),
    "fleet": Benchmark("fleet", "a million pairs on N control nodes, computed"),
    "flood": Benchmark("flood", "forged datagrams from a million addresses; needs root"),
    "forward": Benchmark(
        "forward", "throughput, CPU and latency of `forward`", "--rounds 1 --seconds 0.3"
    ),
    "hold": Benchmark("hold", "50 links held in real time, under disturbances"),
    "library": Benchmark("library", "`link.send` beside a plain asyncio endpoint", "--rounds 10"),
    "link-time": Benchmark("link_time", "time to link on loopback", "--rounds 50"),
    "many-pairs": Benchmark("many_pairs", "a thousand pairs in one process", "--pairs 100"),
    "mesh": Benchmark("mesh", "a mesh of 200 nodes: `check`, control's memory", "--nodes 30"),
    "relay": Benchmark(
        "relay", "CPU of a relay for a datagram, and its memory", "--rounds 1 --count 4096"
    ),
    "soak": Benchmark("soak", "links held over simulated days"),
    "tls": Benchmark(
        "tls",
        "a control over TLS: memory, CPU, and UDP while TLS is attacked",
        "--connections 100 --seconds 5",
    ),
    "startup": Benchmark("startup", "CPU time until commands have started", "--rounds 5"),
}


def run(name: str, options: list[str]) -> None:
    sys.argv = [f"python -m tests.bench {name}", *options]
    import_module(f"tests.bench.{BENCHMARKS[name].module}").main()


def main() -> None:
    name, *options = sys.argv[1:] or ["--help"]
    if name in BENCHMARKS:
        run(name, options)
    elif name == "quick":
        for each, benchmark in BENCHMARKS.items():
            if benchmark.quick is not None:
                run(each, benchmark.quick.split())
    else:
        print(f"{__doc__}\nbenchmarks:")
        for each, benchmark in BENCHMARKS.items():
            print(f"  {each:14} {benchmark.summary}")


if __name__ == "__main__":
    main()
