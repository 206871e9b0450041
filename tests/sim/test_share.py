"""Ends that share a program's port: the link never leaves that port, whatever NATs do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from netpunch.core.events import Moved, PathKind, Reason, Waiting
from netpunch.core.timing import SHARED_KEEPALIVE
from netpunch.wire.envelope import CONTROL_DATAGRAM, PEER_DATAGRAM, VERSION
from tests.sim.nat import HARD_RANDOM, HARD_STEP, PORT_RESTRICTED_CONE
from tests.sim.promises import TALLY, one_path
from tests.sim.scenarios import Scenario, Setup
from tests.sim.setups import ANYWHERE, Place

EASY, STEP, RANDOM = (PORT_RESTRICTED_CONE,), (HARD_STEP,), (HARD_RANDOM,)
Settings = dict[str, Any]
SHARES: Settings = {"holds": True, "share": True, "keepalive": SHARED_KEEPALIVE}
HOLDS: Settings = {"holds": True}
FIRST_SOCKET = 0
FORGERIES = 10_000
RUNS = 5
LINKED_WITHIN = 30.0
BACK_WITHIN = 2.5
"""After another NAT has taken the place of one: that leaves half a second of what is promised for
hooks and programs."""


def shared(one: Place, other: Place, **more: Any) -> Setup:
    """End a shares its port, b carries programs' datagrams itself."""
    setup = Setup(nat_a=one, nat_b=other, deadline=60.0, settings_a=SHARES, settings_b=HOLDS)
    return replace(setup, **more)


def linked(seed: int, setup: Setup) -> Scenario:
    TALLY.runs += 1
    run = Scenario(seed, setup)
    assert run.start().run_until_linked(LINKED_WITHIN), f"seed {seed}"
    run.run(0.5)
    assert not list(one_path(run)), f"seed {seed}"
    return run


def both_moved(run: Scenario) -> Callable[[], bool]:
    return lambda: all(list(side.host.told_of(Moved)) for side in run.sides)


@pytest.mark.parametrize("other", [EASY, STEP, RANDOM], ids=["easy", "step", "random"])
def test_a_shared_port_reaches_a_partner_that_opens_many(other: Place) -> None:
    for seed in range(RUNS):
        run = linked(seed, shared(EASY, other))
        assert run.a.link is not None
        assert run.a.link.via == FIRST_SOCKET, f"seed {seed}"


@pytest.mark.parametrize("hard", [STEP, RANDOM], ids=["step", "random"])
@pytest.mark.parametrize("partner", [SHARES, HOLDS], ids=["shares", "holds"])
def test_behind_a_hard_nat_a_shared_port_needs_a_relay(hard: Place, partner: Settings) -> None:
    setup = shared(hard, EASY, settings_b=partner)
    run = linked(1, replace(setup, relay=True))
    assert run.a.link is not None
    assert (run.a.link.path, run.a.link.via) == (PathKind.RELAY, FIRST_SOCKET)
    alone = Scenario(1, setup).start()
    assert alone.run_until(lambda: alone.a.ended, 70.0)
    assert alone.a.failure is not None
    assert alone.a.failure.reason is Reason.INFEASIBLE
    assert "with `forward` netpunch may use others" in alone.a.failure.detail


@pytest.mark.parametrize("moving", ["a", "b"])
def test_an_outage_of_a_shared_link_is_found_without_seeing_the_program(moving: str) -> None:
    """The program's datagrams pass by netpunch, so nothing but its own pings tells."""
    for seed in range(RUNS):
        run = linked(seed, shared(EASY, EASY, settings_b=SHARES))
        run.run(seed / RUNS)  # to another phase of the keepalives
        changed = run.network.now
        side = run.a if moving == "a" else run.b
        side.nats[0].rebind("203.0.113.77")
        assert run.run_until(both_moved(run), 10.0)
        assert run.network.now - changed < BACK_WITHIN, f"seed {seed}"
        run.run(0.5)
        assert not list(one_path(run)), f"seed {seed}"
        assert run.a.link is not None
        assert run.a.link.via == FIRST_SOCKET


def test_a_shared_link_is_never_led_over_tls() -> None:
    """Its program could not follow."""
    blocked, easy = ANYWHERE["blocked"], ANYWHERE["port-restricted"]
    run = Scenario(1, shared(blocked, easy, relay=True, tls=True, settings_b=SHARES)).start()
    assert not run.run_until_linked(LINKED_WITHIN)
    waiting = [event.reason for _, event in run.a.host.told_of(Waiting)]
    assert waiting == [Reason.UDP_BLOCKED]


def test_forgeries_on_a_shared_path_are_dropped() -> None:
    """With `forward` they would be the program's; here the program has its own copy already."""
    run = linked(1, shared(EASY, EASY, settings_b=SHARES))
    link, end = run.a.link, run.a.host.machine
    assert link is not None
    assert end is not None
    random = Random(7)
    for _ in range(FORGERIES):
        length = random.choice((PEER_DATAGRAM, CONTROL_DATAGRAM))
        data = bytes((VERSION,)) + random.randbytes(length - 1)
        end.receive_datagram(data, link.remote, run.network.now, link.via)
    assert end.next_event() is None
    assert not end.datagrams_to_send()
    assert sum(end.drops.values()) >= FORGERIES
