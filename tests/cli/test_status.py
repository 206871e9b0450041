"""netpunch.cli.status: asks sockets, shows a table or JSON, and the exit code tells a monitor."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netpunch.cli import main, status
from netpunch.output.status import EndStatus, ProcessStatus, State, own_socket
from tests.cli.programs import PATIENCE, environment

Captured = pytest.CaptureFixture[str]
Serve = Callable[[Path, bytes], Path]


def answer(*states: State, file: Path | None = None) -> bytes:
    ends = tuple(EndStatus(f"p{index}", "a", state) for index, state in enumerate(states))
    status = ProcessStatus(0.0, 0.0, "1", "abc", 42, ends=ends, file=str(file) if file else None)
    return json.dumps(status.as_record()).encode()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answers one client of a socket with these bytes."""
    listeners: list[tuple[socket.socket, threading.Thread]] = []

    def begin(path: Path, data: bytes) -> Path:
        path.parent.mkdir(exist_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve_one, args=(listener, data))
        thread.start()
        listeners.append((listener, thread))
        return path

    yield begin
    for listener, thread in listeners:
        listener.shutdown(socket.SHUT_RDWR)  # wakes up accept
        thread.join(PATIENCE)
        listener.close()


def serve_one(listener: socket.socket, data: bytes) -> None:
    try:
        connection, _ = listener.accept()
    except OSError:
        return
    with connection:
        connection.sendall(data)


@pytest.fixture(autouse=True)
def nothing_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The usual folder is an empty one."""
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(status, "USUAL_FOLDER", folder)
    return folder


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([], 0),
        ([State.UP], 0),
        ([State.UP, State.UP], 0),
        ([State.UP, State.WAITING], 75),
        ([State.FAILED], 75),
    ],
)
def test_the_exit_code_of_status_is_0_only_if_all_pairs_are_up(
    states: list[State], code: int, folder: Path, serve: Serve
) -> None:
    path = serve(folder / "status.sock", answer(*states))
    assert main(["status", str(path)]) == code


def test_status_prints_a_table(folder: Path, serve: Serve, capsys: Captured) -> None:
    path = serve(folder / "status.sock", answer(State.UP))
    assert main(["status", str(path)]) == 0
    output, errors = capsys.readouterr()
    lines = output.splitlines()
    assert lines[0] == "process 42, started 0 s ago: 1 of 1 pair up"
    assert lines[2].split()[:4] == ["PAIR", "END", "STATE", "SINCE"]
    assert lines[3].split()[:3] == ["p0", "a", "up"]
    assert errors == ""


def test_status_json_prints_the_answer(folder: Path, serve: Serve, capsys: Captured) -> None:
    sent = answer(State.FAILED)
    path = serve(folder / "status.sock", sent)
    assert main(["status", "--json", str(path)]) == 75
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == json.loads(sent)


def test_the_status_socket_of_the_site_file_may_depend_on_the_node(
    site: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site.open("a") as file:
        file.write('status: "{node}.sock"\n')
    serve(site.parent / "office.sock", answer(State.UP))
    assert main(["status", "site.yaml", "--node", "office"]) == 0
    serve(site.parent / "home.sock", answer(State.WAITING))
    monkeypatch.setenv("NETPUNCH_NODE", "home")
    assert main(["status", "site.yaml"]) == 75


def test_the_site_file_sets_the_status_socket(site: Path, serve: Serve, capsys: Captured) -> None:
    with site.open("a") as file:
        file.write("status: run/status.sock\n")
    serve(site.parent / "run" / "status.sock", answer(State.UP))
    assert main(["status", "site.yaml"]) == 0


def test_status_finds_the_process_of_a_site_file_without_a_socket(site: Path, serve: Serve) -> None:
    serve(site.parent / "netpunch" / "status.sock", answer(State.UP))
    assert main(["status", "site.yaml"]) == 0


def test_status_shows_only_the_processes_of_the_named_site_file(
    site: Path,
    serve: Serve,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    """Several: in units, root's, and this user's."""
    folder = site.parent
    runtime = tmp_path_factory.mktemp("user")  # a socket's path may have 107 bytes only
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    up, failed = answer(State.UP, file=site), answer(State.FAILED, file=folder / "other.yaml")
    serve(folder / "netpunch-control" / "status.sock", failed)
    serve(folder / "netpunch-once" / "status.sock", up)
    serve(own_socket(folder / "netpunch", site, 1), up)
    serve(own_socket(folder / "netpunch", folder / "other.yaml", 2), failed)
    serve(own_socket(runtime / "netpunch", site, 3), up)
    monkeypatch.chdir("/")
    assert main(["status", "--json", str(site)]) == 0
    output, errors = capsys.readouterr()
    assert len(output.splitlines()) == 3
    assert errors == ""


def test_status_fails_without_a_process_of_the_named_site_file(
    site: Path, serve: Serve, capsys: Captured
) -> None:
    other = site.parent / "other.yaml"
    serve(site.parent / "netpunch" / "status.sock", answer(State.UP, file=other))
    assert main(["status", str(site)]) == 75
    assert f"no process runs {site}: looked for sockets in " in capsys.readouterr().err


def test_the_runtime_directory_comes_before_the_usual_sockets(
    folder: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(folder / "netpunch" / "status.sock", answer(State.FAILED))
    serve(folder / "own" / "status.sock", answer(State.UP))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder / "own"))
    assert main(["status"]) == 0


def test_status_shows_all_processes_of_a_host(folder: Path, serve: Serve, capsys: Captured) -> None:
    serve(folder / "netpunch" / "status.sock", answer(State.UP))
    serve(folder / "netpunch-control" / "status.sock", answer())
    assert main(["status", "--json"]) == 0
    assert [len(json.loads(line)["pairs"]) for line in capsys.readouterr().out.splitlines()] == [
        *(1, 0)
    ]


def test_status_reports_a_socket_whose_process_was_killed(
    folder: Path, serve: Serve, capsys: Captured
) -> None:
    serve(folder / "netpunch" / "status.sock", answer(State.UP))
    killed = stale(folder / "netpunch-control" / "status.sock")
    assert main(["status"]) == 75
    output, errors = capsys.readouterr()
    assert "1 of 1 pair up" in output
    assert errors == (
        f"netpunch status: {killed}: no netpunch process answers there; it is not running\n"
    )


def stale(path: Path) -> Path:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
    return path


def test_status_fails_if_nothing_runs(folder: Path, capsys: Captured) -> None:
    assert main(["status"]) == 75
    output, errors = capsys.readouterr()
    assert output == ""
    assert "no process found" in errors


def test_status_fails_for_a_missing_socket(folder: Path, capsys: Captured) -> None:
    assert main(["status", "status.sock"]) == 75
    assert "status.sock: no netpunch process answers there" in capsys.readouterr().err


def test_status_fails_for_a_missing_site_file(folder: Path) -> None:
    assert main(["status", "site.yaml"]) == 66


def test_status_fails_for_an_invalid_site_file(folder: Path) -> None:
    (folder / "site.yaml").write_text("version: 2\n")
    assert main(["status", "site.yaml"]) == 78


def test_status_shows_a_process_whose_site_file_became_invalid(
    site: Path, serve: Serve, capsys: Captured
) -> None:
    serve(own_socket(site.parent / "netpunch", site, 1), answer(State.UP, file=site))
    site.write_text("")
    assert main(["status", "site.yaml"]) == 78
    output, errors = capsys.readouterr()
    assert "1 of 1 pair up" in output
    assert errors.startswith("netpunch status: site.yaml:1:1: the file is empty: ")


def test_status_shows_no_other_process_for_an_invalid_site_file(
    site: Path, serve: Serve, capsys: Captured
) -> None:
    other = site.parent / "other.yaml"
    serve(site.parent / "netpunch" / "status.sock", answer(State.UP, file=other))
    site.write_text("")
    assert main(["status", "site.yaml"]) == 78
    output, errors = capsys.readouterr()
    assert output == ""
    assert "the file is empty: " in errors


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"{}", b"\xff", b"hello\n", answer(State.UP)[:-1]]
)
def test_status_refuses_an_answer_that_is_not_netpunchs(
    data: bytes, folder: Path, serve: Serve, capsys: Captured
) -> None:
    path = serve(folder / "status.sock", data)
    assert main(["status", str(path)]) == 75
    output, errors = capsys.readouterr()
    assert output == ""
    assert "invalid answer: not netpunch's, or cut off" in errors


def test_status_bounds_an_endless_answer(
    folder: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(status, "MAX_ANSWER_BYTES", 1000)
    path = serve(folder / "status.sock", b"[" * 70_000)
    assert main(["status", str(path)]) == 75
    assert "cut off" in capsys.readouterr().err


def test_status_gives_up_on_a_process_that_hangs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """Its queue accepts the connection, and no answer comes."""
    monkeypatch.setattr(status, "ANSWER_SECONDS", 0.05)
    path = folder / "status.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        assert main(["status", str(path)]) == 75
    assert "does not answer" in capsys.readouterr().err


def test_status_reports_a_socket_that_this_user_may_not_ask(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError

    monkeypatch.setattr(status, "receive", refuse)
    assert main(["status", str(stale(folder / "netpunch" / "status.sock"))]) == 77
    assert "permission denied: use sudo" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["status a b", "status --jsn"])
def test_wrong_arguments_of_status_are_usage_errors(line: str, folder: Path) -> None:
    assert main(line.split()) == 64


def test_status_of_a_socket_imports_neither_yaml_nor_asyncio(folder: Path, serve: Serve) -> None:
    """Monitoring asks every minute, on every host."""
    path = serve(folder / "status.sock", answer(State.UP))
    code = "import sys; from netpunch.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    done: subprocess.CompletedProcess[Any] = subprocess.run(
        [sys.executable, "-S", "-c", code, "status", str(path)],
        env=environment(PYTHONPATH=":".join(sys.path)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert not set(done.stdout.split()) & {"asyncio", "uvloop", "cryptography", "yaml"}


@pytest.mark.parametrize(
    ("name", "ends", "code"),
    [("lan", 2, 75), ("lan.home.office", 1, 0), ("p", 1, 0), ("wan", 0, 75)],
)
def test_status_of_one_pair_or_of_the_pairs_of_a_mesh(
    folder: Path, serve: Serve, capsys: Captured, name: str, ends: int, code: int
) -> None:
    states = {"lan.home.office": State.UP, "lan.cabin.home": State.WAITING, "p": State.UP}
    told = tuple(EndStatus(pair, "a", state) for pair, state in states.items())
    record = ProcessStatus(0.0, 0.0, "1", "abc", 42, ends=told).as_record()
    path = serve(folder / "status.sock", json.dumps(record).encode())
    assert main(["status", "--json", "--pair", name, str(path)]) == code
    said = capsys.readouterr()
    found = [end for line in said.out.splitlines() for end in json.loads(line)["pairs"]]
    assert len(found) == ends
    assert all(end["pair"].startswith(name) for end in found)
    if not ends:
        assert "no running process has an end of a pair or mesh 'wan'" in said.err
