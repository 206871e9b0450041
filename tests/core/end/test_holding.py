"""A held link: kept alive, lost, closed, or ended by a partner that punches anew."""

from __future__ import annotations

import pytest

from netpunch.core import timing
from netpunch.core.end.end import EndState
from netpunch.core.events import Finished, Lost, Moved, Reason, Waiting
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
        assert bench.end.state is EndState.HOLDING
        assert bench.all(v2.Announce)[-1].purpose == v2.Purpose.STANDBY
        assert not bench.all(v2.Leave)

    @pytest.mark.parametrize("end", ENDS)
    def test_an_answered_keepalive_keeps_it(self, end: EndName) -> None:
        bench, puppet = self.held(end)
        before = len(bench.all(v2.Ping))
        self.keep_answering(bench, puppet, 20)
        assert len(bench.all(v2.Ping)) - before == 20
        assert bench.end.state is EndState.HOLDING

    @pytest.mark.parametrize("end", ENDS)
    def test_its_round_trip_is_that_of_the_last_keepalive(self, end: EndName) -> None:
        bench, puppet = self.held(end)
        for delay in (0.25, 0.75):
            [ping] = [
                each.sent
                for each in bench.run(self.KEEPALIVE)
                if isinstance(each.sent.message, v2.Ping)
            ][-1:]
            sent_at = max(each.time for each in bench.sent if each.sent is ping)
            bench.run(sent_at + delay - bench.now)
            bench.pong_all(puppet, [ping])
            assert bench.end.rtt == pytest.approx(delay)

    @pytest.mark.parametrize("end", ENDS)
    def test_silence_for_hold_for_loses_it(self, end: EndName) -> None:
        bench, puppet = self.held(end)
        self.keep_answering(bench, puppet, 3)
        answered_at = bench.now
        bench.run(timing.HOLD_FOR - 0.1)
        assert not bench.events(Lost)
        bench.run(1.0)
        assert bench.events(Lost)
        assert bench.told[-1] == Finished()
        assert not bench.all(v2.Bye), "the partner is to find the same cause"
        assert len(bench.all(v2.Leave)) == timing.LEAVE_COUNT
        lost_after = max(t.time for t in bench.sent) - answered_at
        assert lost_after == pytest.approx(timing.HOLD_FOR, abs=0.5)

    @pytest.mark.parametrize("end", ENDS)
    def test_a_dead_path_is_pinged_once_a_second_and_used_again(self, end: EndName) -> None:
        bench, puppet = self.held(end)
        bench.run(self.KEEPALIVE + 3.0)
        pings = [t.sent for t in bench.run(20.0) if isinstance(t.sent.message, v2.Ping)]
        assert len(pings) == 20
        bench.pong_all(puppet, pings[-1:])
        bench.run(self.KEEPALIVE - 1.0)
        assert not bench.events(Lost)
        assert not bench.events(Moved)
        bench.end.send_payload(b"still there", bench.now)
        assert bench.end.datagrams_to_send()[0].destination == puppet.at

    @pytest.mark.parametrize("end", ENDS)
    def test_recordings_keep_nothing(self, end: EndName) -> None:
        """All that ever came, again and again, from where it came from."""
        bench, puppet = self.held(end)
        self.keep_answering(bench, puppet, 3)
        answered_at, recorded = bench.now, bench.received[:]
        while not bench.events(Lost):
            for data, source in recorded:
                bench.receive(data, source)
            bench.run(1.0)
            assert bench.now - answered_at < timing.HOLD_FOR + 2.0

    def test_pongs_on_another_path_keep_nothing(self) -> None:
        bench = Bench("b", holds=True, keepalive=self.KEEPALIVE)
        puppet = bench.puppet(holds=True)
        bench.introduce(puppet)
        other_path = bench.ping(puppet, source=ELSEWHERE)
        bench.validate(puppet)
        bench.nominate(puppet)
        bench.run(0.9 * timing.HOLD_FOR)
        bench.pong_all(puppet, other_path)
        bench.run(0.2 * timing.HOLD_FOR)
        assert bench.events(Lost)

    def test_no_waiting_is_told_while_the_link_is_up(self) -> None:
        bench, _ = self.held("a")
        assert not bench.events(Waiting)

    def test_a_partner_that_punches_anew_is_answered_beside_the_link(self) -> None:
        bench, _ = self.held("a")
        anew = bench.puppet(b"partner2", holds=True)
        bench.introduce(anew, proof=False)
        assert bench.drops(Drop.UNEXPECTED) == 1, "it may be a recording"
        [ping] = only(v2.Ping, bench.introduce(anew))
        assert ping.receiver == b"partner2"
        assert bench.end.state is EndState.HOLDING
        assert not bench.events(Lost)

    def test_nobody_returns_who_was_introduced_before(self) -> None:
        """However many partner attempts were proof once, and whether or not they arrived then."""
        bench = Bench("b", holds=True)
        puppet = bench.puppet(holds=True)
        early = [bench.puppet(b"%08d" % number, holds=True) for number in range(20)]
        recorded = [bench.introduction(each) for each in [*early, puppet]]
        for introduction in [*recorded[:10], recorded[-1]]:
            bench.control_says(introduction)
        bench.validate(puppet)
        bench.nominate(puppet)
        for introduction in recorded * 10:
            assert bench.control_says(introduction) == []
            bench.pong_all(puppet, [timed.sent for timed in bench.run(0.5)])
        assert bench.drops(Drop.WRONG_ATTEMPT) == 10 * len(recorded)

    def test_the_partner_of_the_link_itself_does_not_ask_for_a_move(self) -> None:
        """It has not heard yet that the path is agreed, and is told that we are on standby."""
        bench, puppet = linked("b", holds=True)
        bench.wait()
        bench.introduce(puppet)
        assert bench.drops(Drop.UNEXPECTED) == 1

    @pytest.mark.parametrize("end", ENDS)
    def test_a_race_with_copies_of_the_partners_pings_loses_nothing(self, end: EndName) -> None:
        bench, puppet = self.held(end)
        for _ in range(1000):
            ping = puppet.says(v2.Ping(puppet.attempt, bench.attempt, puppet.new_sequence(), 0))
            assert bench.receive(ping, ELSEWHERE) == []
            assert only(v2.Pong, bench.receive(ping, puppet.at))
            assert bench.receive(ping, puppet.at) == []

    @pytest.mark.parametrize("end", ENDS)
    def test_one_that_stops_says_so(self, end: EndName) -> None:
        bench, puppet = self.held(end)
        bench.close()
        said = [t.sent for t in bench.run(1.0) if isinstance(t.sent.message, v2.Bye)]
        assert len(said) == timing.BYE_COUNT
        assert {each.destination for each in said} == {puppet.at}
        assert bench.finished

    @pytest.mark.parametrize("end", ENDS)
    def test_and_is_believed_on_the_path_only(self, end: EndName) -> None:
        bench, puppet = self.held(end)
        bye = puppet.says(v2.Bye(puppet.attempt, bench.attempt))
        bench.receive(bye, ELSEWHERE)
        other = bench.puppet(b"another.")
        bench.receive(other.says(v2.Bye(other.attempt, bench.attempt)), puppet.at)
        bench.receive(puppet.says(v2.Bye(puppet.attempt, b"another.")), puppet.at)
        assert not bench.events(Lost)
        bench.receive(bye, puppet.at)
        assert bench.event(Lost).ended
        bench.run(1.0)
        assert bench.finished
        assert not bench.all(v2.Bye), "it knows"

    def test_one_that_is_told_by_control_that_it_is_configured_twice_says_so(self) -> None:
        bench, _ = self.held("a")
        for second in range(100):
            bench.run(1.0)
            challenge = v2.Challenge(bench.registered, bench.counter(), b"k" * 15, second % 2)
            bench.control_says(challenge)
        conflicts = [each for each in bench.events(Waiting) if each.reason is Reason.ROLE_CONFLICT]
        assert 1 <= len(conflicts) <= 2

    def test_it_can_be_closed(self) -> None:
        bench, _ = self.held("a")
        bench.close()
        bench.run(1.0)
        assert not bench.events(Lost)
        assert bench.told[-1] == Finished()

    def test_b_checks_an_agreement_of_which_a_does_not_say_that_it_knows(self) -> None:
        """a may never have heard the ACCEPT, or may have agreed with an earlier attempt of b."""
        bench, puppet = linked("b", holds=True)
        bench.run(1.0)
        bench.nominate(puppet)
        before = len(bench.all(v2.Ping))
        bench.run(timing.LINGER - 0.1)
        assert len(bench.all(v2.Ping)) == before, "a may still repeat its nomination"
        bench.run(0.2)
        assert len(bench.all(v2.Ping)) == before + timing.DOUBT_PINGS
        bench.run(0.1)
        assert bench.all(v2.Announce)[-1].purpose == v2.Purpose.PUNCH

    def test_b_checks_nothing_once_a_has_said_so(self) -> None:
        bench, puppet = linked("b", holds=True)
        bench.done(puppet)
        before = len(bench.all(v2.Ping))
        bench.run(timing.LINGER + 1.0)
        assert len(bench.all(v2.Ping)) == before

    def test_a_recorded_nomination_makes_b_check_nothing(self) -> None:
        bench, puppet = linked("b", holds=True, keepalive=600.0)
        bench.nominate(puppet)
        recording = bench.received[-1]
        bench.done(puppet)
        bench.run(timing.NOMINATE_LONGEST + timing.LINGER)
        before = len(bench.all(v2.Ping))
        for _ in range(20):
            bench.receive(*recording)
            bench.run(timing.LINGER + 0.1)
        assert len(bench.all(v2.Ping)) == before

    def test_repeated_nominations_and_acceptances_are_still_answered(self) -> None:
        bench, puppet = linked("b", holds=True)
        bench.run(1.0)
        assert only(v2.Accept, bench.nominate(puppet))
        bench.run(5.0)
        assert bench.end.state is EndState.HOLDING
