"""Programs' datagrams that the driver passes on by itself: what the machine is told, and tells."""

from __future__ import annotations

import pytest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.events import Payload, Via
from netpunch.core.machine import NEVER
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import EndName
from tests.core.end.test_successor import asks, held, moved
from tests.core.v2_bench import Bench
from tests.core.v2_pair import ELSEWHERE, ENDS, VIA


def at(bench: Bench) -> tuple[Via, Address]:
    """The socket and destination of what programs send."""
    assert bench.end.path is not None
    via, remote, flow = bench.end.path
    assert flow is bench.end.partners[via][remote]
    return via, remote


@pytest.mark.parametrize("end", ENDS)
def test_only_a_held_link_has_a_path(end: EndName) -> None:
    assert Bench(end, holds=True).end.path is None
    bench, puppet = held(end)
    assert at(bench) == (VIA, puppet.at)
    assert list(bench.end.partners.get(VIA, ())) == [puppet.at]
    assert list(bench.end.partners.get(VIA + 1, ())) == []
    bench.close()
    assert bench.end.path is None
    assert list(bench.end.partners.get(VIA, ())) == []


def test_after_a_move_the_old_path_is_still_the_partners_for_a_while() -> None:
    bench, puppet = held()
    moved(bench, asks(bench))
    assert at(bench) == (VIA, ELSEWHERE)
    assert list(bench.end.partners.get(VIA, ())) == [ELSEWHERE, puppet.at]
    bench.run(timing.RETIRED_FOR + 0.1)
    assert list(bench.end.partners.get(VIA, ())) == [ELSEWHERE]


def test_what_has_passed_counts_as_if_the_machine_had_seen_it() -> None:
    bench, puppet = held()
    flow = bench.end.partners[VIA][puppet.at]
    flow.payloads_sent(10, 12_800, bench.now)
    flow.payloads_received(20, 1_280)
    bench.end.strangers_dropped(7)
    figures = bench.end.figures
    assert figures is not None
    assert (figures.sent_datagrams, figures.sent_bytes) == (10, 12_800)
    assert (figures.received_datagrams, figures.received_bytes) == (20, 1_280)
    assert bench.drops(Drop.MALFORMED) == 7
    assert not bench.events(Payload)
    assert bench.end.datagrams_to_send() == []


@pytest.mark.parametrize("how", ["in bulk", "alone", "by the machine"])
def test_a_program_without_an_answer_has_the_path_checked(how: str) -> None:
    bench, puppet = held(keepalive=600.0)
    flow = bench.end.partners[VIA][puppet.at]
    if how == "alone":
        assert flow.unheard_since == NEVER
        assert flow.begin_unheard(bench.now), "the timer is earlier"
        assert flow.unheard_since == bench.now
    elif how == "in bulk":
        assert flow.payloads_sent(10, 100, bench.now), "the timer is earlier"
        assert not flow.payloads_sent(10, 100, bench.now)
    else:
        bench.end.send_payload(b"hello?", bench.now)
        bench.end.datagrams_to_send()
    pings = [each for each in bench.run(5.0) if isinstance(each.sent.message, v2.Ping)]
    assert pings


def test_a_program_with_answers_does_not() -> None:
    bench, puppet = held(keepalive=600.0)
    flow = bench.end.partners[VIA][puppet.at]
    pings = []
    for _ in range(50):
        flow.payloads_sent(10, 100, bench.now)
        flow.payloads_received(10, 100)
        pings += [each for each in bench.run(0.1) if isinstance(each.sent.message, v2.Ping)]
    assert not pings


def test_on_a_sealed_link_only_what_opens_is_an_answer() -> None:
    """Whoever forges the partner's address cannot keep a dead path in use."""
    bench, puppet = held(keepalive=600.0, sealed=True)
    pings = []
    for _ in range(50):
        bench.end.send_payload(b"hello?", bench.now)
        bench.end.datagrams_to_send()
        bench.end.receive_datagram(bytes(100), puppet.at, bench.now, VIA)
        pings += [each for each in bench.run(0.1) if isinstance(each.sent.message, v2.Ping)]
    assert pings
    figures = bench.end.figures
    assert figures is not None
    assert (figures.received_datagrams, figures.drops) == (0, {Drop.MALFORMED: 50})


def test_what_comes_late_on_the_path_before_counts_for_the_link() -> None:
    bench, puppet = held()
    before = bench.end.partners[VIA][puppet.at]
    moved(bench, asks(bench))
    before.payloads_received(2, 20)
    bench.end.partners[VIA][ELSEWHERE].payloads_received(3, 30)
    figures = bench.end.figures
    assert figures is not None
    assert (figures.received_datagrams, figures.received_bytes) == (5, 50)


def test_an_end_whose_port_another_program_has_takes_no_programs_datagrams() -> None:
    bench, puppet = held(share=True)
    assert list(bench.end.partners.get(VIA, ())) == []
    bench.end.receive_datagram(b"another program's", puppet.at, bench.now, VIA)
    assert not bench.events(Payload)
    assert bench.drops(Drop.MALFORMED) == 1
