"""State machines are drawn from their tables, and the tables are whole."""

from __future__ import annotations

from enum import Enum, auto

import pytest

from tests.docs.state_machines import STATE_MACHINES, diagram, states_of


class Door(Enum):
    CLOSED = auto()
    OPEN = auto()
    BROKEN = auto()


def test_state_machine_is_drawn_with_its_first_and_last_states_and_shared_arrows() -> None:
    transitions = {
        (Door.CLOSED, "push"): Door.OPEN,
        (Door.CLOSED, "pull"): Door.OPEN,
        (Door.OPEN, "kick"): Door.BROKEN,
    }
    assert diagram(transitions).splitlines() == [
        "stateDiagram-v2",
        "    [*] --> CLOSED",
        "    CLOSED --> OPEN: push or pull",
        "    OPEN --> BROKEN: kick",
        "    BROKEN --> [*]",
    ]


@pytest.mark.parametrize("title", STATE_MACHINES)
def test_every_state_of_a_state_machine_is_reached_from_its_first(title: str) -> None:
    transitions = STATE_MACHINES[title].TRANSITIONS
    states = states_of(transitions)
    reached = {states[0]}
    for _ in states:
        reached |= {after for (before, _), after in transitions.items() if before in reached}
    assert reached == set(states)
