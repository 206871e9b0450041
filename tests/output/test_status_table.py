"""A table for people, of the answers of status sockets."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from netpunch.output.status import (
    AbsentEnd,
    ControlStatus,
    EndStatus,
    ProcessStatus,
    Refusal,
    RelayedPair,
    RelayStatus,
    State,
    TlsStatus,
)
from netpunch.output.status_table import Rate, status_table
from netpunch.output.terminal import Screen

AT = 1769860800.25


GOLDEN = Path(__file__).parent / "golden"

HELD = EndStatus(
    *("home-office", "a", State.UP),
    since=AT - 7_300,
    laddr="0.0.0.0:5000",
    raddr="[2001:db8::7]:5000",
    path="ipv6",
    path_since=AT - 300,
    rtt_ms=12.34,
    jitter_ms=1.26,
    loss=0.05,
    moves={"woke": 1, "silent": 2},
    err="nothing came for 60 s, and no other path was found",
    err_at=AT - 7_400,
)
RELAYING = HELD._replace(
    pair="cabin",
    path="relay",
    moves={},
    err=None,
    err_at=None,
    sent_datagrams=10_234,
    sent_bytes=12_345_678,
    received_datagrams=0,
    received_bytes=0,
    drops={"no_program": 2, "no_link": 0},
)
HANDED_OVER = EndStatus("shed", "b", State.UP, since=AT - 400_000, path="host", rtt_ms=0.4)
ABSENT = EndStatus("lab", "b", State.WAITING, since=AT - 190, reason="partner_absent")
SILENT = EndStatus(
    *("site-0", "a", State.WAITING),
    reason="secret_rejected_or_silent",
    since=AT - 40,
    err="no answer from control at 192.0.2.9:1: is it running? (`netpunch key id PAIR FILE`)",
    err_at=AT - 39,
)
HARD = EndStatus(
    *("yard", "a", State.FAILED),
    since=AT - 30,
    reason="infeasible",
    err="these NATs let nothing through: hard_random at both ends; switch on a relay at control",
    err_at=AT - 30,
)
RELAY = RelayStatus(("0.0.0.0:10003",), 2, 40, 400, {"over_rate": 3}, (RelayedPair("cabin", 2, 9),))
CONTROL = ControlStatus(
    *("vps", ("0.0.0.0:10001", "[::]:10001"), 3, {"bad_mac": 4}, {"EPERM": 5}, 6),
    awaited=("home-office b",),
    absent_ends=12,
    absent=(
        AbsentEnd("home-office", "b", AT - 190, awaited=True),
        AbsentEnd("shed", "a", AT - 400_000),
        *(AbsentEnd(f"new-{number}", end) for number in range(4) for end in "ab"),
    ),
    problems=("p: no key",),
    relay=RELAY,
    tls=TlsStatus("[::]:443", 3),
)
SILENT_ENDS = tuple(SILENT._replace(pair=f"site-{number}") for number in range(7))
SITE = (RELAYING, HELD, ABSENT, HANDED_OVER, *SILENT_ENDS, HARD)


def answer(*ends: EndStatus, controls: tuple[ControlStatus, ...] = ()) -> dict[str, Any]:
    started = AT - 3 * 86_400
    status = ProcessStatus(AT, started, "1", "abc", 42, "home", ends=ends, controls=controls)
    return status.as_record()


def names(table: str) -> list[str]:
    """Of the rows of ends."""
    rows = table.split("\n\n")[1].splitlines()[1:]
    return [row.split()[0] for row in rows]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_fits_the_width(width: int) -> None:
    """Written anew by GOLDEN=1; then look at it."""
    table = status_table([answer(*SITE, controls=(CONTROL,))], Screen(width))
    golden = GOLDEN / f"status_{width}.txt"
    if os.environ.get("GOLDEN"):
        golden.write_text(table)
    assert max(map(len, table.splitlines())) <= width
    assert table == golden.read_text()


@pytest.mark.parametrize("width", [*range(16, 100, 3), 200, 1000, None])
def test_no_width_loses_the_meaning(width: int | None) -> None:
    """Who is down and why is there in words."""
    table = status_table([answer(*SITE, controls=(CONTROL,))], Screen(width))
    text = " ".join(table.split())
    for words in ("failed", "waiting", "partner not there", "no answer from control", "p: no key"):
        assert words in text
    assert "and 4 more" in text
    if width is None or width >= 40:
        assert "home-office b 3 m ago" in text
    if width and width >= 36:
        assert max(map(len, table.splitlines())) <= width


def test_a_control_of_an_older_version_names_those_that_it_awaits() -> None:
    told = answer(controls=(CONTROL,))
    del told["controls"][0]["absent"]
    table = status_table([told])
    assert "control vps awaits home-office b: absent, though their partners are" in table


def test_what_is_down_comes_first() -> None:
    states = [State.UP, State.WAITING, State.STARTING, State.DOWN, State.FAILED, State.PUNCHING]
    table = status_table([answer(*(EndStatus(state, "a", state) for state in states))])
    assert names(table) == ["failed", "down", "waiting", "punching", "starting", "up"]


def test_the_same_error_of_many_ends_is_told_once() -> None:
    table = status_table([answer(*SILENT_ENDS)])
    assert table.count("no answer from control at") == 1
    assert "site-0 a, site-1 a, site-2 a, site-3 a, site-4 a and 2 more (39 s ago): " in table


def test_columns_that_nothing_fills_are_left_out() -> None:
    table = status_table([answer(ABSENT)])
    assert table.splitlines()[2:] == [
        "PAIR  END  STATE                       SINCE",
        "lab   b    waiting: partner not there  3 m ago",
    ]


def test_rates_take_the_place_of_sums() -> None:
    table = status_table([answer(*SITE)], Screen(80), {(42, "cabin", "a"): Rate(1234.5, 5e6)})
    header, *rows = table.split("\n\n")[1].splitlines()
    assert header.split()[3:] == ["SINCE", "PATH", "RTT", "LOSS", "SENT/S", "RECEIVED/S"]
    cabin = next(row for row in rows if row.startswith("cabin"))
    assert cabin.split("  ")[-2:] == ["1.2 kB", "5.0 MB"]


@pytest.mark.parametrize("height", [8, 12, 24, 40])
def test_a_screen_counts_the_ends_that_do_not_fit(height: int) -> None:
    many = [HELD._replace(pair=f"pair-{number:03}") for number in range(500)]
    table = status_table([answer(*many, HARD)], Screen(80, height))
    lines = table.splitlines()
    assert len(lines) <= height
    assert lines[3].startswith("yard ")
    shown = sum(line.startswith("pair-") for line in lines)
    assert f"and {500 - shown} more, all up" in lines


def test_colour_is_only_for_screens_that_have_it() -> None:
    assert "\x1b" not in status_table([answer(*SITE)], Screen(80))
    coloured = status_table([answer(*SITE)], Screen(80, colour=True))
    assert "\x1b[32mup " in coloured
    assert "\x1b[31mfailed" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured).replace(" \n", "\n").split() == (
        status_table([answer(*SITE)], Screen(80)).split()
    )


def test_the_table_of_a_relay() -> None:
    pairs = [RelayedPair(f"pair-{number}", 2, 20, {"over_rate": 0}) for number in range(20)]
    drops = {"over_rate": 3, "no_partner": 0, "stranger": 4}
    relay = RelayStatus(("0.0.0.0:10003",), 40, 40, 400, drops, tuple(pairs))
    table = status_table([answer(controls=(ControlStatus("vps", relay=relay),))])
    assert table.splitlines()[4:] == [
        "",
        "RELAY  PAIR    BYTES  DATAGRAMS  BOUND  AT             DROPPED",
        "vps    all     400 B  40         40     0.0.0.0:10003  over_rate 3, stranger 4",
        *(f"vps    pair-{n}  20 B   2          -      -              -" for n in range(8)),
    ]


def test_the_table_of_a_control() -> None:
    table = status_table([answer(controls=(ControlStatus("vps", ("0.0.0.0:1",)),))])
    assert table.splitlines() == [
        "node home, process 42, started 3 d ago: 0 ends registered",
        "",
        "CONTROL  ENDS  LISTENS ON",
        "vps      0     0.0.0.0:1",
    ]


def test_the_table_of_a_control_over_tls() -> None:
    tls = TlsStatus("[::]:443", 3)
    table = status_table([answer(controls=(ControlStatus("vps", ("0.0.0.0:1",), tls=tls),))])
    assert "0.0.0.0:1, TLS [::]:443 (3 ends)" in table


def test_several_processes_share_the_table() -> None:
    lines = status_table([answer(EndStatus("one", "a")), answer(EndStatus("two", "b"))])
    assert [line.split(" ")[0] for line in lines.splitlines()] == [
        *("node", "node"),
        *("", "PAIR", "one", "two"),
    ]


def test_the_table_of_an_answer_of_another_version() -> None:
    """Fields are missing, others are new."""
    table = status_table([{"pairs": [{"pair": "p", "colour": "red"}], "controls": [{}]}])
    assert table.splitlines()[3].split() == ["p", "-", "-"]


def test_the_table_cannot_steer_the_terminal() -> None:
    end = EndStatus("p", "a", State.FAILED, since=AT, err="\x1b[2J\r\u202eevil", err_at=AT)
    table = status_table([answer(end)])
    assert "?[2J" in table
    assert "\x1b" not in table
    assert "\u202e" not in table


def test_the_table_after_a_failed_reload() -> None:
    status = ProcessStatus(AT, AT, "1", "abc", 42, refusal=Refusal("site.yaml:1:1: no", AT))
    assert status_table([status.as_record()]).splitlines() == [
        "process 42, started 0 s ago: reload refused: site.yaml:1:1: no; nothing to do",
        "  for 0 s it has kept the earlier configuration; `netpunch check` shows all that is "
        "wrong, then reload it",
    ]


def test_an_error_takes_one_line_of_the_table() -> None:
    end = EndStatus("p", "a", State.FAILED, err="site.yaml:1:1: no\n  key: x\n  ^", err_at=AT)
    control = ControlStatus("vps", problems=("site.yaml:1:1: no\n  key: x\n  ^",))
    table = status_table([answer(end, controls=(control,))])
    assert table.count("site.yaml:1:1: no\n") == 2
    assert "key: x" not in table


def test_the_table_names_the_ends_that_a_rotation_waits_for() -> None:
    control = ControlStatus("vps", behind=("home-office b", "lab a"))
    table = status_table([answer(controls=(control,))])
    assert "control vps: only the old key has home-office b, lab a\n" in table
