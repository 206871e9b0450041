"""Every kind of NAT against every other, at three losses and three skews.

    python -m tests.sim.matrix [--runs N]      # N runs of each of 324 cells
    python -m tests.sim.matrix --relay         # control relays, and takes TLS
    python -m tests.sim.matrix --relay --holds # the ends hold their links
    python -m tests.sim.matrix --relay --holds --upgrade    # until they have a direct path, too
    python -m tests.sim.matrix --only "UDP blocked"         # pairings with this kind
    python -m tests.sim.matrix --first 1000                 # runs that no other sample has

A row for each pairing, a column for each loss (of each way through the internet), skews pooled:
the share that linked, and the median and 95th percentile of the milliseconds from the later end's
start. One way between any two hosts takes 25 ms. Every run keeps all promises, or raises.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations_with_replacement, product
from math import inf
from typing import NamedTuple

from netpunch.core.events import Failed, PathKind
from tests.sim.nat import (
    BLOCKS_UDP,
    FULL_CONE,
    HARD_RANDOM,
    HARD_STEP,
    PORT_RESTRICTED_CONE,
    RANDOM_CONE,
    RESTRICTED_CONE,
)
from tests.sim.promises import one_path, promising, punch
from tests.sim.scenarios import AFTERMATH, Scenario, Setup, Side
from tests.sim.setups import Place

DELAY = 0.025
"""Seconds, one way between any two hosts."""
LOSSES = (0.0, 0.05, 0.2)
SKEWS = (0.1, 3.0, 45.0)
DEADLINE = 60.0
AGREED_WITHIN = 0.5
"""Seconds from when both have told a link until both tell the same, at most."""
UPGRADED_WITHIN = 60.0
FIRST_SPRAY = 6.5
"""Seconds until which a link comes from the first spray: the second begins after it."""

KINDS: dict[str, Place] = {
    "open": (),
    "full cone": (FULL_CONE,),
    "address-restricted": (RESTRICTED_CONE,),
    "port-restricted": (PORT_RESTRICTED_CONE,),
    "random cone": (RANDOM_CONE,),
    "hard-step": (HARD_STEP,),
    "hard-random": (HARD_RANDOM,),
    "UDP blocked": (BLOCKS_UDP,),
}
Pairing = tuple[str, str]
LENIENT = {"open", "full cone", "address-restricted"}
"""With these, a hard NAT is no obstacle: they take what comes from the partner's address."""


@dataclass
class Tally:
    """Runs, the link times of those that linked (seconds), and what became of the others."""

    runs: int = 0
    times: list[float] = field(default_factory=list)
    verdicts: list[float] = field(default_factory=list)
    datagrams: int = 0
    relayed: int = 0
    upgrades: list[float] = field(default_factory=list)
    """Seconds from a relayed link until it was direct; inf: it was not."""

    def add(self, other: Tally) -> None:
        self.runs += other.runs
        self.times += other.times
        self.verdicts += other.verdicts
        self.datagrams = max(self.datagrams, other.datagrams)
        self.relayed += other.relayed
        self.upgrades += other.upgrades

    @property
    def share(self) -> float:
        return len(self.times) / self.runs

    def percentile(self, part: float) -> float:
        ordered = sorted(self.times)
        return ordered[min(int(len(ordered) * part), len(ordered) - 1)]

    def __str__(self) -> str:
        if not self.times:
            return f"0 %, reported in {max(self.verdicts):.1f} s" if self.verdicts else "0 %"
        quick, slow = self.percentile(0.5) * 1000, self.percentile(0.95) * 1000
        return f"{100 * self.share:.4g} % {quick:.0f}/{slow:.0f}"


class Cell(NamedTuple):
    """Runs of one pairing, at one loss and skew."""

    pairing: Pairing
    loss: float
    skew: float
    runs: int
    first: int
    relay: bool
    holds: bool
    upgrade: bool


def run_cell(cell: Cell) -> tuple[Cell, Tally]:
    a, b = cell.pairing
    nats = KINDS[a], KINDS[b]
    tally = measure(
        *nats,
        cell.runs,
        first=cell.first,
        loss=cell.loss,
        skew=cell.skew,
        relay=cell.relay,
        holds=cell.holds,
        upgrade=cell.upgrade,
    )
    return cell, tally


def measure(
    nat_a: Place,
    nat_b: Place,
    runs: int,
    *,
    first: int = 0,
    loss: float = 0.0,
    skew: float = 0.1,
    relay: bool = False,
    holds: bool = False,
    upgrade: bool = False,
) -> Tally:
    """Runs of one pairing, from seed `first` on; each end starts first in half of them. `relay`:
    control relays, and takes TLS. `upgrade`: goes on until a relayed link is direct,
    UPGRADED_WITHIN at most."""
    tally = Tally(runs)
    for seed in range(first, first + runs):
        setup = Setup(
            nat_a=nat_a,
            nat_b=nat_b,
            skew=skew if seed % 2 else -skew,
            delay=DELAY,
            loss=loss,
            deadline=DEADLINE,
            relay=relay,
            tls=relay,
            settings={"holds": holds},
        )
        run = hold(seed, setup) if holds else punch(seed, setup)
        sides = run.sides
        if run.linked:
            tally.times.append(run.link_time)
            tally.relayed += any(
                link.path is PathKind.RELAY for side in sides for link in side.links
            )
            sent = [side.link.datagrams for side in sides if side.link]
            if upgrade and any(is_relayed(side) for side in sides):
                tally.upgrades.append(until_direct(run))
        else:
            failures = [side.failure for side in sides if side.failure]
            later = max(side.started_at[0] for side in sides)
            told = [side.host.first(Failed) for side in sides]
            tally.verdicts += [
                time - later for time, failed in filter(None, told) if failed.reason == "infeasible"
            ]
            sent = [failure.datagrams for failure in failures]
        tally.datagrams = max(tally.datagrams, *sent, 0)
    return tally


def is_relayed(side: Side) -> bool:
    return side.links[-1].path is PathKind.RELAY


def until_direct(run: Scenario) -> float:
    """Seconds until both ends have another path than the relay, since they were linked; inf if that
    is too long."""
    began = max(side.linked_at for side in run.sides if side.linked_at is not None)
    direct = run.run_until(lambda: not any(map(is_relayed, run.sides)), UPGRADED_WITHIN)
    return run.network.now - began if direct else inf


def hold(seed: int, setup: Setup) -> Scenario:
    """One run of ends that hold their link: until both are linked, on one path."""
    with promising(Scenario(seed, setup), check=one_path) as run:
        run.start().run_until_linked(abs(setup.skew) + DEADLINE + AFTERMATH)
        run.run_until(lambda: agreed(run), AGREED_WITHIN)
        return run


def agreed(run: Scenario) -> bool:
    """Whether both ends tell of the same link."""
    a, b = (side.link and side.link.session_key for side in run.sides)
    return a == b


def chosen_pairings(only: str | None) -> list[Pairing]:
    return [p for p in combinations_with_replacement(KINDS, 2) if only in (None, *p)]


def pooled(results: dict[Cell, Tally], pairings: Iterable[Pairing], loss: float | None) -> Tally:
    wanted, total = set(pairings), Tally()
    for cell, tally in results.items():
        if cell.pairing in wanted and loss in (None, cell.loss):
            total.add(tally)
    return total


def groups(pairings: Iterable[Pairing]) -> dict[str, list[Pairing]]:
    """Those that share a strategy."""
    found: dict[str, list[Pairing]] = {}
    for pairing in pairings:
        kinds = set(pairing)
        hard = kinds & {"hard-step", "hard-random"}
        if "UDP blocked" in kinds:
            name = "UDP blocked at both ends" if len(kinds) == 1 else "UDP blocked"
        elif not hard:
            name = "no hard NAT"
        elif kinds == {"hard-step"}:
            name = "hard-step with hard-step"
        elif kinds <= {"hard-step", "hard-random"}:
            name = "hard-random with hard"
        elif kinds & LENIENT:
            name = "hard with lenient"
        else:
            name = f"{hard.pop()} with restricted"
        found.setdefault(name, []).append(pairing)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="of each cell")
    parser.add_argument("--first", type=int, default=0, help="the first run's seed")
    parser.add_argument("--relay", action="store_true", help="control relays, and takes TLS")
    parser.add_argument("--holds", action="store_true", help="the ends hold their links")
    parser.add_argument("--upgrade", action="store_true", help="until relayed links are direct")
    parser.add_argument("--only", choices=KINDS, help="only pairings with this kind")
    given = parser.parse_args()
    runs, pairings = given.runs, chosen_pairings(given.only)
    with multiprocessing.Pool() as pool:
        all_cells = (
            Cell(*each, runs, given.first, given.relay, given.holds, given.upgrade)
            for each in product(pairings, LOSSES, SKEWS)
        )
        results = dict(pool.imap_unordered(run_cell, all_cells))
    total = sum(tally.runs for tally in results.values())
    head = " | ".join(f"{loss:.0%} loss" for loss in LOSSES)
    print(f"{total:,} runs, {runs * len(SKEWS)} a cell, no promise broken; ms: median/p95\n")
    print(f"| a, b | {head} |\n| --- |{' --- |' * len(LOSSES)}")
    for pairing in pairings:
        row = (str(pooled(results, [pairing], loss)) for loss in LOSSES)
        print(f"| {pairing[0]}, {pairing[1]} | {' | '.join(row)} |")
    print()
    for (name, group), loss in product(groups(pairings).items(), LOSSES):
        summarize(f"{name}, {loss:.0%} loss", pooled(results, group, loss))


def summarize(name: str, tally: Tally) -> None:
    early = sum(time <= FIRST_SPRAY for time in tally.times) / tally.runs
    relayed = f"{tally.relayed} relayed, " if tally.relayed else ""
    worst = f"worst {max(tally.times):.1f} s, " if tally.times else ""
    upgrades = sorted(time for time in tally.upgrades if time < inf)
    if upgrades:
        times = f"{upgrades[len(upgrades) // 2]:.1f} s later, {upgrades[-1]:.1f} s at worst"
        relayed += f"{len(upgrades)} of these direct {times}, "
    verdict = f"verdict after {max(tally.verdicts):.1f} s at most, " if tally.verdicts else ""
    print(
        f"{name}: {tally} of {tally.runs} runs, {early:.2%} within {FIRST_SPRAY} s, "
        f"{worst}{relayed}{verdict}{tally.datagrams} datagrams an end at most"
    )


if __name__ == "__main__":
    main()
