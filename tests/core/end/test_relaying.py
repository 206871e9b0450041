"""The relay at an end: when it is asked for and bound, which answers count, what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.holding import PathState
from netpunch.core.end.relaying import Relaying
from netpunch.core.end.relays import RelayAt
from netpunch.core.end.verdict import RelayOutcome
from netpunch.core.events import Failed, FollowRoutes, Linked, PathKind, Payload, Reason
from netpunch.core.settings import USUAL_CANDIDATES, CandidateKind
from netpunch.core.traversal import budget
from netpunch.wire import v2
from netpunch.wire.card import NatClass
from netpunch.wire.drop import Drop
from tests.core.v2_bench import Bench, Puppet, Timed
from tests.core.v2_pair import CONTROL, ELSEWHERE, VIA, A, Sent

RELAY = Address(CONTROL.host, 10003)
OTHER_CONTROL = Address("192.0.2.2", 10001)
ONE_PORT: frozenset[CandidateKind] = frozenset({"observed", "host", "relay"})
COOKIE = b"c" * v2.COOKIE_LENGTH
RELAY_NUMBER, OBSERVED_NUMBER = v2.PATH_NUMBERS["relay"], v2.PATH_NUMBERS["observed"]
HOLDING = timing.RELAY_AFTER_HOLDING


def retries(seconds: float) -> list[float]:
    """When a question or a BIND goes out within so many seconds, if nothing answers."""
    often = [0.0, 0.06, 0.16, 0.26, *(round(0.46 + n * 0.2, 3) for n in range(24))]
    then = [round(often[-1] + n, 3) for n in range(1, 60)]
    return [time for time in (*often, *then) if time <= seconds]


@dataclass
class Relayed:
    """An end whose proved partner no plain ping reaches; the test plays controls and relays."""

    bench: Bench
    puppet: Puppet
    began: float = field(init=False)
    """When the partner was proved."""

    def __post_init__(self) -> None:
        self.began = self.bench.now
        self.bench.introduce(self.puppet)

    @classmethod
    def made(cls, end: Any = "a", **settings: Any) -> Relayed:
        settings = {"candidates": ONE_PORT, "holds": True, "deadline": None, **settings}
        bench = Bench(end, **settings)
        return cls(bench, bench.puppet(holds=settings["holds"]))

    @property
    def relaying(self) -> Relaying:
        return self.bench.end._punching.attempt.relaying

    def times(self, kind: type[v2.Message], where: Address | None = None) -> list[float]:
        """When messages of a kind went out, in seconds since the partner was proved."""
        return [
            round(time - self.began, 3)
            for time, sent in self.bench.sent
            if isinstance(sent.message, kind) and where in (None, sent.destination)
        ]

    def pings_to_relay(self, sent: list[Timed]) -> list[Sent]:
        return [
            each
            for _, each in sent
            if isinstance(each.message, v2.Ping) and each.destination == RELAY
        ]

    def control_relays(
        self, port: int = RELAY.port, control: Address = CONTROL, *, more: int = 0
    ) -> list[Sent]:
        """A control answers the last question it got."""
        asked = [
            sent.message
            for _, sent in self.bench.sent
            if isinstance(sent.message, v2.Observe) and sent.destination == control
        ]
        return self.bench.control_says(v2.Observed(asked[-1].echo, A, port, more), control)

    def bind(self) -> v2.Bind:
        """The last one that went out."""
        return self.bench.all(v2.Bind)[-1]

    def challenge(self, cookie: bytes = COOKIE, *, at: Address = RELAY) -> list[Sent]:
        bind = self.bind()
        challenge = v2.Challenge(bind.attempt, bind.counter, cookie)
        return self.bench.control_says(challenge, at)

    def bound(self, *, partner: bool = True, lifetime: int = 120, **fields: Any) -> list[Sent]:
        bind = self.bind()
        bound = v2.Bound(bind.attempt, bind.counter, A, int(partner), lifetime)
        return self.bench.control_says(bound._replace(**fields), RELAY)

    def ask(self) -> Relayed:
        """Until a control is asked for its relay, and tells of it."""
        self.bench.run(HOLDING - timing.RELAY_LEAD)
        self.control_relays()
        return self

    def bind_when_due(self, due: float = HOLDING) -> Relayed:
        """Until the end is bound."""
        self.bench.run(due - timing.RELAY_LEAD)
        self.control_relays()
        self.challenge()
        self.bound()
        return self

    def bind_at_last(self) -> Relayed:
        """Until the end is bound, and the relay a candidate."""
        self.bind_when_due().bench.run(timing.RELAY_LEAD)
        return self

    def validate(self) -> list[Sent]:
        """Ping and pong both ways through the relay."""
        return self.bench.pong_all(self.puppet, self.bench.ping(self.puppet, RELAY))


@pytest.fixture
def relayed() -> Relayed:
    return Relayed.made()


class TestWhen:
    def test_an_end_that_holds_binds_after_one_second_and_tries_it_after_one_and_a_half(
        self, relayed: Relayed
    ) -> None:
        relayed.bind_when_due()
        assert relayed.times(v2.Observe) == [1.0]
        assert relayed.times(v2.Bind, RELAY) == [1.0, 1.0]
        relayed.bench.run(1.0)
        assert relayed.times(v2.Ping, RELAY)[0] == 1.5

    def test_an_end_that_hands_over_waits_for_ten_seconds(self) -> None:
        relayed = Relayed.made(holds=False).bind_when_due(10.0)
        relayed.bench.run(1.0)
        assert relayed.times(v2.Observe) == [9.5]
        assert relayed.times(v2.Bind)[0] == 9.5
        assert relayed.times(v2.Ping, RELAY)[0] == 10.0

    def test_half_of_a_short_deadline_is_left_for_the_relay(self) -> None:
        relayed = Relayed.made(holds=False, deadline=6.0).bind_when_due(3.0)
        relayed.bench.run(1.0)
        assert relayed.times(v2.Ping, RELAY)[0] == 3.0

    def test_who_is_reached_directly_in_time_asks_for_no_relay(self, relayed: Relayed) -> None:
        relayed.bench.run(0.9)
        relayed.bench.validate(relayed.puppet)
        relayed.bench.run(10.0)
        assert relayed.times(v2.Observe) == relayed.times(v2.Bind) == []

    def test_nothing_is_asked_for_a_partner_that_may_be_a_recording(self) -> None:
        bench = Bench("a", candidates=ONE_PORT, holds=True, deadline=None)
        bench.introduce(bench.puppet(holds=True), proof=False)
        bench.run(60.0)
        assert not bench.all(v2.Observe)

    def test_a_successor_of_a_dead_link_binds_at_once(self, relayed: Relayed) -> None:
        relayed.relaying.begin(relayed.bench.now)
        relayed.bench.run(0.0)
        relayed.control_relays()
        assert relayed.times(v2.Bind) == [0.0]

    def test_an_attempt_that_follows_another_waits_no_longer_than_that_one(
        self, relayed: Relayed
    ) -> None:
        relayed.bench.run(0.8)
        relayed.bench.end._first._begin_anew(relayed.bench.now)
        relayed.bench.run(0.1)
        relayed.bench.introduce(relayed.bench.puppet(b"partner2", holds=True))
        relayed.bench.run(0.2)
        assert relayed.times(v2.Observe)[0] == 1.0


class TestWhatControlSays:
    def test_a_question_is_repeated_until_it_is_answered(self, relayed: Relayed) -> None:
        relayed.bench.run(9.0)
        times = [round(1.0 + time, 3) for time in retries(8.0)]
        assert relayed.times(v2.Observe) == times
        relayed.control_relays(0)
        relayed.bench.run(30.0)
        assert relayed.times(v2.Observe) == times

    def test_what_the_survey_was_told_is_not_asked_again(self) -> None:
        other_port = CONTROL._replace(port=CONTROL.port + 1)
        relayed = Relayed.made(
            candidates=USUAL_CANDIDATES, reflectors=[(CONTROL, other_port)], drives=True
        )
        relayed.bench.run(budget.PLAIN_PATIENCE)
        asked = relayed.bench.all(v2.Observe)
        for question in asked:
            observed = v2.Observed(question.echo, A, RELAY.port)
            relayed.bench.control_says(observed, CONTROL)
        relayed.bench.run(HOLDING)
        assert len(relayed.bench.all(v2.Observe)) == len(asked)
        assert relayed.times(v2.Bind, RELAY)[0] == 1.0

    @pytest.mark.parametrize("port", [0, 10004])
    def test_a_port_that_an_earlier_attempt_was_told_is_used_until_it_proves_to_be_old(
        self, relayed: Relayed, port: int
    ) -> None:
        relayed.bench.end._resources.relays.told(CONTROL, RelayAt(*RELAY))
        relayed.bench.run(1.2)
        assert relayed.times(v2.Bind, RELAY) == [1.0, 1.06, 1.16]
        relayed.control_relays(port)
        relayed.bench.run(5.0)
        binds = [
            sent.destination for _, sent in relayed.bench.sent if type(sent.message) is v2.Bind
        ]
        assert binds.count(RELAY) == 3
        assert {each.port for each in binds[3:]} == ({port} if port else set())

    def test_answers_that_nobody_asked_for_do_not_count(self, relayed: Relayed) -> None:
        relayed.bench.run(1.0)
        relayed.bench.control_says(v2.Observed(b"anything", A, RELAY.port))
        assert relayed.bench.drops(Drop.UNEXPECTED) == 1
        echo = relayed.bench.all(v2.Observe)[-1].echo
        relayed.bench.control_says(v2.Observed(echo, A, RELAY.port), ELSEWHERE)
        assert relayed.bench.drops(Drop.UNEXPECTED_SOURCE) == 1
        relayed.bench.run(5.0)
        assert relayed.times(v2.Bind) == []

    def test_every_control_that_relays_is_bound_at(self) -> None:
        relayed = Relayed.made(controls=(CONTROL, OTHER_CONTROL))
        relayed.bench.run(1.0)
        relayed.control_relays()
        relayed.control_relays(443, OTHER_CONTROL)
        assert relayed.times(v2.Bind, RELAY) == [1.0]
        assert relayed.times(v2.Bind, OTHER_CONTROL._replace(port=443)) == [1.0]

    def test_over_a_stream_the_relay_is_where_control_is(self) -> None:
        relayed = Relayed.made()
        stream, resources = Address(CONTROL.host, 443), relayed.bench.end._resources
        resources.streams.opened(7, stream, A)
        registration = relayed.bench.end._first.attempt.announcer._registrations[0]
        registration.control, registration.via = stream, 7
        relayed.bench.run(2.0)
        (first, *_) = (s for _, s in relayed.bench.sent if type(s.message) is v2.Bind)
        assert (first.destination, first.via) == (stream, 7)
        assert relayed.times(v2.Observe) == []

    def test_a_partner_without_udp_is_not_waited_for(self) -> None:
        """Its card says so: nothing but a relay can help."""
        relayed = Relayed.made(holds=False)
        card = relayed.puppet.card(relayed.bench.attempt)._replace(nat_class=NatClass.BLOCKED)
        relayed.bench.run(0.3)
        relayed.bench.control_says(relayed.bench.introduction(relayed.puppet, card=card))
        relayed.bench.run(0.1)
        assert relayed.times(v2.Observe)[0] == pytest.approx(0.3, abs=0.06)

    def test_nor_is_one_of_which_that_is_known_from_the_beginning(self) -> None:
        bench = Bench(candidates=ONE_PORT, holds=True, deadline=None)
        puppet = bench.puppet(holds=True)
        card = puppet.card(bench.attempt)._replace(nat_class=NatClass.BLOCKED)
        bench.control_says(bench.introduction(puppet, card=card))
        bench.run(0.0)
        assert bench.all(v2.Observe)


class TestBinding:
    def test_it_is_repeated_often_for_5_s_then_each_second(self, relayed: Relayed) -> None:
        relayed.ask().bench.run(8.0)
        assert relayed.times(v2.Bind) == [round(1.0 + time, 3) for time in retries(8.0)]
        counters = [bind.counter for bind in relayed.bench.all(v2.Bind)]
        assert counters == sorted(set(counters))

    def test_a_cookie_is_brought_back_at_once_and_kept(self, relayed: Relayed) -> None:
        relayed.ask()
        assert relayed.bind().cookie == v2.NO_COOKIE
        (answer,) = relayed.challenge()
        assert isinstance(answer.message, v2.Bind)
        assert (answer.message.cookie, answer.destination, answer.via) == (COOKIE, RELAY, VIA)
        relayed.bench.run(5.0)
        assert {bind.cookie for bind in relayed.bench.all(v2.Bind)[1:]} == {COOKIE}

    def test_it_is_renewed_every_30_seconds_or_sooner_if_it_lives_shorter(self) -> None:
        for lifetime, pause in ((120, 30.0), (20, 10.0), (0, 1.0)):
            relayed = Relayed.made().ask()
            relayed.bound(lifetime=lifetime)
            relayed.bench.run(pause)
            assert relayed.times(v2.Bind) == [1.0, 1.0 + pause]

    def test_a_relay_that_always_asks_again_makes_no_more_than_an_exchange_a_second(
        self, relayed: Relayed
    ) -> None:
        relayed.bind_at_last()
        before = len(relayed.bench.all(v2.Bind))
        for _ in range(1000):
            relayed.bench.run(0.01)
            relayed.challenge()
        most_a_second = len(retries(1.0)) + 1
        assert len(relayed.bench.all(v2.Bind)) - before <= 10 * most_a_second

    @pytest.mark.parametrize(
        ("change", "drop"),
        [
            ({"attempt": b"another1"}, Drop.WRONG_ATTEMPT),
            ({"counter": 1}, Drop.UNEXPECTED_SOURCE),
            ({"counter": (1 << 32) + 99}, Drop.STALE),
        ],
    )
    def test_answers_to_other_attempts_and_to_nothing_do_not_count(
        self, relayed: Relayed, change: dict[str, Any], drop: Drop
    ) -> None:
        relayed.ask()
        assert relayed.bound(**change) == []
        assert relayed.bench.drops(drop) == 1
        assert relayed.pings_to_relay(relayed.bench.run(1.0)) == []

    def test_no_recording_counts_twice_nor_from_elsewhere(self, relayed: Relayed) -> None:
        relayed.bind_at_last()
        recorded = [data for data, source in relayed.bench.received if source == RELAY]
        sent = len(relayed.bench.all(v2.Bind))
        for data in recorded:
            for source in (RELAY, ELSEWHERE, CONTROL):
                assert relayed.bench.receive(data, source) == []
            assert relayed.bench.receive(data, RELAY, via=9) == []
        assert len(relayed.bench.all(v2.Bind)) == sent

    def test_two_controls_may_name_the_same_relay(self) -> None:
        same_host = CONTROL._replace(port=10005)
        relayed = Relayed.made(controls=(CONTROL, same_host))
        relayed.bench.run(1.0)
        relayed.control_relays()
        relayed.control_relays(control=same_host)
        first, second = relayed.bench.all(v2.Bind)
        for counter in (second.counter, first.counter):
            relayed.bound(counter=counter)
        assert relayed.bench.drops(Drop.STALE) == 0
        assert relayed.pings_to_relay(relayed.bench.run(timing.RELAY_LEAD))


class TestManyPorts:
    """Pairs that share a port of their host have one source at the relay."""

    def shares(self) -> Relayed:
        relayed = Relayed.made(share=True)
        relayed.bench.run(HOLDING - timing.RELAY_LEAD)
        relayed.control_relays(more=3)
        return relayed

    def ports(self, relayed: Relayed) -> list[int]:
        """To which BINDs went, in order."""
        sent = (each for _, each in relayed.bench.sent if isinstance(each.message, v2.Bind))
        return [each.destination.port - RELAY.port for each in sent]

    def test_where_another_pair_is_bound_the_next_port_is_tried(self) -> None:
        relayed = self.shares()
        first = RELAY.port + self.ports(relayed)[-1]
        relayed.challenge(at=RELAY._replace(port=first))
        relayed.bench.run(timing.RELAY_PORT_PATIENCE + 0.2)
        tried = self.ports(relayed)
        assert tried[-1] == (tried[0] + 1) % 4
        bench, second = relayed.bench, RELAY._replace(port=RELAY.port + tried[-1])
        (answer,) = relayed.challenge(b"d" * v2.COOKIE_LENGTH, at=second)
        assert answer.destination == second
        bind = relayed.bind()
        bench.control_says(v2.Bound(bind.attempt, bind.counter, A, 1, 120), second)
        bench.run(35.0)
        assert set(self.ports(relayed)[len(tried) :]) == {tried[-1]}, "it stays where it is bound"
        assert bench.pong_all(relayed.puppet, bench.ping(relayed.puppet, second))

    def test_a_relay_that_is_silent_altogether_is_waited_for_at_one_port(self) -> None:
        relayed = self.shares()
        relayed.bench.run(20.0)
        assert len(set(self.ports(relayed))) == 1

    def test_a_pair_tries_so_many_ports_a_second(self) -> None:
        """Also when all are taken: no more than if there were one."""
        relayed = self.shares()
        relayed.challenge(at=RELAY._replace(port=RELAY.port + self.ports(relayed)[-1]))
        relayed.bench.run(2.9)
        assert len(self.ports(relayed)) <= len(retries(2.9)) + 1
        assert len(set(self.ports(relayed))) > 2

    def test_an_end_with_a_port_of_its_own_stays_at_the_first(self) -> None:
        relayed = Relayed.made()
        relayed.bench.run(HOLDING - timing.RELAY_LEAD)
        relayed.control_relays(more=3)
        relayed.challenge()
        relayed.bench.run(10.0)
        assert set(self.ports(relayed)) == {0}


class TestPath:
    def test_a_bound_relay_is_pinged_and_nominated_as_what_it_is(self, relayed: Relayed) -> None:
        (ping,) = relayed.pings_to_relay(relayed.bind_when_due().bench.run(timing.RELAY_LEAD))
        relayed.bench.pong(relayed.puppet, ping)
        nominate = relayed.bench.all(v2.Nominate)[-1]
        assert nominate.path == RELAY_NUMBER
        accept = v2.Accept(relayed.puppet.attempt, relayed.bench.attempt, nominate.sequence)
        relayed.bench.receive(relayed.puppet.says(accept), RELAY)
        link = relayed.bench.event(Linked)
        assert (link.path, link.remote, link.via) == (PathKind.RELAY, RELAY, VIA)

    def test_a_ping_that_comes_by_a_relay_makes_a_relayed_path(self) -> None:
        relayed = Relayed.made("b").bind_at_last()
        relayed.validate()
        nominate(relayed, RELAY_NUMBER)
        assert relayed.bench.event(Linked).path is PathKind.RELAY

    def test_a_later_partner_attempt_is_tried_as_well(self, relayed: Relayed) -> None:
        relayed.bind_at_last()
        second = relayed.bench.puppet(b"partner2", holds=True)
        relayed.bench.introduce(second)
        pinged = relayed.pings_to_relay(relayed.bench.run(0.1))
        receivers = {p.message.receiver for p in pinged if isinstance(p.message, v2.Ping)}
        assert receivers == {relayed.puppet.attempt, second.attempt}

    def test_a_card_that_names_the_relay_does_not_make_it_direct(self) -> None:
        for named_first in (True, False):
            relayed = Relayed.made("b")
            hosts = (RELAY,)
            if named_first:
                relayed.puppet.hosts = hosts
                relayed.bench.introduce(relayed.puppet)
            relayed.bind_at_last()
            relayed.puppet.hosts = hosts
            relayed.bench.introduce(relayed.puppet)
            relayed.validate()
            nominate(relayed, RELAY_NUMBER)
            assert relayed.bench.event(Linked).path is PathKind.RELAY

    def test_another_port_of_its_host_stays_a_strangers(self, relayed: Relayed) -> None:
        relayed.bind_at_last()
        other = RELAY._replace(port=RELAY.port + 1)
        for _ in range(100):
            relayed.bench.ping(relayed.puppet, other)
            relayed.bench.run(0.01)
        to_other = [s for _, s in relayed.bench.sent if s.destination == other]
        assert len(to_other) <= 16 + 1

    def test_b_refuses_a_name_that_is_wrong_about_the_relay(self) -> None:
        relayed = Relayed.made("b").bind_at_last()
        relayed.validate()
        nominate(relayed, OBSERVED_NUMBER)
        assert not relayed.bench.events(Linked)

    def test_b_believes_a_that_a_path_is_relayed(self) -> None:
        relayed = Relayed.made("b")
        relayed.validate()
        nominate(relayed, RELAY_NUMBER)
        assert relayed.bench.event(Linked).path is PathKind.RELAY


class TestAttacks:
    """Who has recorded everything, and sends it from anywhere, at any time."""

    ATTACKS = 10_000

    def recordings(self, seed: int) -> list[bytes]:
        """What relay, control and partner said to an attempt that was linked by the relay, and to
        the partner's own."""
        bench = Bench("b", candidates=ONE_PORT, holds=True, deadline=None, seed=seed)
        other = Relayed(bench, bench.puppet(b"another%d" % seed, holds=True)).bind_at_last()
        other.validate()
        nominate(other, RELAY_NUMBER)
        assert bench.events(Linked)
        return [data for data, _ in bench.received]

    def test_recordings_bind_nothing_and_make_no_path(self) -> None:
        relayed = Relayed.made("b", seed="victim").ask()
        random = Random(1)
        recorded = [data for seed in range(4) for data in self.recordings(seed)]
        sources = [RELAY, CONTROL, ELSEWHERE, relayed.puppet.at]
        before = relayed.bench.now
        for _ in range(self.ATTACKS):
            data = bytearray(random.choice(recorded))
            if random.random() < 0.3:
                data[random.randrange(len(data))] ^= 1 << random.randrange(8)
            relayed.bench.receive(bytes(data), random.choice(sources))
            relayed.bench.run(0.001)
        assert relayed.relaying.outcome is RelayOutcome.SILENT
        assert relayed.times(v2.Ping, RELAY) == []
        assert not relayed.bench.events(Linked)
        in_retries = retries(relayed.bench.now - before + timing.RELAY_LEAD)
        assert len(relayed.times(v2.Bind)) <= len(in_retries)

    def test_a_bound_end_answers_recordings_of_its_own_attempt_once(self) -> None:
        relayed = Relayed.made("b").bind_at_last()
        relayed.validate()
        random, recorded = Random(1), list(relayed.bench.received)
        began, before = relayed.bench.now, len(relayed.bench.sent)
        for _ in range(self.ATTACKS):
            data, source = random.choice(recorded)
            relayed.bench.receive(data, random.choice([source, RELAY, ELSEWHERE]))
            relayed.bench.run(0.001)
        seconds = relayed.bench.now - began
        answers = [sent.message for _, sent in relayed.bench.sent[before:]]
        assert len([m for m in answers if isinstance(m, v2.Bind)]) <= seconds / 30 + 1
        assert len([m for m in answers if isinstance(m, v2.Pong)]) <= 4
        assert relayed.bench.all(v2.Accept) == []


class TestWithoutIt:
    """An end whose candidates lack `relay`, or that is not to use it now."""

    def test_it_asks_and_binds_nothing(self) -> None:
        relayed = Relayed.made(candidates=ONE_PORT - {"relay"})
        relayed.bench.run(30.0)
        assert relayed.times(v2.Observe) == relayed.times(v2.Bind) == []

    def test_what_a_relay_passes_on_does_not_count(self) -> None:
        relayed = Relayed.made("b", candidates=ONE_PORT - {"relay"})
        relayed.bench.end._resources.relays.told(CONTROL, RelayAt(*RELAY))
        assert relayed.bench.ping(relayed.puppet, RELAY) == []
        assert relayed.bench.drops(Drop.UNEXPECTED_SOURCE) == 1

    def test_a_relay_that_only_the_partner_knows_is_refused_and_remembered(self) -> None:
        relayed = Relayed.made("b", candidates=ONE_PORT - {"relay"})
        relayed.validate()
        nominate(relayed, RELAY_NUMBER)
        assert not relayed.bench.events(Linked)
        assert relayed.bench.ping(relayed.puppet, RELAY) == []

    def test_it_may_be_forbidden_for_an_attempt(self, relayed: Relayed) -> None:
        relayed.relaying.allowed = False
        relayed.bench.run(30.0)
        assert relayed.times(v2.Observe) == relayed.times(v2.Bind) == []


class TestBesideALink:
    """In the successor of a held link."""

    def test_a_relayed_link_that_works_is_not_moved_to_another_relay(self) -> None:
        bench = Bench("a", candidates=ONE_PORT, holds=True, deadline=None)
        relaying = bench.end._punching.attempt.relaying
        for works in (True, False, True):
            relaying.beside(PathKind.RELAY, bench.now, works=works)
            assert relaying.allowed != works

    def test_one_that_works_again_does_not_undo_what_the_ends_may_have_agreed_on(
        self, relayed: Relayed
    ) -> None:
        relayed.relaying.beside(PathKind.RELAY, relayed.bench.now, works=False)
        relayed.bench.run(0.0)
        relayed.control_relays()
        relayed.bound()
        relayed.relaying.beside(PathKind.RELAY, relayed.bench.now, works=True)
        relayed.bench.run(0.5)
        relayed.validate()
        assert relayed.bench.all(v2.Nominate)[-1].path == RELAY_NUMBER

    @pytest.mark.parametrize(
        ("kind", "works", "asked_at", "tried_at"),
        [
            (PathKind.RELAY, False, 0.0, 0.0),
            (PathKind.OBSERVED, False, 0.0, timing.RELAY_LEAD),
            (PathKind.OBSERVED, True, HOLDING - timing.RELAY_LEAD, HOLDING),
        ],
    )
    def test_a_dead_link_leaves_little_time_for_direct_paths(
        self, relayed: Relayed, kind: PathKind, works: bool, asked_at: float, tried_at: float
    ) -> None:
        relayed.relaying.beside(kind, relayed.bench.now, works=works)
        relayed.bench.run(asked_at)
        assert relayed.times(v2.Observe) == [asked_at]
        relayed.control_relays()
        relayed.bound()
        relayed.bench.run(timing.RELAY_LEAD)
        assert relayed.times(v2.Ping, RELAY)[0] == tried_at

    def test_it_may_not_have_what_the_end_may_not(self) -> None:
        relayed = Relayed.made(candidates=ONE_PORT - {"relay"})
        relayed.relaying.beside(PathKind.OBSERVED, relayed.bench.now, works=False)
        assert not relayed.relaying.allowed


class TestHeldLink:
    """A link that is held by way of a relay: programs' datagrams and the relay's own come from one
    address."""

    @pytest.fixture
    def held(self) -> Relayed:
        held = Relayed.made("b").bind_at_last()
        held.validate()
        nominate(held, RELAY_NUMBER)
        assert held.bench.event(Linked).path is PathKind.RELAY
        return held

    def test_datagrams_as_long_as_controls_are_the_programs(self, held: Relayed) -> None:
        payloads = [bytes(384), b"\xf2".ljust(384), bytes((0xF2, 0x0A)).ljust(384)]
        for payload in payloads:
            held.bench.receive(payload, RELAY)
        assert [event.data for event in held.bench.events(Payload)] == payloads

    def test_each_new_partner_attempt_has_it_checked(self, held: Relayed) -> None:
        """The partner may have been restarted; while its old link seems to work, no other relayed
        path is looked for. Also while a better path is looked for already."""
        bench, link = held.bench, held.bench.attempt
        for number in range(3):
            newcomer = bench.puppet(b"attempt%d" % number, holds=True)
            before = len(held.times(v2.Ping, RELAY))
            bench.introduce(newcomer)
            bench.introduce(newcomer)
            assert len(held.times(v2.Ping, RELAY)) == before + 1
            [*_, ping] = [sent.message for _, sent in bench.sent if sent.destination == RELAY]
            assert isinstance(ping, v2.Ping)
            answer = v2.Pong(held.puppet.attempt, link, ping.sequence, A)
            bench.receive(held.puppet.says(answer), RELAY)
        assert not bench.events(FollowRoutes), "its path works"

    def test_a_ping_of_the_links_own_partner_shows_that_it_was_not_restarted(
        self, held: Relayed
    ) -> None:
        """While it looks for a direct path, losses must not make the relay's seem dead."""
        bench, link = held.bench, held.bench.attempt
        bench.introduce(bench.puppet(b"standby2", holds=True))
        ping = v2.Ping(held.puppet.attempt, link, held.puppet.new_sequence(), 0)
        bench.receive(held.puppet.says(ping), RELAY)
        bench.run(2.0)
        assert not bench.events(FollowRoutes)

    @pytest.mark.parametrize("before", [0.02, -0.02], ids=["before", "after"])
    def test_but_not_that_ours_arrive_which_a_keepalive_finds_out(
        self, held: Relayed, before: float
    ) -> None:
        """Whichever begins first, the partner's asking or the keepalive."""
        bench, link = held.bench, held.bench.attempt
        sequence = held.puppet.number.to_bytes(4, "big") + b"rand"
        bench.receive(held.puppet.says(v2.Done(held.puppet.attempt, link, sequence)), RELAY)
        bench.run(bench.end._resources.settings.keepalive - before)
        assert bench.end._link is not None
        assert bench.end._link.works
        bench.introduce(bench.puppet(b"standby2", holds=True))
        bench.run(0.03)
        ping = v2.Ping(held.puppet.attempt, link, held.puppet.new_sequence(), 0)
        bench.receive(held.puppet.says(ping), RELAY)
        bench.run(timing.KEEPALIVE_PINGS * timing.KEEPALIVE_RETRY)
        assert bench.end._link.state is PathState.DEAD

    def test_a_recorded_ping_does_not(self, held: Relayed) -> None:
        bench, link = held.bench, held.bench.attempt
        ping = held.puppet.says(v2.Ping(held.puppet.attempt, link, held.puppet.new_sequence(), 0))
        bench.receive(ping, RELAY)
        bench.introduce(bench.puppet(b"standby2", holds=True))
        bench.receive(ping, RELAY)
        assert bench.drops(Drop.STALE) == 1
        assert bench.end._link is not None
        bench.run(2.0)
        assert not bench.end._link.works

    def test_recordings_of_the_relay_are_nobodys(self, held: Relayed) -> None:
        for data in [data for data, source in held.bench.received if source == RELAY]:
            held.bench.receive(data, RELAY)
        assert not held.bench.events(Payload)


def nominate(relayed: Relayed, path: int) -> None:
    """a, played, nominates the path of its last ping through the relay."""
    sequence = relayed.puppet.number.to_bytes(4, "big") + b"rand"
    message = v2.Nominate(relayed.puppet.attempt, relayed.bench.attempt, sequence, path)
    relayed.bench.receive(relayed.puppet.says(message), RELAY)


class TestVerdict:
    """Where NATs let nothing through, ends fail only once the relay has had its chance."""

    @pytest.fixture
    def relayed(self) -> Relayed:
        """Both NATs are of class hard_random, as far as the ends know."""
        return self.made()

    def made(self, **settings: Any) -> Relayed:
        relayed = Relayed.made(
            candidates=settings.pop("candidates", USUAL_CANDIDATES),
            holds=False,
            deadline=60.0,
            drives=True,
            **settings,
        )
        bench = relayed.bench
        bench.end._resources.nat = bench.end._resources.nat._replace(nat_class=NatClass.HARD_RANDOM)
        card = relayed.puppet.card(bench.attempt)._replace(nat_class=NatClass.HARD_RANDOM)
        bench.control_says(bench.introduction(relayed.puppet, card=card))
        return relayed

    def give_up(self, relayed: Relayed) -> None:
        """Until nothing but a relay is left, and the next ping's timer, which finds that."""
        relayed.bench.run(budget.PLAIN_PATIENCE + budget.HOPELESS.patience)
        relayed.bench.run(timing.PING_INTERVAL)

    def fail(self, relayed: Relayed) -> tuple[float, str]:
        """When it failed, in seconds since it became infeasible, and what it said."""
        since = relayed.bench.now
        relayed.bench.run_until(lambda: relayed.bench.events(Failed), step=0.01)
        failed = relayed.bench.event(Failed)
        assert failed.reason is Reason.INFEASIBLE
        return round(relayed.bench.now - since, 1), failed.detail

    def test_the_relay_is_asked_for_when_nothing_else_is_left(self, relayed: Relayed) -> None:
        self.give_up(relayed)
        given_up = budget.PLAIN_PATIENCE + budget.HOPELESS.patience
        assert relayed.times(v2.Observe)[0] == pytest.approx(given_up, abs=timing.PING_INTERVAL)
        relayed.control_relays()
        assert relayed.times(v2.Bind, RELAY)

    def test_without_a_relay_it_fails_at_once_and_says_how_to_have_one(
        self, relayed: Relayed
    ) -> None:
        self.give_up(relayed)
        relayed.control_relays(0)
        after, detail = self.fail(relayed)
        assert after == 0.0
        assert '`relay: ":10003"`' in detail

    def test_a_control_that_says_nothing_holds_it_up_for_ten_seconds(
        self, relayed: Relayed
    ) -> None:
        self.give_up(relayed)
        after, detail = self.fail(relayed)
        assert after == pytest.approx(timing.RELAY_PATIENCE, abs=timing.PING_INTERVAL)
        assert "did not say whether it relays" in detail

    def test_a_relay_that_does_not_answer_is_named(self, relayed: Relayed) -> None:
        self.give_up(relayed)
        relayed.control_relays()
        after, detail = self.fail(relayed)
        assert after == pytest.approx(timing.RELAY_PATIENCE, abs=timing.PING_INTERVAL)
        assert f"{RELAY} does not answer" in detail

    @pytest.mark.parametrize(
        ("partner", "told"), [(False, "the partner is not bound there"), (True, "relay_rate")]
    )
    def test_a_bound_end_says_whether_its_partner_was(
        self, relayed: Relayed, partner: bool, told: str
    ) -> None:
        self.give_up(relayed)
        relayed.control_relays()
        relayed.bound(partner=partner)
        after, detail = self.fail(relayed)
        assert after == pytest.approx(timing.RELAY_PATIENCE, abs=timing.PING_INTERVAL)
        assert told in detail

    def test_an_end_without_relay_among_its_candidates_fails_as_before(self) -> None:
        relayed = self.made(candidates=USUAL_CANDIDATES - {"relay"})
        self.give_up(relayed)
        after, detail = self.fail(relayed)
        assert after == 0.0
        assert "not among this end's `candidates`" in detail

    def test_a_relay_that_works_makes_the_link(self, relayed: Relayed) -> None:
        self.give_up(relayed)
        relayed.control_relays()
        relayed.challenge()
        relayed.bound(partner=False)
        relayed.bench.run(5.0)
        relayed.validate()
        assert relayed.bench.all(v2.Nominate)[-1].path == RELAY_NUMBER

    def test_of_several_relays_the_nearest_to_a_link_is_told(self) -> None:
        relayed = Relayed.made(controls=(CONTROL, OTHER_CONTROL))
        relayed.bench.run(HOLDING)
        relayed.control_relays(0, OTHER_CONTROL)
        outcomes = [relayed.relaying.outcome]
        relayed.control_relays()
        outcomes.append(relayed.relaying.outcome)
        relayed.bound(partner=False)
        outcomes.append(relayed.relaying.outcome)
        assert outcomes == [RelayOutcome.NOT_OFFERED, RelayOutcome.SILENT, RelayOutcome.ALONE]
