"""What recordings, forgeries, hostile addresses, a hostile control and a hostile partner can do to
an end: a few bounded pings."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.address import Address, is_loopback, parse_address
from netpunch.core import timing
from netpunch.core.end.end import EndState
from netpunch.core.events import Introduced, Linked
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import ControlChannel, EndName, PeerChannel
from netpunch.wire.keys import control_key, pair_tag, peer_key
from tests.core.v2_bench import Bench, Timed, linked
from tests.core.v2_pair import CONTROL, ELSEWHERE, ENDS, PAIR, VIA, A, B, only, seal

HOSTILE = [
    "0.0.0.0:53",
    "127.0.0.1:53",
    "169.254.169.254:80",
    "224.0.0.251:5353",
    "255.255.255.255:9",
    "10.0.0.1:0",
    "[::]:53",
    "[::1]:53",
    "[fe80::1]:80",
    "[ff02::fb]:5353",
    "[::ffff:127.0.0.1]:53",
    "[::ffff:224.0.0.251]:53",
]
BOTH_FAMILIES = {VIA: Address("0.0.0.0", 5000), 1: Address("::", 5000)}


def pings(sent: Iterable[Timed]) -> list[Timed]:
    return [each for each in sent if isinstance(each.sent.message, v2.Ping)]


def most_in_a_second(sent: list[Timed]) -> int:
    """Of any second, not only of those that a clock shows."""
    times = [each.time for each in sent]
    return max(bisect_left(times, time + 1.0) - n for n, time in enumerate(times))


def whole_link(end: EndName, seed: object = "end") -> Bench:
    """An end that was waiting, introduced, pinged, linked, and released."""
    bench, puppet = linked(end, seed=seed)
    if end == "b":
        bench.nominate(puppet)
        bench.done(puppet)
    bench.run(1.0)
    assert bench.finished
    return bench


class TestReplays:
    @pytest.mark.parametrize("source", [None, CONTROL, B, ELSEWHERE])
    @pytest.mark.parametrize("end", ENDS)
    def test_no_recording_of_another_attempt_does_anything(
        self, end: EndName, source: Address | None
    ) -> None:
        recorded = whole_link(end, seed="earlier").received
        assert len(recorded) > 3
        bench = Bench(end)
        for data, original in recorded * 2:
            assert bench.receive(data, source or original) == []
        assert bench.told == []
        assert bench.end.drops.total() == 2 * len(recorded)
        assert not pings(bench.run(10.0))

    @pytest.mark.parametrize("end", ENDS)
    def test_nor_does_what_the_end_itself_has_sent(self, end: EndName) -> None:
        other: EndName = "b" if end == "a" else "a"
        for recorded in (whole_link(end), whole_link(other)):
            bench = Bench(end)
            for source in (CONTROL, B):
                for _, sent in recorded.sent:
                    assert bench.receive(sent.data, source) == []
            assert bench.told == []

    def test_a_ping_replayed_from_elsewhere_makes_no_path(self) -> None:
        bench = Bench("b")
        puppet = bench.puppet()
        bench.introduce(puppet)
        bench.ping(puppet)
        data, _ = bench.received[-1]
        assert bench.receive(data, B) == []
        assert bench.drops(Drop.STALE) == 1
        answers = bench.receive(data, ELSEWHERE)
        assert {type(each.message) for each in answers} == {v2.Ping, v2.Pong}
        for _ in range(100):
            assert bench.receive(data, ELSEWHERE) == []
        assert ELSEWHERE not in {each.sent.destination for each in bench.run(3.0)}
        bench.nominate(puppet)
        assert not bench.events(Linked)

    def test_whoever_delivers_a_ping_first_gains_nothing_but_pings(self) -> None:
        """An attacker on the path, quicker than the partner, from another address."""
        bench = Bench("b")
        puppet = bench.puppet()
        bench.introduce(puppet)
        bench.ping(puppet, source=ELSEWHERE)
        answers = [each.sent for each in bench.sent if each.sent.destination == ELSEWHERE]
        assert len(only(v2.Pong, answers)) == 1
        bench.nominate(puppet)
        assert not bench.events(Linked), "what the partner nominates came from elsewhere"
        bench.validate(puppet)
        bench.nominate(puppet)
        assert bench.event(Linked).remote == B

    def test_a_replayed_introduction_changes_no_path(self) -> None:
        bench = Bench("b")
        puppet = bench.puppet()
        bench.introduce(puppet)
        recorded = bench.received[-1]
        bench.validate(puppet)
        bench.nominate(puppet)
        sent = bench.receive(*recorded)
        assert sent == []
        assert len(bench.events(Linked)) == 1


class TestForgeries:
    def forged(self, end: EndName) -> list[tuple[bytes, Address]]:
        """Of somebody without the secret, and of somebody with that of another pair."""
        other: EndName = "b" if end == "a" else "a"
        waiting = v2.Waiting(b"attempt1", 1, A, 0, v2.NO_ATTEMPT)
        ping = v2.Ping(b"attempt2", b"attempt1", b"sequence", 0)
        forged = []
        for name, secret in ((PAIR, bytes(32)), ("other", bytes(range(32)))):
            control = ControlChannel(control_key(secret, name), name, end)
            partner = PeerChannel(peer_key(secret, name), name, other)
            forged.append((seal(control.from_control, waiting), CONTROL))
            forged.append((seal(partner.outgoing, ping), B))
        header = b"\xf2" + bytes([v2.Kind.PING | (0x80 if other == "b" else 0)]) + pair_tag(PAIR)
        forged.append((header.ljust(128, b"\0"), B))
        return forged

    @pytest.mark.parametrize("end", ENDS)
    def test_they_are_never_answered(self, end: EndName) -> None:
        bench = Bench(end)
        for data, source in self.forged(end):
            assert bench.receive(data, source) == []
        assert bench.told == []
        assert set(bench.end.drops) == {Drop.BAD_MAC, Drop.UNKNOWN_PAIR}

    @given(st.one_of(*(st.binary(min_size=n, max_size=n) for n in (0, 1, 128, 384)), st.binary()))
    def test_arbitrary_bytes_are_never_answered(self, data: bytes) -> None:
        bench = Bench("a")
        for source in (CONTROL, B):
            assert bench.receive(data, source) == []
        assert bench.end.drops.total() == 2
        assert bench.end.describe(data)

    @given(st.data())
    def test_a_flipped_bit_makes_a_datagram_worthless(self, data: st.DataObject) -> None:
        recorded, source = data.draw(st.sampled_from(whole_link("b").received))
        bit = data.draw(st.integers(0, 8 * len(recorded) - 1))
        damaged = bytearray(recorded)
        damaged[bit // 8] ^= 1 << bit % 8
        bench = Bench("b")  # its attempt is the one that was recorded
        assert bench.receive(bytes(damaged), source) == []
        assert bench.told == []

    @pytest.mark.parametrize("end", ENDS)
    def test_no_answer_is_longer_than_its_question(self, end: EndName) -> None:
        bench = Bench(end)
        answers = 0
        for data, source in whole_link(end).received:
            for sent in bench.receive(data, source):
                if sent.destination == source:
                    answers += 1
                    assert len(sent.data) <= len(data)
        assert answers


class TestAddresses:
    @pytest.mark.parametrize("hostile", HOSTILE)
    def test_a_hostile_address_is_never_pinged(self, hostile: str) -> None:
        address = parse_address(hostile)
        bench = Bench("a", sockets=BOTH_FAMILIES)
        bench.introduce(bench.puppet(hosts=(address,), observed=(address,)))
        bench.introduce(bench.puppet(b"partner2", at=address))
        sent = pings(bench.sent) + pings(bench.run(3.0))
        means_control = {CONTROL.host} if is_loopback(address.host) else set()
        assert {each.sent.destination.host for each in sent} == {B.host} | means_control

    def test_at_most_16_candidates_are_pinged_whatever_control_says(self) -> None:
        bench = Bench("a")
        for port in range(1, 200):
            puppet = bench.puppet(at=Address(B.host, port))
            bench.introduce(puppet)
        bench.run(3.0)
        targets = {each.sent.destination for each in pings(bench.sent)}
        assert len(targets) == timing.MAX_CANDIDATES

    def test_an_old_card_at_a_victims_address_earns_it_little(self) -> None:
        """Control can relay an old card, and lie about where it is."""
        bench = Bench("a")
        begin = bench.now
        bench.introduce(bench.puppet(at=ELSEWHERE), proof=False)
        bench.run(20.0)
        times = [each.time - begin for each in pings(bench.sent)]
        assert len(times) == timing.UNPROVED_PINGS
        assert max(times) < 1.0


class TestRates:
    def test_no_second_sees_more_than_400_pings_whatever_control_and_partner_do(self) -> None:
        """Partner attempts without end, each with all the candidates there can be, each proved."""
        bench = Bench("b", sockets=BOTH_FAMILIES, deadline=None)
        for number in range(60):
            puppet = bench.puppet(
                b"%08d" % number,
                hosts=tuple(Address("10.0.0.9", port) for port in range(1, 7)),
                observed=tuple(Address("198.51.100.9", port) for port in range(1, 5)),
            )
            bench.introduce(puppet)
            for port in range(5):
                bench.ping(puppet, source=Address("198.51.100.7", port + 1))
            bench.run(0.05)
        assert len(pings(bench.sent)) > 700, "the attack is one"
        assert most_in_a_second(pings(bench.sent)) <= timing.PING_RATE

    def test_new_attempts_of_ours_do_not_begin_with_a_fresh_allowance(self) -> None:
        bench = Bench("a", deadline=None)
        for _ in range(4):
            for number in range(4):
                hosts = tuple(Address("10.0.0.9", port) for port in range(1, 7))
                bench.introduce(bench.puppet(b"partner%d" % number, hosts=hosts))
            bench.run(2.0)
            puppet = bench.puppet(b"partner0")
            bench.validate(puppet)
            attempt = bench.attempt
            bench.run(4.0)
            assert bench.attempt != attempt, "the nomination was given up"
        assert most_in_a_second(pings(bench.sent)) <= timing.PING_RATE

    def test_nominations_that_fail_earn_bounded_pings(self) -> None:
        bench = Bench("b")
        puppet = bench.puppet()
        bench.introduce(puppet)
        bench.ping(puppet)
        before = len(pings(bench.sent))
        for _ in range(2000):
            bench.nominate(puppet)
        assert len(pings(bench.sent)) - before <= timing.PING_BURST

    @pytest.mark.parametrize("proof", [True, False])
    def test_repeated_introductions_make_no_announcement_but_one(self, proof: bool) -> None:
        bench = Bench("a")
        puppet = bench.puppet()
        bench.introduce(puppet, proof=proof)
        announced = len(bench.all(v2.Announce))
        for _ in range(100):
            bench.introduce(puppet, proof=proof)
        assert len(bench.all(v2.Announce)) == announced

    def test_memory_of_partners_and_events_is_bounded(self) -> None:
        bench = Bench("a", deadline=None)
        for number in range(500):
            at = Address(B.host, 1 + number)
            bench.introduce(bench.puppet(b"%08d" % number, at=at), proof=bool(number % 2))
        assert len(bench.events(Introduced)) == 16
        sent = [each.sent for each in bench.run(5.0)]
        receivers = {ping.receiver for ping in only(v2.Ping, sent)}
        assert len(receivers) <= timing.MAX_PARTNER_ATTEMPTS
        assert bench.end.state is EndState.PUNCHING
