"""What all machines share: calls that a kind of machine has no use for, and how states change."""

from __future__ import annotations

from enum import Enum, auto

import pytest

from netpunch.address import Address
from netpunch.core.classic.control import ClassicControl
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import PathKind
from netpunch.core.machine import Machine, next_state
from tests.core.v2_pair import A, make_control


class Door(Enum):
    CLOSED = auto()
    OPEN = auto()


TRANSITIONS = {(Door.CLOSED, "push"): Door.OPEN}


def test_a_state_machine_moves_by_its_table_and_in_no_other_way() -> None:
    assert next_state(TRANSITIONS, Door.CLOSED, "push") is Door.OPEN
    with pytest.raises(AssertionError, match=r"Door\.OPEN has no transition for 'push'"):
        next_state(TRANSITIONS, Door.OPEN, "push")


@pytest.mark.parametrize("machine", [make_control(), ClassicControl({})], ids=["v2", "classic"])
def test_a_driver_may_call_a_control_as_it_calls_an_end(
    machine: Machine,
) -> None:
    machine.sockets_opened(1, {7: Address("0.0.0.0", 7)}, 1.0)
    machine.turn_granted(100, 1.0)
    machine.controls_found(ControlEndpoints(()), 1.0)
    machine.reachable_at(PathKind.MAPPED, (A,), 1.0)
    machine.no_route(0, A)
    machine.send_payload(b"data", 1.0)
    machine.close(1.0)
    assert machine.rtt is None
    assert machine.datagrams_to_send() == []
    assert machine.next_event() is None
