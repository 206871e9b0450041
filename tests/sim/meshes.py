"""One node of a mesh starts, while all others wait for it: how long until all its links are up.

    python -m tests.sim.meshes [--nodes N] [--hard PERCENT] [--seeds N]

The node's own NAT is an easy one, or a hard one; so many percent of the others' are hard, which
allocate a random port for each destination. Its links are of one process, all others' of processes
of their own. With a relay at control, a link counts as up when it is relayed, too.
"""

from __future__ import annotations

import argparse
from random import Random
from typing import NamedTuple

from netpunch.core.events import Linked, PathKind
from netpunch.mesh import pair_of
from tests.sim.fleets import Fleet
from tests.sim.nat import HARD_RANDOM, PORT_RESTRICTED_CONE
from tests.sim.setups import Place

EASY, HARD = (PORT_RESTRICTED_CONE,), (HARD_RANDOM,)
OTHERS_LEAD = 20.0
"""Seconds that the others have waited: each is registered, and announces itself every 15 s."""
LONGEST = 900.0
NODE = "n000"


class Outcome(NamedTuple):
    """Of one node's start. Times in seconds since then; `sockets`: the most that it had open."""

    times: list[float]
    """When each link was up, sorted."""
    missing: int
    relayed: int
    sockets: int


def start_node(
    seed: int, nodes: int, own: Place, *, hard: float, relay: bool, longest: float = LONGEST
) -> Outcome:
    """`hard`: the part of the others that are behind hard NATs."""
    others = range(nodes - 1)
    hard_ones = Random(f"{seed}/hard").sample(others, round(len(others) * hard))
    fleet = Fleet(
        seed,
        len(others),
        own,
        EASY,
        some_there=dict.fromkeys(hard_ones, HARD),
        names=[str(pair_of("lan", NODE, f"n{n + 1:03}")) for n in others],
        relay=relay,
        deadline=None,
    )
    random = Random(f"{seed}/starts")
    for _, other in fleet.pairs:
        fleet.network.call_at(random.uniform(0.0, OTHERS_LEAD / 2), other.begin)
    fleet.network.run_until(OTHERS_LEAD)
    for one, _ in fleet.pairs:
        one.begin()
    expected = sum(relay or own == EASY or n not in hard_ones for n in others)
    fleet.run_until_up(expected, OTHERS_LEAD + longest)
    links = [link for one, _ in fleet.pairs for _, link in list(one.told_of(Linked))[:1]]
    times = [at - OTHERS_LEAD for one, other in fleet.pairs if (at := fleet.up_at(one, other))]
    relayed = sum(link.path is PathKind.RELAY for link in links)
    return Outcome(sorted(times), expected - len(times), relayed, fleet.process.most_sockets)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--hard", type=float, default=10.0, help="percent")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    print("own NAT, relay | up | half after s | all after s | relayed at first | sockets at most")
    for own, relay in ((EASY, True), (EASY, False), (HARD, True)):
        for seed in range(options.seeds):
            done = start_node(seed, options.nodes, own, hard=options.hard / 100, relay=relay)
            name = f"{'easy' if own is EASY else 'hard'}, {'relay' if relay else 'none'}"
            up = len(done.times)
            print(
                f"{name} | {up} of {up + done.missing} | {done.times[up // 2]:.2f} | "
                f"{done.times[-1]:.2f} | {done.relayed} | {done.sockets}",
                flush=True,
            )


if __name__ == "__main__":
    main()
