"""How a state machine of the core moves: by the table on top of its module, and in no other way."""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

State = TypeVar("State", bound=Enum)


def next_state(transitions: Mapping[tuple[State, str], State], state: State, event: str) -> State:
    """The state after `event`. Raises AssertionError if the table has no such transition."""
    after = transitions.get((state, event))
    assert after is not None, f"{state} has no transition for {event!r}"
    return after
