"""Ends in networks that block UDP: linked over TLS and a relay, and directly once UDP passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from netpunch.core import timing
from netpunch.core.events import Failed, Linked, Moved, PathKind, Reason
from tests.sim.movement import cut
from tests.sim.scenarios import RELAY_PORT, TLS_PORT, Scenario, Setup, Side
from tests.sim.setups import ANYWHERE, Place
from tests.sim.traffic import Traffic

BLOCKED, EASY = ANYWHERE["blocked"], ANYWHERE["port-restricted"]
WITHIN = 6.0
"""Seconds until a pair is linked of which one end or both have no UDP."""


def scenario(
    seed: int, a: Place, b: Place, *, holds: bool = True, sealed: bool = False, **setup: Any
) -> Scenario:
    settings = {
        "sealed": sealed,
        "holds": holds,
        "candidates": frozenset({"observed", "host", "any-port", "relay"}),
        "deadline": None if holds else 20.0,
    }
    base: dict[str, Any] = {"relay": True, "tls": True, "delay": 0.05, "settings": settings}
    return Scenario(seed, Setup(nat_a=a, nat_b=b, **base | setup)).start()


def block(run: Scenario, side: Side, seconds: float) -> None:
    """Drops all UDP of a side for a while."""
    there = [*run.controls, *(run.at_the_internet(each) for each in run.sides if each is not side)]
    cut(run, [run.at_the_internet(side)], there, seconds)


def paths(side: Side) -> list[PathKind]:
    return [link.path for link in side.links]


@pytest.mark.parametrize("blocked", ["a", "b"])
@pytest.mark.parametrize("other", ANYWHERE)
def test_an_end_without_udp_is_linked_with_one_anywhere(other: str, blocked: str) -> None:
    places: Sequence[Place] = (BLOCKED, ANYWHERE[other])
    for seed in range(3):
        run = scenario(seed, *(places if blocked == "a" else places[::-1]))
        assert run.run_until_linked(WITHIN), f"seed {seed}"
        assert run.link_time <= WITHIN
        assert {side.link.path for side in run.sides if side.link} == {PathKind.RELAY}


def test_a_link_over_tls_stays() -> None:
    run = scenario(1, BLOCKED, EASY)
    assert run.run_until_linked(WITHIN)
    run.run(600.0)
    assert [len(side.links) for side in run.sides] == [1, 1]


def test_it_turns_direct_once_udp_is_let_through() -> None:
    """Controls are asked on UDP every 15 s at least."""
    run = scenario(2, EASY, EASY)
    block(run, run.a, 60.0)
    assert run.run_until_linked(WITHIN)
    assert paths(run.a) == [PathKind.RELAY]
    run.run(60.0 + 15.0 + 2.0 - run.network.now)
    assert [paths(side) for side in run.sides] == [[PathKind.RELAY, PathKind.OBSERVED]] * 2


@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "sealed"])
@pytest.mark.parametrize("blocked", ["a", "b"])
def test_it_is_relayed_on_udp_once_that_is_let_through_where_nothing_else_passes(
    blocked: str, *, sealed: bool
) -> None:
    """The partner notices nothing, nor do programs but for what is under way in that moment."""
    hard = ANYWHERE["hard-random"]
    run = scenario(8, hard, hard, delay=0.02, sealed=sealed)
    side, other = (run.a, run.b) if blocked == "a" else (run.b, run.a)
    block(run, side, 60.0)
    assert run.run_until_linked(WITHIN)
    run.run(60.0 - run.network.now)
    traffic = Traffic(run)
    assert run.run_until(lambda: len(side.links) == 2, 15.0 + 2.0)
    run.run(1.0)
    assert [link.remote.port for link in side.links] == [TLS_PORT, RELAY_PORT]
    assert traffic.longest_gap(60.0) < 0.1
    traffic.stop()
    run.run(300.0)
    assert (len(side.links), len(other.links)) == (2, 1)
    assert side.links[0].session_key == side.links[1].session_key


def test_a_relay_without_udp_keeps_the_link_over_tls() -> None:
    """Control is heard, its relay's port is not."""
    hard = ANYWHERE["hard-random"]
    run = scenario(9, hard, hard)
    block(run, run.a, 60.0)
    assert run.run_until_linked(WITHIN)
    for via, local in list(run.control.sockets.items()):
        if local.port == RELAY_PORT:
            run.control.close(via)
    run.run(300.0)
    assert [link.remote.port for link in run.a.links] == [TLS_PORT]


def test_a_held_link_moves_to_tls_when_its_network_begins_to_block_udp() -> None:
    run = scenario(3, EASY, EASY)
    assert run.run_until_linked(WITHIN)
    block(run, run.b, 1000.0)
    assert run.run_until(lambda: len(run.a.links) == len(run.b.links) == 2, 30.0)
    assert [paths(side) for side in run.sides] == [[PathKind.OBSERVED, PathKind.RELAY]] * 2


@pytest.mark.parametrize("other", [BLOCKED, EASY], ids=["both blocked", "one blocked"])
def test_a_control_that_restarts_costs_a_link_over_tls_a_move(other: Place) -> None:
    """Nothing is sent on the link: an end with UDP notices it when it announces itself next."""
    run = scenario(4, BLOCKED, other)
    assert run.run_until_linked(WITHIN)
    run.run(20.0)
    run.restart_control()
    noticed = timing.WAITING_INTERVAL + 2.0
    assert run.run_until(lambda: len(run.a.links) == len(run.b.links) == 2, noticed)


def test_a_nat_that_gets_another_address_costs_a_link_over_tls_a_move() -> None:
    """The connection breaks only when something sent stays unacknowledged."""
    run = scenario(5, BLOCKED, EASY)
    assert run.run_until_linked(WITHIN)
    run.run(20.0)
    run.a.nats[0].rebind("203.0.113.77")
    assert run.run_until(lambda: len(run.a.links) == len(run.b.links) == 2, 40.0)


def test_a_process_that_restarts_is_linked_over_tls_again() -> None:
    run = scenario(6, BLOCKED, EASY)
    assert run.run_until_linked(WITHIN)
    run.run(20.0)
    run.restart_end(run.a)
    assert run.run_until(lambda: len(run.a.links) == 2 and len(run.b.links) == 2, WITHIN)
    assert isinstance(run.a.link, Linked)
    assert isinstance(run.b.link, Moved)


def test_an_end_that_hands_over_says_that_udp_is_blocked() -> None:
    run = scenario(7, BLOCKED, EASY, holds=False).run_to_the_end()
    assert run.a.failure is not None
    assert run.a.failure.reason is Reason.UDP_BLOCKED
    assert run.b.failure is not None
    assert run.b.failure.reason is Reason.PARTNER_ABSENT


def test_without_tls_at_control_it_is_silence() -> None:
    run = scenario(8, BLOCKED, EASY, tls=False, holds=False).run_to_the_end()
    assert isinstance(run.a.failure, Failed)
    assert run.a.failure.reason is Reason.SECRET_REJECTED_OR_SILENT
