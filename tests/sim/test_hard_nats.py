"""The strategies against NATs that give every destination another port, and what they may cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from netpunch.core.events import PathKind, Reason
from tests.sim.matrix import DELAY, measure
from tests.sim.nat import HARD_RANDOM, HARD_STEP, LINUX, PORT_RESTRICTED_CONE, RANDOM_CONE
from tests.sim.promises import punch
from tests.sim.scenarios import Scenario, Setup
from tests.sim.setups import Place

EASY_ONES = {
    "port-restricted": (PORT_RESTRICTED_CONE,),
    "random-port": (RANDOM_CONE,),
    "linux": (LINUX,),
}
STEP, RANDOM = (HARD_STEP,), (HARD_RANDOM,)
BUSY_STEP = (replace(HARD_STEP, foreign=30.0),)
CAPPED_RANDOM = (replace(HARD_RANDOM, max_mappings=128),)
"""A NAT that gives one host so many ports at most."""
PROBE_RATE = 200
PLAIN_RATE = 400
"""Datagrams a second of plain pings at most; probes of hard NATs come on top."""


def any_order(one: Place, other: Place, runs: int) -> tuple[float, float]:
    """The shares of the runs that linked, with `one` as a and as b."""
    return measure(one, other, runs).share, measure(other, one, runs).share


@pytest.mark.parametrize("easy", EASY_ONES.values(), ids=EASY_ONES.keys())
@pytest.mark.parametrize("step", [1, 2, -1])
def test_an_easy_end_finds_the_next_port_of_a_quiet_stepping_nat(easy: Place, step: int) -> None:
    assert any_order(easy, (replace(HARD_STEP, step=step),), 10) == (1.0, 1.0)


def test_foreign_allocations_do_not_hide_the_next_port() -> None:
    assert min(any_order((PORT_RESTRICTED_CONE,), BUSY_STEP, 20)) >= 0.95


def test_two_quiet_stepping_nats_meet() -> None:
    assert measure(STEP, STEP, 20).share >= 0.9


@pytest.mark.parametrize("easy", EASY_ONES.values(), ids=EASY_ONES.keys())
def test_many_ports_of_a_random_nat_are_hit_by_many_probes(easy: Place) -> None:
    assert min(any_order(easy, RANDOM, 20)) >= 0.95


def test_a_cap_on_mappings_lowers_the_chance() -> None:
    assert min(any_order((PORT_RESTRICTED_CONE,), CAPPED_RANDOM, 12)) >= 0.75


@pytest.mark.parametrize(("one", "other"), [(RANDOM, RANDOM), (STEP, RANDOM), (RANDOM, STEP)])
def test_what_nothing_opens_is_said_soon(one: Place, other: Place) -> None:
    run = punch(1, Setup(nat_a=one, nat_b=other, delay=DELAY, deadline=60.0))
    assert not run.linked
    for side in run.sides:
        assert side.failure is not None
        assert side.failure.reason is Reason.INFEASIBLE
        assert side.failure.duration < 20.0


@pytest.mark.parametrize(
    ("one", "other"), [((PORT_RESTRICTED_CONE,), RANDOM), ((PORT_RESTRICTED_CONE,), STEP)]
)
def test_a_link_leaves_no_more_than_its_own_socket_and_the_first_one(
    one: Place, other: Place
) -> None:
    for setup in (Setup(nat_a=one, nat_b=other), Setup(nat_a=other, nat_b=one)):
        run = punch(1, replace(setup, deadline=60.0))
        for side in run.sides:
            assert side.link is not None
            assert side.link.via in side.host.sockets
            assert len(side.host.sockets) <= 2


def test_the_path_says_how_it_was_found() -> None:
    run = punch(1, Setup(nat_a=(PORT_RESTRICTED_CONE,), nat_b=STEP))
    assert run.a.link is not None
    assert run.a.link.path is PathKind.PREDICTED
    run = punch(1, Setup(nat_a=(PORT_RESTRICTED_CONE,), nat_b=RANDOM, deadline=60.0))
    assert run.a.link is not None
    assert run.a.link.path is PathKind.SPRAY


@pytest.mark.parametrize("other", [STEP, RANDOM])
def test_probing_stays_within_its_rate(other: Place) -> None:
    setup = Setup(nat_a=(PORT_RESTRICTED_CONE,), nat_b=other, delay=DELAY, deadline=60.0)
    for seed in range(10):
        assert busiest_second(punch(seed, setup)) <= PLAIN_RATE + PROBE_RATE + 1


def busiest_second(run: Scenario) -> int:
    """The most datagrams that one end sent within any whole second of the clock."""
    seconds = Counter((record.host, int(record.time)) for record in run.network.sent)
    return max(count for (host, _), count in seconds.items() if host in ("a", "b"))
