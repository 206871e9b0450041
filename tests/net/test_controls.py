"""Which of the controls' addresses tell how our NAT maps."""

from __future__ import annotations

from netpunch.address import Address
from netpunch.net.controls import observers

ONE, TWO, THREE = (Address(f"192.0.2.{n}", 10001) for n in (1, 2, 3))
SIX = Address("2001:db8::1", 10001)
LOOPBACK = Address("127.0.0.1", 10001)


def second(control: Address) -> Address:
    return Address(control.host, 10002)


def test_both_ports_of_each_control_that_has_two() -> None:
    found = {ONE: 10002, TWO: None, THREE: 10002}
    assert observers(found) == [(ONE, second(ONE)), (THREE, second(THREE))]


def test_any_two_controls_where_none_has_two_ports() -> None:
    found = dict.fromkeys([ONE, TWO, THREE])
    assert observers(found) == [(ONE, TWO), (ONE, THREE), (TWO, THREE)]
    assert observers({ONE: None}) == []


def test_all_of_one_family() -> None:
    assert observers({ONE: 10002, SIX: 10002}) == [(ONE, second(ONE))]
    assert observers({SIX: 10002, ONE: 10002}) == [(SIX, second(SIX))]
    assert observers(dict.fromkeys([ONE, SIX, TWO])) == [(ONE, TWO)]
    assert observers(dict.fromkeys([ONE, SIX])) == []


def test_none_on_loopback() -> None:
    assert observers({LOOPBACK: 10002, ONE: 10002}) == [(ONE, second(ONE))]
    assert observers({LOOPBACK: 10002}) == []
