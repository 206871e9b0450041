"""Two ends that are run by timers, as contrib/ has them, meet whatever the phase of their timers.

Each runs until it is linked or its deadline is over, pauses, and runs again. They are awake at
the same time again and again as long as no pause is as long as a run; then one wait for the
other's next start is all that it costs.
"""

from __future__ import annotations

import re
from itertools import chain, product
from math import floor
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from tests.sim.nat import PORT_RESTRICTED_CONE, RANDOM_CONE
from tests.sim.scenarios import Scenario, Setup, Side

DEADLINE = 180.0
"""`deadline: 3m`, from the start of a run, as `once` has it."""
LINKING = 5.0
"""Seconds to link that are plenty on this network."""
AFTERWARDS = 1.0


class Pauses(NamedTuple):
    """Seconds between a run's end and the next start."""

    shortest: float
    longest: float


TIMER_PAUSE = 31.0
"""OnUnitInactiveSec=30s and AccuracySec=1s, as contrib/netpunch-once@.timer has them."""
TIMER = Pauses(30.0, TIMER_PAUSE + 1.0)
"""And the time to start Python on a slow machine."""
CRON = Pauses(59.0, 61.0)
"""A run of 3 minutes and a moment ends just after the minute in which cron would start one."""


HOOK = Path(__file__).parents[2] / "contrib" / "hooks" / "wireguard"
CHECK_SECONDS = 2.0
"""An old handshake is checked by a ping, which waits so long for its answer."""
REKEY = 120.0
"""Seconds between the handshakes of a tunnel that lives (WireGuard's REKEY_AFTER_TIME)."""


class Timers:
    """Both ends, from the first start of the earlier one on."""

    def __init__(self, seed: int, phase: float, pauses: Pauses, deadline: float = DEADLINE) -> None:
        """End b's first start is `phase` seconds after a's."""
        self.phase = phase
        setup = Setup(nat_a=(PORT_RESTRICTED_CONE,), nat_b=(RANDOM_CONE,), deadline=deadline)
        self.scenario = Scenario(seed, setup)
        self._pauses = pauses
        self._random = Random(seed)
        for side in self.scenario.sides:
            side.host.on_event = lambda _, side=side: self._pause_if_ended(side)

    def run(self, seconds: float) -> bool:
        """Whether both are linked so many seconds after both have started once."""
        scenario, network = self.scenario, self.scenario.network
        scenario.start_control()
        network.call_at(0.0, scenario.start_end, scenario.a)
        network.call_at(self.phase, scenario.start_end, scenario.b)
        return scenario.run_until_linked(self.phase + seconds)

    def _pause_if_ended(self, side: Side) -> None:
        if side.ended and side.link is None:
            pause = self._random.uniform(*self._pauses)
            network = self.scenario.network
            network.call_at(network.now + pause, self.scenario.restart_end, side)


def phases(pauses: Pauses) -> list[float]:
    """All phases of the first period, and finely those where one ends or begins."""
    period = int(DEADLINE + pauses.longest)
    edges = (DEADLINE, DEADLINE + pauses.shortest, DEADLINE + pauses.longest)
    fine = ((edge + step / 10 for step in range(-30, 30)) for edge in edges)
    return [*range(period + 1), *chain.from_iterable(fine)]


@pytest.mark.parametrize("pauses", [TIMER, CRON], ids=["timer", "cron"])
def test_they_meet_in_every_phase(pauses: Pauses) -> None:
    for seed, phase in enumerate(phases(pauses)):
        timers = Timers(seed, phase, pauses)
        assert timers.run(pauses.longest + LINKING), f"seed {seed}, phase {phase}"
        timers.scenario.run(AFTERWARDS)
        a, b = (len(side.links) for side in timers.scenario.sides)
        assert (a, b) == (1, 1), "neither goes on alone"


def test_they_may_never_meet_if_they_sleep_longer_than_they_try() -> None:
    """The model does notice it."""
    timers = Timers(1, 25.0, Pauses(30.0, 30.0), deadline=20.0)
    assert not timers.run(3600.0)
    assert len(timers.scenario.a.started_at) > 70


# A dead WireGuard tunnel, noticed by its last handshake.


def dead_after() -> float:
    """The age of a handshake, in seconds, from which on the hook's check wants a ping."""
    found = re.search(r"^DEAD_AFTER=(\d+)", HOOK.read_text(), re.MULTILINE)
    assert found is not None
    return float(found[1])


def begins_to_punch(phase: float, handshake_age: float, random: Random) -> float:
    """Seconds from a tunnel's death until a host notices: its timer runs `phase` seconds after
    it, and again after each pause; the last handshake was so old when the tunnel died.

    The hook counts in whole seconds: of those that make a handshake seem young for longest, as it
    was made when one began."""
    now = phase
    while floor(now + handshake_age) <= dead_after():
        now += random.uniform(*TIMER)  # the check passes, at once
    return now + CHECK_SECONDS


def time_without_tunnel(seed: int, phases: tuple[float, float], handshake_age: float) -> float:
    """Seconds from a tunnel's death until both ends are linked anew."""
    random = Random(seed)
    setup = Setup(nat_a=(PORT_RESTRICTED_CONE,), nat_b=(RANDOM_CONE,), deadline=DEADLINE)
    run = Scenario(seed, setup)
    assert run.start().run_until(lambda: run.a.ended and run.b.ended, LINKING)
    died = run.network.now
    run.a.nats[0].rebind("203.0.113.77")
    for side, phase in zip(run.sides, phases, strict=True):
        begins = died + begins_to_punch(phase, handshake_age, random)
        run.network.call_at(begins, run.restart_end, side)
    assert run.run_until(lambda: all(len(side.links) == 2 for side in run.sides), DEADLINE)
    return run.network.now - died


def test_a_dead_tunnel_is_back_in_time_whatever_the_phases() -> None:
    """Every other second of both hosts' periods when the handshake was just made; some when it was
    due, which is noticed sooner."""
    period = TIMER_PAUSE + CHECK_SECONDS
    times = [
        time_without_tunnel(seed, (a, b), age)
        for age, step in ((0.0, 2), (REKEY, 8))
        for seed, (a, b) in enumerate(product(range(0, round(TIMER.longest), step), repeat=2))
    ]
    print(f"\n{len(times):,} dead tunnels: back after {min(times):.1f} to {max(times):.1f} s")
    assert max(times) <= dead_after() + period + LINKING
    assert max(times) > dead_after() + TIMER.shortest, "the worst case is among them"
