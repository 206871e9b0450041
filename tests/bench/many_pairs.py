"""Many pairs and their control in one `netpunch run`: all linked, how soon, in how much memory.

python -m tests.bench.many_pairs [--pairs N]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.bench.machine import machine

HEAD = """\
version: 1
control: {address: "127.0.0.1:20401", listen: "127.0.0.1:20401", observe: off}
defaults: {secret: generate, local: "127.0.0.1:0"}
pairs:
"""


class Result(NamedTuple):
    """`seconds` of wall time and `cpu` time, peak memory in KiB, and how many ends linked."""

    seconds: float
    cpu: float
    peak: int
    linked: int


def run_pairs(count: int) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder, "site.yaml")
        site.write_text(HEAD + "".join(f"  p{i}: {{a: {{}}, b: {{}}}}\n" for i in range(count)))
        begun = time.perf_counter()
        argv = [sys.executable, "-m", "netpunch", "run", str(site), "-q", "--format", "json"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            lines = process.stdout.read().splitlines()
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
        seconds = time.perf_counter() - begun
    linked = sum(json.loads(line)["event"] == "pair.up" for line in lines)
    return Result(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, linked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000)
    pairs = parser.parse_args().pairs
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    alone = run_pairs(1)
    many = run_pairs(pairs)
    per_end = (many.peak - alone.peak) / (2 * pairs - 2)
    print(f"{pairs} pairs and their control in one process; {machine()}")
    print(f"  linked: {many.linked} of {2 * pairs} ends")
    print(f"  wall {many.seconds:.2f} s, CPU {many.cpu:.2f} s, start and end of Python included")
    print(f"  peak memory {many.peak / 1024:.0f} MiB, {per_end:.0f} KiB per end above one pair's")


if __name__ == "__main__":
    main()
