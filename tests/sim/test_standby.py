"""Standby across networks: a partner that is restarted is heard, a recording of one is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from netpunch.address import Address
from netpunch.core.control.node import ControlNode
from netpunch.core.end.lookups import REVIEW
from netpunch.core.end.standby import Standby
from netpunch.core.endpoints import LOOKUP_INTERVAL
from netpunch.core.events import PartnerReturned
from netpunch.core.settings import EndSettings
from tests.sim.hosts import LOOKUP_TIME
from tests.sim.machines import PAIR, SECRET
from tests.sim.nat import HARD_RANDOM, LINUX, PORT_RESTRICTED_CONE, RANDOM_CONE, NatBehavior
from tests.sim.network import Record
from tests.sim.promises import TALLY, one_path
from tests.sim.scenarios import Scenario, Setup, Side

SHORT_LIVED = tuple(replace(nat, timeout=30.0) for nat in (RANDOM_CONE, LINUX, HARD_RANDOM))
HANDED_OVER = Setup(nat_a=(PORT_RESTRICTED_CONE,), nat_b=(RANDOM_CONE,), deadline=None)
OPEN = replace(HANDED_OVER, nat_a=(), nat_b=())
WHILE = 600.0
SOON = 3.0
"""Seconds from a partner's start until standby knows of it, when nothing is lost."""
EVENTUALLY = 30.0
MOVED_WITHIN = LOOKUP_INTERVAL + LOOKUP_TIME + EVENTUALLY
"""Until an end has found a control that moved, at the worst time, and what follows from it."""
ATTACKER = Address("198.51.100.66", 666)


def handed_over(seed: int, setup: Setup) -> Scenario:
    """Both ends were linked, and their programs own the ports."""
    TALLY.runs += 1
    run = Scenario(seed, setup)
    assert run.start().run_until(lambda: run.a.ended and run.b.ended, 60.0), f"seed {seed}"
    assert not list(one_path(run)), f"seed {seed}"
    return run


def on_standby(seed: int, setup: Setup = HANDED_OVER) -> Scenario:
    run = handed_over(seed, setup)
    for side in run.sides:
        stand_by(run, side)
    run.run(EVENTUALLY)
    return run


def stand_by(run: Scenario, side: Side) -> None:
    """From a socket of its own, as the driver does it."""
    host = side.host
    via = host.bind()
    host.start(
        Standby(
            EndSettings(PAIR, side.name, SECRET),
            endpoints=run.look_up(),
            sockets={via: host.sockets[via]},
            random=run.randbytes(side.name),
            now=host.clock(),
        )
    )


def has_heard(side: Side) -> bool:
    return side.host.first(PartnerReturned) is not None


def hears(run: Scenario, side: Side) -> bool:
    return run.run_until(lambda: has_heard(side), EVENTUALLY)


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("nat", SHORT_LIVED, ids=["cone", "linux", "hard"])
@pytest.mark.parametrize("victim", ["a", "b"])
def test_a_restarted_partner_is_heard(victim: str, nat: NatBehavior, loss: float) -> None:
    """After ten quiet minutes, through a mapping that lives for half of one."""
    behind: dict[str, Any] = {"nat_b" if victim == "a" else "nat_a": (nat,)}
    for seed in range(5):
        run = on_standby(seed, replace(OPEN, loss=loss, jitter=0.02, **behind))
        killed, stayed = (run.a, run.b) if victim == "a" else (run.b, run.a)
        run.run(WHILE)
        assert not has_heard(stayed)
        run.restart_end(killed)
        assert hears(run, stayed), f"seed {seed}"
        if not loss:
            assert run.network.now - killed.started_at[-1] < SOON


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_both_are_linked_anew(loss: float) -> None:
    for seed in range(10):
        run = on_standby(seed, replace(HANDED_OVER, loss=loss, jitter=0.02))
        run.restart_end(run.b)
        assert hears(run, run.a), f"seed {seed}"
        run.restart_end(run.a)
        assert linked_twice(run), f"seed {seed}"
        run.run(SOON)
        assert not list(one_path(run)), f"seed {seed}"


def linked_twice(run: Scenario) -> bool:
    return run.run_until(lambda: all(len(side.links) == 2 for side in run.sides), EVENTUALLY)


def test_it_outlives_its_control() -> None:
    """A new control knows nothing; a partner that comes first is heard all the same."""
    for seed in range(5):
        run = on_standby(seed)
        run.restart_control()
        run.restart_end(run.b)
        assert hears(run, run.a), f"seed {seed}"


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_its_control_moves(loss: float) -> None:
    """And a partner that is restarted then finds the new one at once."""
    for seed in range(10):
        run = on_standby(seed, replace(HANDED_OVER, named=True, loss=loss))
        run.run(run.network.random.uniform(0.0, WHILE))
        run.move_control()
        run.restart_end(run.b)
        assert run.run_until(lambda: has_heard(run.a), MOVED_WITHIN), f"seed {seed}"  # noqa: B023
        run.restart_end(run.a)
        assert linked_twice(run), f"seed {seed}"


def test_it_follows_a_control_that_still_answers() -> None:
    for seed in range(10):
        run = on_standby(seed, replace(HANDED_OVER, named=True))
        run.run(run.network.random.uniform(0.0, WHILE))
        run.move_control(old_one_stays=True)
        run.run(REVIEW + LOOKUP_TIME + SOON)
        run.restart_end(run.b)
        assert hears(run, run.a), f"seed {seed}"


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_a_partner_that_waits_already_is_heard(loss: float) -> None:
    """It came while nobody was on standby: its own next announcement would be 15 s away."""
    for seed in range(10):
        run = handed_over(seed, replace(HANDED_OVER, loss=loss, jitter=0.02))
        run.restart_end(run.b)
        run.run(SOON)
        stand_by(run, run.a)
        began = run.network.now
        assert hears(run, run.a), f"seed {seed}"
        if not loss:
            assert run.network.now - began < SOON


def test_its_nat_gets_another_address() -> None:
    for seed in range(5):
        run = on_standby(seed)
        run.a.nats[0].rebind("203.0.113.77")
        run.restart_end(run.b)
        assert hears(run, run.a), f"seed {seed}"


def test_no_recording_is_a_partner_that_returns() -> None:
    """Everything that was ever sent to control, again and again, from elsewhere and from where
    it came."""
    recorded: list[Record] = []
    run = Scenario(1, HANDED_OVER)
    run.network.on_send.append(recorded.append)
    run.start()
    assert run.run_until(lambda: run.a.ended and run.b.ended, 60.0)
    for _ in range(3):
        stand_by(run, run.a)
        run.restart_end(run.b)
        assert hears(run, run.a)
        run.a.host.told.clear()
        run.b.host.stop()
    assert isinstance(run.control.machine, ControlNode)
    run.run(WHILE)  # b's registration has expired
    stand_by(run, run.a)
    run.run(1.0)
    before = list(recorded)
    announced = {r.datagram.data for r in before if r.datagram.destination in run.control_addresses}
    for _ in range(3):
        for record in before:
            if record.datagram.data in announced:
                for source in (ATTACKER, record.datagram.source):
                    run.network.inject(record.datagram.data, source, run.control_addresses[0])
        run.run(20.0)
    assert not has_heard(run.a)
