"""A held link: kept alive, lost, closed, or ended by a partner that punches anew."""

from __future__ import annotations

import pytest

from netpunch.core import timing
from netpunch.core.end import State
from netpunch.core.events import Finished, Lost, PartnerReturned, Waiting
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import EndName
from tests.core.v2_bench import Bench, Puppet, linked
from tests.core.v2_pair import ELSEWHERE, ENDS, only


class TestHolding:
    KEEPALIVE = 10.0

    def held(self, end: EndName) -> tuple[Bench, Puppet]:
        bench, puppet = linked(end, holds=True, keepalive=self.KEEPALIVE)
        if end == "b":
            bench.done(puppet)
        bench.run(0.1)
        bench.wait()
        return bench, puppet

    def keep_answering(self, bench: Bench, puppet: Puppet, keepalives: int) -> None:
        for _ in range(keepalives):
            pings = [timed.sent for timed in bench.run(self.KEEPALIVE)]
            bench.pong_all(puppet, pings)

    @pytest.mark.parametrize("end", ENDS)
    def test_it_stays_registered_on_standby(self, end: EndName) -> None:
        bench, _ = self.held(end)
        assert bench.end.state is State.HOLDING
        assert bench.all(v2.Announce)[-1].purpose == v2.Purpose.STANDBY
        assert not bench.all(v2.Leave)

    @pytest.mark.parametrize("end", ENDS)
    def test_an_answered_keepalive_keeps_it(self, end: EndName) -> None:
        bench, puppet = self.held(end)
        before = len(bench.all(v2.Ping))
        self.keep_answering(bench, puppet, 20)
        assert len(bench.all(v2.Ping)) - before == 20
        assert bench.end.state is State.HOLDING

    @pytest.mark.parametrize("end", ENDS)
    def test_three_unanswered_ones_lose_it(self, end: EndName) -> None:
        bench, puppet = self.held(end)
        self.keep_answering(bench, puppet, 3)
        answered_at = bench.now
        bench.run(2.9 * self.KEEPALIVE)
        assert not bench.events(Lost)
        bench.run(2 * self.KEEPALIVE)
        assert bench.events(Lost)
        assert bench.told[-1] == Finished()
        assert len(bench.all(v2.Leave)) == timing.LEAVE_COUNT
        lost_after = max(t.time for t in bench.sent) - answered_at
        assert 3 * self.KEEPALIVE < lost_after < 5 * self.KEEPALIVE

    def test_pongs_on_another_path_keep_nothing(self) -> None:
        bench = Bench("b", holds=True, keepalive=self.KEEPALIVE)
        puppet = bench.puppet(holds=True)
        bench.introduce(puppet)
        other_path = bench.ping(puppet, source=ELSEWHERE)
        bench.validate(puppet)
        bench.nominate(puppet)
        bench.run(2.5 * self.KEEPALIVE)
        bench.pong_all(puppet, other_path)
        bench.run(2 * self.KEEPALIVE)
        assert bench.events(Lost)

    def test_no_waiting_is_told_while_the_link_is_up(self) -> None:
        bench, _ = self.held("a")
        assert not bench.events(Waiting)

    def test_a_partner_that_punches_anew_is_told(self) -> None:
        bench, _ = self.held("a")
        anew = bench.puppet(b"partner2")
        bench.introduce(anew, proof=False)
        assert not bench.events(PartnerReturned), "it may be a recording"
        assert bench.drops(Drop.UNEXPECTED) == 1
        assert bench.introduce(anew) == []
        assert bench.event(PartnerReturned) == PartnerReturned()
        assert bench.end.state is State.HOLDING, "what to do about it is not the end's decision"

    def test_neither_the_partner_itself_nor_one_that_it_superseded_returns(self) -> None:
        """Their introductions were proof once: recorded ones must not end the link."""
        bench = Bench("b", holds=True)
        early, puppet = bench.puppet(b"early...", holds=True), bench.puppet(holds=True)
        recorded = [bench.introduction(early), bench.introduction(puppet)]
        for introduction in recorded:
            bench.control_says(introduction)
        bench.validate(puppet)
        bench.nominate(puppet)
        for introduction in recorded:
            bench.control_says(introduction)
        assert not bench.events(PartnerReturned)
        assert bench.drops(Drop.UNEXPECTED) == 2

    def test_it_can_be_closed(self) -> None:
        bench, _ = self.held("a")
        bench.close()
        bench.run(1.0)
        assert not bench.events(Lost)
        assert bench.told[-1] == Finished()

    def test_repeated_nominations_and_acceptances_are_still_answered(self) -> None:
        bench, puppet = linked("b", holds=True)
        bench.run(1.0)
        assert only(v2.Accept, bench.nominate(puppet))
        bench.run(5.0)
        assert bench.end.state is State.HOLDING
