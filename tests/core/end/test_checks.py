"""Connectivity checks: when pings go out, which pings and pongs count, which path is best."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field
from struct import pack

import pytest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.allowances import TO_STRANGER, Strangers
from netpunch.core.end.candidates import Candidate
from netpunch.core.end.checks import Checklist, Path
from netpunch.core.end.identity import Identity
from netpunch.core.events import PathKind, Via
from netpunch.core.machine import NEVER
from netpunch.core.pacing import TokenBucket
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from tests.core.v2_bench import make_resources
from tests.core.v2_pair import ELSEWHERE, B, seeded

V4, V6 = 0, 1
SOCKETS = {V4: Address("0.0.0.0", 5000), V6: Address("::", 5000)}
OBSERVED = Candidate(B, PathKind.OBSERVED)
HOST = Candidate(Address("10.0.0.9", 6000), PathKind.HOST)
IPV6 = Candidate(Address("2001:db8::9", 6000), PathKind.IPV6)
OWN = Address("198.51.100.1", 5000)
UNLIMITED = 1e9


@dataclass
class Ping:
    """One that was sent."""

    path: Path
    sequence: bytes
    ttl: int
    time: float


@dataclass
class Bench:
    """A checklist, what it sent, and a clock."""

    rate: float = UNLIMITED
    burst: float = UNLIMITED / 2
    now: float = 100.0
    may_be_relayed: bool = True
    sent: list[Ping] = field(default_factory=list)
    strangers: Strangers = field(default_factory=lambda: Strangers(seeded("strangers")))

    def __post_init__(self) -> None:
        self.resources = make_resources("a", sockets=SOCKETS, seed="checks")
        self.resources.ping_bucket = TokenBucket(self.rate, self.burst)
        self.resources.strangers = self.strangers
        self.identity = Identity(seeded("attempt"))
        self.checks = Checklist(self, b"partner1")

    def is_own(self, address: Address) -> bool:
        return address == OWN

    def send(self, message: v2.PeerMessage, destination: Address, via: Via, ttl: int = 0) -> None:
        assert isinstance(message, v2.Ping)
        path, _ = self.checks._sent[message.sequence]
        self.sent.append(Ping(path, message.sequence, ttl, self.now))

    def add(self, *candidates: Candidate, opener: bool = False) -> None:
        for candidate in candidates:
            self.checks.add(candidate, self.now, opener=opener)

    def run(self, seconds: float) -> list[Ping]:
        """What is sent meanwhile."""
        before, until = len(self.sent), self.now + seconds
        while self.checks.next_timer() <= until:
            self.now = max(self.now, self.checks.next_timer())
            self.checks.handle_timer(self.now)
        self.now = until
        return self.sent[before:]

    def pong(self, ping: Ping, via: Via | None = None, source: Address | None = None) -> object:
        at = ping.path.via if via is None else via
        return self.checks.pong_received(ping.sequence, at, source or ping.path.remote, self.now)

    def pinged(
        self, number: int, source: Address = B, via: Via = V4, tail: bytes = b"rand"
    ) -> object:
        sequence = pack("!I4s", number, tail)
        return self.checks.ping_received(sequence, via, source, PathKind.OBSERVED, self.now)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def proved(bench: Bench) -> Bench:
    bench.checks.prove(bench.now)
    return bench


class TestPace:
    def test_a_proved_partner_is_pinged_every_50_ms_for_a_second_then_every_200(
        self, proved: Bench
    ) -> None:
        proved.add(OBSERVED)
        times = [ping.time - 100.0 for ping in proved.run(2.0)]
        assert times[0] == 0.0
        assert len([time for time in times if time < 0.999]) == 20
        assert len([time for time in times if time > 1.001]) == pytest.approx(5, abs=1)

    def test_an_unproved_one_gets_3_pings_a_host_and_no_more(self, bench: Bench) -> None:
        other_port = Candidate(Address(B.host, 7000), PathKind.PREDICTED)
        bench.add(OBSERVED, HOST, other_port)
        sent = bench.run(60.0)
        for candidate in (OBSERVED, HOST):
            times = [p.time - 100.0 for p in sent if p.path.remote.host == candidate.address.host]
            assert len(times) == timing.UNPROVED_PINGS
            assert max(times) <= 0.1

    def test_who_only_knocks_gets_one_and_also_when_it_is_proved(self, bench: Bench) -> None:
        bench.checks.add(OBSERVED, bench.now, vouched=False, unproved_pings=timing.KNOCK_PINGS)
        assert len(bench.run(10.0)) == 1
        bench.checks.prove(bench.now)
        assert len(bench.run(10.0)) == 0, "its address may be forged all the same"
        bench.add(OBSERVED)
        assert len(bench.run(1.0)) == 5

    def test_many_attempts_of_a_host_get_no_more_than_its_allowance(self) -> None:
        strangers = Strangers(seeded("strangers"))
        sent: list[Ping] = []
        for number in range(1000):
            bench = Bench(now=100.0 + number / 100, strangers=strangers)
            bench.add(OBSERVED)
            sent += bench.run(0.01)
        assert TO_STRANGER.burst <= len(sent) <= TO_STRANGER.burst + 10.0 / TO_STRANGER.interval

    def test_our_own_address_is_no_candidate(self, proved: Bench) -> None:
        proved.add(Candidate(OWN, PathKind.HOST))
        assert proved.pinged(1, OWN) is Drop.OVER_LIMIT
        assert proved.run(1.0) == []

    def test_proof_brings_full_attention_at_once(self, bench: Bench) -> None:
        bench.add(OBSERVED)
        bench.run(0.5)
        bench.checks.prove(bench.now)
        assert bench.checks.next_timer() == bench.now
        assert bench.run(0.0)
        bench.checks.prove(bench.now)
        assert bench.checks.next_timer() > bench.now, "once"

    def test_every_socket_of_its_family_pings_a_candidate(self, proved: Bench) -> None:
        proved.add(OBSERVED, IPV6)
        assert [(p.path.via, p.path.kind) for p in proved.run(0.0)] == [
            (V4, PathKind.OBSERVED),
            (V6, PathKind.IPV6),
        ]

    def test_the_rate_is_kept_and_nobody_is_forgotten(self) -> None:
        bench = Bench(rate=20.0, burst=4.0)
        bench.checks.prove(bench.now)
        bench.add(*[Candidate(Address("10.0.0.9", n), PathKind.HOST) for n in range(1, 11)])
        sent = bench.run(5.0)
        for begin in range(5):
            second = [p for p in sent if begin <= p.time - 100.0 < begin + 1]
            assert 0 < len(second) <= 20
        assert len({ping.path.remote for ping in sent}) == 10

    def test_sequences_are_unguessable_and_used_once(self, proved: Bench) -> None:
        proved.add(OBSERVED)
        sequences = [ping.sequence for ping in proved.run(5.0)]
        assert len(set(sequences)) == len(sequences)
        assert len({sequence[4:] for sequence in sequences}) == len(sequences)
        assert sequences == sorted(sequences), "the partner tells recordings by the rising number"

    def test_at_most_16_candidates_are_tried(self, proved: Bench) -> None:
        proved.add(*[Candidate(Address("10.0.0.9", n), PathKind.HOST) for n in range(1, 50)])
        assert len({ping.path.remote for ping in proved.run(3.0)}) == timing.MAX_CANDIDATES

    def test_useless_candidates_displace_neither_pings_that_came_nor_those_of_traversal(
        self, proved: Bench
    ) -> None:
        proved.add(*[Candidate(Address("10.0.0.9", n), PathKind.HOST) for n in range(1, 50)])
        assert proved.pinged(1, ELSEWHERE) is not None
        proved.checks.add_path(7, OBSERVED, proved.now)
        assert (7, OBSERVED.address) in proved.checks.paths

    def test_nothing_more_is_sent_once_it_is_stopped(self, proved: Bench) -> None:
        proved.add(OBSERVED)
        proved.run(0.1)
        proved.checks.stop()
        assert proved.checks.next_timer() == NEVER
        before = len(proved.sent)
        proved.checks.handle_timer(proved.now + 10.0)
        proved.add(HOST)
        assert proved.pinged(1, ELSEWHERE) is not None
        assert len(proved.sent) == before
        assert proved.checks.pings == before

    def test_a_ping_out_of_turn_keeps_the_rate(self) -> None:
        bench = Bench(rate=2.0, burst=1.0)
        bench.add(OBSERVED)
        (ping,) = bench.run(0.0)
        bench.checks.ping_now(ping.path, bench.now)
        assert len(bench.sent) == 1
        bench.checks.ping_now(ping.path, bench.now + 1.0)
        assert len(bench.sent) == 2


class TestOpeners:
    def test_an_opener_dies_on_the_way_and_full_pings_follow(self, proved: Bench) -> None:
        proved.add(OBSERVED, opener=True)
        (opener,) = proved.sent
        assert opener.ttl == timing.OPENER_TTL
        followers = proved.run(0.3)
        assert followers[0].time == pytest.approx(100.0 + timing.OPENER_LEAD)
        assert {ping.ttl for ping in followers} == {0}

    def test_a_known_candidate_needs_none(self, proved: Bench) -> None:
        proved.add(OBSERVED)
        proved.run(0.0)
        proved.add(OBSERVED, opener=True)
        assert [ping.ttl for ping in proved.sent] == [0]

    def test_openers_keep_the_rate(self) -> None:
        bench = Bench(rate=2.0, burst=1.0)
        bench.add(OBSERVED, HOST, opener=True)
        assert len(bench.sent) == 1

    def test_a_path_from_one_socket_begins_with_one(self, proved: Bench) -> None:
        proved.checks.add_path(7, OBSERVED, proved.now)
        proved.checks.add_path(7, OBSERVED, proved.now)
        (opener,) = proved.sent
        assert (opener.path.via, opener.ttl) == (7, timing.OPENER_TTL)
        assert proved.checks.next_timer() == proved.now + timing.PROBED_LEAD


class TestProbes:
    """Single pings of a traversal strategy, at its own rate."""

    def test_a_probe_is_sent_once_and_its_pong_makes_a_path(self, proved: Bench) -> None:
        proved.checks.probe(7, OBSERVED, 0, proved.now)
        assert proved.run(5.0) == []
        assert not proved.checks.paths
        path = proved.pong(proved.sent[0])
        assert isinstance(path, Path)
        assert path.valid
        assert proved.checks.best() is path
        assert proved.checks.paths == {(7, B): path}

    def test_a_probe_of_a_known_path_is_one_more_ping_on_it(self, proved: Bench) -> None:
        proved.add(OBSERVED)
        (ping,) = proved.run(0.0)
        proved.checks.probe(V4, OBSERVED, 0, proved.now)
        assert proved.sent[1].path is ping.path

    def test_the_pong_of_a_probe_finds_the_path_that_a_ping_has_made(self, proved: Bench) -> None:
        proved.checks.probe(V4, OBSERVED, 0, proved.now)
        known = proved.pinged(1)
        assert proved.pong(proved.sent[0]) is known

    def test_pongs_of_so_many_count(self, proved: Bench) -> None:
        for _ in range(timing.OUTSTANDING_PINGS + 1):
            proved.checks.probe(7, OBSERVED, 0, proved.now)
        assert proved.pong(proved.sent[0]) is Drop.STALE
        assert isinstance(proved.pong(proved.sent[1]), Path)


class TestPongs:
    def test_a_pong_makes_the_path_valid(self, proved: Bench) -> None:
        proved.add(OBSERVED)
        (ping,) = proved.run(0.04)
        path = proved.pong(ping)
        assert isinstance(path, Path)
        assert path.valid
        assert path.rtt == pytest.approx(0.04)
        assert path.sequence == ping.sequence
        assert path.received == 1

    def test_a_pong_counts_only_where_its_ping_went(self, proved: Bench) -> None:
        proved.add(OBSERVED)
        (ping,) = proved.run(0.0)
        assert proved.pong(ping, source=ELSEWHERE) is Drop.UNEXPECTED_SOURCE
        assert proved.pong(ping, via=V6) is Drop.UNEXPECTED_SOURCE
        assert proved.checks.best() is None
        assert isinstance(proved.pong(ping), Path), "and still does there"

    def test_a_pong_counts_once(self, proved: Bench) -> None:
        proved.add(OBSERVED)
        (ping,) = proved.run(0.0)
        proved.pong(ping)
        assert proved.pong(ping) is Drop.STALE

    def test_a_pong_to_nothing_is_stale(self, proved: Bench) -> None:
        assert proved.checks.pong_received(b"sequence", V4, B, 0.0) is Drop.STALE

    def test_later_pongs_change_nothing(self, proved: Bench) -> None:
        proved.add(OBSERVED)
        first, *_, last = proved.run(0.3)
        path = proved.pong(last)
        assert isinstance(path, Path)
        rtt = path.rtt
        assert proved.pong(first) is path
        assert (path.rtt, path.sequence) == (rtt, last.sequence)
        assert proved.checks.valid == [path]

    def test_the_shortest_round_trip_counts_until_a_path_is_agreed(self, proved: Bench) -> None:
        proved.add(OBSERVED)
        first, second, *_, last = proved.run(0.3)
        path = proved.pong(first)
        assert isinstance(path, Path)
        slow = path.rtt
        proved.pong(last)
        quick = path.rtt
        assert slow is not None
        assert quick is not None
        assert quick < slow
        assert path.sequence == first.sequence
        proved.checks.stop()
        proved.pong(second)
        assert path.rtt is not None
        assert path.rtt > quick, "of a held link the latest one"


class TestPings:
    def test_a_ping_from_an_unknown_address_makes_a_candidate_and_is_pinged_back(
        self, bench: Bench
    ) -> None:
        path = bench.pinged(1, ELSEWHERE)
        assert isinstance(path, Path)
        assert (path.via, path.remote, path.kind) == (V4, ELSEWHERE, PathKind.OBSERVED)
        assert [ping.path for ping in bench.sent] == [path]

    def test_a_ping_counts_once_on_each_path(self, bench: Bench) -> None:
        """Who races the partner with copies of its pings does not silence it."""
        assert isinstance(bench.pinged(1, ELSEWHERE), Path)
        path = bench.pinged(1)
        assert isinstance(path, Path)
        assert bench.pinged(1) is Drop.STALE
        assert bench.pinged(1, ELSEWHERE) is Drop.STALE
        assert path.heard.arrival(pack("!I4s", 1, b"rand")) == bench.now

    def test_another_ping_of_the_same_number_is_none(self, bench: Bench) -> None:
        path = bench.pinged(1)
        assert isinstance(path, Path)
        assert bench.pinged(1, tail=b"else") is Drop.STALE
        assert path.heard.arrival(pack("!I4s", 1, b"else")) is None

    def test_copies_from_forged_addresses_earn_little(self, proved: Bench) -> None:
        for number in range(1000):
            proved.now += 0.01
            proved.pinged(number, ELSEWHERE)
        assert len(proved.sent) <= TO_STRANGER.burst + 10.0 / TO_STRANGER.interval

    def test_they_crowd_out_nobody(self, proved: Bench) -> None:
        for number in range(1000):
            proved.pinged(number, Address(f"10.0.{number // 250}.{number % 250}", 1))
        assert len(proved.checks.paths) <= timing.MAX_UNVOUCHED
        proved.sent.clear()
        named = [Address("10.9.9.9", n + 1) for n in range(timing.MAX_CANDIDATES)]
        proved.add(*(Candidate(address, PathKind.HOST) for address in named))
        assert {ping.path.remote for ping in proved.run(0.0)} == set(named)

    def test_pings_on_a_valid_path_are_not_pinged_back(self, bench: Bench) -> None:
        bench.pinged(1)
        bench.pong(bench.sent[0])
        bench.pinged(2)
        assert len(bench.sent) == 1
        assert bench.checks.paths[V4, B].received == 3

    def test_pinging_back_keeps_the_rate(self) -> None:
        bench = Bench(rate=2.0, burst=1.0)
        for number in range(10):
            bench.pinged(number)
        assert len(bench.sent) == 1

    def test_above_the_bound_of_candidates_there_is_no_path(self, proved: Bench) -> None:
        proved.add(HOST)
        for number in range(timing.MAX_CANDIDATES):
            assert isinstance(proved.pinged(number, Address(HOST.address.host, number + 1)), Path)
        assert proved.pinged(100, Address(HOST.address.host, 100)) is Drop.OVER_LIMIT
        assert len(proved.checks.paths) == timing.MAX_CANDIDATES + 1

    def test_reordered_pings_count_within_the_window(self, proved: Bench) -> None:
        proved.add(OBSERVED)
        for number in (5, 3, 4, 1):
            assert isinstance(proved.pinged(number), Path)
        assert proved.pinged(3) is Drop.STALE

    def test_memory_of_pings_is_bounded_and_older_ones_are_stale(self, proved: Bench) -> None:
        proved.add(OBSERVED)
        window = timing.SEQUENCE_WINDOW
        for number in range(2, 2 * window + 2):
            assert isinstance(proved.pinged(number), Path)
        for number in (0, 1, 2, window + 1):
            assert proved.pinged(number) is Drop.STALE
        path = proved.pinged(2 * window + 2)
        assert isinstance(path, Path)
        assert path.heard.arrival(pack("!I4s", 2 * window, b"rand")) is not None
        oldest = 2 * window + 3 - timing.NOMINABLE_PINGS
        assert path.heard.arrival(pack("!I4s", oldest, b"rand")) is not None
        assert path.heard.arrival(pack("!I4s", oldest - 1, b"rand")) is None

    def test_a_leap_of_numbers_ends_the_window(self, proved: Bench) -> None:
        proved.add(OBSERVED)
        proved.pinged(1)
        for number in (2**32 - 1, 2**32 - timing.SEQUENCE_WINDOW):
            assert isinstance(proved.pinged(number), Path)
            assert proved.pinged(number) is Drop.STALE
        for number in (2, 2**32 - 1 - timing.SEQUENCE_WINDOW):
            assert proved.pinged(number) is Drop.STALE

    def test_keepalives_of_a_held_link_take_no_memory(self, proved: Bench) -> None:
        """Each of many links would take a megabyte within hours."""
        proved.add(OBSERVED)
        path = proved.pinged(1)
        assert isinstance(path, Path)
        proved.checks.stop()
        tracemalloc.start()
        try:
            for number in range(2, 2 * timing.SEQUENCE_WINDOW):
                proved.pinged(number)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < timing.SEQUENCE_WINDOW, "a bit each"
        assert proved.pinged(2 * timing.SEQUENCE_WINDOW - 1) is Drop.STALE
        assert path.heard.arrival(pack("!I4s", 1, b"rand")) is not None


class TestChoice:
    def valid(self, bench: Bench, *candidates: Candidate) -> list[Path]:
        """Candidates answered in this order, 10 ms apart."""
        bench.add(*candidates)
        pings = bench.run(0.0)
        paths = []
        for ping in pings:
            bench.now += 0.01
            path = bench.pong(ping)
            assert isinstance(path, Path)
            paths.append(path)
        return paths

    def test_the_most_direct_is_best_then_the_quicker(self, proved: Bench) -> None:
        slow = Candidate(ELSEWHERE, PathKind.OBSERVED)
        observed, _, ipv6, host = self.valid(proved, OBSERVED, slow, IPV6, HOST)
        assert proved.checks.best() is host
        proved.checks.valid.remove(host)
        assert proved.checks.best() is ipv6
        proved.checks.valid.remove(ipv6)
        assert proved.checks.best() is observed

    def test_without_a_valid_path_there_is_none(self, proved: Bench) -> None:
        proved.add(OBSERVED)
        assert proved.checks.best() is None

    def test_a_better_candidate_is_waited_for_a_round_trip_and_5_ms(self, proved: Bench) -> None:
        proved.add(HOST, OBSERVED)
        _, observed = proved.run(0.04)
        path = proved.pong(observed)
        assert isinstance(path, Path)
        assert proved.checks.decided_at(path) == pytest.approx(100.0 + 0.04 + 0.005)

    def test_a_worse_or_unpinged_one_is_not(self, proved: Bench) -> None:
        proved.add(OBSERVED, HOST)
        for ping in proved.run(0.0):
            if ping.path.kind is PathKind.HOST:
                path = proved.pong(ping)
        assert isinstance(path, Path)
        assert proved.checks.decided_at(path) == 0.0
        other = Bench()
        other.add(OBSERVED)
        (ping,) = other.run(0.0)
        path = other.pong(ping)
        assert isinstance(path, Path)
        other.add(HOST)
        assert other.checks.decided_at(path) == 0.0


def test_a_ping_that_is_faster_than_the_card_does_not_name_the_path() -> None:
    """Within a LAN it comes before the introduction does: it is a host path all the same."""
    bench = Bench()
    bench.pinged(1, source=HOST.address)
    [path] = bench.checks.paths.values()
    kinds = [path.kind]
    for candidate in (Candidate(HOST.address, PathKind.PREDICTED), HOST):
        bench.add(candidate)
        kinds.append(path.kind)
    assert kinds == [PathKind.OBSERVED, PathKind.OBSERVED, PathKind.HOST]
    assert list(bench.checks.paths.values()) == [path]
