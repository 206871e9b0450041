"""Many pairs behind hard NATs in one process: each has its turn, and the host is spared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netpunch.core.events import Moved, Reason, Waiting
from netpunch.core.traversal import budget
from tests.sim.fleets import Fleet
from tests.sim.machines import EndName
from tests.sim.nat import HARD_RANDOM, HARD_STEP, PORT_RESTRICTED_CONE
from tests.sim.scenarios import CONTROL
from tests.sim.setups import Place

EASY, RANDOM, STEP = (PORT_RESTRICTED_CONE,), (HARD_RANDOM,), (HARD_STEP,)
ONLY_CONTROL = (replace(PORT_RESTRICTED_CONE, only_to=frozenset({CONTROL[4].host})),)
"""Lets no datagram through to a partner."""
PAIRINGS = pytest.mark.parametrize(
    ("here", "there"),
    [(RANDOM, EASY), (EASY, RANDOM), (STEP, EASY), (STEP, STEP)],
    ids=["random-easy", "easy-random", "step-easy", "step-step"],
)


def either(number: int) -> EndName:
    return "a" if number % 2 else "b"


@PAIRINGS
@pytest.mark.parametrize("together", [False, True], ids=["partners apart", "partners together"])
def test_ten_hard_pairs_of_a_process_are_all_linked(
    here: Place, there: Place, together: bool
) -> None:
    fleet = Fleet(1, 10, here, there, together=together, name=either, deadline=20.0).start()
    assert fleet.run_until_linked(10, 120.0)
    fleet.network.run_until(fleet.network.now + budget.REST)
    assert fleet.process.open_sockets == 10, "a held link needs one"
    for end in fleet.ends():
        assert not end.failures, "whoever waits for its turn does not give up"
    assert fleet.process.most_sockets <= budget.MOST_SOCKETS


def test_pairs_that_nothing_opens_all_have_had_their_turn() -> None:
    fleet = Fleet(1, 5, RANDOM, ONLY_CONTROL, deadline=45.0).start()
    assert fleet.run_until_ended(300.0)
    reasons = [failed.reason for end in fleet.process.ends for failed in end.failures]
    assert reasons == [Reason.INFEASIBLE] * 5, "all was tried, and not `blocked` while it waited"
    waited = [
        end
        for end in fleet.process.ends
        if any(event.reason is Reason.SPRAY_QUEUE for _, event in end.told_of(Waiting))
    ]
    assert len(waited) >= 4, "an end says what it waits for"


def test_a_partner_that_begins_anew_again_and_again_holds_nobody_up() -> None:
    fleet = Fleet(1, 6, RANDOM, EASY, deadline=20.0).start(renewing=2)
    assert fleet.run_until_linked(4, 120.0)
    assert fleet.process.most_sockets <= budget.MOST_SOCKETS


def test_sockets_of_former_partner_attempts_are_given_back() -> None:
    fleet = Fleet(1, 1, RANDOM, ONLY_CONTROL, deadline=None).start(renewing=1)
    assert not fleet.run_until_linked(1, 30.0)
    assert budget.OPEN_PORTS < fleet.process.most_sockets <= budget.MOST_SOCKETS


def test_a_link_held_from_a_later_socket_moves_to_a_partner_that_was_restarted() -> None:
    fleet = Fleet(1, 1, RANDOM, EASY).start()
    assert fleet.run_until_linked(1, 30.0)
    ((here, there),) = fleet.pairs
    fleet.network.run_until(fleet.network.now + 20.0)
    there.stop()
    there.begin()
    fleet.network.run_until(fleet.network.now + 2.0)
    assert here.first(Moved)


def test_a_partner_that_dies_while_it_waits_is_not_waited_for() -> None:
    """Its card says that it waits; only control could still vouch for that, and forgets it."""
    fleet = Fleet(1, 3, RANDOM, EASY, deadline=20.0).start()
    waiting = fleet.pairs[2]

    def waits() -> bool:
        told = (event for end in waiting for _, event in end.told_of(Waiting))
        return any(event.reason is Reason.SPRAY_QUEUE for event in told)

    assert fleet.network.run_until(10.0, waits)
    waiting[0].stop()
    fleet.network.run_until(fleet.network.now + 60.0 + budget.QUEUED_SILENCE + 20.0 + 5.0)
    assert waiting[1].failures
