"""Who knows what about the link, and when an end may go; several partner attempts at a time."""

from __future__ import annotations

from struct import pack

import pytest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.end import EndState
from netpunch.core.events import Finished, Linked
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from tests.core.v2_bench import Bench, linked
from tests.core.v2_pair import ELSEWHERE, B, only

HOST = Address("10.0.0.9", 6000)


@pytest.fixture
def a() -> Bench:
    return Bench("a")


class TestHandingOver:
    def test_a_is_linked_on_acceptance_and_says_so_three_times(self) -> None:
        a, _ = linked("a")
        assert a.event(Linked).remote == B
        begin = a.now
        a.run(1.0)
        dones = [t.time - begin for t in a.sent if isinstance(t.sent.message, v2.Done)]
        assert dones == pytest.approx([0.0, timing.DONE_INTERVAL, 2 * timing.DONE_INTERVAL])
        assert a.finished

    def test_a_repeated_acceptance_is_answered_again(self) -> None:
        a, puppet = linked("a")
        assert only(v2.Done, a.accept(puppet))
        assert len(a.events(Linked)) == 1

    def test_of_two_acceptances_the_first_counts(self, a: Bench) -> None:
        puppets = [a.puppet(b"partner%d" % number) for number in (1, 2)]
        for puppet in puppets:
            a.introduce(puppet)
            a.validate(puppet)
        a.accept(puppets[1])
        first = a.all(v2.Nominate)[0]
        late = v2.Accept(puppets[0].attempt, a.attempt, first.sequence)
        assert a.receive(puppets[0].says(late), B) == []
        assert len(a.events(Linked)) == 1

    def test_an_acceptance_counts_only_on_the_nominated_path(self, a: Bench) -> None:
        puppet = a.puppet()
        a.introduce(puppet)
        a.validate(puppet)
        sequence = a.all(v2.Nominate)[-1].sequence
        for accept, source, drop in (
            (v2.Accept(puppet.attempt, a.attempt, sequence), ELSEWHERE, Drop.UNEXPECTED_SOURCE),
            (v2.Accept(puppet.attempt, a.attempt, b"sequence"), B, Drop.UNEXPECTED),
        ):
            assert a.receive(puppet.says(accept), source) == []
            assert a.drops(drop) == 1
        assert not a.events(Linked)

    def test_b_stays_until_a_knows(self) -> None:
        b, puppet = linked("b")
        b.run(1.0)
        assert not b.finished
        b.done(puppet)
        assert b.finished

    def test_b_answers_a_repeated_nomination_again(self) -> None:
        b, puppet = linked("b")
        b.run(0.1)
        assert only(v2.Accept, b.nominate(puppet))
        assert len(b.events(Linked)) == 1

    @pytest.mark.parametrize("age", [0, 3000])
    def test_b_takes_no_nomination_that_was_held_back(self, age: int) -> None:
        """a may have given up meanwhile: b would be linked alone."""
        b = Bench("b")
        puppet = b.puppet()
        b.introduce(puppet)
        b.validate(puppet)
        b.run(age / 1000 + timing.NOMINATION_LATENESS + 0.001)
        assert b.nominate(puppet, age=age) == []
        assert not b.events(Linked)
        assert b.drops(Drop.STALE) == 1
        assert only(v2.Accept, b.nominate(puppet, age=age + 1000))
        assert b.events(Linked)

    def test_a_says_how_old_the_ping_is(self) -> None:
        a = Bench("a")
        puppet = a.puppet()
        a.introduce(puppet)
        (ping, *_) = [t.sent for t in a.sent if isinstance(t.sent.message, v2.Ping)]
        a.run(0.25)
        a.pong(puppet, ping)
        a.run(1.0)
        ages = [nominate.age for nominate in a.all(v2.Nominate)]
        assert ages[:3] == [250, 300, 350]

    def test_b_stays_2_5_s_after_the_last_nomination(self) -> None:
        b, puppet = linked("b")
        b.run(2.0)
        b.nominate(puppet)
        b.run(timing.LINGER - 0.01)
        assert not b.finished
        b.run(0.02)
        assert b.finished
        assert b.told[-1] == Finished()

    @pytest.mark.parametrize("data", [b"", b"a VPN's", bytes(128), bytes(384), b"\x38" * 384])
    def test_b_goes_when_the_partners_program_has_begun(self, data: bytes) -> None:
        b, _ = linked("b")
        b.receive(data, B)
        assert b.finished

    @pytest.mark.parametrize("source", [ELSEWHERE, Address(B.host, B.port + 1)])
    def test_b_does_not_go_because_of_strangers(self, source: Address) -> None:
        b, puppet = linked("b")
        b.receive(b"a VPN's", source)
        b.receive(b"a VPN's", B, via=7)
        done = v2.Done(puppet.attempt, b.attempt, pack("!I4s", 1, b"rand"))
        b.receive(puppet.says(done), source)
        assert not b.finished

    def test_b_does_not_go_because_of_late_or_duplicated_datagrams(self) -> None:
        """They are of netpunch: no program has begun, and a may not know yet that it is linked."""
        b = Bench("b")
        puppet = b.puppet()
        b.introduce(puppet)
        ping = puppet.says(v2.Ping(puppet.attempt, b.attempt, puppet.new_sequence(), 0))
        b.pong_all(puppet, b.receive(ping, B))
        b.nominate(puppet)
        assert b.receive(ping, B) == []
        assert b.drops(Drop.STALE) == 1
        of_another = v2.Ping(puppet.attempt, b"attempt0", puppet.new_sequence(), 0)
        b.receive(puppet.says(of_another), B)
        assert not b.finished
        assert only(v2.Accept, b.nominate(puppet, sequence=pack("!I4s", 1, b"rand")))

    def test_b_answers_pings_while_it_stays(self) -> None:
        b, puppet = linked("b")
        (pong,) = b.ping(puppet)
        assert isinstance(pong.message, v2.Pong)
        assert b.ping(b.puppet(b"partner2")) == [], "but takes up nobody new"

    def test_a_takes_no_done(self) -> None:
        a, puppet = linked("a")
        assert a.done(puppet) == []
        assert a.drops(Drop.UNEXPECTED) == 1

    def test_a_gives_a_nomination_up_and_begins_anew(self, a: Bench) -> None:
        puppet = a.puppet()
        a.introduce(puppet)
        a.validate(puppet)
        first, begin = a.attempt, a.now
        a.run(timing.NOMINATE_FOR - 0.1)
        assert a.attempt == first
        a.run_until(lambda: a.attempt != first)
        assert a.now - begin >= timing.NOMINATE_FOR
        assert len(a.all(v2.Nominate)) >= timing.NOMINATE_COUNT
        assert a.end.state is EndState.PUNCHING
        leaves = [leave for leave in a.all(v2.Leave) if leave.attempt == first]
        assert len(leaves) == timing.LEAVE_COUNT

    def test_a_goes_on_while_b_still_pings(self, a: Bench) -> None:
        """b has not accepted then: its path became valid late, and it may accept later still."""
        puppet = a.puppet()
        a.introduce(puppet)
        a.validate(puppet)
        first = a.attempt
        for _ in range(20):
            a.ping(puppet)
            a.run(0.2)
        assert a.attempt == first
        a.accept(puppet)
        assert a.events(Linked)

    def test_pings_from_elsewhere_prolong_nothing(self, a: Bench) -> None:
        """b has another address now: its acceptance never comes from the nominated one."""
        puppet = a.puppet()
        a.introduce(puppet)
        a.validate(puppet)
        first = a.attempt
        for _ in range(20):
            a.ping(puppet, ELSEWHERE)
            a.run(0.2)
        assert a.attempt != first

    def test_a_late_acceptance_of_an_attempt_given_up_counts_for_nothing(self, a: Bench) -> None:
        puppet = a.puppet()
        a.introduce(puppet)
        a.validate(puppet)
        first = a.attempt
        a.run(6.0)
        accept = v2.Accept(puppet.attempt, first, a.all(v2.Nominate)[0].sequence)
        a.receive(puppet.says(accept), B)
        assert a.drops(Drop.WRONG_ATTEMPT) == 1
        assert not a.events(Linked)


class TestPartnerAttempts:
    def test_a_live_one_is_found_among_ghosts(self, a: Bench) -> None:
        for number in range(3):
            a.introduce(a.puppet(b"ghost..%d" % number, at=ELSEWHERE), proof=False)
        live = a.puppet()
        a.introduce(live)
        a.validate(live)
        a.accept(live)
        assert a.event(Linked).remote == B

    def test_the_oldest_unproved_one_makes_room(self, a: Bench) -> None:
        proved = a.puppet(b"proved..")
        a.introduce(proved)
        ghosts = [
            a.puppet(b"ghost..%d" % number, at=Address(f"198.51.100.{70 + number}", 666))
            for number in range(4)
        ]
        for ghost in ghosts:
            a.introduce(ghost, proof=False)
        pinged = {
            each.sent.message.receiver
            for each in a.run(0.06)
            if isinstance(each.sent.message, v2.Ping)
        }
        assert pinged == {proved.attempt, *(ghost.attempt for ghost in ghosts[1:])}

    def test_no_ghost_displaces_a_proved_one(self, a: Bench) -> None:
        for number in range(timing.MAX_PARTNER_ATTEMPTS):
            a.introduce(a.puppet(b"proved.%d" % number))
        ghost = a.puppet(at=ELSEWHERE)
        sent = a.introduce(ghost, proof=False)
        assert not only(v2.Ping, sent)
        assert a.drops(Drop.OVER_LIMIT) == 1

    @pytest.mark.parametrize("how", ["card", "ping"])
    def test_a_partner_that_keeps_restarting_is_followed(self, a: Bench, how: str) -> None:
        """Each of its attempts is proved, and each but the last is dead."""
        for number in range(3 * timing.MAX_PARTNER_ATTEMPTS):
            puppet = a.puppet(b"proved%02d" % number)
            if how == "ping":
                a.ping(puppet)
            a.introduce(puppet)
        a.validate(puppet)
        a.accept(puppet)
        assert a.events(Linked)

    def test_a_bad_public_key_is_no_partner(self, a: Bench) -> None:
        puppet = a.puppet()
        card = puppet.card(a.attempt)._replace(public_key=bytes(32))
        a.control_says(a.introduction(puppet, card=card))
        assert a.drops(Drop.MALFORMED) == 1
        a.validate(puppet)
        assert a.all(v2.Nominate) == []

    def test_a_public_key_does_not_change_within_an_attempt(self, a: Bench) -> None:
        puppet = a.puppet()
        a.introduce(puppet)
        other = puppet.card(a.attempt)._replace(public_key=b"q" * 32)
        a.control_says(a.introduction(puppet, card=other))
        assert a.drops(Drop.MALFORMED) == 1

    def test_a_later_card_adds_candidates(self, a: Bench) -> None:
        puppet = a.puppet()
        a.introduce(puppet)
        puppet.hosts = (HOST,)
        assert [s.destination for s in a.introduce(puppet) if isinstance(s.message, v2.Ping)] == [
            HOST
        ]
