"""The status of a process: what counts as up, and its JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netpunch.output.status import (
    ControlStatus,
    EndStatus,
    ProcessStatus,
    Refusal,
    RelayedPair,
    RelayStatus,
    State,
    TlsStatus,
    amount,
    default_socket,
    own_folder,
    own_socket,
    socket_prefix,
)

AT = 1769860800.25
TEXT = "2026-01-31T12:00:00.250000Z"


def end(pair: str, name: str = "a", state: State = State.UP, **more: Any) -> EndStatus:
    return EndStatus(pair, name, state, since=AT, **more)


def process(*ends: EndStatus, controls: tuple[ControlStatus, ...] = ()) -> ProcessStatus:
    return ProcessStatus(
        at=AT, started=AT, version="1", run="abc", pid=42, ends=ends, controls=controls
    )


@pytest.mark.parametrize("state", [state for state in State if state is not State.UP])
def test_only_an_end_in_state_up_is_up(state: State) -> None:
    assert process(end("one")).is_ok
    assert not process(end("one"), end("two", state=state)).is_ok


def test_a_pair_is_up_if_both_of_its_ends_here_are() -> None:
    ends = [end("one", "a"), end("one", "b"), end("two", "a"), end("two", "b", State.FAILED)]
    assert process(*ends).summary == "1 of 2 pairs up"


@pytest.mark.parametrize(
    ("registered", "summary"), [(0, "0 ends registered"), (1, "1 end registered")]
)
def test_the_summary_counts_registered_ends(registered: int, summary: str) -> None:
    status = process(controls=(ControlStatus("vps", registered=registered),))
    assert status.summary == summary
    assert status.is_ok


def test_the_summary_has_pairs_and_ends() -> None:
    controls = (ControlStatus("one", registered=2), ControlStatus("two", registered=3))
    assert process(end("p"), controls=controls).summary == "1 of 1 pair up, 5 ends registered"


def test_a_failed_reload_comes_first_in_the_summary() -> None:
    error = "site.yaml:3:1: pairs: wrong\n  pairs:\n  ^\nsite.yaml:4:1: more"
    status = process(end("p"))._replace(refusal=Refusal(error, AT))
    assert status.summary == "reload refused: site.yaml:3:1: pairs: wrong; 1 of 1 pair up"
    assert status.is_ok
    record = status.as_record()
    assert (record["reload_err"], record["reload_err_at"]) == (error, TEXT)
    assert "reload_err" not in process().as_record()


def test_the_summary_counts_relayed_pairs() -> None:
    ends = [end(name, path="relay") for name in ("p", "q")] + [end("r", path="host")]
    assert process(*ends).summary == "3 of 3 pairs up, 2 relayed"
    assert process(*ends).paths == {"relay": 2, "host": 1}


def test_pairs_are_counted_by_path_if_all_of_their_ends_are_up() -> None:
    """An end whose check alone says so has no known path."""
    both = [EndStatus("p", each, State.UP, path="ipv6") for each in "ab"]
    half = [EndStatus("q", "a", State.UP, path="host"), EndStatus("q", "b", State.DOWN)]
    assert process(*both, *half, end("r")).paths == {"ipv6": 1, "unknown": 1}


def test_the_health_of_one_held_link() -> None:
    held = end("p", rtt_ms=21.4182, loss=0.0)
    assert process(held).health == "round trip 21.4 ms, loss 0%"
    moved = held._replace(moves={"woke": 1}, sent_bytes=1_234_567, received_bytes=999)
    assert process(moved).health == (
        "round trip 21.4 ms, loss 0%, 1 move, 1.2 MB sent, 999 B received"
    )
    assert process(held._replace(rtt_ms=None)).health == "loss 0%"


def test_the_health_of_many_links_is_that_of_the_worst() -> None:
    links = [
        end("p", rtt_ms=0.4, loss=0.05, moves={"woke": 1, "silent": 2}, sent_bytes=1000),
        end("q", rtt_ms=210.0, loss=0.15, moves={"woke": 4}, sent_bytes=500, received_bytes=1),
        end("r", rtt_ms=999.0),  # its port is another program's
    ]
    assert process(*links).health == (
        "round trip up to 210 ms, loss up to 15%, 7 moves, 1.5 kB sent, 1 B received"
    )


def test_links_that_are_not_held_have_no_health() -> None:
    assert process().health == process(end("p", rtt_ms=5.0)).health == ""


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (5 * 10**9, "5.0 GB"),
        (7 * 10**15, "7000.0 TB"),
    ],
)
def test_amounts_are_shown_in_the_unit_that_fits(number: int, text: str) -> None:
    assert amount(number) == text


def test_the_summary_of_nothing() -> None:
    assert process().summary == "nothing to do"
    assert process().is_ok


def test_a_status_with_a_control_that_does_not_serve_is_not_ok() -> None:
    assert not process(end("p"), controls=(ControlStatus("vps", problems=("taken",)),)).is_ok


def test_the_status_leaves_out_what_is_not_known() -> None:
    assert process(end("p", state=State.STARTING)).as_record()["pairs"] == [
        {
            "pair": "p",
            "end": "a",
            "state": "starting",
            "since": TEXT,
            "links": 0,
            "failures": {},
            "losses": {},
            "moves": {},
        }
    ]


def test_the_status_of_a_site_as_json() -> None:
    full = EndStatus(
        pair="p",
        end="b",
        since=AT,
        state=State.DOWN,
        reason="silent",
        laddr="0.0.0.0:5000",
        raddr="203.0.113.7:5000",
        observed="198.51.100.1:5000",
        path="observed",
        path_since=AT,
        rtt_ms=12.5,
        jitter_ms=0.5,
        loss=0.05,
        err="3 silent keepalives",
        err_at=AT,
        links=2,
        failures={"blocked": 1},
        losses={"silent": 2},
        moves={"woke": 3},
        sent_datagrams=1,
        sent_bytes=2,
        received_datagrams=3,
        received_bytes=4,
        drops={"stale": 5},
    )
    control = ControlStatus(
        "vps", ("[::]:10001",), 3, {"bad_mac": 4}, {"EPERM": 5}, 6, problems=("p: no key",)
    )
    status = ProcessStatus(AT, AT, "1", "abc", 42, "home", 7, (full,), (control,))
    assert json.loads(json.dumps(status.as_record())) == {
        "v": 1,
        "ts": TEXT,
        "run": "abc",
        "node": "home",
        "version": "1",
        "pid": 42,
        "started": TEXT,
        "ok": False,
        "summary": "0 of 1 pair up, 3 ends registered",
        "events_dropped": 7,
        "pairs": [
            {
                "pair": "p",
                "end": "b",
                "state": "down",
                "reason": "silent",
                "laddr": "0.0.0.0:5000",
                "raddr": "203.0.113.7:5000",
                "observed": "198.51.100.1:5000",
                "path": "observed",
                "path_since": TEXT,
                "rtt_ms": 12.5,
                "jitter_ms": 0.5,
                "loss": 0.05,
                "since": TEXT,
                "err": "3 silent keepalives",
                "err_at": TEXT,
                "links": 2,
                "failures": {"blocked": 1},
                "losses": {"silent": 2},
                "moves": {"woke": 3},
                "sent_datagrams": 1,
                "sent_bytes": 2,
                "received_datagrams": 3,
                "received_bytes": 4,
                "drops": {"stale": 5},
            }
        ],
        "controls": [
            {
                "control": "vps",
                "addresses": ["[::]:10001"],
                "registered": 3,
                "drops": {"bad_mac": 4},
                "send_errors": {"EPERM": 5},
                "queue_drops": 6,
                "awaited": [],
                "problems": ["p: no key"],
                "behind": [],
                "absent_ends": 0,
                "absent": [],
            }
        ],
    }


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ("", None),
        ("/run/netpunch", "/run/netpunch/status.sock"),
        ("/run/netpunch:/run/other", "/run/netpunch/status.sock"),
    ],
)
def test_the_default_socket_is_in_the_units_runtime_directory(
    folders: str, expected: str | None
) -> None:
    found = default_socket({"RUNTIME_DIRECTORY": folders})
    assert found == (Path(expected) if expected else None)


def test_no_default_socket_without_a_unit() -> None:
    assert default_socket({}) is None


def test_the_folder_of_processes_in_no_unit() -> None:
    user = {"XDG_RUNTIME_DIR": "/run/user/1000"}
    assert own_folder(user, 1000) == Path("/run/user/1000/netpunch")
    assert own_folder(user, 0) == Path("/run/netpunch")
    assert own_folder({}, 1000) is None


def test_each_process_has_a_socket_of_its_own(tmp_path: Path) -> None:
    file, link = tmp_path / "site.yaml", tmp_path / "link.yaml"
    file.touch()
    link.symlink_to(file)
    sockets = {own_socket(tmp_path, path, pid) for path in (file, link) for pid in (1, 2)}
    assert len(sockets) == 2, "the same file by two names"
    assert all(path.name.startswith(socket_prefix(file)) for path in sockets)
    assert socket_prefix(file) != socket_prefix(tmp_path / "other.yaml")


def test_the_json_of_a_relay() -> None:
    pair = RelayedPair("home-office", 2, 3, {"over_rate": 4})
    relay = RelayStatus(("0.0.0.0:10003",), 5, 6, 7, {"stranger": 8}, (pair,))
    answer = process(controls=(ControlStatus("vps", relay=relay),)).as_record()
    assert json.loads(json.dumps(answer))["controls"][0]["relay"] == {
        "addresses": ["0.0.0.0:10003"],
        "bound": 5,
        "datagrams": 6,
        "bytes": 7,
        "drops": {"stranger": 8},
        "pairs": [{"pair": "home-office", "datagrams": 2, "bytes": 3, "drops": {"over_rate": 4}}],
    }


def test_the_json_of_tls_connections() -> None:
    tls = TlsStatus("[::]:443", 5, 6, 7)
    answer = process(controls=(ControlStatus("vps", tls=tls),)).as_record()
    assert json.loads(json.dumps(answer))["controls"][0]["tls"] == {
        "address": "[::]:443",
        "ends": 5,
        "strangers": 6,
        "refused": 7,
    }
