"""Diagrams of what --trace recorded: on three hosts with different clocks, behind NATs."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from typing import Any

import pytest

from netpunch.output.drawings import mermaid, svg, text
from netpunch.output.journal import rfc3339
from netpunch.output.sequence import Diagram, pairs_of, sequence_of

Record = dict[str, Any]

CONTROL = "198.51.100.1:10001"
HOSTS = {"a": "192.168.1.5:5000", "b": "10.0.0.7:5000", "control": CONTROL}
OUTSIDE = {"a": "203.0.113.5:5000", "b": "203.0.113.77:40001", "control": CONTROL}
CLOCKS = {"a": 0.0, "b": 3600.25, "control": -7.5}
"""Seconds by which they are ahead."""
ON_THE_WAY = 0.02
ATTEMPTS = {"a": "38387993c734e568", "b": "825143b100535ab4"}


class Trace:
    """Datagrams of a pair, each recorded by its sender and its receiver."""

    def __init__(self) -> None:
        self.records: dict[str, list[Record]] = {"a": [], "b": [], "control": []}

    def send(self, at: float, source: str, target: str, said: str, *, lost: bool = False) -> None:
        self._record(at, source, target, "sent", said)
        if not lost:
            self._record(at + ON_THE_WAY, target, source, "received", said)

    def of(self, *hosts: str) -> list[Record]:
        return [record for host in hosts for record in self.records[host]]

    def _record(self, at: float, host: str, other: str, direction: str, said: str) -> None:
        party = {"control": "vps"} if host == "control" else {"pair": "lab", "end": host}
        self.records[host].append(
            {
                "ts": rfc3339(1_800_000_000 + at + CLOCKS[host]),
                **{"run": host, "event": "datagram", "direction": direction, "bytes": 128},
                **{"laddr": HOSTS[host], "raddr": OUTSIDE[other], "text": said} | party,
            }
        )


@pytest.fixture
def trace() -> Trace:
    """The first three pings of a are lost: b's NAT lets them in when b has sent one."""
    trace = Trace()
    for at, end in ((0.0, "a"), (0.1, "b")):
        attempt = f"attempt={ATTEMPTS[end]}"
        trace.send(at, end, "control", f"ANNOUNCE {attempt} counter=1")
        trace.send(at + 0.03, "control", end, f"WAITING {attempt} observed={OUTSIDE[end]}")
    for number in range(5):
        trace.send(0.2 + number / 100, "a", "b", f"PING sequence={number}", lost=number < 3)
    trace.send(0.245, "b", "a", "PING sequence=9")
    trace.send(0.26, "b", "a", "PONG sequence=3")
    trace.send(0.28, "a", "b", "NOMINATE sequence=3")
    trace.send(0.31, "b", "a", "ACCEPT sequence=3")
    return trace


def drawn(records: Iterable[Record]) -> list[tuple[str, str, str, int, bool]]:
    arrows = sequence_of("lab", records).arrows
    return [(each.source, each.target, each.label, each.times, each.lost) for each in arrows]


WAITING = "WAITING: you are "


def test_the_diagram_of_three_hosts_whose_clocks_differ(trace: Trace) -> None:
    assert drawn(trace.of("b", "control", "a")) == [
        ("a", "control vps", "ANNOUNCE", 1, False),
        ("control vps", "a", WAITING + OUTSIDE["a"], 1, False),
        ("b", "control vps", "ANNOUNCE", 1, False),
        ("control vps", "b", WAITING + OUTSIDE["b"], 1, False),
        ("a", "b", "PING", 3, True),
        ("a", "b", "PING", 2, False),
        ("b", "a", "PING", 1, False),
        ("b", "a", "PONG", 1, False),
        ("a", "b", "NOMINATE", 1, False),
        ("b", "a", "ACCEPT", 1, False),
    ]


def test_times_are_those_of_the_senders(trace: Trace) -> None:
    arrows = sequence_of("lab", trace.of("b", "control", "a")).arrows
    whens = [arrow.when for arrow in arrows]
    assert whens == [
        *("0 ms", "30 ms", "100 ms", "130 ms", "200-220 ms", "230-240 ms", "245 ms", "260 ms"),
        *("280 ms", "310 ms"),
    ]


def test_lanes_show_the_nats_that_are_known(trace: Trace) -> None:
    lanes = sequence_of("lab", trace.of("a", "b", "control")).lanes
    assert [(lane.title, lane.about) for lane in lanes] == [
        ("end a", HOSTS["a"]),
        ("NAT of a", OUTSIDE["a"]),
        ("control vps", ""),
        ("NAT of b", OUTSIDE["b"]),
        ("end b", HOSTS["b"]),
    ]


def test_one_hosts_records_draw_both_sides_and_nothing_lost(trace: Trace) -> None:
    arrows = drawn(trace.of("a"))
    assert ("a", "control", "ANNOUNCE", 1, False) in arrows
    assert ("a", "b", "PING", 5, False) in arrows
    assert ("b", "a", "ACCEPT", 1, False) in arrows
    assert not any(lost for *_, lost in arrows)


def test_sockets_that_only_measure_the_nat_are_the_ends_too(trace: Trace) -> None:
    """Control sees their datagrams come from ports that nothing else tells of."""
    said = "OBSERVE echo=a1b2"
    trace.send(0.4, "a", "control", said)
    trace.send(0.42, "control", "a", "OBSERVED echo=a1b2 observed=203.0.113.5:40007")
    for record in trace.records["control"][-2:]:
        record["raddr"] = "203.0.113.5:40007"
    assert drawn(trace.of("a", "b", "control"))[-2:] == [
        ("a", "control vps", "OBSERVE", 1, False),
        ("control vps", "a", "OBSERVED: you are 203.0.113.5:40007", 1, False),
    ]


def test_what_a_relay_carries_is_told_apart(trace: Trace) -> None:
    relay = "198.51.100.1:10003"
    trace.send(0.4, "a", "control", "BIND counter=1")
    trace.send(0.5, "a", "b", "PING sequence=7")
    trace.send(0.6, "a", "b", "NOMINATE sequence=7")
    for record in trace.records["a"][-3:]:
        record["raddr"] = relay
    trace.send(0.7, "a", "b", "PING sequence=8")
    labels = [label for _, _, label, *_ in drawn(trace.of("a", "b", "control"))][-4:]
    assert labels == ["BIND", "PING by relay", "NOMINATE by relay", "PING"]


def test_what_a_control_does_for_other_pairs_is_left_out(trace: Trace) -> None:
    other = [
        {**record, "raddr": "203.0.113.99:1", "text": "ANNOUNCE attempt=ffff counter=1"}
        for record in trace.of("control")
    ]
    assert drawn([*trace.of("a", "b", "control"), *other]) == drawn(trace.of("a", "b", "control"))


def test_classic_has_its_letters() -> None:
    trace = Trace()
    trace.send(0.0, "a", "control", "announce a")
    trace.send(0.1, "b", "control", "announce b")
    trace.send(0.13, "control", "b", f"introduce a {OUTSIDE['a']}")
    trace.send(0.2, "b", "a", "ping", lost=True)
    trace.send(0.3, "b", "a", "ping")
    trace.send(0.33, "a", "b", "pong")
    trace.send(0.36, "b", "a", "close")
    assert [(label, lost) for _, _, label, _, lost in drawn(trace.of("a", "b", "control"))] == [
        ("a (announce)", False),
        ("b (announce)", False),
        (f"i|a|{OUTSIDE['a']}", False),
        ("x (ping)", True),
        ("x (ping)", False),
        ("y (pong)", False),
        ("z (close)", False),
    ]


def test_a_long_record_is_drawn_in_reasonable_time(trace: Trace) -> None:
    """A control traces for days; of one end there is nothing."""
    for number in range(5_000):
        trace.send(1.0 + number, "b", "control", f"ANNOUNCE attempt={ATTEMPTS['b']} n={number}")
    began = time.process_time()
    assert ("b", "control vps", "ANNOUNCE", 5_000, False) in drawn(trace.of("a", "control"))
    assert time.process_time() - began < 3


def test_pairs_of_the_records(trace: Trace) -> None:
    assert pairs_of([*trace.of("a", "control"), {"event": "run.ready"}]) == ["lab"]


HOSTILE: list[Record] = [
    {},
    {"event": "datagram"},
    {"event": "datagram", "pair": "lab", "end": "a", "ts": "yesterday"},
    {"event": "datagram", "pair": "lab", "end": "a", "ts": 5, "text": None, "run": []},
]


def test_records_that_make_no_sense_do_not_count(trace: Trace) -> None:
    assert drawn([*HOSTILE, *trace.of("a", "b")]) == drawn(trace.of("a", "b"))
    assert sequence_of("lab", HOSTILE) == Diagram("lab", (), ())


def test_text_for_terminals(trace: Trace) -> None:
    diagram = sequence_of("lab", trace.of("a", "b", "control"))
    lines = text(diagram).splitlines()
    assert lines[0].split("  ")[0] == ""
    assert "- PING x 3 (lost) -" in lines[6]
    assert lines[6].rstrip(" |").endswith("x")
    assert len({len(line) for line in lines[2:]}) == 1
    terse = text(diagram, 120).splitlines()
    assert max(map(len, terse)) <= 120
    assert "NAT of a" in terse[0]
    narrow = text(diagram, 80).splitlines()
    assert max(map(len, narrow)) <= 80
    assert narrow[0].endswith(" end b")
    assert "NAT" not in narrow[0]


def test_mermaid_for_documents(trace: Trace) -> None:
    lines = mermaid(sequence_of("lab", trace.of("a", "b", "control"))).splitlines()
    assert lines[0] == "sequenceDiagram"
    assert lines[1] == f"  participant p0 as end a<br>{HOSTS['a']}"
    assert "  p0-xp4: PING x 3 (lost), 200-220 ms" in lines
    assert "  p0->>p4: PING x 2, 230-240 ms" in lines


def test_svg_is_well_formed_and_cannot_be_broken_out_of(trace: Trace) -> None:
    trace.send(0.5, "a", "b", 'PING"><script>alert(1)</script>&;#\x1b')
    picture = svg(sequence_of("lab", trace.of("a", "b", "control")))
    assert "\x1b" not in picture
    root = ElementTree.fromstring(picture)
    assert "script" not in {element.tag.rpartition("}")[2] for element in root.iter()}
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "PING x 3 (lost)" in texts
