"""How fast commands start, beside Python alone and beside the imports they can't do without.

    python -m tests.bench.startup [--rounds N]

CPU time of whole processes, user and system; each round runs all of them in turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from tests.bench.machine import machine

EXAMPLE = Path(__file__).parents[2] / "configs" / "example.yaml"
COMMANDS = {
    "python alone": ["-c", "pass"],
    "import uvloop, cryptography, yaml": [
        "-c",
        "import uvloop, yaml; from cryptography.hazmat.primitives.ciphers.aead import AESGCM",
    ],
    "netpunch --help": ["-m", "netpunch", "--help"],
    "netpunch check example.yaml": ["-m", "netpunch", "check", str(EXAMPLE)],
}


def cpu_seconds(arguments: list[str]) -> float:
    """User and system time of one process."""
    argv = [sys.executable, *arguments]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(argv)}: exit status {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds + 1):
        for name, arguments in COMMANDS.items():
            times[name].append(cpu_seconds(arguments))
    print(f"start, median CPU time of {rounds} rounds; {machine()}")
    alone = statistics.median(times["python alone"][1:])
    for name, samples in times.items():
        median = statistics.median(samples[1:])
        print(f"  {name:36} {median * 1000:6.1f} ms  {median / alone:5.2f} x Python alone")


if __name__ == "__main__":
    main()
