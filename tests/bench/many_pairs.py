"""Many pairs and their control in one `netpunch run`, all begun at once and then held: how soon
they are linked, in how much memory.

    python -m tests.bench many-pairs [--pairs N ...]

The most that a site file can hold is some 5,000 pairs as short as these.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, NamedTuple

from tests.bench.processes import cpu, machine, resident

SIZES = [1_000, 5_000]
HEAD = """\
version: 1
control: {address: "127.0.0.1:20401", listen: "127.0.0.1:20401", observe: off}
defaults: {secret: generate, local: "127.0.0.1:0", mode: keep}
pairs:
"""
HELD_SECONDS = 5.0
"""After the last link: memory that only linking takes may be given back by then."""
MIB = 1024 * 1024


class Result(NamedTuple):
    """`seconds` from the start until all ends were linked, and `cpu` seconds until then; bytes of
    memory at most, and while all links are held."""

    linked: int
    seconds: float
    cpu: float
    peak: int
    held: int


def run_pairs(count: int) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder, "site.yaml")
        site.write_text(HEAD + "".join(f"  p{i}: {{a: {{}}, b: {{}}}}\n" for i in range(count)))
        begun = time.perf_counter()
        argv = [sys.executable, "-m", "netpunch", "run", str(site), "-q", "--format", "json"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            linked = count_links(process.stdout, 2 * count)
            seconds, used = time.perf_counter() - begun, cpu(process.pid)
            time.sleep(HELD_SECONDS)
            peak, held = peak_memory(process.pid), resident(process.pid)
            process.send_signal(signal.SIGTERM)
            process.communicate()
    return Result(linked, seconds, used, peak, held)


def count_links(events: IO[bytes], wanted: int) -> int:
    """Ends that were linked: all, or as many as there were when something failed."""
    linked = 0
    for line in events:
        event = json.loads(line)["event"]
        linked += event == "pair.up"
        if linked == wanted or event in ("pair.failed", "pair.down"):
            break
    return linked


def peak_memory(pid: int) -> int:
    """Bytes that it has held at most. Linux."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=SIZES)
    sizes = parser.parse_args().pairs
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"pairs and their control in one process, start of Python included; {machine()}")
    print(f"  {'pairs':>6} {'ends linked':>15} {'all after':>9} {'CPU':>7} {'peak':>9} {'held':>9}")
    for pairs in sizes:
        result = run_pairs(pairs)
        print(
            f"  {pairs:6,} {result.linked:6,} of {2 * pairs:6,} {result.seconds:7.2f} s "
            f"{result.cpu:5.2f} s {result.peak / MIB:5.0f} MiB {result.held / MIB:5.0f} MiB"
        )


if __name__ == "__main__":
    main()
