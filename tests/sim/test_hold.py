"""Held links: both ends keep their sockets and the hole, until one of them is gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from netpunch.core.end.end import End, EndState
from netpunch.core.end.lookups import REVIEW
from netpunch.core.endpoints import LOOKUP_INTERVAL
from netpunch.core.events import Event, Finished, Lost, Moved
from netpunch.core.timing import HOLD_FOR
from tests.sim.hosts import LOOKUP_TIME
from tests.sim.nat import PORT_RESTRICTED_CONE, RANDOM_CONE
from tests.sim.promises import TALLY, connects, one_path, seeds
from tests.sim.scenarios import NUMBERS, Scenario, Setup, Side

KEEPALIVE = 15.0
SHORT_LIVED = (replace(RANDOM_CONE, timeout=20.0),)
HELD = Setup(nat_a=SHORT_LIVED, nat_b=SHORT_LIVED, deadline=60.0, settings={"holds": True})
WHILE = 600.0
TURMOIL, CALM = 100.0, 200.0
RETRY_AFTER = 2.0
MOVED_WITHIN = LOOKUP_INTERVAL + LOOKUP_TIME + 1.0
"""Until an end has found a control that moved, at the worst time."""
FOLLOWED_WITHIN = REVIEW + LOOKUP_TIME + 1.0
"""The same while the old one still answers."""
SOON = 3.0
"""Until both are linked anew, where control is known."""


def held(seed: int, setup: Setup) -> Scenario:
    """A scenario whose ends have just been linked on one path."""
    TALLY.runs += 1
    run = Scenario(seed, setup)
    assert run.start().run_until_linked(30.0), f"seed {seed}"
    run.run(0.5)
    assert not list(one_path(run)), f"seed {seed}"
    return run


def finish(side: Side) -> None:
    side.host.ask(lambda end, now: end.close(now))


@pytest.mark.parametrize("loss", [0.0, 0.02])
def test_a_held_link_stays_open_through_short_lived_mappings(loss: float) -> None:
    for seed in range(10):
        run = held(seed, replace(HELD, loss=loss, jitter=0.05, duplicate=0.1))
        run.run(WHILE)
        for side in run.sides:
            assert not list(side.host.told_of(Lost)), f"seed {seed}"
        assert not list(one_path(run)), f"seed {seed}"


def test_keepalives_are_sparing() -> None:
    run = held(1, HELD)
    before = len(run.network.sent)
    run.run(WHILE)
    rate = (len(run.network.sent) - before) / WHILE
    # A ping and its pong per end and keepalive, and as often an announcement and its answer.
    assert rate < 10 / KEEPALIVE


@pytest.mark.parametrize("victim", ["a", "b"])
def test_a_held_link_whose_partner_is_killed_is_lost(victim: str) -> None:
    run = held(1, HELD)
    killed, other = (run.a, run.b) if victim == "a" else (run.b, run.a)
    killed.host.stop()
    died = run.network.now
    assert run.run_until(lambda: other.ended, 10 * KEEPALIVE)
    lost = other.host.first(Lost)
    assert lost is not None
    assert HOLD_FOR - KEEPALIVE < lost[0] - died <= HOLD_FOR + 1.0


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_a_held_link_whose_nat_rebinds_moves_on_both_sides(loss: float) -> None:
    for seed in range(20):
        run = held(seed, replace(HELD, nat_b=(PORT_RESTRICTED_CONE,), loss=loss))
        run.a.nats[0].rebind("203.0.113.77")
        assert run.run_until(both_moved(run), KEEPALIVE + 5.0), f"seed {seed}"
        run.run(1.0)
        assert not list(one_path(run)), f"seed {seed}"
        for side in run.sides:
            assert not list(side.host.told_of(Lost))


def test_a_held_link_can_be_closed_at_any_time() -> None:
    run = held(1, HELD)
    finish(run.a)
    assert run.run_until(lambda: run.a.ended, 1.0)
    assert run.a.host.first(Lost) is None


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("victim", ["a", "b"])
def test_a_restarted_partner_is_linked_anew(victim: str, loss: float) -> None:
    for seed in range(10):
        run = held(seed, replace(HELD, loss=loss))
        restarted, stayed = (run.a, run.b) if victim == "a" else (run.b, run.a)
        keys = {side.link.session_key for side in run.sides if side.link is not None}
        run.restart_end(restarted)
        again = run.network.now
        assert run.run_until(linked_anew(restarted, stayed), 30.0), f"seed {seed}"
        if not loss:
            assert run.network.now - again < 0.5
        run.run(0.5)
        assert not list(one_path(run)), f"seed {seed}"
        keys |= {side.link.session_key for side in run.sides if side.link is not None}
        assert len(keys) == 2
        assert stayed.host.first(Lost) is None


def test_a_held_link_outlives_a_move_of_its_control() -> None:
    """Nothing of it is seen on the link, and a partner that is restarted later is heard."""
    for seed in range(10):
        run = held(seed, replace(HELD, named=True))
        run.run(run.network.random.uniform(0.0, WHILE))
        run.move_control()
        run.run(MOVED_WITHIN)
        for side in run.sides:
            assert not list(side.host.told_of(Lost)), f"seed {seed}"
        run.restart_end(run.b)
        assert run.run_until(linked_anew(run.b, run.a), KEEPALIVE), f"seed {seed}"


def test_a_held_link_follows_a_control_that_still_answers() -> None:
    """So nothing is lost when the old one is switched off at last."""
    for seed in range(10):
        run = held(seed, replace(HELD, named=True))
        old = run.control
        run.run(run.network.random.uniform(0.0, WHILE))
        run.move_control(old_one_stays=True)
        run.run(FOLLOWED_WITHIN)
        old.stop()
        run.restart_end(run.b)
        assert run.run_until(linked_anew(run.b, run.a), SOON), f"seed {seed}"
        for side in run.sides:
            assert not list(side.host.told_of(Lost)), f"seed {seed}"


def moves(side: Side) -> list[Moved]:
    return [event for _, event in side.host.told_of(Moved)]


def both_moved(run: Scenario) -> Callable[[], bool]:
    return lambda: all(moves(side) for side in run.sides)


def linked_anew(restarted: Side, stayed: Side) -> Callable[[], bool]:
    """The restarted end has another link, to which the other one's has moved."""
    return lambda: len(restarted.links) == 2 and bool(moves(stayed))


def test_an_undisturbed_link_does_not_move() -> None:
    run = held(1, replace(HELD, jitter=0.3, duplicate=0.5))
    run.run(WHILE)
    for side in run.sides:
        assert not moves(side)
        assert connects(run, side, run.b if side is run.a else run.a)


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_after_any_turmoil_both_ends_hold_one_path_again(loss: float) -> None:
    """Restarts, kills, NATs that rebind, a control that forgets or moves; then calm."""
    for seed in seeds(15):
        TALLY.runs += 1
        keep = {"holds": True, "deadline": 60.0, "deadline_from_start": False}
        run = Scenario(seed, replace(HELD, named=True, loss=loss, jitter=0.05, settings=keep))
        run.start()
        for side in run.sides:
            keep_running(run, side)
        for _ in range(15):
            run.network.call_at(run.network.random.uniform(0.0, TURMOIL), disturb, run)
        run.run(TURMOIL + CALM)
        for side in run.sides:
            machine = side.host.machine
            assert isinstance(machine, End)
            assert machine.state is EndState.HOLDING, f"seed {seed}: {side.name}"
        assert not list(one_path(run)), f"seed {seed}"


def disturb(run: Scenario) -> None:
    random = run.network.random
    side = random.choice(run.sides)
    match random.randrange(5):
        case 0:
            run.restart_end(side)
        case 1:
            run.restart_control()
        case 2:
            side.nats[0].rebind()
        case 3:
            side.nats[0].rebind(f"198.18.{NUMBERS[side.name]}.{random.randrange(1, 250)}")
        case 4:
            run.move_control()


def keep_running(run: Scenario, side: Side) -> None:
    """What a node does in `keep`: after every end, try anew."""

    def on_event(event: Event) -> None:
        if isinstance(event, Finished):
            run.network.call_at(run.network.now + RETRY_AFTER, try_anew, run, side)

    side.host.on_event = on_event


def try_anew(run: Scenario, side: Side) -> None:
    if side.ended:  # and was not restarted by somebody else in the meantime
        run.restart_end(side)
