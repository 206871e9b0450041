"""How long what happens to a network interrupts the traffic of a held link. Needs root.

    python -m tests.lab.outages [--runs N] [--jobs N] [--only NAME...] [--timeline [--trace]]

Two hosts behind port-restricted NATs, each uplink 20 ms each way, `forward` at both ends, a
datagram each 10 ms both ways. In half of the runs it happens to end a, in the others to end b. An
outage is the longest time without a datagram arriving, of what the host sends and of what it is
sent: median and worst over the runs, in seconds. Beside it the datagrams lost, the links that
ended (`down`) and moved, and the longest that this program was held up itself by the machine.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path

from tests.bench.processes import machine
from tests.lab.disturbances import DISTURBANCES, Disturbance
from tests.lab.moving_pair import NODES, MovingPair
from tests.lab.namespace import remove_stale_namespaces
from tests.lab.network import Lab
from tests.lab.program import Record

SETTLED_SECONDS = (1.5, 4.0)
"""How long a link has been up when it happens, from and to: all phases of its timers."""
WATCHED_SECONDS = 6.0
"""At least, from when it has happened: what is done about it may itself interrupt a link."""
LONGEST_SECONDS = 100.0
"""Without an end of the outage by then, there is none."""
NOT_SHOWN = {"v", "ts", "seq", "run", "event", "node", "pair"}
COLUMNS = "{:<17} {:>4} {:>13} {:>13} {:>13} {:>5} {:>5} {:>6} {:>8}"
HEADER = COLUMNS.format("", "runs", "from it", "to it", "lost", "down", "moved", "stall", "allowed")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run, in seconds and datagrams."""

    outage_from: float
    """Of what the disturbed host sends."""
    outage_to: float
    """Of what it is sent."""
    lost: int
    """Of both directions, but for what was sent while it was still going on."""
    events: Counter[str]
    """Of both ends since."""
    stall: float
    steady: bool
    """Whether traffic flows again, without pauses."""
    timeline: str = field(repr=False)

    @property
    def outage(self) -> float:
        return max(self.outage_from, self.outage_to)


def run_once(
    disturbance: Disturbance, number: int, *, timeline: bool = False, trace: bool = False
) -> Outcome:
    """One run in a lab of its own, the same number always with the same host and time."""
    with tempfile.TemporaryDirectory(prefix="netpunch-outages-") as folder, Lab() as lab:
        return measure(lab, Path(folder), disturbance, number, timeline=timeline, trace=trace)


def measure(
    lab: Lab,
    folder: Path,
    disturbance: Disturbance,
    number: int,
    *,
    watched: float = WATCHED_SECONDS,
    timeline: bool = False,
    trace: bool = False,
) -> Outcome:
    """One run in an empty lab, watched for so many seconds at least. AssertionError if the ends do
    not even link."""
    node, other = NODES if number % 2 == 0 else tuple(reversed(NODES))
    with ExitStack() as cleanup:
        pair = MovingPair(lab, folder, cleanup, relayed=disturbance.relayed, trace=trace)
        time.sleep(random.Random(number).uniform(*SETTLED_SECONDS))
        begun = time.time()
        directions = pair.traffic.directions
        first = {name: direction.sent for name, direction in directions.items()}
        since = disturbance.happens(pair, node)
        time.sleep(max(0.0, since + watched - time.monotonic()))
        until = pair.wait_until_steady(since, LONGEST_SECONDS)
        pair.drain_traffic()
        records = _records(pair, begun)
        return Outcome(
            outage_from=directions[node].outage(since, until),
            outage_to=directions[other].outage(since, until),
            lost=sum(each.lost(first[name]) for name, each in directions.items()),
            events=Counter(record["event"] for _, record in records),
            stall=pair.traffic.stall(since, until),
            steady=until < since + LONGEST_SECONDS,
            timeline=_timeline(records, since) if timeline else "",
        )


def _records(pair: MovingPair, begun: float) -> list[tuple[str, Record]]:
    """All events since that time of the wall clock, in their order, each with its node."""
    programs = [*pair.ended, *pair.programs.items()]
    records = [(node, record) for node, program in programs for record in program.records()]
    recent = [each for each in records if _time(each[1]) >= begun]
    return sorted(recent, key=lambda each: _time(each[1]))


def _time(record: Record) -> float:
    return datetime.fromisoformat(record["ts"]).timestamp()


def _timeline(records: list[tuple[str, Record]], since: float) -> str:
    """A line for each event, with the seconds since the outage counts."""
    zero = time.time() - (time.monotonic() - since)
    lines = []
    for node, record in records:
        fields = " ".join(f"{key}={record[key]}" for key in record if key not in NOT_SHOWN)
        lines.append(f"{_time(record) - zero:8.3f} {node:6} {record['event']:16} {fields}")
    return "\n".join(lines)


class Table:
    """Runs and prints."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments

    def print(self) -> bool:
        """Row by row, as they are done; returns whether no outage was longer than allowed."""
        arguments = self._arguments
        # Each run is a process: the cables and the traffic of one shall not hold up those of
        # another.
        with ProcessPoolExecutor(
            arguments.jobs, mp_context=get_context("spawn"), max_tasks_per_child=1
        ) as pool:
            rows = {
                name: [
                    pool.submit(
                        run_once,
                        DISTURBANCES[name],
                        number,
                        timeline=arguments.timeline,
                        trace=arguments.trace,
                    )
                    for number in range(arguments.first, arguments.first + arguments.runs)
                ]
                for name in arguments.only
            }
            print(HEADER, flush=True)
            kept = [
                _print_row(DISTURBANCES[name], list(_results(name, runs)))
                for name, runs in rows.items()
            ]
        return all(kept)


def _results(name: str, runs: list[Future[Outcome]]) -> Iterator[Outcome | None]:
    """Each run's outcome, None if it came to nothing."""
    for number, run in enumerate(runs):
        try:
            yield run.result()
        except (AssertionError, OSError, RuntimeError) as error:
            print(f"-- {name}, run {number}: {error}", flush=True)
            yield None


def _print_row(disturbance: Disturbance, results: list[Outcome | None]) -> bool:
    outcomes = [each for each in results if each is not None]
    if not outcomes:
        return False
    for number, outcome in enumerate(outcomes):
        if outcome.timeline:
            print(f"-- {disturbance.name}, run {number}: {outcome}\n{outcome.timeline}")
    events = sum((outcome.events for outcome in outcomes), Counter[str]())
    print(
        COLUMNS.format(
            disturbance.name,
            len(outcomes),
            _median_and_worst([outcome.outage_from for outcome in outcomes]),
            _median_and_worst([outcome.outage_to for outcome in outcomes]),
            _median_and_worst([outcome.lost for outcome in outcomes], "{:.0f}"),
            events["pair.down"],
            events["pair.moved"],
            f"{max(outcome.stall for outcome in outcomes):.2f}",
            f"{disturbance.allowed:.1f}",
        ),
        flush=True,
    )
    kept = [each.steady and each.outage <= disturbance.allowed for each in outcomes]
    return all(kept) and len(outcomes) == len(results)


def _median_and_worst(values: Sequence[float], form: str = "{:.2f}") -> str:
    return f"{form.format(statistics.median(values))} {form.format(max(values)):>6}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument(
        "--only", nargs="+", choices=DISTURBANCES, default=list(DISTURBANCES), metavar="NAME"
    )
    parser.add_argument("--timeline", action="store_true", help="show all events of each run")
    parser.add_argument("--trace", action="store_true", help="each datagram is an event")
    arguments = parser.parse_args()
    remove_stale_namespaces()
    print(machine())
    return 0 if Table(arguments).print() else 1


if __name__ == "__main__":
    sys.exit(main())
