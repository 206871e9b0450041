"""Beyond plain pings: the strategy for each pairing of NATs, what it may spend, how it ends."""

from __future__ import annotations

import pytest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.events import (
    CloseSocket,
    Failed,
    Linked,
    OpenSockets,
    PathKind,
    Reason,
    Turn,
    TurnOver,
    TurnWanted,
)
from netpunch.core.settings import USUAL_CANDIDATES
from netpunch.core.traversal import budget
from netpunch.core.traversal.nat import Bracket
from netpunch.wire import v2
from netpunch.wire.card import NatClass
from tests.core.v2_bench import Bench, Timed
from tests.core.v2_pair import CONTROL, VIA, B

REFLECTORS = (CONTROL, Address(CONTROL.host, CONTROL.port + 1))
NAT = "198.51.100.1"
EASY = [Address(NAT, port) for port in (40000, 40000, 31000, 31000, 52000, 52000)]
STEP = [Address(NAT, 40000 + n) for n in (0, 1, 2, 4, 5, 6)]
"""Between the third and the fourth question it mapped the ping to the partner: to 40003."""
RANDOM = [Address(NAT, port) for port in (40000, 1234, 31000, 60000, 52000, 2345)]


NONE = Bracket()
BRACKET = Bracket(port=30000, step=2, span=3, round=1)


class Traversing:
    """An end that meets a proved partner whom plain pings do not reach."""

    def __init__(self, ours: list[Address], theirs: NatClass, bracket: Bracket = NONE) -> None:
        self.ours = ours
        self.bench = Bench(
            "a", candidates=USUAL_CANDIDATES, reflectors=[REFLECTORS], drives=True, deadline=100.0
        )
        self.puppet = self.bench.puppet()
        self.partner_is(theirs, bracket)

    def partner_is(self, nat_class: NatClass, bracket: Bracket = NONE) -> None:
        """The partner's card says so."""
        card = self.puppet.card(self.bench.attempt)
        card = card._replace(
            nat_class=nat_class,
            bracket_port=bracket.port,
            bracket_step=bracket.step,
            bracket_count=bracket.span,
            bracket_round=bracket.round,
        )
        self.bench.control_says(self.bench.introduction(self.puppet, card=card))

    def run(self, seconds: float) -> list[Timed]:
        """What is sent meanwhile."""
        before = len(self.bench.sent)
        for _ in range(int(seconds / 0.05)):
            self.bench.run(0.05)
            self.bench.reflectors_see(*self.ours)
        return self.bench.sent[before:]

    def probes(self, kind: PathKind = PathKind.PREDICTED) -> list[Timed]:
        number = {PathKind.PREDICTED: 1, PathKind.SPRAY: 2}[kind]
        return [
            each
            for each in self.bench.sent
            if isinstance(each.sent.message, v2.Ping) and each.sent.message.probe == number
        ]


class TestSurvey:
    def test_it_begins_after_a_while_of_plain_pings(self) -> None:
        end = Traversing(EASY, NatClass.EASY)
        end.run(budget.PLAIN_PATIENCE - 0.05)
        assert not end.bench.events(OpenSockets)
        end.run(0.1)
        assert end.bench.events(OpenSockets)[0].count == budget.SURVEY_SOCKETS

    @pytest.mark.parametrize(
        ("seen", "nat_class"),
        [(EASY, NatClass.EASY), (STEP, NatClass.HARD_STEP), (RANDOM, NatClass.HARD_RANDOM)],
    )
    def test_the_card_tells_its_result(self, seen: list[Address], nat_class: NatClass) -> None:
        end = Traversing(seen, NatClass.UNKNOWN)
        end.run(0.5)
        assert end.bench.own_card().nat_class == nat_class

    def test_unanswered_questions_are_repeated_a_few_times(self) -> None:
        end = Traversing(EASY, NatClass.UNKNOWN)
        end.bench.run(20.0)
        questions = end.bench.all(v2.Observe)
        assert len({question.echo for question in questions}) == 6
        assert 6 * 5 < len(questions) < 6 * 20
        assert end.bench.own_card().nat_class == NatClass.UNKNOWN

    def test_its_sockets_are_closed_again(self) -> None:
        end = Traversing(EASY, NatClass.UNKNOWN)
        end.run(0.6)
        assert len(end.bench.events(CloseSocket)) == budget.SURVEY_SOCKETS

    def test_it_makes_do_with_fewer_sockets(self) -> None:
        for most in range(budget.SURVEY_SOCKETS):
            bench = Bench(
                "a",
                candidates=USUAL_CANDIDATES,
                reflectors=[REFLECTORS],
                drives=True,
                most_sockets=most,
            )
            bench.introduce(bench.puppet())
            bench.run(0.4)
            bench.reflectors_see(*STEP)
            bench.run(5.0)
            expected = NatClass.HARD_STEP if most else NatClass.UNKNOWN
            assert bench.own_card().nat_class == expected
            assert bench.own_card().bracket_count == 0, "nobody pinged the partner"

    def test_only_unanswered_questions_are_repeated(self) -> None:
        end = Traversing(EASY, NatClass.UNKNOWN)
        end.bench.run(0.3)
        first = end.bench.all(v2.Observe)
        end.bench.control_says(v2.Observed(first[0].echo, EASY[0]), REFLECTORS[0])
        end.bench.run(0.3)
        repeated = {question.echo for question in end.bench.all(v2.Observe)[len(first) :]}
        assert repeated == {question.echo for question in first[1:]}

    def test_a_bracket_needs_an_answer_from_before_the_ping(self) -> None:
        end = Traversing(STEP, NatClass.EASY)
        end.bench.run(0.3)
        questions = [sent for _, sent in end.bench.sent if isinstance(sent.message, v2.Observe)]
        for question, seen in list(zip(questions, STEP, strict=True))[3:]:
            assert isinstance(question.message, v2.Observe)
            observed = v2.Observed(question.message.echo, seen)
            end.bench.control_says(observed, question.destination)
        end.bench.run_until(lambda: end.bench.own_card().nat_class != NatClass.UNKNOWN)
        assert end.bench.own_card().bracket_round == 0

    def test_a_late_or_repeated_answer_changes_nothing(self) -> None:
        end = Traversing(EASY, NatClass.UNKNOWN)
        end.run(0.6)
        for observed in [sent for sent in end.bench.received if sent[1] in REFLECTORS][-6:]:
            assert end.bench.receive(*observed) == []
        assert end.bench.own_card().nat_class == NatClass.EASY


class TestSteps:
    def test_the_hard_end_tells_where_its_ping_must_be(self) -> None:
        end = Traversing(STEP, NatClass.EASY)
        end.run(0.6)
        card = end.bench.own_card()
        assert (card.bracket_port, card.bracket_step, card.bracket_count) == (40002, 1, 2)
        assert card.bracket_round == 1
        (ping,) = end.probes()[:1]
        assert ping.sent.destination == B
        assert ping.sent.via != VIA

    def test_it_makes_a_fresh_bracket_in_each_round(self) -> None:
        end = Traversing(STEP, NatClass.EASY)
        rounds = []
        for _ in range(4):
            end.run(1.5)
            rounds.append(end.bench.own_card().bracket_round)
        assert rounds == sorted(set(rounds))

    def scanned(self, end: Traversing) -> list[Address]:
        return [probe.sent.destination for probe in end.probes() if probe.sent.via == VIA]

    def test_the_easy_end_scans_the_bracket_a_few_times(self) -> None:
        end = Traversing(EASY, NatClass.HARD_STEP, BRACKET)
        end.run(3.0)
        scanned = self.scanned(end)
        ports = 3 + budget.SCAN_SLACK
        assert scanned[:3] == [Address(B.host, port) for port in (30002, 30004, 30006)]
        assert len(set(scanned)) == ports
        assert len(scanned) == budget.SCAN_PASSES * ports

    def test_and_then_the_next_one(self) -> None:
        end = Traversing(EASY, NatClass.HARD_STEP, BRACKET)
        end.run(3.0)
        before = set(self.scanned(end))
        end.partner_is(NatClass.HARD_STEP, Bracket(31000, 1, 3, 2))
        end.run(0.5)
        assert Address(B.host, 31001) in set(self.scanned(end)) - before

    def test_without_a_bracket_there_is_nothing_to_scan(self) -> None:
        end = Traversing(EASY, NatClass.HARD_STEP)
        end.run(3.0)
        assert not self.scanned(end)

    def test_two_of_them_open_rows_and_aim_past_the_others_bracket(self) -> None:
        end = Traversing(STEP, NatClass.HARD_STEP, BRACKET)
        end.run(2.0)
        row = [p for p in end.probes() if p.sent.destination != B]
        assert len({probe.sent.via for probe in row}) >= budget.DIAGONAL_WIDTH
        assert {probe.sent.destination.host for probe in row} == {B.host}
        assert min(probe.sent.destination.port for probe in row) > BRACKET.port_at(BRACKET.span)

    def test_what_comes_through_makes_a_link(self) -> None:
        end = Traversing(EASY, NatClass.HARD_STEP, BRACKET)
        end.run(0.8)
        hit = end.probes()[4].sent
        end.bench.pong(end.puppet, hit)
        end.puppet.at = hit.destination
        end.run(0.2)
        end.bench.accept(end.puppet)
        link = end.bench.event(Linked)
        assert (link.remote, link.path) == (hit.destination, PathKind.PREDICTED)
        opened = {each.sent.via for each in end.bench.sent} - {VIA}
        assert {close.via for close in end.bench.events(CloseSocket)} >= opened, "all are closed"


class TestRandom:
    def test_the_easy_end_sprays_random_ports_within_its_budget(self) -> None:
        end = Traversing(EASY, NatClass.HARD_RANDOM)
        end.run(30.0)
        sprayed = end.probes(PathKind.SPRAY)
        ports = [probe.sent.destination.port for probe in sprayed]
        assert len(ports) == len(set(ports)) == budget.SPRAY.probes
        assert min(ports) >= 1024
        assert {probe.sent.destination.host for probe in sprayed} == {B.host}
        duration = sprayed[-1].time - sprayed[0].time
        assert len(sprayed) / duration <= budget.PROBE_RATE

    def test_the_hard_end_opens_many_ports_with_pings_that_die_on_the_way(self) -> None:
        end = Traversing(RANDOM, NatClass.EASY)
        end.run(2.3)
        probes = end.probes(PathKind.SPRAY)
        assert len({probe.sent.via for probe in probes}) == len(probes) == budget.OPEN_PORTS
        assert {probe.sent.destination for probe in probes} == {B}
        assert {probe.sent.ttl for probe in probes} == {timing.OPENER_TTL}

    def test_then_it_pings_from_fresh_ports_which_the_partner_may_have_probed(self) -> None:
        end = Traversing(RANDOM, NatClass.EASY)
        end.run(15.0)
        closed = {close.via for close in end.bench.events(CloseSocket)}
        end.run(12.0)
        openers, fresh = (
            [probe.sent for probe in end.probes(PathKind.SPRAY) if probe.sent.ttl == ttl]
            for ttl in (timing.OPENER_TTL, 0)
        )
        vias = [ping.via for ping in openers + fresh]
        assert len(set(vias)) == len(vias) == budget.OPEN_MANY.probes
        assert {ping.destination for ping in fresh} == {B}
        kept = {ping.via for ping in openers} - closed
        assert len(kept) == budget.OPEN_PORTS - budget.FRESH_PORTS

    def test_no_more_ports_are_open_at_a_time(self) -> None:
        end = Traversing(RANDOM, NatClass.EASY)
        for _ in range(50):
            end.run(0.1)
            opened = sum(event.count for event in end.bench.events(OpenSockets))
            closed = len(end.bench.events(CloseSocket))
            assert opened - closed <= budget.OPEN_PORTS

    def test_a_port_that_the_partner_was_heard_on_stays_open(self) -> None:
        end = Traversing(RANDOM, NatClass.EASY)
        end.run(2.2)
        latest = end.probes(PathKind.SPRAY)[-1].sent
        end.bench.ping(end.puppet, via=latest.via)
        end.run(4.0)
        assert len(end.probes(PathKind.SPRAY)) > budget.OPEN_PORTS + 2 * budget.FRESH_PORTS
        assert latest.via not in {close.via for close in end.bench.events(CloseSocket)}

    def test_without_further_sockets_the_first_ones_stay_open(self) -> None:
        end = Traversing(RANDOM, NatClass.EASY)
        end.run(2.0)
        end.bench._drives = False
        end.run(1.0)
        end.bench.open_sockets({})
        end.run(15.0)
        requests = [event.count for event in end.bench.events(OpenSockets)]
        assert requests == [budget.SURVEY_SOCKETS, budget.OPEN_PORTS, budget.FRESH_PORTS]
        assert not end.bench.events(Failed)

    def test_nobody_sprays_out_of_turn(self) -> None:
        end = Traversing(EASY, NatClass.HARD_RANDOM)
        end.bench._drives = False
        end.bench.run(0.3)
        end.bench.grant_turn()  # the survey's turn
        opened = {20 + n: Address("0.0.0.0", 50020 + n) for n in range(4)}
        end.bench.open_sockets(opened)
        end.run(5.0)
        assert end.bench.events(TurnWanted)[-1] == TurnWanted(Turn.SPRAY)
        assert not end.probes(PathKind.SPRAY)
        assert end.bench.own_card().queued, "its partner is told"
        end.bench.grant_turn()
        end.run(1.0)
        assert end.probes(PathKind.SPRAY)
        assert not end.bench.own_card().queued

    @pytest.mark.parametrize(
        ("ours", "theirs", "count"),
        [
            (RANDOM, NatClass.EASY, budget.OPEN_PORTS),
            (STEP, NatClass.HARD_STEP, budget.DIAGONAL_WIDTH),
        ],
    )
    def test_sockets_that_come_late_are_asked_for_once(
        self, ours: list[Address], theirs: NatClass, count: int
    ) -> None:
        end = Traversing(ours, NatClass.UNKNOWN)
        end.run(0.6)
        end.bench._drives = False
        end.partner_is(theirs, BRACKET)
        end.run(0.1)
        end.bench.grant_turn()
        for _ in range(4):
            end.partner_is(theirs, BRACKET)
            end.run(0.3)
        requests = [event.count for event in end.bench.events(OpenSockets)]
        assert requests.count(count) == 1
        before = len(end.bench.all(v2.Ping))
        late = {900 + n: Address("0.0.0.0", 900 + n) for n in range(count)}
        end.bench.open_sockets(late)
        end.run(0.5)
        assert {sent.via for _, sent in end.bench.sent} & set(late)
        assert len(end.bench.all(v2.Ping)) > before

    def test_the_turn_is_given_back_in_the_end(self) -> None:
        end = Traversing(EASY, NatClass.HARD_RANDOM)
        end.run(2.0)
        assert end.probes(PathKind.SPRAY)
        assert len(end.bench.events(TurnOver)) == 1, "the survey's"
        end.bench.close()
        assert len(end.bench.events(TurnOver)) == 2

    def test_all_its_sockets_are_closed_in_the_end(self) -> None:
        end = Traversing(RANDOM, NatClass.EASY)
        end.run(3.0)
        opened = sum(event.count for event in end.bench.events(OpenSockets))
        assert opened > budget.OPEN_PORTS
        end.bench.close()
        assert len(end.bench.events(CloseSocket)) == opened

    @pytest.mark.parametrize("theirs", [NatClass.HARD_RANDOM, NatClass.HARD_STEP])
    def test_the_infeasible_is_told_as_such(self, theirs: NatClass) -> None:
        end = Traversing(RANDOM, theirs)
        end.run(15.0)
        failed = end.bench.event(Failed)
        assert failed.reason is Reason.INFEASIBLE
        assert (failed.nat, failed.partner_nat) == ("hard_random", theirs.name.lower())
        assert failed.duration < 10.0


class TestQueue:
    """The partner's turn, and ours."""

    def partner_waits(self, end: Traversing, waits: bool) -> None:
        card = end.puppet.card(end.bench.attempt)
        card = card._replace(nat_class=NatClass.HARD_RANDOM, queued=waits)
        end.bench.control_says(end.bench.introduction(end.puppet, card=card))

    def run(self, end: Traversing, seconds: float, *, waits: bool) -> None:
        """Control introduces the partner each second, as it does."""
        for _ in range(int(seconds)):
            self.partner_waits(end, waits)
            end.run(1.0)

    def test_nobody_sprays_at_a_partner_that_waits_nor_gives_it_up(self) -> None:
        end = Traversing(EASY, NatClass.HARD_RANDOM)
        self.run(end, 300.0, waits=True)
        assert not end.probes(PathKind.SPRAY)
        assert not end.bench.events(Failed)
        assert TurnWanted(Turn.SPRAY, ready=False) in end.bench.events(TurnWanted)
        self.run(end, 3.0, waits=False)
        assert end.probes(PathKind.SPRAY)

    def test_a_partner_that_says_no_more_is_not_believed_to_wait(self) -> None:
        end = Traversing(EASY, NatClass.HARD_RANDOM)
        self.partner_waits(end, True)
        end.run(budget.QUEUED_SILENCE + 1.0)
        assert end.probes(PathKind.SPRAY)

    def test_waiting_has_an_end_and_the_failure_names_it(self) -> None:
        end = Traversing(EASY, NatClass.HARD_RANDOM)
        end.bench.end._punching._deadline._may_queue = 50.0
        self.run(end, 160.0, waits=True)
        failed = end.bench.event(Failed)
        assert failed.reason is Reason.SPRAY_QUEUE
        assert failed.duration == pytest.approx(150.0, abs=2.0)

    def test_a_turn_that_others_wait_for_is_given_back_with_all_its_sockets(self) -> None:
        end = Traversing(RANDOM, NatClass.EASY)
        end.run(budget.TURN - 2.0)
        bench = end.bench
        opened = sum(event.count for event in bench.events(OpenSockets))
        bench._drives = False
        end.run(budget.TURN * budget.TURN_SPREAD + 2.0)
        assert len(bench.events(CloseSocket)) == opened
        assert len(bench.events(TurnOver)) == 2, "the survey's, and this one"
        assert bench.events(TurnWanted)[-1] == TurnWanted(Turn.OPEN)
        assert bench.own_card().queued

    def test_a_new_partner_attempt_takes_the_place_of_the_former_ones_sockets(self) -> None:
        end = Traversing(RANDOM, NatClass.EASY)
        for generation in range(8):
            end.run(3.0)
            end.puppet = end.bench.puppet(b"partner%d" % (generation % 10))
            end.partner_is(NatClass.EASY)
            opened = sum(event.count for event in end.bench.events(OpenSockets))
            closed = len(end.bench.events(CloseSocket))
            assert opened - closed <= budget.OPEN_PORTS
        assert opened > 4 * budget.OPEN_PORTS

    def test_a_turn_that_comes_when_a_path_is_valid_is_not_used(self) -> None:
        end = Traversing(RANDOM, NatClass.EASY)
        bench = end.bench
        bench.run(0.3)
        bench._drives = False
        end.run(2.0)
        assert bench.events(TurnWanted)[-1] == TurnWanted(Turn.OPEN)
        bench.validate(end.puppet)
        before = len(bench.events(OpenSockets))
        bench.grant_turn()
        end.run(0.2)
        assert len(bench.events(OpenSockets)) == before
        assert isinstance(bench.told[-1], TurnOver)


class TestRate:
    @pytest.mark.parametrize("theirs", NatClass)
    @pytest.mark.parametrize("ours", [EASY, STEP, RANDOM])
    def test_probes_and_plain_pings_together_keep_both_rates(
        self, ours: list[Address], theirs: NatClass
    ) -> None:
        end = Traversing(ours, theirs, BRACKET)
        end.run(4.0)
        pings = [each.time for each in end.bench.sent if isinstance(each.sent.message, v2.Ping)]
        for begin in pings:
            in_a_second = sum(begin <= time < begin + 1.0 for time in pings)
            assert in_a_second <= budget.PROBE_RATE + timing.PING_RATE


def test_a_partner_of_unknown_class_is_taken_for_easy_after_a_while() -> None:
    end = Traversing(RANDOM, NatClass.UNKNOWN)
    end.run(budget.PARTNER_PATIENCE + 1.0)
    assert TurnWanted(Turn.OPEN) in end.bench.events(TurnWanted)


def test_a_partner_that_makes_up_its_mind_is_climbed_for_at_once() -> None:
    end = Traversing(RANDOM, NatClass.UNKNOWN)
    end.run(0.6)
    assert end.bench.events(TurnWanted) == [TurnWanted(Turn.SURVEY)]
    end.partner_is(NatClass.EASY)
    end.run(0.05)
    assert end.bench.events(TurnWanted)[1:] == [TurnWanted(Turn.OPEN)]
