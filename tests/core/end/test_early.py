"""What the partner's program sends before a has heard that b is linked."""

from __future__ import annotations

import pytest

from netpunch.core import timing
from netpunch.core.events import Linked, Payload
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import PEER_DATAGRAM, VERSION
from netpunch.wire.sealed import Sealing
from tests.core.v2_bench import Bench, Puppet
from tests.core.v2_pair import ELSEWHERE, VIA


def nominating(*, holds: bool = True, sealed: bool = False) -> tuple[Bench, Puppet]:
    """End a, whose nomination b has accepted; the ACCEPT is late."""
    bench = Bench("a", holds=holds, sealed=sealed)
    puppet = bench.puppet(holds=holds, sealed=sealed)
    bench.introduce(puppet)
    bench.validate(puppet)
    assert bench.all(v2.Nominate)
    return bench, puppet


@pytest.mark.parametrize(
    "data", [b"x", b"", bytes(PEER_DATAGRAM), bytes((VERSION,)).ljust(PEER_DATAGRAM, b"x")]
)
def test_it_is_delivered_once_the_link_is_there(data: bytes) -> None:
    bench, puppet = nominating()
    for each in (b"first", data):
        bench.end.receive_datagram(each, puppet.at, bench.now, VIA)
    assert not bench.events(Payload)
    bench.accept(puppet)
    assert bench.events(Linked)
    assert [each.data for each in bench.events(Payload)] == [b"first", data]
    assert bench.end.figures is not None
    assert bench.end.figures.received_datagrams == 2


def test_on_a_sealed_link_only_what_opens_is_delivered() -> None:
    bench, puppet = nominating(sealed=True)
    (attempt,) = bench.end._first.attempt.partners.by_id.values()
    assert attempt.session_key is not None
    partner = Sealing("b", lambda _: None)
    partner.rekey(attempt.session_key)
    for each in (b"forged".ljust(100), *partner.seal([b"honest"])):
        bench.end.receive_datagram(each, puppet.at, bench.now, VIA)
    bench.accept(puppet)
    assert [each.data for each in bench.events(Payload)] == [b"honest"]


@pytest.mark.parametrize("holds", [True, False])
def test_from_elsewhere_or_for_no_program_it_is_dropped(holds: bool) -> None:
    bench, puppet = nominating(holds=holds)
    bench.end.receive_datagram(b"early", ELSEWHERE if holds else puppet.at, bench.now, VIA)
    assert bench.drops(Drop.MALFORMED) == 1


def test_it_is_bounded_in_number_and_in_bytes() -> None:
    for size, kept in ((1, timing.EARLY_DATAGRAMS), (60_000, timing.EARLY_OCTETS // 60_000)):
        bench, puppet = nominating()
        for _ in range(2 * timing.EARLY_DATAGRAMS):
            bench.end.receive_datagram(bytes(size), puppet.at, bench.now, VIA)
        bench.accept(puppet)
        assert len(bench.events(Payload)) == kept
        assert bench.drops(Drop.MALFORMED) == 2 * timing.EARLY_DATAGRAMS - kept
