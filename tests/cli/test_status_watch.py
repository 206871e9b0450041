"""netpunch status --watch: the table again and again, in place on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netpunch.cli import main, status, status_watch
from netpunch.cli.status_watch import Traffic
from netpunch.config import loading
from netpunch.config.model import Site
from netpunch.output.status import EndStatus, ProcessStatus, State
from netpunch.output.status_table import Rate
from tests.cli.programs import PATIENCE, environment

Captured = pytest.CaptureFixture[str]


def status_at(second: float, sent: int = 0) -> ProcessStatus:
    end = EndStatus(*("p", "a", State.UP), path="host", sent_bytes=sent, received_bytes=0)
    return ProcessStatus(second, 0.0, "1", "abc", 42, ends=(end,))


@contextlib.contextmanager
def process(path: Path) -> Iterator[None]:
    """Answers until the end of the context; each answer is a second after the one before, in which
    1,000 bytes were sent."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        second = 0
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            second += 1
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"".join(status_at(second, 1000 * second).as_json()))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)
        listener.close()
        path.unlink()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[int], None]], None]:
    """Ctrl-C comes after so many looks; before, the function is called after each."""

    def end_after(count: int, between: Callable[[int], None] = lambda _: None) -> None:
        done = iter(range(1, count + 1))

        def sleep(_: float) -> None:
            if (number := next(done)) == count:
                raise KeyboardInterrupt
            between(number)

        monkeypatch.setattr(time, "sleep", sleep)

    return end_after


def test_a_pipe_gets_one_table_after_another(
    folder: Path, looks: Callable[..., None], capsys: Captured
) -> None:
    looks(3)
    with process(folder / "status.sock"):
        assert main(["status", "status.sock", "--watch"]) == 0
    first, *others = capsys.readouterr().out.split("\n\nprocess 42")
    assert len(others) == 2
    assert "SENT/S" not in first
    for table in others:
        assert table.splitlines()[-1].split()[-2:] == ["kB", "0"] or "1.0 kB" in table
    assert "\x1b" not in first


def test_json_is_a_line_for_each_look(
    folder: Path, looks: Callable[..., None], capsys: Captured
) -> None:
    looks(3)
    with process(folder / "status.sock"):
        assert main(["status", "status.sock", "--watch", "5s", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["pairs"][0]["sent_bytes"] for line in lines] == [1000, 2000, 3000]


def test_a_watch_waits_for_a_process_that_does_not_run_yet(
    folder: Path, looks: Callable[..., None], capsys: Captured
) -> None:
    with contextlib.ExitStack() as stack:
        looks(3, lambda number: number == 1 and stack.enter_context(process(folder / "s.sock")))
        assert main(["status", "--watch", "1s", "s.sock"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("s.sock: no netpunch process answers there; it is not running\n")
    assert output.count("1 of 1 pair up") == 2


@pytest.mark.parametrize(
    ("line", "file", "seconds"),
    [
        ("--watch", None, 1.0),
        ("--watch 2s", None, 2.0),
        ("--watch site.yaml", "site.yaml", 1.0),
        ("site.yaml --watch 500ms", "site.yaml", 0.5),
        ("--watch 2s site.yaml", "site.yaml", 2.0),
    ],
)
def test_the_time_of_a_watch_may_be_left_out(line: str, file: str | None, seconds: float) -> None:
    options = status.parse("netpunch status", line.split())
    assert (options.file, options.watch) == (file, seconds)


@pytest.mark.parametrize(
    "line", ["--watch 1", "--watch 10ms", "--watch 0s x", "site.yaml --watch x"]
)
def test_wrong_times_of_a_watch_are_usage_errors(line: str, folder: Path) -> None:
    assert main(["status", *line.split()]) == 64


def test_a_watch_of_a_wrong_file_ends_at_once(folder: Path, looks: Callable[..., None]) -> None:
    looks(3)
    assert main(["status", "--watch", "site.yaml"]) == 66


def test_a_site_file_is_read_once_until_it_changes(
    site: Path, looks: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of 500 pairs takes long to read."""
    read: list[Path] = []

    original = loading.load

    def load(path: Path) -> Site:
        read.append(path)
        return original(path)

    monkeypatch.setattr(loading, "load", load)

    def between(number: int) -> None:
        if number == 3:
            site.write_text(site.read_text() + "# changed\n")

    looks(6, between)
    assert main(["status", "site.yaml", "--watch"]) == 0
    assert len(read) == 2


def test_rates_are_bytes_a_second_and_never_negative() -> None:
    traffic = Traffic()
    looks = [status_at(0, 100), status_at(2, 1100), status_at(3, 50), status_at(3, 60)]
    found = [traffic.rates([look.as_record()]) for look in looks]
    assert found == [{}, {(42, "p", "a"): Rate(500, 0)}, {(42, "p", "a"): Rate(0, 0)}, {}]


class Terminal:
    """A program on a terminal of 60 columns and 12 lines."""

    def __init__(self, *arguments: str) -> None:
        self.shown = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 60, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "netpunch", "status", *arguments],
            stdout=slave,
            stderr=slave,
            env=environment(TERM="xterm"),
        )
        os.close(slave)

    def shows(self, pattern: str) -> bool:
        give_up_at = time.monotonic() + PATIENCE
        while not re.search(pattern, self.shown, re.DOTALL) and time.monotonic() < give_up_at:
            if not self._read():
                break
        return re.search(pattern, self.shown, re.DOTALL) is not None

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        while self._read():
            pass
        os.close(self._master)
        return code

    def _read(self) -> bool:
        if not select.select([self._master], [], [], 0.5)[0]:
            return self.process.poll() is None
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the program has ended
            return False
        self.shown += data.decode()
        return bool(data)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_terminal_is_redrawn_in_place_and_given_back(
    folder: Path, number: signal.Signals, code: int
) -> None:
    path = folder / "status.sock"
    with process(path):
        terminal = Terminal(str(path), "--watch", "200ms")
        assert terminal.shows(r"\x1b\[H.*SENT/S.*1\.0 kB.*\x1b\[H.*\x1b\[J"), terminal.shown
        assert terminal.end(number) == code
    assert terminal.shown.startswith(status_watch.OPEN)
    screen, _, after = terminal.shown.partition(status_watch.CLOSE)
    for frame in screen.split(status_watch.HOME)[1:-1]:
        assert frame.count("\n") < 12
        assert frame.endswith(status_watch.REST)
    assert ("1 of 1 pair up" in after) is (number == signal.SIGINT)
