"""A control node speaks both protocols on one port."""

from __future__ import annotations

import pytest

from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.node import ControlNode
from netpunch.core.events import AuthRejected, Event, Registered
from netpunch.core.machine import NEVER
from netpunch.core.timing import EXPIRE
from netpunch.wire import classic, v2
from netpunch.wire.drop import Drop
from tests.core.v2_pair import A, B, Voice, make_control, read, told_by

SECRET = b"classic secret"


@pytest.fixture
def node() -> ControlNode:
    return ControlNode(make_control(), ClassicControl({"a": SECRET, "b": SECRET}))


def test_node_takes_datagrams_of_both_protocols(node: ControlNode) -> None:
    Voice("a", A, b"attempt1").register(node, 0.0)
    node.receive_datagram(classic.sign(SECRET, b"a"), B, 0.0, 0)
    told = [event for event in told_by(node) if isinstance(event, Registered)]
    assert [(event.end, event.address) for event in told] == [("a", A), ("a", B)]


def test_both_protocols_are_answered_and_their_timers_handled(node: ControlNode) -> None:
    assert node.next_timer() == NEVER
    node.receive_datagram(classic.sign(SECRET, b"a"), A, 0.0, 0)
    node.receive_datagram(classic.sign(SECRET, b"b"), B, 0.0, 0)
    node.receive_datagram(Voice("a", A, b"attempt1").announcement(), A, 0.0, 0)
    of_classic, of_v2 = node.datagrams_to_send()
    assert isinstance(read(of_v2.data), v2.Waiting)
    assert of_classic.data == classic.sign(SECRET, classic.introduction_payload("a", A))
    assert 0.0 < node.next_timer() < 1.0, "the push of the classic half"
    node.handle_timer(1.0)
    assert len(node.datagrams_to_send()) == 1
    assert node.next_timer() == EXPIRE


@pytest.mark.parametrize("data", [b"", b"\xf2", b"\xf2" * 384, b"\x00", b"!" * 42])
def test_drops_of_both_protocols_are_counted_and_reported(node: ControlNode, data: bytes) -> None:
    node.receive_datagram(data, A, 0.0, 0)
    assert node.drops.total() == 1
    assert set(node.drops) <= set(Drop)
    events: list[Event] = told_by(node)
    assert [type(event) for event in events] == [AuthRejected]
    assert node.datagrams_to_send() == []


def test_datagrams_of_both_protocols_are_described(node: ControlNode) -> None:
    assert node.describe(Voice("a", A, b"attempt1").announcement()).startswith("ANNOUNCE ")
    assert node.describe(classic.sign(SECRET, b"a")) == node.classic.describe(
        classic.sign(SECRET, b"a")
    )
    assert node.describe(b"\xf2") == "1 bytes: malformed"


def test_node_counts_the_registered_ends_of_both_protocols(node: ControlNode) -> None:
    assert node.registered == 0
    voice = Voice("a", A, b"attempt1")
    voice.register(node, 0.0)
    node.receive_datagram(classic.sign(SECRET, b"a"), A, 0.0, 0)
    assert node.registered == 2
    node.receive_datagram(voice.leave(), A, 1.0, 0)
    assert node.registered == 1
