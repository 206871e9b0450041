"""Every kind of NAT against every other, with the real program and real packets. Needs root.

    python -m tests.lab.matrix [--rounds N] [--only KIND...] [--delay SECONDS] [--loss P]

Rows are the NATs of end a, columns those of end b. A cell is `linked/runs p50 p95`: seconds from
the later end's start until both report the link. What breaks a promise (only one end linked, a
hole that isn't open) is told below the table, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path

from tests.bench.processes import machine
from tests.lab.cell import DEADLINE, KINDS, UPLINK, Run, run_cell
from tests.lab.namespace import remove_stale_namespaces
from tests.lab.program import write_key
from tests.sim.network import Link

BLOCKED_DEADLINE = 3
"""Seconds, where UDP is blocked: no link is possible."""
NAME_WIDTH = max(map(len, KINDS))
CELL_WIDTH = len("100/100 10.00 10.00")


class Matrix:
    """Runs cells and collects the promises that they broke."""

    def __init__(self, directory: Path, rounds: int, uplink: Link) -> None:
        self.broken: list[str] = []
        self._directory = directory
        self._rounds = rounds
        self._uplink = uplink
        self._key = directory / "pair.key"
        write_key(self._key)

    def print_table(self, kinds: list[str]) -> None:
        """Row by row, as they are done."""
        _print_row("a \\ b", kinds)
        for home in kinds:
            _print_row(home, [self._cell(home, office) for office in kinds])

    def _cell(self, home: str, office: str) -> str:
        runs = [self._run(home, office, seed) for seed in range(self._rounds)]
        times = sorted(run.seconds for run in runs if run is not None and run.linked)
        quantiles = [f"{_quantile(times, part):.2f}" for part in (0.5, 0.95) if times]
        return " ".join([f"{len(times)}/{len(runs)}", *quantiles])

    def _run(self, home: str, office: str, seed: int) -> Run | None:
        """One run in a lab of its own; None if it broke a promise."""
        deadline = BLOCKED_DEADLINE if "blocked" in (home, office) else DEADLINE
        try:
            return run_cell(
                KINDS[home],
                KINDS[office],
                self._directory,
                self._key,
                seed=seed,
                deadline=deadline,
                uplink=self._uplink,
            )
        except AssertionError as error:
            self.broken.append(f"{home} - {office}, seed {seed}: {error}")
            return None


def _quantile(ordered: list[float], part: float) -> float:
    """The smallest value that at least this share does not exceed."""
    return ordered[math.ceil(part * len(ordered)) - 1]


def _print_row(name: str, cells: list[str]) -> None:
    texts = [name.ljust(NAME_WIDTH), *(cell.ljust(CELL_WIDTH) for cell in cells)]
    print("  ".join(texts).rstrip(), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--delay", type=float, default=UPLINK.delay, help="of an uplink, one way")
    parser.add_argument("--loss", type=float, default=0.0, help="of an uplink, 0 to 1, one way")
    arguments = parser.parse_args()
    remove_stale_namespaces()
    uplink = Link(delay=arguments.delay, loss=arguments.loss)
    print(f"{arguments.rounds} rounds, {uplink}; {machine()}")
    with tempfile.TemporaryDirectory(prefix="netpunch-matrix-") as directory:
        matrix = Matrix(Path(directory), arguments.rounds, uplink)
        matrix.print_table(arguments.only)
    for text in matrix.broken:
        print(text)
    return 1 if matrix.broken else 0


if __name__ == "__main__":
    sys.exit(main())
