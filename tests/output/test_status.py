"""The status of a process: what counts as up, and its JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netpunch.output.status import (
    ControlStatus,
    EndStatus,
    ProcessStatus,
    Refusal,
    State,
    default_socket,
    own_folder,
    own_socket,
    socket_prefix,
)

AT = 1769860800.25
TEXT = "2026-01-31T12:00:00.250000Z"


def end(pair: str, name: str = "a", state: State = State.UP) -> EndStatus:
    return EndStatus(pair, name, state, since=AT)


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
        err="3 silent keepalives",
        err_at=AT,
        links=2,
        failures={"blocked": 1},
        losses={"silent": 2},
        moves={"woke": 3},
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
                "since": TEXT,
                "err": "3 silent keepalives",
                "err_at": TEXT,
                "links": 2,
                "failures": {"blocked": 1},
                "losses": {"silent": 2},
                "moves": {"woke": 3},
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
