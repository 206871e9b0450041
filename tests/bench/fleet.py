"""A fleet: very many pairs on N control nodes that share nothing; each pair names two of them.

    python -m tests.bench fleet [--pairs N] [--nodes N ...] [--retry S]

First it measures on this machine what a waiting end costs a control, in CPU and memory, with far
more ends than a control keeps ciphers of (`tests.bench.control_limit`, `control_memory`), and what
a new link says to each of its controls (in the simulator). Then it computes, from a seed and
without any socket, what each of N nodes bears:

- a pair's two controls are those with the highest weights for its name (rendezvous hashing);
- both ends of every pair are kept linked, so each waits at both controls, at a phase of its own;
- some links are made anew each hour;
- the fullest node dies for half a minute and returns, knowing nobody. Meanwhile each of its ends
  repeats its announcement every second. Ends are counted per 50 ms of a virtual clock, not told
  apart. What exceeds the receive buffer is lost, and repeated.

A dead node is nothing to the others: its ends already announce to their other control.
"""

from __future__ import annotations

import argparse
import multiprocessing
import struct
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import shake_128
from random import Random
from typing import NamedTuple

from netpunch.core import timing
from netpunch.net.listener import RECEIVE_BUFFER
from tests.bench import control_limit, control_memory
from tests.bench.processes import machine
from tests.sim.scenarios import Scenario, Setup

PAIRS = 1_000_000
NODES = [4, 8, 16, 32]
SEED = 1
ENDS_MEASURED = 200_000
SECONDS_MEASURED = 5.0
RELINKS_PER_HOUR = 0.1
"""Of all pairs: rebooted ends, new addresses."""
ENOUGH = 0.5
"""Share of a core that leaves room for returns and other work."""

TICK = 0.05
INTERVAL = round(timing.WAITING_INTERVAL / TICK)
SECOND = round(1 / TICK)
ROUND_TRIPS = (1, 2, 3, 4)
"""Ticks: the next announcement comes so much later than its interval, each as often."""
QUEUE = RECEIVE_BUFFER // 800
"""Datagrams in a receive buffer: 384 bytes and the kernel's overhead."""
DEAD_FOR = 2 * INTERVAL
WATCHED = 4 * INTERVAL
"""After the return."""
LONGEST = (WATCHED - SECOND) * TICK


class Costs(NamedTuple):
    """Microseconds an announcement and its answer: of waiting ends at their pace, of new ones as
    fast as it goes; where ciphers are kept; of a bare endpoint. Bytes a registered end, its name
    and key included; datagrams of a new link to each control."""

    waiting: float
    registering: float
    kept: float
    bare: float
    end: float
    relink: int


class Return(NamedTuple):
    """A node that was dead. What was offered to it in the busiest second: before, while it was
    dead, afterwards. Seconds until `all_back` were registered; the busiest second's share of a
    core from its return on, and after the first round of announcements."""

    before: int
    dead: int
    after: int
    all_back: float
    busiest: float
    later: float


# The costs.


def measure() -> Costs:
    limit = control_limit.measure(ENDS_MEASURED // 2, SECONDS_MEASURED)
    bare, kept = control_limit.measure_kept()
    with multiprocessing.get_context("spawn").Pool(1) as process:
        memory = process.apply(control_memory.measure, (ENDS_MEASURED,))
    return Costs(
        limit.paced,
        max(limit.registering / 2, limit.saturated),
        kept,
        bare,
        memory.configuration + memory.registered,
        datagrams_of_a_link(),
    )


def datagrams_of_a_link() -> int:
    """What both ends say to one of their two controls until they hold their link."""
    run = Scenario(SEED, Setup(controls=2, delay=0.05, settings={"holds": True}))
    run.start().run(5.0)
    assert run.linked
    first = run.control_addresses[0]
    return sum(record.datagram.destination == first for record in run.network.sent)


# Where the pairs are.


def controls_of(pair: str, nodes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The two nodes of a pair, for each number of nodes: those with the highest weights. A node's
    weight is a word of the name's hash, so another node takes over its own share and moves
    nothing else."""
    words = struct.Struct(f"<{max(nodes)}I")
    weights = words.unpack(shake_128(pair.encode()).digest(words.size))
    for count in nodes:
        some = list(weights[:count])
        first = some.index(max(some))
        some[first] = -1
        yield first, some.index(max(some))


def spread(pairs: int, nodes: Sequence[int]) -> list[Counter[int]]:
    """How many pairs each node has, for each number of nodes."""
    chosen = [array("H") for _ in nodes]
    for number in range(pairs):
        for both, into in zip(controls_of(f"pair-{number}", nodes), chosen, strict=True):
            into.extend(both)
    return [Counter(each) for each in chosen]


# A node's life.


def die_and_return(ends: int, cost: float, retry: float, random: Random) -> Return:
    """A node with so many ends, to which one announcement costs `cost` microseconds."""
    capacity, again = round(1e6 / cost * TICK), round(retry / TICK)
    assert capacity * again > QUEUE, "who waits in the receive buffer would repeat himself"
    died, returned = 2 * INTERVAL, 2 * INTERVAL + DEAD_FOR
    until = returned + WATCHED
    due = [0] * (until + 2 * INTERVAL + max(again, *ROUND_TRIPS))
    for _ in range(ends):
        due[int(random.random() * INTERVAL)] += 1
    strangers = [0] * len(due)  # of those that are due: who is not registered (any more)
    served = [0] * until
    queue, last_stranger = 0, returned
    for now in range(until):
        if died <= now < returned:
            queue, room, strangers[now] = 0, 0, due[now]
        else:
            served[now] = min(queue + due[now], capacity)
            room = QUEUE + served[now] - queue
        taken = min(due[now], room)
        queue += taken - served[now]
        due[now + again] += due[now] - taken
        if strangers[now]:
            last_stranger = now
            lost = strangers[now] * (due[now] - taken) / due[now]
            strangers[now + again] += int(lost + random.random())
        for place, round_trip in enumerate(ROUND_TRIPS):
            due[now + INTERVAL + round_trip] += (served[now] + place) // len(ROUND_TRIPS)
    per_second, first_round = capacity / TICK, returned + INTERVAL
    return Return(
        busiest_second(due[:died]),
        busiest_second(due[died + INTERVAL : returned]),
        busiest_second(due[returned:until]),
        (last_stranger - returned) * TICK,
        busiest_second(served[returned:]) / per_second,
        busiest_second(served[first_round:]) / per_second,
    )


def busiest_second(counts: Sequence[int]) -> int:
    starts = range(max(1, len(counts) - SECOND + 1))
    return max(sum(counts[start : start + SECOND]) for start in starts)


# The report.


def report(pairs: int, nodes: Sequence[int], costs: Costs, retry: float) -> None:
    random = Random(SEED)
    print(
        "  each way, the fullest node                                       | dead   returned\n"
        "  nodes         pairs a node      ends   MiB  datagrams/s  core   | at it/s  all in  core"
        "  later"
    )
    enough = []
    for count, of_node in zip(nodes, spread(pairs, nodes), strict=True):
        fewest, most = min(of_node.values()), max(of_node.values())
        ends = 2 * most
        rate = ends / timing.WAITING_INTERVAL + most * RELINKS_PER_HOUR / 3600 * costs.relink
        share = rate * costs.waiting / 1e6
        memory = ends * costs.end / 1024**2
        back = die_and_return(ends, costs.registering, retry, random)
        if share <= ENOUGH:
            enough.append(count)
        back_in = f"{back.all_back:5.1f} s" if back.all_back < LONGEST else "  never"
        left = f"{count:5} {fewest:8,} to {most:8,} {ends:9,} {memory:5.0f} {rate:12,.0f}"
        right = f"{back.dead:9,} {back_in} {back.busiest:5.0%} {back.later:6.0%}"
        print(f"  {left} {share:5.0%}   | {right}")
    if enough:
        print(f"  {enough[0]} nodes suffice at {ENOUGH:.0%} of a core each, a dead one or none")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES)
    parser.add_argument("--retry", type=float, default=timing.WAITING_INTERVAL, help="seconds")
    arguments = parser.parse_args()
    print(f"{arguments.pairs:,} pairs, each on two control nodes; {machine()}")
    costs = measure()
    print(
        f"  measured with {ENDS_MEASURED:,} ends: {costs.waiting:.1f} µs of CPU a waiting end's "
        f"announcement and answer\n  ({costs.kept:.1f} where ciphers are kept, {costs.bare:.1f} at "
        f"a bare endpoint), {costs.registering:.1f} a new end's;\n"
        f"  {costs.end:.0f} bytes an end; {costs.relink} datagrams a link to each control"
    )
    report(arguments.pairs, arguments.nodes, costs, arguments.retry)


if __name__ == "__main__":
    main()
