"""Everything that may happen to a link's network, at every phase of the link, alone and in pairs.

    python -m tests.sim.moves [--runs N] [--seed S] [--event E] [--phase P] ... (see --help)

A run is a seed: from it come the places of both ends, the phase in which something happens, what
happens, to which end, what happens next and when, and whether programs send meanwhile. What is
given on the command line is not drawn. In every run, once all of it is over:

- both ends hold the same path, and it works, within SETTLED_WITHIN;
- no link was given up: some way always opens again before it may be;
- both never report different paths for longer than APART_FOR;
- where nothing is lost and the old path still works, payload never ceases to arrive;
- no process has begun to punch more often than twice in a second or MOST_A_MINUTE times a minute.

It prints how many runs broke which, each with the line that repeats it, and the longest time
without payload, by event and loss.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from shlex import quote
from typing import NamedTuple

from netpunch.core.events import Introduced
from netpunch.wire.envelope import CONTROL_DATAGRAM, END_B, PEER_DATAGRAM
from netpunch.wire.v2 import Kind
from tests.sim.held import Starts, Watch
from tests.sim.movement import EVENTS, start_if_down
from tests.sim.nat import (
    BLOCKS_UDP,
    FULL_CONE,
    HARD_RANDOM,
    HARD_STEP,
    PORT_RESTRICTED_CONE,
    RANDOM_CONE,
    RESTRICTED_CONE,
)
from tests.sim.network import Record
from tests.sim.scenarios import Scenario, Setup, Side
from tests.sim.setups import Place
from tests.sim.traffic import Traffic

LOSSES = (0.0, 0.05, 0.2)
LINKING = 60.0
"""Seconds for a first link, at most."""
SETTLED_WITHIN = 90.0
"""Seconds from when all is over. A quiet link notices after a keepalive and its repetitions, and
one that has used up its starts begins again after a minute."""
APART_FOR = 10.0
"""As long as a nomination lasts at most."""
SEAMLESS = 0.05
"""Between two arrivals, where nothing is lost and nothing should be missed."""
MOST_A_MINUTE = 11
"""The bound, and the first attempt of a process."""
LOOK_AFTER = (20.0, 5.0)
"""A quiet link is tried out so long after all is over, and again each so many seconds."""
RECOVERED = 1.0
"""Seconds that payload has to flow both ways."""

EASY: tuple[Place, ...] = (
    (),
    (FULL_CONE,),
    (RESTRICTED_CONE,),
    (PORT_RESTRICTED_CONE,),
    (PORT_RESTRICTED_CONE,),
    (RANDOM_CONE,),
)
LENIENT: tuple[Place, ...] = ((), (FULL_CONE,), (RESTRICTED_CONE,))
HARD: tuple[Place, ...] = ((HARD_STEP,), (HARD_RANDOM,))
RELAYED: tuple[Place, ...] = (*HARD, (BLOCKS_UDP,), (BLOCKS_UDP,))
"""Most pairs of these are linked by a relay, where UDP is blocked by way of TLS."""


# The phases in which something happens. Each brings a run there, and returns.


Reach = Callable[[Scenario, Random, Watch], None]


def waiting(run: Scenario, random: Random, watch: Watch) -> None:
    first, second = random.sample(run.sides, 2)
    run.start_end(first)
    run.run(random.uniform(0.0, 20.0))
    run.network.call_at(run.network.now + random.uniform(0.0, 1.0), start_if_down, run, second)


def begin(run: Scenario, random: Random) -> None:
    first, second = random.sample(run.sides, 2)
    run.start_end(first)
    run.network.call_at(random.choice([0.0, random.uniform(0.0, 1.0)]), start_if_down, run, second)


def introduced(run: Scenario, random: Random, watch: Watch) -> None:
    begin(run, random)
    run.run_until(lambda: any(side.host.first(Introduced) for side in run.sides), LINKING)
    run.run(random.uniform(0.0, 0.02))


def checking(run: Scenario, random: Random, watch: Watch) -> None:
    begin(run, random)
    run_until_sent(run, Kind.PING, LINKING)
    run.run(random.uniform(0.0, 0.1))


def nominating(run: Scenario, random: Random, watch: Watch) -> None:
    begin(run, random)
    run_until_sent(run, random.choice([Kind.NOMINATE, Kind.ACCEPT, Kind.DONE]), LINKING)
    run.run(random.uniform(0.0, 0.06))


def just_linked(run: Scenario, random: Random, watch: Watch) -> None:
    begin(run, random)
    run.run_until(lambda: watch.any_holds, LINKING)
    run.run(random.uniform(0.0, 0.3))


def holding(run: Scenario, random: Random, watch: Watch) -> None:
    begin(run, random)
    run.run_until(lambda: watch.same, LINKING)
    run.run(random.uniform(1.0, 40.0))


PHASES: dict[str, Reach] = {
    "waiting": waiting,
    "introduced": introduced,
    "checking": checking,
    "nominating": nominating,
    "just linked": just_linked,
    "holding": holding,
}

STEPS = (
    Kind.ANNOUNCE,
    Kind.WAITING,
    Kind.CHALLENGE,
    Kind.INTRODUCE,
    Kind.PING,
    Kind.PONG,
    Kind.NOMINATE,
    Kind.ACCEPT,
    Kind.DONE,
)
"""Of a link that moves: the second thing happens when one of these is first sent."""
STEP_WITHIN = 5.0
"""Seconds; if it is not sent by then, it is not awaited any longer."""
RETIRED_FOR = 12.0
"""Longer than the old path stays good for receiving."""


def run_until_sent(run: Scenario, kind: Kind, seconds: float) -> None:
    seen: list[bool] = []

    def observe(record: Record) -> None:
        data = record.datagram.data
        if len(data) in (CONTROL_DATAGRAM, PEER_DATAGRAM) and data[1] & ~END_B == kind:
            seen.append(True)

    run.network.on_send.append(observe)
    run.run_until(lambda: bool(seen), seconds)
    run.network.on_send.remove(observe)


# One run.


class Fixed(NamedTuple):
    """What is not drawn from the seed."""

    event: str | None = None
    then: str | None = None
    phase: str | None = None
    loss: float | None = None
    delay: float | None = None
    relay: bool | None = None
    sealed: bool | None = None
    """Whether the ends seal what programs send; None: they don't."""

    def options(self) -> str:
        words = []
        for name, value in self._asdict().items():
            if isinstance(value, bool):
                words.append(f" --{name}" if value else f" --no-{name}")
            elif value is not None:
                words.append(f" --{name} {quote(str(value))}")
        return "".join(words)


@dataclass
class Outcome:
    """What became of a run. Seconds."""

    seed: int
    events: tuple[str, ...] = ()
    phase: str = ""
    loss: float = 0.0
    traffic: bool = False
    broken: list[str] = field(default_factory=list)
    outage: float | None = None
    settled: float | None = None
    apart: float = 0.0
    starts: int = 0
    lasted: float = 0.0
    trace: str = field(default="", repr=False)


class Trial:
    """All that a seed stands for."""

    def __init__(self, seed: int, fixed: Fixed) -> None:
        self.random = random = Random(f"moves {seed}")
        names = list(EVENTS)
        alone = random.random() < 0.4
        event, then = random.choice(names), random.choice(names)
        phase = random.choice([*PHASES, "holding", "holding", "holding"])
        loss = random.choice(LOSSES)
        self.event = event if fixed.event is None else fixed.event
        self.then: str | None = None if alone and fixed.then is None else then
        if fixed.then is not None:
            self.then = fixed.then if fixed.then in EVENTS else None
        self.phase = phase if fixed.phase is None else fixed.phase
        self.loss = loss if fixed.loss is None else fixed.loss
        happens = [EVENTS[name] for name in (self.event, self.then) if name is not None]
        traffic = 0.8 if self.then is None else 0.5
        if any(each.long for each in happens):
            traffic = 0.1
        self.traffic = random.random() < traffic
        self.seamless = self.loss == 0.0 and all(each.seamless for each in happens)
        self.may_be_lost = any(each.by_name for each in happens)
        self.both = random.random() < 0.2 and EVENTS[self.event].of_ends
        self.setup = self._setup(fixed)
        if self.setup.relay:  # it may carry the link, and its control may be what is affected
            self.seamless = False

    @property
    def events(self) -> tuple[str, ...]:
        first = f"{self.event}, both" if self.both else self.event
        return (first,) if self.then is None else (first, self.then)

    def _setup(self, fixed: Fixed) -> Setup:
        random = self.random
        places = [random.choice(EASY), random.choice(EASY)]
        relay = random.random() < 0.3 if fixed.relay is None else fixed.relay
        self.cut = relay and random.random() < 0.4
        """Whether nothing passes between the first uplinks of both, for good."""
        if not self.cut and random.random() < (0.5 if relay else 0.1):
            places = [random.choice(HARD), random.choice(LENIENT)]
            if relay:
                places = [random.choice(RELAYED), random.choice([*RELAYED, *LENIENT])]
        random.shuffle(places)
        delay = random.choice([0.02, random.uniform(0.0, 0.1)])
        by_name = any(EVENTS[name].by_name for name in (self.event, self.then) if name)
        return Setup(
            nat_a=places[0],
            nat_b=places[1],
            controls=random.choice([1, 1, 2]),
            named=by_name or random.random() < 0.3,
            delay=delay if fixed.delay is None else fixed.delay,
            jitter=random.choice([0.0, random.uniform(0.0, 0.02)]),
            loss=self.loss,
            relay=relay,
            tls=relay,
            settings={
                "holds": True,
                "sealed": bool(fixed.sealed),
                "deadline": 60.0,
                "deadline_from_start": False,
            },
        )

    def sides(self, run: Scenario) -> Sequence[Side]:
        return run.sides if self.both else [self.random.choice(run.sides)]


def run_seed(seed: int, fixed: Fixed) -> Outcome:
    trial = Trial(seed, fixed)
    outcome = Outcome(seed, trial.events, trial.phase, trial.loss, trial.traffic)
    try:
        _run(trial, outcome, Scenario(seed, trial.setup))
    except Exception as error:
        outcome.broken.append(f"raised {type(error).__name__}: {error}")
        outcome.trace = traceback.format_exc()
    return outcome


def _run(trial: Trial, outcome: Outcome, run: Scenario) -> None:
    random, network = trial.random, run.network
    watch, starts = Watch(run), Starts(run)
    for control in run.controls:
        run.start_control(control)
    if trial.cut:
        a, b = (run.at_the_internet(side) for side in run.sides)
        network.internet.cuts |= {(a, b), (b, a)}
    PHASES[trial.phase](run, random, watch)
    traffic = Traffic(run) if trial.traffic else None
    if traffic and trial.phase == "holding":
        run.run(random.uniform(0.5, 1.0))
    began = network.now
    over = began + EVENTS[trial.event].act(run, trial.sides(run), random)
    if trial.then is not None:
        _await_step(run, random)
        over = max(over, network.now + EVENTS[trial.then].act(run, trial.sides(run), random))
    watch.count_from = over
    run.network.run_until(over)
    outcome.settled = _settle(run, watch, traffic, over)
    if traffic is not None:
        outcome.outage = traffic.longest_gap(began if trial.seamless else over)
        traffic.stop()
    watch.finish()
    outcome.apart = watch.longest_apart
    outcome.starts, outcome.lasted = starts.total, network.now
    outcome.broken += _broken(trial, outcome, watch, starts)


def _await_step(run: Scenario, random: Random) -> None:
    """Until the link is at some step of its move, or at any moment after it."""
    step = random.choice([*STEPS, None, None])
    if step is not None:
        run_until_sent(run, step, STEP_WITHIN)
        run.run(random.uniform(0.0, 0.05))
    else:
        run.run(random.uniform(0.0, RETIRED_FOR))


def _settle(run: Scenario, watch: Watch, traffic: Traffic | None, over: float) -> float | None:
    """Lives on until all is well; returns how long after `over` that was found."""
    network, latest = run.network, over + SETTLED_WITHIN
    first, again = (RECOVERED, 0.2) if traffic else LOOK_AFTER
    network.run_until(over + first)
    while network.now < latest:
        flows = traffic is None or (watch.same and traffic.flows_since(network.now - 0.2))
        if flows and watch.works():
            return network.now - over
        network.run_until(network.now + again)
    return None


def _broken(trial: Trial, outcome: Outcome, watch: Watch, starts: Starts) -> Iterator[str]:
    if outcome.settled is None:
        yield "stuck" if watch.same else "stuck, not on one path"
    if not trial.may_be_lost:
        yield from (f"lost: {side} at {when:.1f} s, {why}" for when, side, why in watch.lost)
    if outcome.apart > APART_FOR:
        yield "disagreement"
    held = trial.phase == "holding"
    if held and trial.seamless and (outcome.outage or 0.0) > SEAMLESS + 2 * trial.setup.jitter:
        yield "blinked"
    if starts.most_in(1.0) > 2 or starts.most_in(60.0) > MOST_A_MINUTE:
        yield "too many starts"


# Many runs.


def percentile(times: Sequence[float], part: float) -> float:
    ordered = sorted(times)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def line(times: Sequence[float]) -> str:
    if not times:
        return "-"
    return f"{percentile(times, 0.5):.2f}/{percentile(times, 0.95):.2f}/{max(times):.2f}"


def report(outcomes: Sequence[Outcome], fixed: Fixed) -> None:
    broken: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        for what in outcome.broken:
            broken[what.split(":")[0]].append(outcome)
    hours = sum(each.lasted for each in outcomes) / 3600
    starts = sum(each.starts for each in outcomes)
    kinds = (
        "stuck",
        "stuck, not on one path",
        "lost",
        "disagreement",
        "too many starts",
        "blinked",
    )
    counts = {**dict.fromkeys(kinds, 0), **{what: len(of) for what, of in broken.items()}}
    print(
        f"{len(outcomes):,} runs of {hours:,.0f} hours: "
        + ", ".join(f"{count:,} {what}" for what, count in counts.items())
        + f"; {starts / hours / 2:.0f} starts an hour and end"
    )
    print_outages(outcomes)
    settled = [each.settled for each in outcomes if each.settled is not None and not each.traffic]
    print(f"\nquiet links work again after (median/95 %/worst): {line(settled)} s")
    print(f"longest that both reported different paths: {max(e.apart for e in outcomes):.2f} s")
    for what, of in broken.items():
        print(f"\n{what}: {len(of):,}")
        where = Counter((*each.events, each.phase) for each in of)
        for place, count in where.most_common(5):
            print(f"  {count:5} {' > '.join(place)}")
        for each in of[:5]:
            print(f"  python -m tests.sim.moves --seed {each.seed}{fixed.options()}")


def print_outages(outcomes: Sequence[Outcome]) -> None:
    """Of links that were held, one event each, by event and loss."""
    gaps: dict[tuple[str, float], list[float]] = defaultdict(list)
    for each in outcomes:
        if each.outage is not None and each.phase == "holding" and not each.broken:
            event = each.events[0] if len(each.events) == 1 else "two, one after the other"
            gaps[event, each.loss].append(each.outage)
    print("\n| s without payload: median/95 %/worst | ", end="")
    print(" | ".join(f"{loss:.0%} loss" for loss in LOSSES), "|")
    print(f"| --- |{' --- |' * len(LOSSES)}")
    rows = [name + both for name in EVENTS for both in ("", ", both")]
    for event in [*rows, "two, one after the other"]:
        cells = [line(gaps[event, loss]) for loss in LOSSES]
        if any(cell != "-" for cell in cells):
            print(f"| {event} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="at most")
    parser.add_argument("--first", type=int, default=0, help="seed of the first run")
    parser.add_argument("--seed", type=int, help="repeat this run alone")
    parser.add_argument("--event", choices=EVENTS)
    parser.add_argument("--then", choices=[*EVENTS, "nothing"])
    parser.add_argument("--phase", choices=PHASES)
    parser.add_argument("--loss", type=float)
    parser.add_argument("--delay", type=float, help="one way through the internet")
    parser.add_argument("--relay", action=argparse.BooleanOptionalAction)
    parser.add_argument("--sealed", action="store_true", default=None)
    given = parser.parse_args()
    drawn = (given.event, given.then, given.phase, given.loss, given.delay, given.relay)
    fixed = Fixed(*drawn, sealed=given.sealed)
    if given.seed is not None:
        outcome = run_seed(given.seed, fixed)
        print(outcome, outcome.trace, sep="\n")
        return
    began = time.monotonic()
    seeds = range(given.first, given.first + given.runs)
    outcomes = []
    with multiprocessing.Pool() as pool:
        for outcome in pool.imap_unordered(partial(run_seed, fixed=fixed), seeds, chunksize=5):
            outcomes.append(outcome)
            if time.monotonic() - began > given.seconds:
                break
    report(outcomes, fixed)
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
