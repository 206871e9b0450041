"""What passes between the ends of one attempt, as the end under test sees it."""

from __future__ import annotations

from struct import pack

import pytest

from netpunch.address import Address
from netpunch.core.events import Introduced, Linked, PathKind
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from tests.core.v2_bench import LOCAL, Bench, Puppet
from tests.core.v2_pair import ELSEWHERE, VIA, A, B, only

HOST = Address("10.0.0.9", 6000)
OBSERVED_NUMBER = v2.PATH_NUMBERS["observed"]


@pytest.fixture
def a() -> Bench:
    return Bench("a")


@pytest.fixture
def b() -> Bench:
    return Bench("b")


class TestPinging:
    def test_an_introduced_end_pings_at_once(self, a: Bench) -> None:
        puppet = a.puppet()
        sent = a.introduce(puppet)
        (ping,) = [each for each in sent if isinstance(each.message, v2.Ping)]
        assert ping.destination == B
        assert ping.message[:2] == (a.attempt, puppet.attempt)
        assert a.event(Introduced) == Introduced(B)

    def test_all_candidates_are_pinged_at_once(self, a: Bench) -> None:
        puppet = a.puppet(hosts=(HOST,), observed=(ELSEWHERE,))
        pinged = [
            each.destination for each in a.introduce(puppet) if isinstance(each.message, v2.Ping)
        ]
        assert pinged == [HOST, B, ELSEWHERE]

    def test_a_ping_earns_one_pong_and_one_ping_back(self, b: Bench) -> None:
        puppet = b.puppet()
        sent = b.ping(puppet, source=ELSEWHERE)
        (pong,), (ping,) = only(v2.Pong, sent), only(v2.Ping, sent)
        sequence = pack("!I4s", 1, b"rand")
        assert pong == v2.Pong(b.attempt, puppet.attempt, sequence, ELSEWHERE)
        assert ping[:2] == (b.attempt, puppet.attempt)
        assert [each.destination for each in sent] == [ELSEWHERE, ELSEWHERE]

    def test_a_ping_may_be_faster_than_control(self, b: Bench) -> None:
        puppet = b.puppet()
        b.validate(puppet)
        b.nominate(puppet)
        assert not b.events(Linked), "without the card there is no session key yet"
        b.introduce(puppet)
        b.nominate(puppet)
        assert b.events(Linked)

    def test_a_pong_is_not_answered(self, a: Bench) -> None:
        puppet = a.puppet(hosts=(HOST,))
        pings = [each for each in a.introduce(puppet) if isinstance(each.message, v2.Ping)]
        a.now += 0.01
        assert a.pong(puppet, pings[1]) == [], "the better candidate gets its time first"

    def test_pings_stop_at_the_agreement(self, b: Bench) -> None:
        puppet = b.puppet()
        b.introduce(puppet)
        b.validate(puppet)
        b.nominate(puppet)
        assert not only(v2.Ping, [each.sent for each in b.run(1.0)])


class TestStrangers:
    """Datagrams that are authentic, but not for this attempt, or not of a partner's."""

    def test_another_attempt_of_ours(self, b: Bench) -> None:
        puppet = b.puppet()
        ping = v2.Ping(puppet.attempt, b"attempt0", puppet.new_sequence(), 0)
        assert b.receive(puppet.says(ping), B) == []
        assert b.drops(Drop.WRONG_ATTEMPT) == 1

    @pytest.mark.parametrize("kind", [v2.Nominate, v2.Accept, v2.Done, v2.Pong])
    def test_only_a_ping_makes_a_partner(self, b: Bench, kind: type) -> None:
        puppet = b.puppet()
        last = {v2.Nominate: (3,), v2.Pong: (A,)}.get(kind, ())
        message = kind(puppet.attempt, b.attempt, b"sequence", *last)
        assert b.receive(puppet.says(message), B) == []
        assert b.drops(Drop.UNEXPECTED) == 1

    def test_our_own_datagrams_reflected(self, a: Bench) -> None:
        puppet = a.puppet()
        for sent in a.introduce(puppet):
            if isinstance(sent.message, v2.Ping):
                assert a.receive(sent.data, sent.destination) == []
        assert a.drops(Drop.MALFORMED) == 1

    def test_our_own_datagrams_reflected_under_the_partners_name(self, a: Bench) -> None:
        data = next(s.data for s in a.introduce(a.puppet()) if isinstance(s.message, v2.Ping))
        renamed = data[:1] + bytes([data[1] ^ 0x80]) + data[2:]
        assert a.receive(renamed, B) == []
        assert a.drops(Drop.BAD_MAC) == 1

    def test_a_message_for_control_in_a_datagram_between_ends(self, a: Bench) -> None:
        puppet = a.puppet()
        leave = puppet.says(v2.Leave(puppet.attempt, 1))  # type: ignore[arg-type]
        assert a.receive(leave, B) == []
        assert a.drops(Drop.UNEXPECTED) == 1


class TestChoosing:
    """a chooses a path."""

    def test_the_only_candidate_is_nominated_at_once(self, a: Bench) -> None:
        puppet = a.puppet()
        (ping,) = only(v2.Ping, a.introduce(puppet))
        (nominate,) = a.pong_all(puppet, [each.sent for each in a.sent])
        assert nominate.message == v2.Nominate(
            a.attempt, puppet.attempt, ping.sequence, OBSERVED_NUMBER
        )
        assert nominate.destination == B

    def test_a_better_candidate_is_waited_for_a_round_trip_and_5_ms(self, a: Bench) -> None:
        puppet = a.puppet(hosts=(HOST,))
        host, observed = (s for s in a.introduce(puppet) if isinstance(s.message, v2.Ping))
        assert host.destination == HOST
        a.now += 0.03
        a.pong(puppet, observed)
        (nominated,) = [t for t in a.run(0.1) if isinstance(t.sent.message, v2.Nominate)][:1]
        assert nominated.time == pytest.approx(a.now - 0.1 + 0.005)
        assert nominated.sent.destination == B

    def test_and_taken_if_it_answers_in_time(self, a: Bench) -> None:
        puppet = a.puppet(hosts=(HOST,))
        host, observed = (s for s in a.introduce(puppet) if isinstance(s.message, v2.Ping))
        a.now += 0.03
        a.pong(puppet, observed)
        a.now += 0.004
        (nominate,) = a.pong(puppet, host)
        assert nominate.destination == HOST

    def test_one_nomination_per_partner_attempt_is_final(self, a: Bench) -> None:
        puppet = a.puppet(hosts=(HOST,))
        host, observed = (s for s in a.introduce(puppet) if isinstance(s.message, v2.Ping))
        a.now += 0.03
        a.pong(puppet, observed)
        a.run(0.01)
        a.pong(puppet, host)
        assert {
            t.sent.destination for t in a.run(1.0) if isinstance(t.sent.message, v2.Nominate)
        } == {B}

    def test_a_valid_path_waits_for_the_card(self, a: Bench) -> None:
        puppet = a.puppet()
        assert only(v2.Nominate, a.validate(puppet)) == []
        assert only(v2.Nominate, a.introduce(puppet))

    def test_b_never_nominates(self, b: Bench) -> None:
        puppet = b.puppet()
        b.introduce(puppet)
        b.validate(puppet)
        b.run(1.0)
        assert b.all(v2.Nominate) == []


class TestAccepting:
    """b takes a nomination."""

    @pytest.fixture
    def puppet(self, b: Bench) -> Puppet:
        puppet = b.puppet()
        b.introduce(puppet)
        return puppet

    def test_a_nomination_of_a_valid_path_links(self, b: Bench, puppet: Puppet) -> None:
        b.validate(puppet)
        sent = b.nominate(puppet, OBSERVED_NUMBER)
        (accept,) = only(v2.Accept, sent)
        assert accept.sequence == pack("!I4s", 1, b"rand")
        link = b.event(Linked)
        assert (link.via, link.local, link.remote, link.path) == (VIA, LOCAL, B, PathKind.OBSERVED)

    @pytest.mark.parametrize("kind", [kind for kind in PathKind if kind is not PathKind.RELAY])
    def test_the_path_is_called_what_a_calls_it(
        self, b: Bench, puppet: Puppet, kind: PathKind
    ) -> None:
        b.validate(puppet)
        b.nominate(puppet, v2.PATH_NUMBERS[kind])
        assert b.event(Linked).path is kind

    def test_a_path_that_is_not_valid_here_is_pinged_and_waited_for(
        self, b: Bench, puppet: Puppet
    ) -> None:
        b.ping(puppet)
        (ping,) = (each for each in b.nominate(puppet))
        assert isinstance(ping.message, v2.Ping)
        assert not b.events(Linked)
        b.pong(puppet, ping)
        b.nominate(puppet)
        assert b.events(Linked)

    def test_it_is_taken_only_from_where_its_ping_came(self, b: Bench, puppet: Puppet) -> None:
        b.validate(puppet)
        nominate = v2.Nominate(puppet.attempt, b.attempt, pack("!I4s", 1, b"rand"), 3)
        assert b.receive(puppet.says(nominate), ELSEWHERE) == []
        assert b.receive(puppet.says(nominate), B, via=7) == []
        assert b.drops(Drop.UNEXPECTED_SOURCE) == 2
        assert not b.events(Linked)

    def test_an_unheard_sequence_is_none(self, b: Bench, puppet: Puppet) -> None:
        b.validate(puppet)
        assert b.nominate(puppet, sequence=b"sequence") == []
        assert b.drops(Drop.UNEXPECTED_SOURCE) == 1

    def test_an_unknown_path_number_is_none(self, b: Bench, puppet: Puppet) -> None:
        b.validate(puppet)
        assert b.nominate(puppet, len(v2.PATH_NUMBERS)) == []
        assert b.drops(Drop.UNEXPECTED) == 1

    def test_the_first_agreed_path_is_final(self, b: Bench, puppet: Puppet) -> None:
        b.validate(puppet)
        b.ping(puppet, source=ELSEWHERE)
        b.pong_all(puppet, [each.sent for each in b.sent])
        first, second = (pack("!I4s", n, b"rand") for n in (1, 2))
        b.nominate(puppet, sequence=first)
        nominate = v2.Nominate(puppet.attempt, b.attempt, second, 3)
        assert b.receive(puppet.says(nominate), ELSEWHERE) == []
        assert b.event(Linked).remote == B

    def test_a_takes_no_nomination_and_b_no_acceptance(self, a: Bench, b: Bench) -> None:
        for bench in (a, b):
            puppet = bench.puppet()
            bench.introduce(puppet)
            bench.validate(puppet)
        assert a.nominate(a.puppet()) == []
        accept = v2.Accept(b"partner1", b.attempt, pack("!I4s", 1, b"rand"))
        assert b.receive(b.puppet().says(accept), B) == []
        assert a.drops(Drop.UNEXPECTED) == b.drops(Drop.UNEXPECTED) == 1
