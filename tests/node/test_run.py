from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netpunch._version import __version__
from netpunch.errors import MissingFileError, OutputError, UsageError
from netpunch.node import run as run_module
from netpunch.node import run_site
from netpunch.node.options import RunOptions
from netpunch.node.plan import Plan
from netpunch.node.supervisor import MakePlan
from netpunch.output.sink import Sink
from tests.node.recorder import CONTROL, site_with

Run = Callable[["FakeSupervisor"], Any]


class FakeSupervisor:
    """One that does what the test says. The real one has its own tests."""

    life: Run
    code: int

    def __init__(self, services: Any) -> None:
        self.services = services
        self.log: list[str] = []
        self.called = asyncio.Event()

    def stop(self, reason: str) -> None:
        self.log.append(f"stop {reason}")
        self.called.set()

    def reload(self) -> None:
        self.log.append("reload")
        self.called.set()

    async def run(self, make_plan: MakePlan) -> int:
        self.make_plan = make_plan
        await FakeSupervisor.life(self)
        return FakeSupervisor.code


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A run ends with its process, and ignores signals from then on."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    async def life(supervisor: FakeSupervisor) -> None: ...

    monkeypatch.setattr(run_module, "Supervisor", FakeSupervisor)
    FakeSupervisor.life, FakeSupervisor.code = life, 0


@pytest.fixture
def site(tmp_path: Path) -> Path:
    pair = {"secret": "generate", "a": {}, "b": {}}
    site_with(tmp_path, {"p": pair}, control=CONTROL | {"observe": "off"})
    return tmp_path / "site.yaml"


def test_a_site_file_that_does_not_exist(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MissingFileError):
        run_site(tmp_path / "site.yaml", RunOptions())
    assert capfd.readouterr() == ("", "")


def test_a_pair_on_the_command_line_that_does_not_exist(
    site: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError):
        run_site(site, RunOptions(pairs=("q",)))
    first, *_ = capfd.readouterr().out.splitlines()
    assert json.loads(first)["event"] == "run.start"


@pytest.mark.usefixtures("_fake")
@pytest.mark.parametrize("code", [0, 75])
def test_the_exit_code_of_a_run(site: Path, capfd: pytest.CaptureFixture[str], code: int) -> None:
    FakeSupervisor.code = code
    assert run_site(site, RunOptions()) == code
    record = json.loads(capfd.readouterr().out)
    assert (record["event"], record["file"], record["pid"]) == ("run.start", str(site), os.getpid())


@pytest.mark.usefixtures("_fake")
def test_garbage_is_collected_after_the_start(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ring:
        """As a stopped end's task, whose exception's traceback leads back to it."""

        def __init__(self) -> None:
            self.itself = self

    async def life(supervisor: FakeSupervisor) -> None:
        assert not gc.isenabled()
        ring = weakref.ref(Ring())
        started = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, started.set)
        await started.wait()
        assert gc.isenabled()
        gc.collect()
        assert ring() is None, "what ends leave behind does not stay"

    monkeypatch.setattr(run_module, "STARTED_AFTER", 0.0)
    FakeSupervisor.life = life
    assert run_site(site, RunOptions()) == 0
    assert (gc.isenabled(), gc.get_freeze_count()) == (True, 0)


@pytest.mark.usefixtures("_fake")
@pytest.mark.parametrize(("code", "expected"), [(0, 73), (75, 73), (78, 78)])
def test_standard_output_that_cannot_be_written_exits_with_73(
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    code: int,
    expected: int,
) -> None:
    def close(sink: Sink, *timeout: float) -> None:
        sink.failure = OutputError("cannot write to standard output: its reader stalls")
        closed(sink, *timeout)

    closed = Sink.close
    monkeypatch.setattr(Sink, "close", close)
    FakeSupervisor.code = code
    assert run_site(site, RunOptions()) == expected
    assert "error: cannot write to standard output: its reader stalls" in capfd.readouterr().err


@pytest.mark.usefixtures("_fake")
@pytest.mark.parametrize(
    ("terminal", "format_", "shown"),
    [(True, None, "the link\n"), (False, None, "{"), (True, "json", "{"), (False, "text", "the")],
)
def test_the_style_of_standard_output(
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    terminal: bool,
    format_: Any,
    shown: str,
) -> None:
    async def life(supervisor: FakeSupervisor) -> None:
        supervisor.services.journal.show_link("the link")

    FakeSupervisor.life = life
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    run_site(site, RunOptions(format=format_))
    assert capfd.readouterr().out.startswith(shown)


@pytest.mark.usefixtures("_fake")
@pytest.mark.parametrize(
    ("quiet", "own", "shown"),
    [(False, False, ""), (False, True, "the link\n"), (True, False, "the link\n")],
)
def test_a_terminal_is_told_of_a_link_once(
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    quiet: bool,
    own: bool,
    shown: str,
) -> None:
    """By a line on standard error, unless that is quiet."""

    async def life(supervisor: FakeSupervisor) -> None:
        supervisor.services.journal.show_link("the link", own_template=own)

    FakeSupervisor.life = life
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    run_site(site, RunOptions(quiet=quiet))
    assert capfd.readouterr().out == shown


@pytest.mark.usefixtures("_fake")
def test_a_run_says_first_what_it_runs(site: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def life(supervisor: FakeSupervisor) -> None:
        await supervisor.make_plan()
        await supervisor.make_plan()  # a reload says so itself

    FakeSupervisor.life = life
    run_site(site, RunOptions())
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("netpunch ")] == [
        f"netpunch {__version__}, runs {site}: control control, p a, p b"
    ]


@pytest.mark.usefixtures("_fake")
def test_the_site_file_is_read_once_at_the_start_and_again_for_a_reload(site: Path) -> None:
    plans: list[Plan] = []

    def rename_pair() -> None:
        site.write_text(site.read_text().replace('"p"', '"q"'))

    async def life(supervisor: FakeSupervisor) -> None:
        rename_pair()
        plans.append(await supervisor.make_plan())
        plans.append(await supervisor.make_plan())

    FakeSupervisor.life = life
    run_site(site, RunOptions())
    assert [next(iter(plan.ends))[0] for plan in plans] == ["p", "q"]


@pytest.mark.usefixtures("_fake")
def test_warnings_of_the_site_file_are_shown(
    site: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def life(supervisor: FakeSupervisor) -> None:
        await supervisor.make_plan()

    (tmp_path / "p.secret").write_text("correct horse\n")
    (tmp_path / "p.secret").chmod(0o600)
    classic = {"protocol": "classic", "slots": "a-b", "secret_file": "p.secret", "a": {}, "b": {}}
    site_with(tmp_path, {"p": classic})
    FakeSupervisor.life = life
    run_site(site, RunOptions())
    said = capfd.readouterr().err
    assert said.count("warning:") == 1
    assert "the secret ends with a newline" in said
    run_site(site, RunOptions(quiet=True))
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("_fake")
@pytest.mark.parametrize("debug", [True, False])
def test_a_bug_in_a_callback_is_reported_and_exits_with_70(
    site: Path, capfd: pytest.CaptureFixture[str], debug: bool
) -> None:
    def bug() -> None:
        raise ZeroDivisionError("mine")

    async def life(supervisor: FakeSupervisor) -> None:
        asyncio.get_running_loop().call_soon(bug)
        await asyncio.sleep(0.01)

    FakeSupervisor.life = life
    assert run_site(site, RunOptions(debug=debug)) == 70
    said = capfd.readouterr().err
    assert "error: bug: " in said
    assert "ZeroDivisionError: mine" in said
    assert ("Traceback" in said) is debug


@pytest.mark.usefixtures("_fake")
@pytest.mark.parametrize(
    ("number", "terminal", "expected"),
    [
        (signal.SIGTERM, False, "stop SIGTERM"),
        (signal.SIGINT, True, "stop SIGINT"),
        (signal.SIGHUP, False, "reload"),
        (signal.SIGHUP, True, "stop SIGHUP"),
    ],
)
def test_signals_stop_and_reload(
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    terminal: bool,
    expected: str,
) -> None:
    logs: list[list[str]] = []

    async def life(supervisor: FakeSupervisor) -> None:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(supervisor.called.wait(), 10)
        logs.append(supervisor.log)

    FakeSupervisor.life = life
    monkeypatch.setattr(sys.stdin, "isatty", lambda: terminal, raising=False)
    run_site(site, RunOptions())
    assert logs == [[expected]]


@pytest.mark.usefixtures("_fake")
def test_a_stop_after_the_end_changes_nothing(site: Path) -> None:
    assert run_site(site, RunOptions()) == 0
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    os.kill(os.getpid(), signal.SIGTERM)
