"""A table for people, of the answers of status sockets."""

from __future__ import annotations

from typing import Any

from netpunch.output.status import (
    ControlStatus,
    EndStatus,
    ProcessStatus,
    Refusal,
    RelayedPair,
    RelayStatus,
    State,
    TlsStatus,
)
from netpunch.output.status_table import status_table

AT = 1769860800.25


def answer(*ends: EndStatus, controls: tuple[ControlStatus, ...] = ()) -> dict[str, Any]:
    status = ProcessStatus(AT, AT, "1", "abc", 42, "home", ends=ends, controls=controls)
    return status.as_record()


def test_the_table_of_a_site() -> None:
    up = EndStatus(
        "home-office",
        "a",
        State.UP,
        since=AT,
        laddr="0.0.0.0:5000",
        raddr="[2001:db8::7]:5000",
        path="ipv6",
        rtt_ms=12.34,
        err="it fell silent",
        err_at=AT,
    )
    waiting = EndStatus("lab", "b", State.WAITING, since=AT, reason="partner_absent")
    control = ControlStatus(
        "vps",
        ("0.0.0.0:10001", "[::]:10001"),
        3,
        {"bad_mac": 4},
        {"EPERM": 5},
        6,
        ("home-office b",),
        ("p: no key",),
    )
    assert status_table([answer(up, waiting, controls=(control,))]) == (
        "node home, process 42: 1 of 2 pairs up, 3 ends registered\n"
        "\n"
        "PAIR         END  STATE                        SINCE                 LOCAL         "
        "REMOTE              PATH  RTT      LAST ERROR\n"
        "home-office  a    up                           2026-01-31T12:00:00Z  0.0.0.0:5000  "
        "[2001:db8::7]:5000  ipv6  12.3 ms  2026-01-31T12:00:00Z it fell silent\n"
        "lab          b    waiting (partner not there)  2026-01-31T12:00:00Z  -             "
        "-                   -     -        -\n"
        "\n"
        "CONTROL  LISTENS ON                 ENDS  AWAITED        "
        "DROPPED                           LAST ERROR\n"
        "vps      0.0.0.0:10001, [::]:10001  3     home-office b  "
        "bad_mac 4, EPERM 5, queue_full 6  p: no key\n"
    )


def test_the_table_of_held_links() -> None:
    held = EndStatus(
        *("home-office", "a", State.UP),
        path="relay",
        path_since=AT,
        rtt_ms=12.34,
        jitter_ms=1.26,
        loss=0.05,
        moves={"woke": 1, "silent": 2},
    )
    relaying = held._replace(
        pair="lab",
        sent_datagrams=10_234,
        sent_bytes=12_345_678,
        received_datagrams=0,
        received_bytes=0,
    )
    handed_over = EndStatus("other", "a", State.UP, path="host")
    assert status_table([answer(held, relaying, handed_over)]).splitlines()[-3:] == [
        "HELD LINK    END  PATH   SINCE                 RTT      JITTER  LOSS  MOVES  "
        "SENT (DATAGRAMS)  RECEIVED (DATAGRAMS)",
        "home-office  a    relay  2026-01-31T12:00:00Z  12.3 ms  1.3 ms  5%    3      "
        "-                 -",
        "lab          a    relay  2026-01-31T12:00:00Z  12.3 ms  1.3 ms  5%    3      "
        "12.3 MB (10234)   0 B (0)",
    ]


def test_the_table_of_a_relay() -> None:
    pairs = [RelayedPair(f"pair-{number}", 2, 20, {"over_rate": 0}) for number in range(20)]
    drops = {"over_rate": 3, "no_partner": 0, "stranger": 4}
    relay = RelayStatus(("0.0.0.0:10003",), 40, 40, 400, drops, tuple(pairs))
    table = status_table([answer(controls=(ControlStatus("vps", relay=relay),))])
    assert table.splitlines()[4:] == [
        "",
        "RELAY  AT             BOUND  PAIR    DATAGRAMS  BYTES  DROPPED",
        "vps    0.0.0.0:10003  40     all     40         400 B  over_rate 3, stranger 4",
        *(f"vps    -              -      pair-{n}  2          20 B   -" for n in range(8)),
    ]


def test_the_table_of_a_control() -> None:
    table = status_table([answer(controls=(ControlStatus("vps", ("0.0.0.0:1",)),))])
    assert table.splitlines() == [
        "node home, process 42: 0 ends registered",
        "",
        "CONTROL  LISTENS ON  ENDS  AWAITED  DROPPED  LAST ERROR",
        "vps      0.0.0.0:1   0     -        -        -",
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
    assert table.splitlines()[3].split() == ["p", *8 * ["-"]]


def test_the_table_cannot_steer_the_terminal() -> None:
    end = EndStatus("p", "a", State.FAILED, since=AT, err="\x1b[2J\r\u202eevil", err_at=AT)
    table = status_table([answer(end)])
    assert table.splitlines()[-1].endswith("?[2J??evil")


def test_the_table_after_a_failed_reload() -> None:
    status = ProcessStatus(AT, AT, "1", "abc", 42, refusal=Refusal("site.yaml:1:1: no", AT))
    assert status_table([status.as_record()]).splitlines() == [
        "process 42: reload refused: site.yaml:1:1: no; nothing to do",
        "  since 2026-01-31T12:00:00Z it keeps the earlier configuration; "
        "`netpunch check` shows all that is wrong, then reload it",
    ]


def test_an_error_takes_one_line_of_the_table() -> None:
    end = EndStatus("p", "a", State.FAILED, err="site.yaml:1:1: no\n  key: x\n  ^", err_at=AT)
    control = ControlStatus("vps", problems=("site.yaml:1:1: no\n  key: x\n  ^",))
    table = status_table([answer(end, controls=(control,))])
    assert table.count("site.yaml:1:1: no\n") == 2
    assert "key: x" not in table
