"""An attempt's dialogue with its controls: what it says, and which answers it believes."""

from __future__ import annotations

import pytest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.announcing import Announcer, Introduction
from netpunch.core.end.identity import Identity
from netpunch.core.events import Event, Reason, Via, Waiting
from netpunch.core.machine import NEVER
from netpunch.wire import v2
from netpunch.wire.card import Card
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import Direction
from tests.core.v2_bench import Puppet, make_resources
from tests.core.v2_pair import (
    CONTROL,
    CONTROL_CHANNELS,
    ELSEWHERE,
    PEER_CHANNELS,
    A,
    B,
    read,
    seal,
    seeded,
)

PARTNER = b"partner!"
SECOND = Address("192.0.2.2", 10001)
FROM_CONTROL = CONTROL_CHANNELS["a"].from_control


class Bench:
    """The announcer of an attempt of a, with two controls."""

    def __init__(self, *controls: Address) -> None:
        self.now = 100.0
        self.sent: list[tuple[v2.Message, Address]] = []
        self.told: list[Event] = []
        self.holds = False
        self.resources = make_resources(
            "a", self._send, controls=controls, emit=self.told.append, now=self.now
        )
        self.identity = Identity(seeded("attempt"))
        self.announcer = Announcer(self, self.now)

    def card(self, named: bytes, observed: tuple[Address, ...]) -> Card:
        return Card(self.identity.public_key, named, self.holds, observed=observed)

    def _send(self, data: bytes, destination: Address, via: Via, ttl: int) -> None:
        self.sent.append((read(data), destination))

    def run(self, seconds: float = 0.0) -> list[tuple[v2.Message, Address]]:
        """What is sent meanwhile."""
        before, until = len(self.sent), self.now + seconds
        while self.announcer.next_timer() <= until:
            self.now = max(self.now, self.announcer.next_timer())
            self.announcer.handle_timer(self.now)
        self.now = until
        return self.sent[before:]

    def hear(
        self, message: v2.Message, source: Address = CONTROL, direction: Direction = FROM_CONTROL
    ) -> Drop | v2.Waiting | Introduction | None:
        return self.announcer.receive(seal(direction, message), source, self.now)

    def waiting(self, counter: int, standby: bytes = v2.NO_ATTEMPT) -> v2.Waiting:
        return v2.Waiting(self.identity.id, counter, A, 0, standby)

    def introduce(
        self, puppet: Puppet, counter: int = 0, named: bytes = v2.NO_ATTEMPT
    ) -> v2.Introduce:
        sealed = puppet.seal_card(puppet.card(named))
        return v2.Introduce(self.identity.id, counter, A, puppet.attempt, puppet.at, sealed)

    def last_announcement(self) -> v2.Announce:
        return [message for message, _ in self.sent if isinstance(message, v2.Announce)][-1]

    def last_card(self) -> Card:
        card = PEER_CHANNELS["a"].own_card.open(self.last_announcement().card, self.identity.id)
        assert isinstance(card, Card)
        return card


@pytest.fixture
def bench() -> Bench:
    bench = Bench(CONTROL)
    bench.run()
    return bench


@pytest.fixture
def puppet() -> Puppet:
    return Puppet("b")


class TestAnnouncing:
    def test_the_first_announcement(self, bench: Bench) -> None:
        announce = bench.last_announcement()
        assert announce[:4] == (bench.identity.id, 1, v2.NO_COOKIE, v2.Purpose.PUNCH)
        assert bench.last_card() == Card(bench.identity.public_key, v2.NO_ATTEMPT, False)

    def test_all_controls_are_told(self) -> None:
        bench = Bench(CONTROL, SECOND)
        assert [destination for _, destination in bench.run()] == [CONTROL, SECOND]

    def test_a_dead_control_is_spared_while_another_one_answers(self) -> None:
        bench = Bench(CONTROL, SECOND)
        told: list[Address] = []
        for _ in range(600):
            sent = bench.run(0.1)
            for message, destination in sent:
                assert isinstance(message, v2.Announce)
                if destination == SECOND:
                    bench.hear(bench.waiting(message.counter), SECOND)
            told += [destination for _, destination in sent]
        assert told.count(SECOND) <= 5
        assert told.count(CONTROL) < 25
        minute = bench.run(60.0)
        assert sum(destination == CONTROL for _, destination in minute) > 30, "both are silent"

    def test_without_a_control_there_is_nothing_to_say(self) -> None:
        assert Bench().announcer.next_timer() == NEVER

    def test_a_counter_is_used_once_for_all_controls(self) -> None:
        """They share the pair's control key: what one of them was told could be replayed to
        another. If each had counters of its own, it would lock our next ones out there."""
        bench = Bench(CONTROL, SECOND)
        bench.run()
        bench.hear(bench.waiting(2), SECOND)  # from now on it is told less often
        bench.run(5.0)
        bench.announcer.leave_at_once()
        counters = [m.counter for m, _ in bench.sent if isinstance(m, v2.Announce | v2.Leave)]
        assert counters == sorted(set(counters))

    def test_a_challenge_is_met_at_once_with_its_cookie(self, bench: Bench) -> None:
        challenge = v2.Challenge(bench.identity.id, 1, b"c" * v2.COOKIE_LENGTH)
        assert bench.hear(challenge) is None
        ((announce, _),) = bench.run()
        assert isinstance(announce, v2.Announce)
        assert (announce.counter, announce.cookie) == (2, b"c" * v2.COOKIE_LENGTH)

    def test_a_cookie_is_kept_per_control(self) -> None:
        bench = Bench(CONTROL, SECOND)
        bench.run()
        bench.hear(v2.Challenge(bench.identity.id, 1, b"c" * v2.COOKIE_LENGTH))
        cookies = {
            destination: m.cookie for m, destination in bench.run(1.0) if isinstance(m, v2.Announce)
        }
        assert cookies == {CONTROL: b"c" * v2.COOKIE_LENGTH, SECOND: v2.NO_COOKIE}

    def test_the_card_tells_where_controls_see_us(self) -> None:
        bench = Bench(CONTROL, SECOND)
        bench.run()
        bench.hear(bench.waiting(1))
        bench.hear(v2.Waiting(bench.identity.id, 2, ELSEWHERE, 0, v2.NO_ATTEMPT), SECOND)
        bench.run(15.0)
        assert bench.last_card().observed == (A, ELSEWHERE)

    def test_the_card_is_sealed_anew_only_when_it_changed(self, bench: Bench) -> None:
        first = bench.last_announcement().card
        bench.run(1.0)
        assert bench.last_announcement().card == first
        bench.holds = True
        bench.run(1.0)
        assert bench.last_announcement().card != first

    def test_a_changed_card_can_be_told_at_once(self, bench: Bench) -> None:
        bench.hear(bench.waiting(1))
        assert bench.run(1.0) == []
        bench.announcer.announce_now(bench.now)
        assert len(bench.run()) == 1


class TestAnswers:
    def test_waiting(self, bench: Bench) -> None:
        assert not bench.announcer.heard
        assert bench.hear(bench.waiting(1)) == bench.waiting(1)
        assert bench.announcer.heard
        assert bench.announcer.next_timer() == bench.now + 15.0

    @pytest.mark.parametrize("counter", [0, 1])
    def test_an_introduction_whether_pushed_or_asked_for(
        self, bench: Bench, puppet: Puppet, counter: int
    ) -> None:
        answer = bench.hear(bench.introduce(puppet, counter))
        (channels,) = bench.resources.channels
        assert answer == Introduction(puppet.attempt, B, puppet.card(), False, channels)
        bench.run()
        assert bench.last_card().partner_attempt == puppet.attempt, "our proof to the partner"

    @pytest.mark.parametrize("answer", ["waiting", "introduction", "knock"])
    def test_with_a_cookie_it_announces_itself_again_at_once(
        self, bench: Bench, puppet: Puppet, answer: str
    ) -> None:
        introduction = bench.introduce(puppet, 1)
        answers: dict[str, v2.Waiting | v2.Introduce] = {
            "waiting": bench.waiting(1),
            "introduction": introduction,
            "knock": v2.Knock(*introduction),
        }
        bench.hear(answers[answer]._replace(cookie=b"k" * 15))
        assert bench.run()
        assert bench.last_announcement().cookie == b"k" * 15
        assert bench.last_announcement().counter == 2

    def test_a_pushed_cookie_is_none(self, bench: Bench, puppet: Puppet) -> None:
        bench.hear(bench.introduce(puppet)._replace(cookie=b"k" * 15))
        bench.run()
        assert bench.last_announcement().cookie == v2.NO_COOKIE

    def test_knocks_are_answered_once_a_second_however_many_there_are(self, bench: Bench) -> None:
        bench.hear(bench.waiting(1))
        sent = 0
        for number in range(1000):
            ghost = Puppet("b", b"%08d" % number)
            heard = bench.hear(v2.Knock(*bench.introduce(ghost)))
            assert isinstance(heard, Introduction)
            assert heard.knock
            for announce, _ in bench.run(0.01):
                assert isinstance(announce, v2.Announce)
                bench.hear(bench.waiting(announce.counter))
                sent += 1
        assert timing.KNOCKS_AT_ONCE <= sent <= timing.KNOCKS + 10

    def test_and_not_where_a_partner_is_introduced(self, bench: Bench, puppet: Puppet) -> None:
        bench.hear(bench.introduce(puppet, 1))
        bench.run()
        for number in range(10):
            bench.hear(v2.Knock(*bench.introduce(Puppet("b", b"%08d" % number))))
        bench.run(1.0)
        assert bench.last_card().partner_attempt == puppet.attempt

    @pytest.mark.parametrize("answer", ["waiting", "introduction", "challenge"])
    def test_any_answer_may_tell_of_a_conflict(
        self, bench: Bench, puppet: Puppet, answer: str
    ) -> None:
        answers: dict[str, v2.Waiting | v2.Introduce | v2.Challenge] = {
            "waiting": bench.waiting(1),
            "introduction": bench.introduce(puppet, 1),
            "challenge": v2.Challenge(bench.identity.id, 1, b"k" * 15),
        }
        bench.hear(answers[answer]._replace(conflict=1))
        assert bench.told == [Waiting(Reason.ROLE_CONFLICT)]

    def test_a_card_that_names_our_attempt_is_proof(self, bench: Bench, puppet: Puppet) -> None:
        answer = bench.hear(bench.introduce(puppet, named=bench.identity.id))
        assert isinstance(answer, Introduction)
        assert answer.proof
        other = bench.hear(bench.introduce(puppet, named=b"attempt0"))
        assert isinstance(other, Introduction)
        assert not other.proof

    def test_a_partner_on_standby_is_named_at_once(self, bench: Bench) -> None:
        bench.hear(bench.waiting(1, standby=b"standby!"))
        bench.run()
        assert bench.last_card().partner_attempt == b"standby!"

    def test_a_waiting_end_is_told_that_its_partner_has_come_on_standby(self, bench: Bench) -> None:
        bench.hear(bench.waiting(1))
        assert bench.hear(bench.waiting(0, PARTNER)) is None
        assert len(bench.run()) == 1
        assert bench.last_card().partner_attempt == PARTNER
        assert bench.hear(bench.waiting(0, PARTNER)) is Drop.UNEXPECTED, "no news"
        assert bench.hear(bench.waiting(0, b"another!")) is Drop.UNEXPECTED
        assert not bench.run()

    def test_it_has_to_be_waiting_for_that(self, bench: Bench) -> None:
        assert bench.hear(bench.waiting(0, PARTNER)) is Drop.UNEXPECTED
        bench.hear(bench.waiting(1))
        assert bench.hear(bench.waiting(0)) is Drop.UNEXPECTED, "it names nobody"


class TestUnbelievable:
    def test_somebody_elses_answer(self, bench: Bench) -> None:
        assert bench.hear(bench.waiting(1), ELSEWHERE) is Drop.UNEXPECTED_SOURCE

    def test_an_answer_to_the_partner(self, bench: Bench) -> None:
        of_b = CONTROL_CHANNELS["b"].from_control
        assert bench.hear(bench.waiting(1), direction=of_b) is Drop.MALFORMED

    def test_our_own_announcement_reflected(self, bench: Bench) -> None:
        reflected = seal(CONTROL_CHANNELS["a"].to_control, bench.last_announcement())
        assert bench.announcer.receive(reflected, CONTROL, bench.now) is Drop.BAD_MAC

    def test_an_answer_to_another_attempt(self, bench: Bench) -> None:
        waiting = bench.waiting(1)._replace(attempt=b"attempt0")
        assert bench.hear(waiting) is Drop.WRONG_ATTEMPT

    def test_an_answer_that_came_before(self, bench: Bench) -> None:
        bench.hear(bench.waiting(1))
        assert bench.hear(bench.waiting(1)) is Drop.STALE

    @pytest.mark.parametrize("counter", [2, 2**64 - 1])
    def test_an_answer_to_nothing_we_said(self, bench: Bench, counter: int) -> None:
        assert bench.hear(bench.waiting(counter)) is Drop.STALE
        challenge = v2.Challenge(bench.identity.id, counter, b"c" * v2.COOKIE_LENGTH)
        assert bench.hear(challenge) is Drop.STALE

    def test_a_message_that_is_none_for_an_announcer(self, bench: Bench) -> None:
        assert bench.hear(v2.Observed(b"echoecho", A)) is Drop.UNEXPECTED
        leave = v2.Leave(bench.identity.id, 1)
        assert bench.hear(leave) is Drop.UNEXPECTED

    def test_a_card_of_another_attempt(self, bench: Bench, puppet: Puppet) -> None:
        introduce = bench.introduce(puppet)._replace(partner_attempt=b"partner2")
        assert bench.hear(introduce) is Drop.BAD_MAC
        assert bench.announcer.next_timer() > bench.now, "nothing is said because of it"

    def test_our_own_card_as_the_partners(self, bench: Bench) -> None:
        own = bench.last_announcement()
        introduce = v2.Introduce(bench.identity.id, 0, A, bench.identity.id, B, own.card)
        assert bench.hear(introduce) is Drop.BAD_MAC


class TestStandby:
    @pytest.fixture
    def standing_by(self, bench: Bench) -> Bench:
        bench.hear(bench.waiting(1))
        bench.announcer = Announcer(bench, bench.now, on_standby=True)
        bench.run()
        return bench

    def test_control_is_told_at_once(self, standing_by: Bench) -> None:
        assert standing_by.last_announcement().purpose == v2.Purpose.STANDBY

    def test_two_on_standby_leave_each_other_in_peace(self, standing_by: Bench) -> None:
        standing_by.hear(standing_by.waiting(1, standby=b"standby!"))
        assert standing_by.announcer.next_timer() == standing_by.now + 15.0

    def test_an_introduction_is_heard_but_not_answered(
        self, standing_by: Bench, puppet: Puppet
    ) -> None:
        standing_by.hear(standing_by.waiting(1))
        answer = standing_by.hear(standing_by.introduce(puppet, named=standing_by.identity.id))
        assert isinstance(answer, Introduction)
        assert answer.proof
        assert standing_by.announcer.next_timer() == standing_by.now + 15.0


class TestLeaving:
    def test_it_is_said_three_times_20_ms_apart_to_every_control_that_heard_of_us(self) -> None:
        bench = Bench(CONTROL, SECOND)
        bench.run()
        bench.announcer.leave(bench.now)
        begin = bench.now
        assert not bench.announcer.has_left
        times = []
        while bench.announcer.next_timer() < begin + 1.0:
            times.append(bench.announcer.next_timer() - begin)
            bench.run(bench.announcer.next_timer() - bench.now)
        assert times == pytest.approx([0.0, 0.02, 0.04])
        assert bench.announcer.has_left
        leaves = [destination for m, destination in bench.sent if isinstance(m, v2.Leave)]
        assert leaves == [CONTROL, SECOND] * 3

    def test_or_all_at_once(self, bench: Bench) -> None:
        bench.announcer.leave_at_once()
        assert [type(message) for message, _ in bench.sent[1:]] == [v2.Leave] * 3
        assert bench.announcer.has_left
        assert bench.announcer.next_timer() == NEVER

    def test_what_was_begun_is_finished_at_once(self, bench: Bench) -> None:
        bench.announcer.leave(bench.now)
        bench.run()
        bench.announcer.leave_at_once()
        assert sum(isinstance(message, v2.Leave) for message, _ in bench.sent) == 3

    def test_who_never_heard_of_us_is_told_nothing(self) -> None:
        bench = Bench(CONTROL)
        bench.announcer.leave_at_once()
        assert bench.sent == []

    def test_nothing_is_heard_any_more(self, bench: Bench) -> None:
        bench.announcer.leave(bench.now)
        assert bench.hear(bench.waiting(1)) is Drop.UNEXPECTED

    def test_a_timer_before_its_time_says_nothing(self, bench: Bench) -> None:
        bench.announcer.leave(bench.now)
        bench.run()
        sent = len(bench.sent)
        bench.announcer.handle_timer(bench.now + 0.001)
        assert len(bench.sent) == sent

    def test_leaving_twice_is_leaving_once(self, bench: Bench) -> None:
        bench.announcer.leave_at_once()
        bench.announcer.leave_at_once()
        assert sum(isinstance(message, v2.Leave) for message, _ in bench.sent) == 3
