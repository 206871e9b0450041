"""Who is asked how our NAT maps: a control that is alive."""

from __future__ import annotations

import pytest

from netpunch.address import Address
from netpunch.core.endpoints import NEVER_HEARD, Reflectors, live_reflectors

ONE, TWO, THREE = (Address(f"192.0.2.{n}", 10001) for n in (1, 2, 3))
PORTS: list[Reflectors] = [(each, Address(each.host, 10002)) for each in (ONE, TWO)]
NOW = 1000.0


def test_the_first_is_asked_while_it_is_heard_as_lately_as_others() -> None:
    assert live_reflectors(PORTS, {ONE: NOW - 0.9, TWO: NOW}) == PORTS[0]
    assert live_reflectors(PORTS, {ONE: NOW, TWO: NOW - 20.0}) == PORTS[0]


@pytest.mark.parametrize("last", [NEVER_HEARD, NOW - 1.1])
def test_a_silent_one_is_not(last: float) -> None:
    assert live_reflectors(PORTS, {ONE: last, TWO: NOW}) == PORTS[1]


def test_two_controls_that_tell_together_are_both_to_be_alive() -> None:
    choices = [(ONE, TWO), (ONE, THREE), (TWO, THREE)]
    assert live_reflectors(choices, {ONE: NOW, TWO: NEVER_HEARD, THREE: NOW}) == (ONE, THREE)


def test_where_nobody_was_heard_the_first_is_asked() -> None:
    assert live_reflectors(PORTS, dict.fromkeys([ONE, TWO], NEVER_HEARD)) == PORTS[0]
    assert live_reflectors(PORTS, {}) == PORTS[0]


def test_there_may_be_nobody_to_ask() -> None:
    assert live_reflectors([], {ONE: NOW}) is None
