"""The life of an end: what it tells, when it gives up, how it holds a link, how it stops."""

from __future__ import annotations

import pytest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.end import EndState
from netpunch.core.events import (
    Failed,
    Finished,
    Introduced,
    Linked,
    PathKind,
    Reason,
    StreamsWanted,
    Waiting,
)
from netpunch.core.machine import NEVER
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import EndName
from netpunch.wire.keys import exchange, session_key
from tests.core.v2_bench import LOCAL, Bench, linked
from tests.core.v2_pair import CONTROL, ENDS, PAIR, PEER_KEY, SECRET, VIA, A, B, only

SECOND = Address("192.0.2.2", 10001)
CONTROL_V6 = Address("2001:db8::c", 10001)
LOOPBACK = Address("127.0.0.1", 10001)


class TestWaiting:
    def test_a_registered_end_says_that_its_partner_is_absent_once(self) -> None:
        bench = Bench()
        bench.wait()
        assert bench.event(Waiting) == Waiting(Reason.PARTNER_ABSENT, A)
        for _ in range(5):
            bench.run(15.0)
            bench.wait()
        assert len(bench.events(Waiting)) == 1

    def test_silence_is_told_after_3_s_once(self) -> None:
        bench = Bench(deadline=None)
        bench.run(timing.SILENCE_NOTICE - 0.01)
        assert not bench.events(Waiting)
        bench.run(100.0)
        waiting = bench.event(Waiting)
        assert waiting.reason is Reason.SECRET_REJECTED_OR_SILENT
        assert waiting.detail.startswith(f"no answer from control at {CONTROL}: either no UDP")

    def test_an_answer_breaks_the_silence(self) -> None:
        bench = Bench()
        bench.wait()
        bench.run(10.0)
        assert bench.event(Waiting).reason is Reason.PARTNER_ABSENT

    def test_a_control_that_falls_silent_later_is_told_and_so_is_its_return(self) -> None:
        bench = Bench(deadline=None)
        for _ in range(2):
            bench.wait()
            bench.run(60.0)
        bench.wait()
        absent, silent = Reason.PARTNER_ABSENT, Reason.SECRET_REJECTED_OR_SILENT
        told = [event.reason for event in bench.events(Waiting)]
        assert told == [absent, silent, absent, silent, absent]

    def test_a_partner_that_comes_and_goes_is_told_with_each_announcement_at_most(self) -> None:
        bench = Bench(deadline=None)
        puppet = bench.puppet(at=B)
        for _ in range(100):
            bench.introduce(puppet)
            bench.run(0.2)
            bench.wait()
        assert 1 < len(bench.events(Waiting)) <= 3
        assert len(bench.events(Introduced)) <= 3

    def test_an_introduction_is_told_once_for_each_address_and_16_times_at_most(self) -> None:
        bench = Bench()
        for port in (1, 1, 2, 2, *range(3, 50)):
            bench.introduce(bench.puppet(at=Address(B.host, port)))
        told = [event.remote.port for event in bench.events(Introduced)]
        assert told == list(range(1, 17))


class TestDeadline:
    def failure(self, bench: Bench) -> Failed:
        bench.run(100.0)
        assert bench.told[-1] == Finished()
        return bench.event(Failed)

    def test_without_any_answer(self) -> None:
        failed = self.failure(Bench(deadline=20.0))
        assert failed.reason is Reason.SECRET_REJECTED_OR_SILENT
        assert str(CONTROL) in failed.detail
        assert failed.duration == pytest.approx(20.0)

    def test_without_a_socket_for_any_control(self) -> None:
        bench = Bench(deadline=20.0, controls=(CONTROL_V6,))
        assert not bench.sent
        assert self.failure(bench).reason is Reason.SECRET_REJECTED_OR_SILENT
        assert not bench.sent

    def test_without_a_partner(self) -> None:
        bench = Bench(deadline=20.0)
        bench.wait()
        assert self.failure(bench).reason is Reason.PARTNER_ABSENT

    def test_with_a_partner_that_could_not_be_believed(self) -> None:
        bench = Bench(deadline=20.0)
        challenge = v2.Challenge(bench.attempt, bench.counter(), b"c" * 16)
        bench.control_says(challenge)
        assert self.failure(bench).reason is Reason.PARTNER_ABSENT

    def test_with_a_partner_that_does_not_get_through(self) -> None:
        bench = Bench(deadline=20.0)
        bench.introduce(bench.puppet())
        failed = self.failure(bench)
        assert failed.reason is Reason.BLOCKED
        (report,) = failed.candidates
        assert (report.remote, report.path, report.received) == (B, PathKind.OBSERVED, 0)
        assert report.sent == failed.datagrams == len(bench.all(v2.Ping))

    def test_a_partner_of_another_family_is_told_as_such(self) -> None:
        bench = Bench(deadline=20.0)
        bench.introduce(bench.puppet(at=Address("2001:db8::b", 6000)))
        bench.run(20.0)
        failed = self.failure(bench)
        assert failed.reason is Reason.BLOCKED
        assert "IPv4 only, the other" in failed.detail

    def test_with_a_partner_of_an_earlier_attempt(self) -> None:
        """A nomination was given up just before; the new attempt has met nobody yet."""
        bench = Bench("a", deadline=4.0)
        puppet = bench.puppet()
        bench.introduce(puppet)
        bench.validate(puppet)
        assert self.failure(bench).reason is Reason.BLOCKED

    def test_with_a_partner_that_does_not_agree(self) -> None:
        bench = Bench("b", deadline=20.0)
        puppet = bench.puppet()
        bench.introduce(puppet)
        bench.validate(puppet)
        assert self.failure(bench).reason is Reason.NOT_AGREED

    def test_it_waits_for_a_nomination_that_is_out(self) -> None:
        """b may be linked already."""
        bench = Bench("a", deadline=1.0)
        puppet = bench.puppet()
        bench.introduce(puppet)
        bench.run(0.9)
        bench.validate(puppet)
        bench.run(0.5)
        assert bench.end.state is EndState.PUNCHING
        bench.accept(puppet)
        assert bench.events(Linked)

    def test_silence_is_told_before_the_failure(self) -> None:
        bench = Bench(deadline=timing.SILENCE_NOTICE)
        bench.run(10.0)
        told = [type(event) for event in bench.told if not isinstance(event, StreamsWanted)]
        assert told == [Waiting, Failed, Finished]

    def test_none_means_never(self) -> None:
        bench = Bench(deadline=None)
        bench.introduce(bench.puppet())
        bench.run(1000.0)
        assert bench.end.state is EndState.PUNCHING

    def test_from_the_partners_proof_on(self) -> None:
        bench = Bench(deadline=20.0, deadline_from_start=False)
        bench.wait()
        bench.introduce(bench.puppet(b"ghost..."), proof=False)
        bench.run(500.0)
        assert bench.end.state is EndState.PUNCHING, "a recording begins nothing"
        proved_at = bench.now
        bench.introduce(bench.puppet())
        bench.run(19.0)
        assert bench.end.state is EndState.PUNCHING
        assert self.failure(bench).reason is Reason.BLOCKED
        assert bench.event(Failed).duration == pytest.approx(proved_at - 1000.0 + 20.0)

    def test_from_the_first_proof_over_all_attempts(self) -> None:
        bench = Bench("a", deadline=10.0, deadline_from_start=False)
        puppet = bench.puppet()
        for _ in range(3):
            bench.introduce(puppet)
            bench.validate(puppet)
            bench.run(3.0)
        bench.run(5.0)
        assert bench.events(Failed)


class TestLink:
    @pytest.mark.parametrize("end", ENDS)
    def test_what_is_told_of_it(self, end: EndName) -> None:
        bench = Bench(end)
        puppet = bench.puppet()
        bench.wait()
        bench.run(5.0)
        bench.introduce(puppet)
        pings = bench.ping(puppet)
        bench.now += 0.04
        bench.pong_all(puppet, pings)
        if end == "a":
            bench.accept(puppet)
        else:
            bench.nominate(puppet)
        link = bench.event(Linked)
        assert (link.via, link.local, link.remote) == (VIA, LOCAL, B)
        assert link.rtt == pytest.approx(0.04)
        assert link.duration == pytest.approx(5.04)
        assert link.datagrams > 0

    @pytest.mark.parametrize("end", ENDS)
    def test_the_session_key_is_that_of_the_partner(self, end: EndName) -> None:
        bench, puppet = linked(end)
        card = bench.own_card()
        ours = (bench.attempt, card.public_key)
        theirs = (puppet.attempt, puppet.card().public_key)
        a, b = (ours, theirs) if end == "a" else (theirs, ours)
        context = a[0] + b[0] + a[1] + b[1]
        shared = exchange(puppet.private, card.public_key)
        assert shared is not None
        expected = session_key(shared, PEER_KEY, PAIR, context)
        assert bench.event(Linked).session_key == expected

    @pytest.mark.parametrize("end", ENDS)
    def test_both_then_leave_control(self, end: EndName) -> None:
        bench, puppet = linked(end)
        bench.run(0.1)
        if end == "b":
            bench.done(puppet)
        assert len(bench.all(v2.Leave)) == timing.LEAVE_COUNT
        assert bench.told[-1] == Finished()
        assert bench.end.next_timer() == NEVER

    def test_nothing_is_said_after_the_end(self) -> None:
        bench, puppet = linked("b")
        bench.done(puppet)
        assert bench.finished
        sent = len(bench.sent)
        bench.ping(puppet)
        bench.nominate(puppet)
        bench.wait()
        bench.end.handle_timer(bench.now + 100.0)
        bench.run(100.0)
        assert len(bench.sent) == sent

    def test_no_secret_is_in_any_words(self) -> None:
        bench, _ = linked("a")
        key = bench.event(Linked).session_key
        assert key is not None
        words = " ".join([*map(repr, bench.told), repr(bench.end), repr(bench.end.__dict__)])
        for secret in (SECRET, key):
            assert secret.hex() not in words
            assert repr(secret) not in words


class TestModes:
    @pytest.mark.parametrize("holds", [True, False])
    @pytest.mark.parametrize("end", ENDS)
    def test_ends_that_disagree_say_so_and_never_link(self, end: EndName, holds: bool) -> None:
        bench = Bench(end, holds=holds)
        puppet = bench.puppet(holds=not holds)
        bench.introduce(puppet)
        bench.validate(puppet)
        assert not bench.all(v2.Nominate)
        assert not only(v2.Accept, bench.nominate(puppet))
        bench.run(1.0)
        failed = bench.event(Failed)
        assert failed.reason is Reason.PARTNER_MODE
        assert "holds" in failed.detail

    def test_at_the_deadline_an_unproved_disagreement_is_the_likeliest_reason(self) -> None:
        """The partner may have failed because of it, and gone, before it could prove itself."""
        bench = Bench("a", deadline=5.0)
        bench.introduce(bench.puppet(holds=True), proof=False)
        bench.run(10.0)
        assert bench.event(Failed).reason is Reason.PARTNER_MODE

    def test_a_recording_that_disagrees_ends_nothing(self) -> None:
        bench = Bench("a")
        bench.introduce(bench.puppet(holds=True), proof=False)
        bench.run(2.0)
        assert bench.end.state is EndState.PUNCHING


class TestStopping:
    def test_it_tells_the_controls_then_finishes(self) -> None:
        bench = Bench(controls=(CONTROL, SECOND))
        bench.close()
        begin = bench.now
        bench.run(1.0)
        leaves = [t for t in bench.sent if isinstance(t.sent.message, v2.Leave)]
        assert len(leaves) == 2 * timing.LEAVE_COUNT
        assert leaves[-1].time - begin < 0.05
        assert bench.told == [Finished()]
        assert bench.end.next_timer() == NEVER

    def test_it_may_be_repeated_at_any_time(self) -> None:
        bench = Bench()
        for _ in range(3):
            bench.close()
        bench.run(1.0)
        bench.close()
        bench.run(1.0)
        assert bench.told == [Finished()]

    def test_what_comes_meanwhile_is_dropped(self) -> None:
        bench = Bench()
        puppet = bench.puppet()
        bench.introduce(puppet)
        bench.close()
        assert bench.ping(puppet) == []
        assert bench.introduce(puppet) == []
        assert bench.drops(Drop.UNEXPECTED) == 2

    @pytest.mark.parametrize("end", ENDS)
    def test_a_link_that_is_being_handed_over_is_handed_over(self, end: EndName) -> None:
        bench, _ = linked(end)
        bench.close()
        assert bench.end.state is EndState.HANDING_OVER
        bench.run(5.0)
        assert bench.finished


class TestCandidates:
    def test_an_end_offers_its_host_addresses(self) -> None:
        sockets = {0: LOCAL, 1: Address("::", 5000)}
        bench = Bench(sockets=sockets, host_addresses=["10.0.0.1", "2001:db8::1"])
        hosts = [str(address) for address in bench.own_card().hosts]
        assert hosts == ["10.0.0.1:5000", "[2001:db8::1]:5000"]

    def test_unless_it_is_told_not_to(self) -> None:
        bench = Bench(host_addresses=["10.0.0.1"], candidates=frozenset({"observed"}))
        assert bench.own_card().hosts == ()

    def test_on_loopback_it_offers_loopback(self) -> None:
        bench = Bench(controls=(LOOPBACK,))
        assert bench.own_card().hosts == (("127.0.0.1", 5000),)

    def test_it_offers_what_its_gateways_map_at_once(self) -> None:
        bench = Bench()
        bench.wait()
        mapped = (Address("198.51.100.9", 5000),)
        bench.end.reachable_at(PathKind.MAPPED, mapped, bench.now)
        assert bench.run(0.0)
        assert bench.own_card().mapped == mapped
        bench.close()
        bench.run(1.0)
        bench.end.reachable_at(PathKind.MAPPED, (), bench.now)
        assert bench.run(1.0) == []

    def test_observed_addresses_are_left_out_on_request(self) -> None:
        bench = Bench(candidates=frozenset({"host"}))
        host = Address("10.0.0.9", 6000)
        sent = bench.introduce(bench.puppet(hosts=(host,)))
        assert [s.destination for s in sent if isinstance(s.message, v2.Ping)] == [host]

    def test_a_control_is_announced_to_from_a_socket_of_its_family(self) -> None:
        sockets = {4: LOCAL, 6: Address("::", 5000)}
        bench = Bench(controls=(CONTROL, CONTROL_V6), sockets=sockets)
        vias = {t.sent.destination: t.sent.via for t in bench.sent}
        assert vias == {CONTROL: 4, CONTROL_V6: 6}


def test_a_datagram_in_words() -> None:
    bench = Bench("a")
    announce = bench.sent[0].sent.data
    assert bench.end.describe(announce).startswith("ANNOUNCE ")
    puppet = bench.puppet()
    ping = puppet.says(v2.Ping(puppet.attempt, bench.attempt, b"sequence", 0))
    assert bench.end.describe(ping).startswith(f"PING sender={puppet.attempt.hex()} ")
    assert bench.end.describe(b"x") == "1 bytes: malformed"
