"""Secrets are in no repr: what is shown may end in a log."""

from __future__ import annotations

import pytest

from netpunch.address import Address
from netpunch.config.document.problems import Position
from netpunch.config.model import ControlConfig, SecretSource
from netpunch.config.secrets import Secret
from netpunch.config.values import HostPort
from netpunch.core.events import (
    Finished,
    Linked,
    Moved,
    MoveReason,
    PartnerReturned,
    PathKind,
    Payload,
    TurnOver,
    Unmapped,
)
from netpunch.core.settings import EndSettings
from netpunch.node.packed_keys import PackedKeys
from netpunch.node.plan import ControlPlan

HERE, THERE = Address("192.0.2.1", 1), Address("192.0.2.2", 2)
SECRET = b"hunter2"
KEYS = PackedKeys({"p": SECRET})
VPS = ControlConfig("vps", None, HostPort("vps", 1), (), (), 60.0, Position(1, 1))


@pytest.mark.parametrize(
    "value",
    [
        Linked(0, HERE, THERE, PathKind.HOST, None, 0.1, SECRET),
        Moved(0, HERE, THERE, PathKind.HOST, None, MoveReason.WOKE, HERE, 0.1, SECRET),
        Payload(SECRET),
        EndSettings("p", "a", SECRET, other_secret=SECRET),
        ControlPlan(VPS, KEYS, {"a": SECRET}, {}, KEYS),
        KEYS,
        Secret("classic", SECRET),
        SecretSource("inline", Position(1, 1), text=SECRET.decode()),
    ],
)
def test_the_repr_of_a_value_hides_its_secrets(value: object) -> None:
    for shown in (repr(value), str(value), f"{value}", repr([value])):
        assert "hunter2" not in shown
        assert shown.strip("[").startswith(f"{type(value).__name__}(")


@pytest.mark.parametrize("one", [Finished, PartnerReturned, TurnOver, Unmapped])
def test_events_without_fields_are_true_and_unequal(one: type[object]) -> None:
    assert one()
    assert one() == one()
    assert len({one(), one()}) == 1
    assert all(one() != other for other in (Payload(b""), (), None))
    assert repr(one()) == f"{one.__name__}()"
