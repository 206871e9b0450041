"""Every kind of place against every other: `python -m tests.sim.matrix [--runs N]`.

Each cell shows how many of its runs linked, and the median and 95th percentile of the seconds
that the link took from the later end's start."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random

from tests.sim.nat import HARD_RANDOM, HARD_STEP
from tests.sim.promises import punch
from tests.sim.scenarios import Setup
from tests.sim.setups import EASY, HARD, Place

DELAY = 0.04
DEADLINE = 60.0
PORTS_OF_A_CAPPED_NAT = 128

HARDER: dict[str, Place] = {
    "busy-step": (replace(HARD_STEP, foreign=30.0),),
    "capped-random": (replace(HARD_RANDOM, max_mappings=PORTS_OF_A_CAPPED_NAT),),
}
PLACES: dict[str, Place] = {**EASY, **HARD, **HARDER}


@dataclass
class Cell:
    """What became of the runs of one pairing."""

    runs: int = 0
    times: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def share(self) -> float:
        return len(self.times) / self.runs

    def percentile(self, part: float) -> float:
        return sorted(self.times)[min(int(len(self.times) * part), len(self.times) - 1)]

    def __str__(self) -> str:
        text = f"{len(self.times)}/{self.runs}"
        if self.times:
            text += f" {self.percentile(0.5):.2f} {self.percentile(0.95):.2f}"
        return text + "".join(f" {reason}" for reason in self.reasons)


def measure(nat_a: Place, nat_b: Place, runs: int, *, loss: float = 0.0) -> Cell:
    """Runs of one pairing, with ends that start up to two seconds apart; each keeps every
    promise, or raises."""
    cell = Cell()
    for seed in range(runs):
        skew = Random(seed).uniform(-2.0, 2.0)
        setup = Setup(
            nat_a=nat_a, nat_b=nat_b, skew=skew, delay=DELAY, loss=loss, deadline=DEADLINE
        )
        run = punch(seed, setup)
        cell.runs += 1
        if run.linked:
            cell.times.append(run.link_time)
        else:
            assert run.a.failure is not None
            cell.reasons[run.a.failure.reason] += 1
    return cell


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.matrix", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="of each pairing (10)")
    parser.add_argument("--loss", type=float, default=0.0, help="part of the datagrams lost (0)")
    options = parser.parse_args()
    print("linked/runs, seconds: median, 95th percentile; why the others failed")
    for name_a, nat_a in PLACES.items():
        for name_b, nat_b in PLACES.items():
            cell = measure(nat_a, nat_b, options.runs, loss=options.loss)
            print(f"{name_a:>20} {name_b:<20} {cell}", flush=True)


if __name__ == "__main__":
    main()
