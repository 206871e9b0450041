"""Controls that stand behind a translation, in an end's own network, or on its partner's host."""

from __future__ import annotations

import pytest

from netpunch.address import Address
from netpunch.core.events import Introduced, SeenInside
from netpunch.wire import v2
from tests.core.v2_bench import Bench, Timed
from tests.core.v2_pair import CONTROL, A, B

GATEWAY = Address("172.17.0.1", 40000)
LAN_CONTROL = Address("192.168.1.20", 10001)
LAN = Address("192.168.1.10", 5000)
OTHER_CONTROL = Address("192.0.2.2", 10001)
LOOPBACK_CONTROL = Address("127.0.0.1", 10001)


def waiting(bench: Bench, observed: Address, control: Address = CONTROL) -> None:
    counter = bench.counter(control)
    said = v2.Waiting(bench.attempt, counter, observed, 0, v2.NO_ATTEMPT)
    bench.control_says(said, control)


def pinged(sent: list[Timed]) -> set[Address]:
    return {each.sent.destination for each in sent if isinstance(each.sent.message, v2.Ping)}


class TestSeenAtAPrivateAddress:
    def test_by_a_public_control_it_is_told_once(self) -> None:
        bench = Bench()
        for _ in range(3):
            waiting(bench, GATEWAY)
            bench.run(20.0)
        assert bench.events(SeenInside) == [SeenInside(CONTROL, GATEWAY)]

    def test_an_introduction_shows_it_as_well(self) -> None:
        bench = Bench()
        puppet = bench.puppet()
        introduction = bench.introduction(puppet)._replace(observed=GATEWAY)
        bench.control_says(introduction)
        assert bench.event(SeenInside) == SeenInside(CONTROL, GATEWAY)

    def test_each_such_control_is_named(self) -> None:
        bench = Bench(controls=(CONTROL, OTHER_CONTROL))
        for control in (CONTROL, OTHER_CONTROL):
            waiting(bench, GATEWAY, control)
        assert [seen.control for seen in bench.events(SeenInside)] == [CONTROL, OTHER_CONTROL]

    @pytest.mark.parametrize(
        ("control", "observed"),
        [(CONTROL, A), (LAN_CONTROL, LAN), (LOOPBACK_CONTROL, Address("127.0.0.1", 5000))],
    )
    def test_where_it_was_asked_at_one_there_is_nothing_to_tell(
        self, control: Address, observed: Address
    ) -> None:
        bench = Bench(controls=(control,))
        waiting(bench, observed, control)
        assert bench.events(SeenInside) == []

    def test_the_card_puts_what_the_world_sees_first(self) -> None:
        bench = Bench(controls=(LAN_CONTROL, CONTROL))
        waiting(bench, LAN, LAN_CONTROL)
        waiting(bench, A)
        bench.run(20.0)
        assert bench.own_card().observed == (A, LAN)


class TestPartnerOnControlsHost:
    LOOPBACK = Address("127.0.0.1", 6000)

    def test_is_where_this_end_reaches_control(self) -> None:
        bench = Bench()
        bench.introduce(bench.puppet(at=self.LOOPBACK))
        there = Address(CONTROL.host, 6000)
        assert bench.event(Introduced).remote == there
        assert pinged(bench.run(1.0)) == {there}

    def test_is_on_loopback_if_this_end_is_there_too(self) -> None:
        bench = Bench(controls=(LOOPBACK_CONTROL,))
        bench.control_says(
            bench.introduction(bench.puppet(at=self.LOOPBACK)), source=LOOPBACK_CONTROL
        )
        assert bench.event(Introduced).remote == self.LOOPBACK

    def test_elsewhere_it_is_where_control_says(self) -> None:
        bench = Bench()
        bench.introduce(bench.puppet())
        assert bench.event(Introduced).remote == B
