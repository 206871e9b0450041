from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netpunch.address import Address
from netpunch.output import events
from netpunch.output.journal import (
    MAX_LINE_BYTES,
    Journal,
    Style,
    address_fields,
    encode,
    rfc3339,
)

AT = 1767225600.25


class Lines:
    """A sink that refuses lines while it is `full`."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.full = False

    def put(self, line: bytes) -> bool:
        if not self.full:
            self.written.append(line)
        return not self.full

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.written]


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def journal(lines: Lines) -> Journal:
    return Journal(lines.put, node="home", clock=lambda: AT)


def test_an_event_becomes_one_line_of_json(journal: Journal, lines: Lines) -> None:
    local, remote = Address("0.0.0.0", 5000), Address("2001:db8::1", 6000)
    line = journal.emit(
        events.PairUp("home-office", "a", local, remote, "ipv6", 12.34567, 0.5, False, 9)
    )
    assert lines.written == [line]
    assert line == (
        b'{"v":1,"ts":"2026-01-01T00:00:00.250000Z","seq":1,"run":"%b","event":"pair.up",'
        b'"node":"home","pair":"home-office","end":"a","laddr":"0.0.0.0:5000","lhost":"0.0.0.0",'
        b'"lport":5000,"raddr":"[2001:db8::1]:6000","rhost":"2001:db8::1","rport":6000,'
        b'"path":"ipv6","rtt_ms":12.346,"duration_s":0.5,"changed":false,"datagrams":9}\n'
        % journal.run.encode()
    )


def test_fields_that_do_not_apply_are_left_out(journal: Journal, lines: Lines) -> None:
    journal.emit(events.PairWaiting("p", "a", "blocked", waited_s=float("inf")))
    [record] = lines.records
    stamp = {"v", "ts", "seq", "run", "event", "node"}
    assert set(record) == stamp | {"pair", "end", "reason"}


def test_an_event_without_a_node_has_no_node_field(lines: Lines) -> None:
    assert "node" not in json.loads(Journal(lines.put).emit(events.RunReady()))


def test_sequence_numbers_rise_and_the_run_stays(journal: Journal, lines: Lines) -> None:
    for _ in range(3):
        journal.emit(events.RunReady())
    assert [record["seq"] for record in lines.records] == [1, 2, 3]
    assert {record["run"] for record in lines.records} == {journal.run}
    assert journal.run != Journal(lines.put).run


def test_the_next_line_counts_dropped_ones(journal: Journal, lines: Lines) -> None:
    journal.emit(events.RunReady())
    lines.full = True
    journal.emit(events.RunReady())
    journal.emit(events.RunReady())
    lines.full = False
    journal.emit(events.RunReady())
    journal.emit(events.RunReady())
    told = [(record["seq"], record.get("dropped")) for record in lines.records]
    assert told == [(1, None), (4, 2), (5, None)]
    assert journal.dropped == 2


def test_text_style_prints_links_and_nothing_else(lines: Lines) -> None:
    journal = Journal(lines.put, style=Style.TEXT)
    line = journal.emit(events.PairAlive("p", "a"))
    journal.show_link("p é \udce9")
    assert json.loads(line)["pair"] == "p"
    assert lines.written == ["p é \\udce9\n".encode()]


def test_json_style_prints_no_links(journal: Journal, lines: Lines) -> None:
    journal.show_link("p 192.0.2.1:1")
    assert lines.written == []


def test_lone_surrogates_never_reach_a_parser(journal: Journal, lines: Lines) -> None:
    journal.emit(events.HookStart("p", "a", "up", ["caf\udce9", "\N{SNOWMAN}"]))
    assert lines.records[0]["argv"] == ["caf\\udce9", "\N{SNOWMAN}"]


def test_a_long_text_of_an_event_is_cut(journal: Journal, lines: Lines) -> None:
    journal.emit(events.PairDown("p", "a", "silent", "x" * 1_000_000))
    assert lines.records[0]["err"] == "x" * 1000 + "…"
    assert lines.records[0]["pair"] == "p"


def test_an_event_that_is_too_long_keeps_its_stamp() -> None:
    record: dict[str, object] = {"v": 1, "event": "datagram"}
    record |= {f"field{number}": "\N{SNOWMAN}" * 100 for number in range(50)}
    assert json.loads(encode(record)) == {"v": 1, "event": "datagram", "cut": True}


TEXT = st.text('a"\\\n\x00\x1b\x7fé\N{SNOWMAN}\N{GRINNING FACE}\udc80', max_size=50)
LONG_TEXT = TEXT.map(lambda text: text * 40)


@settings(max_examples=50, deadline=None)
@given(LONG_TEXT, LONG_TEXT, st.lists(TEXT), st.floats())
def test_any_line_is_one_short_line_of_ascii(
    pair: str, err: str, candidates: list[str], duration: float
) -> None:
    lines = Lines()
    event = events.PairFailed(pair, "a", duration, "blocked", err, candidates=candidates)
    Journal(lines.put, node="\N{SNOWMAN}" * 5000).emit(event)
    (line,) = lines.written
    assert len(line) <= MAX_LINE_BYTES
    assert line.isascii()
    assert line.index(b"\n") == len(line) - 1
    assert json.loads(line)["event"] == "pair.failed"


def test_address_fields() -> None:
    assert address_fields("r", Address("192.0.2.1", 7)) == {
        "raddr": "192.0.2.1:7",
        "rhost": "192.0.2.1",
        "rport": 7,
    }


def test_time_is_utc_with_microseconds() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000000Z"
    assert rfc3339(AT) == "2026-01-01T00:00:00.250000Z"
