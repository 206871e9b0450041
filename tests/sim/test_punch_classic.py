"""The classic protocol, both ends and control ours, through virtual NATs."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from netpunch.core.events import Finished, PathKind, Reason
from netpunch.wire.drop import Drop
from tests.sim.machines import Classic
from tests.sim.nat import BLOCKS_UDP, FULL_CONE, LINUX, PORT_RESTRICTED_CONE, RANDOM_CONE
from tests.sim.promises import promising, punch, seeds
from tests.sim.scenarios import LOCAL_PORT, Scenario, Setup
from tests.sim.setups import CONES, EASY, Place, any_setup, easy_setup

CLASSIC = Classic()
CONE_PAIR = Setup(protocol=CLASSIC, nat_a=(PORT_RESTRICTED_CONE,), nat_b=(RANDOM_CONE,))


@pytest.mark.parametrize("nat_b", CONES.values(), ids=CONES.keys())
@pytest.mark.parametrize("nat_a", CONES.values(), ids=CONES.keys())
def test_ends_behind_any_two_cone_nats_link(nat_a: Place, nat_b: Place) -> None:
    for skew in (0.0, 0.3, -7.0):
        run = punch(1, Setup(protocol=CLASSIC, nat_a=nat_a, nat_b=nat_b, skew=skew))
        assert run.linked
        for side in run.sides:
            assert side.link is not None
            assert side.link.path is PathKind.OBSERVED
            assert side.link.local == ("0.0.0.0", LOCAL_PORT)


@pytest.mark.parametrize("place", EASY.values(), ids=EASY.keys())
def test_an_open_end_links_with_any_easy_one(place: Place) -> None:
    for skew in (0.0, 2.0, -2.0):
        assert punch(1, Setup(protocol=CLASSIC, nat_a=(), nat_b=place, skew=skew)).linked
        assert punch(2, Setup(protocol=CLASSIC, nat_a=place, nat_b=(), skew=skew)).linked


def test_easy_networks_of_tolerable_quality_always_link() -> None:
    for seed in seeds(150):
        setup = easy_setup(Random(seed), protocol=CLASSIC, deadline=60.0)
        # An early ping takes the port from a Linux NAT for good: classic has no way out.
        sturdy = not any(nat.unsolicited_takes_port for nat in setup.nat_a + setup.nat_b)
        assert punch(seed, setup).linked or not sturdy, f"seed {seed}: {setup}"


def test_any_network_keeps_the_promises() -> None:
    runs = seeds(150)
    linked = sum(punch(seed, any_setup(Random(seed), protocol=CLASSIC)).linked for seed in runs)
    assert 0.1 < linked / len(runs) < 0.9, "the networks should be neither all good nor all bad"


def test_twenty_percent_loss_delays_and_prevents_nothing() -> None:
    for seed in seeds(100):
        run = punch(seed, replace(CONE_PAIR, loss=0.2, deadline=60.0))
        assert run.linked, f"seed {seed}"


def test_very_bad_networks_strand_nobody() -> None:
    """What the linger after the closes is for."""
    for seed in seeds(150):
        punch(seed, replace(CONE_PAIR, loss=0.4))


def test_neighbours_link_by_hairpin_only() -> None:
    hairpin = (replace(FULL_CONE, hairpin=True),)
    assert punch(1, Setup(protocol=CLASSIC, shared=hairpin)).linked
    assert not punch(1, Setup(protocol=CLASSIC, shared=(FULL_CONE,))).linked


def test_both_ends_fail_where_udp_is_blocked() -> None:
    run = punch(1, Setup(protocol=CLASSIC, nat_a=(BLOCKS_UDP,), nat_b=(PORT_RESTRICTED_CONE,)))
    assert run.a.failure is not None
    assert run.a.failure.reason is Reason.SECRET_REJECTED_OR_SILENT
    assert run.b.failure is not None


def test_a_firewall_that_lets_only_control_in_is_told_as_blocked() -> None:
    only_control = replace(PORT_RESTRICTED_CONE, only_to=frozenset({"192.0.2.1"}))
    run = punch(1, Setup(protocol=CLASSIC, nat_a=(only_control,), nat_b=(PORT_RESTRICTED_CONE,)))
    assert run.a.failure is not None
    assert run.a.failure.reason is Reason.BLOCKED


def test_a_wrong_secret_is_met_with_silence() -> None:
    run = punch(1, replace(CONE_PAIR, protocol=Classic(secret=b"another")))
    assert not run.linked
    assert run.control.machine is not None
    assert run.control.machine.drops[Drop.BAD_MAC] > 0
    assert not [record for record in run.network.sent if record.host == "control"]


def test_ends_link_through_a_control_that_was_restarted_in_between() -> None:
    with promising(Scenario(1, replace(CONE_PAIR, skew=10.0))) as run:
        run.start()
        run.network.call_at(8.0, run.restart_control)
        run.run_to_the_end()
        assert run.linked


def test_a_restarted_end_links_although_control_holds_its_old_address() -> None:
    for seed in range(20):
        setup = replace(CONE_PAIR, skew=10.0, deadline=30.0)
        with promising(Scenario(seed, setup)) as run:
            run.start()
            run.network.call_at(5.0, run.a.nats[0].rebind)
            run.network.call_at(5.0, run.restart_end, run.a)
            run.run_to_the_end()
            assert run.linked


def test_an_end_whose_partner_is_killed_ends() -> None:
    for seed in range(20):
        with promising(Scenario(seed, CONE_PAIR)) as run:
            run.start()
            run.run(0.01 + seed * 0.004)  # at any point before the first pong
            run.b.host.stop()
            run.run_until(lambda: run.a.ended, 60.0)
            assert run.a.failure is not None


def test_a_dead_port_is_no_endless_attempt() -> None:
    """b's ping is early at a Linux NAT, which then has no port left for a's answer."""
    setup = Setup(protocol=CLASSIC, nat_a=(LINUX,), nat_b=(LINUX,), delay_a=0.2, delay_b=0.02)
    run = punch(1, setup)
    assert run.a.ended
    assert run.b.ended


def test_the_port_is_free_soon_after_the_link() -> None:
    for seed in range(50):
        run = punch(seed, replace(CONE_PAIR, loss=0.1))
        for side in run.sides:
            finished = side.host.first(Finished)
            assert finished is not None
            assert side.linked_at is not None
            assert finished[0] - side.linked_at < 2.0


def test_slow_links_that_reorder_everything_link() -> None:
    for seed in range(50):
        run = punch(seed, replace(CONE_PAIR, delay=0.3, jitter=0.5))
        assert run.linked, f"seed {seed}"
