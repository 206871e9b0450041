"""Beyond plain pings: a fresh port, what reflectors say, the turn to spray."""

from __future__ import annotations

import pytest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import CloseSocket, OpenSockets, TurnOver
from netpunch.core.settings import USUAL_CANDIDATES
from netpunch.wire import v2
from netpunch.wire.card import NatClass
from netpunch.wire.drop import Drop
from tests.core.v2_bench import OWN_PORT, Bench, Puppet
from tests.core.v2_pair import CONTROL, CONTROL_CHANNELS, ELSEWHERE, VIA, A, seal


class TestFreshPort:
    """No valid path to a proved partner: a NAT may have given our port away."""

    def dead(self, bench: Bench) -> float:
        """When fresh sockets are asked for; the bench asks nobody."""
        bench.run_until(lambda: bench.events(OpenSockets))
        return bench.now

    @pytest.fixture
    def bench(self) -> Bench:
        return Bench("a", candidates=USUAL_CANDIDATES)

    def introduce(self, bench: Bench) -> Puppet:
        """A partner whose NAT is easy."""
        puppet = bench.puppet()
        card = puppet.card(bench.attempt)._replace(nat_class=NatClass.EASY)
        bench.control_says(bench.introduction(puppet, card=card))
        return puppet

    def test_it_is_tried_2_s_after_the_introduction_of_a_proved_partner(self, bench: Bench) -> None:
        begin = bench.now
        self.introduce(bench)
        assert self.dead(bench) - begin == pytest.approx(timing.FRESH_PORT_AFTER, abs=0.06)
        request = bench.event(OpenSockets)
        assert (request.count, request.family) == (1, 4)

    def test_a_ghost_is_no_reason_for_it(self, bench: Bench) -> None:
        bench.introduce(bench.puppet(), proof=False)
        bench.run(20.0)
        assert not bench.events(OpenSockets)

    def test_nor_is_a_partner_with_a_valid_path(self) -> None:
        bench = Bench("b", candidates=USUAL_CANDIDATES)
        bench.validate(self.introduce(bench))
        bench.run(20.0)
        assert not bench.events(OpenSockets)

    def test_it_is_not_tried_where_another_port_must_not_win(self) -> None:
        bench = Bench("a", candidates=OWN_PORT)
        self.introduce(bench)
        bench.run(20.0)
        assert not bench.events(OpenSockets)

    def test_a_new_attempt_uses_it_and_leaves_the_old_one(self, bench: Bench) -> None:
        self.introduce(bench)
        self.dead(bench)
        first = bench.attempt
        bench.open_sockets({9: Address("0.0.0.0", 50000)})
        sent = [timed.sent for timed in bench.run(0.0)]
        assert bench.event(CloseSocket) == CloseSocket(VIA)
        leaves = [s for s in sent if isinstance(s.message, v2.Leave)]
        assert [(s.message.attempt, s.via) for s in leaves] == [(first, VIA)] * 3  # type: ignore[union-attr]
        (announce,) = [s for s in sent if isinstance(s.message, v2.Announce)]
        assert announce.via == 9
        assert bench.attempt != first

    def test_without_one_the_old_port_is_kept(self, bench: Bench) -> None:
        puppet = self.introduce(bench)
        self.dead(bench)
        first = bench.attempt
        bench.open_sockets({})
        bench.run(0.5)
        assert bench.attempt == first
        bench.validate(puppet)
        assert bench.all(v2.Nominate)

    def test_one_that_comes_too_late_is_closed(self, bench: Bench) -> None:
        puppet = self.introduce(bench)
        self.dead(bench)
        bench.validate(puppet)
        bench.accept(puppet)
        bench.open_sockets({9: Address("0.0.0.0", 50000)})
        bench.run(1.0)
        assert bench.event(CloseSocket) == CloseSocket(9)
        assert bench.finished

    def test_one_that_nobody_asked_for_is_closed(self, bench: Bench) -> None:
        bench.end.sockets_opened(1, {9: Address("0.0.0.0", 50000)}, bench.now)
        bench.run(0.0)
        assert bench.event(CloseSocket) == CloseSocket(9)

    def test_each_time_it_takes_twice_as_long(self, bench: Bench) -> None:
        waits = []
        for via in range(9, 12):
            begin = bench.now
            self.introduce(bench)
            waits.append(self.dead(bench) - begin)
            bench.open_sockets({via: Address("0.0.0.0", 50000 + via)})
            bench.run(0.0)
            bench.told = [event for event in bench.told if not isinstance(event, OpenSockets)]
        assert waits == pytest.approx([2.0, 4.0, 8.0], abs=0.3)


class TestReflectors:
    """Two ports of control that tell how our NAT maps."""

    REFLECTORS = (CONTROL, Address(CONTROL.host, CONTROL.port + 1))

    @pytest.fixture
    def asking(self) -> Bench:
        """An end that traverses, and has asked its reflectors."""
        bench = Bench("a", candidates=USUAL_CANDIDATES, reflectors=[self.REFLECTORS], drives=True)
        bench.introduce(bench.puppet())
        bench.run_until(lambda: bench.all(v2.Observe))
        return bench

    def answers(self, bench: Bench) -> list[tuple[v2.Observed, Address]]:
        """What a NAT that maps everything alike makes the reflectors say."""
        return [
            (
                v2.Observed(each.sent.message.echo, Address(A.host, each.sent.via)),
                each.sent.destination,
            )
            for each in bench.sent
            if isinstance(each.sent.message, v2.Observe)
        ]

    def test_they_are_asked_and_believed(self, asking: Bench) -> None:
        for answer, reflector in self.answers(asking):
            asking.control_says(answer, reflector)
        assert not asking.end.drops
        asking.run(0.5)
        assert asking.own_card().nat_class == NatClass.EASY

    def test_what_was_not_asked_for_is_dropped(self, asking: Bench) -> None:
        asking.control_says(v2.Observed(b"echoecho", A), CONTROL)
        assert asking.drops(Drop.UNEXPECTED) == 1

    def test_strangers_are_not_believed(self, asking: Bench) -> None:
        answer, _ = self.answers(asking)[0]
        asking.control_says(answer, ELSEWHERE)
        assert asking.drops(Drop.UNEXPECTED_SOURCE) == 1

    def test_forgeries_are_not_believed(self, asking: Bench) -> None:
        answer, reflector = self.answers(asking)[0]
        data = bytearray(seal(CONTROL_CHANNELS["a"].from_control, answer))
        data[-1] ^= 1
        asking.receive(bytes(data), reflector)
        assert asking.drops(Drop.BAD_MAC) == 1

    def test_an_end_that_asked_nothing_believes_nothing(self) -> None:
        bench = Bench(reflectors=[self.REFLECTORS])
        bench.control_says(v2.Observed(b"echoecho", A), CONTROL)
        assert bench.drops(Drop.UNEXPECTED_SOURCE) == 1

    def test_a_survey_goes_on_when_control_has_moved(self, asking: Bench) -> None:
        answer, reflector = self.answers(asking)[0]
        asking.end.controls_found(ControlEndpoints((ELSEWHERE,)), asking.now)
        asking.control_says(answer, reflector)
        assert not asking.drops(Drop.UNEXPECTED_SOURCE)


def test_a_turn_to_spray_that_nobody_needs_any_more_is_given_back() -> None:
    bench = Bench()
    bench.grant_turn()
    bench.run(0.0)
    assert bench.told == [TurnOver()]
