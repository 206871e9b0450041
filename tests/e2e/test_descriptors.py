"""A running process reaches its limit of file descriptors: what it has goes on, what needs new
ones says so and recovers."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.assertions import assert_linked, assert_same_path
from tests.e2e.harness import EVENT_SECONDS, Netpunch
from tests.e2e.site import POLL_SECONDS, Settings, Site

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit(2) and /proc")

ADVICE = "raise LimitNOFILE= of its systemd unit, or `ulimit -n`"
BUSY = 0.2
"""The share of a processor that a process which spins exceeds on a busy machine, too (0.4 there,
of which one that waits uses 0.01)."""


@contextlib.contextmanager
def no_descriptors(program: Netpunch) -> Iterator[None]:
    """The process keeps its open descriptors and can open no more."""
    limits = resource.prlimit(program.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            resource.prlimit(program.pid, resource.RLIMIT_NOFILE, limits)


def cpu_seconds(program: Netpunch) -> float:
    """CPU time that it has used so far, proc(5)."""
    fields = Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until_rewritten(path: Path, before: int) -> None:
    deadline = time.monotonic() + EVENT_SECONDS
    while path.stat().st_mtime_ns == before:
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)


def test_a_control_without_descriptors_left_goes_on_serving(site: Site) -> None:
    """`netpunch status` waits, the metrics stay as they were, and nothing spins meanwhile."""
    status, metrics = site.folder / "status.sock", site.folder / "netpunch.prom"
    site.write_nodes(process={"status": status.name, "metrics": {"textfile": metrics.name}})
    control = site.run_node("vps")
    control.wait_for("control.ready")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(EVENT_SECONDS)
        with no_descriptors(control):
            client.connect(str(status))
            begun, used = time.monotonic(), cpu_seconds(control)
            assert_linked(site.run_node("home"), site.run_node("office"))
            control.wait_said(f"no metrics: {metrics}: Too many open files; {ADVICE}")
            before = metrics.stat().st_mtime_ns
            assert cpu_seconds(control) - used < BUSY * (time.monotonic() - begun)
        assert client.recv(100).startswith(b"{")
    wait_until_rewritten(metrics, before)
    assert control.stop() == 0


def test_an_end_without_descriptors_reports_it_and_links_when_it_gets_them(site: Site) -> None:
    """It reports the hook that it cannot run and the port that it cannot bind."""
    site.write_nodes(
        {"a": {"hooks": {"down": site.write_hook()}, "env_file": "a.env"}},
        mode="keep",
        retry_after="100ms",
        keepalive="200ms",
        hold_for="1s",
    )
    site.run_node("vps")
    home, office = site.run_node("home"), site.run_node("office")
    home.wait_for("env.written")
    office.wait_for("pair.up")
    with no_descriptors(home):
        office.kill()
        ended = home.wait_for("hook.end", hook="down")
        assert ended["outcome"] == "failed"
        assert ended["err"] == f"{site.folder}/hook: Too many open files; {ADVICE}"
        failed = home.wait_for("pair.failed")
        home.wait_for("pair.failed", 2)
        assert failed["reason"] == "resources"
        assert failed["err"] == f"cannot bind 127.0.0.1:0: Too many open files; {ADVICE}"
    office = site.run_node("office")
    up = home.wait_for("pair.up", 2)
    assert_same_path(up, office.wait_for("pair.up"))
    home.wait_for("env.written", 2)
    assert f"NETPUNCH_RADDR={up['raddr']}\n" in (site.folder / "a.env").read_text()
    assert home.stop() == 0


def test_a_link_moves_without_descriptors_and_programs_hear_of_it_once_there_are_some(
    site: Site,
) -> None:
    site.write_nodes(
        {"a": {"hooks": {"up": site.write_hook()}, "env_file": "a.env"}},
        mode="keep",
        retry_after="100ms",
    )
    site.run_node("vps")
    home, office = site.run_node("home"), site.run_node("office")
    home.wait_for("hook.end")
    office.wait_for("pair.up")
    with no_descriptors(home):
        office.kill()
        office = site.run_node("office")
        moved = home.wait_for("pair.moved")
        stale = home.wait_for("pair.stale")
        assert (stale["reason"], ADVICE in stale["err"]) == ("resources", True)
    site.wait_for_hooks("moved p a partner_asked")
    assert f"NETPUNCH_RADDR={moved['raddr']}\n" in (site.folder / "a.env").read_text()
    assert len(home.events("pair.stale")) == 1
    assert not home.events("pair.down")
    assert (home.stop(), office.stop()) == (0, 0)


def test_a_link_whose_check_cannot_start_for_lack_of_descriptors_stays(site: Site) -> None:
    check: Settings = {"check": ["test", "-e", "alive"], "check_every": "50ms"}
    (site.folder / "alive").touch()
    site.write({"p": {"b": {"enabled": False}}}, secret="generate", mode="keep", **check)
    program = site.run()
    program.wait_for("pair.alive")
    with no_descriptors(program):
        ended = program.wait_for("hook.end", 5, outcome="failed")
        count = len(program.events("hook.end", outcome="done"))
    program.wait_for("hook.end", count + 1, outcome="done")
    assert not program.events("pair.down")
    assert program.said.count(f"cannot check the link: {ended['err']}") == 1
    assert ADVICE in ended["err"]
    (site.folder / "alive").unlink()
    assert program.wait_for("pair.down")["reason"] == "check"
    assert program.stop() == 0


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv.pop(1)),) * 2)
from netpunch.cli import main
sys.exit(main())
"""

FEW_THREADS = """
import sys, threading
left, start = int(sys.argv.pop(1)), threading.Thread.start

def start_if_any_is_left(thread):
    global left
    if left == 0:
        raise RuntimeError("can't start new thread")
    left -= 1
    start(thread)

threading.Thread.start = start_if_any_is_left
from netpunch.cli import main
sys.exit(main())
"""


def assert_never_a_bug(site: Site, program: str, amounts: range) -> None:
    """However much there is, it is enough, or the process says what it lacks and is to be started
    again."""
    codes = []
    for amount in amounts:
        argv = (sys.executable, "-W", "error", "-c", program, str(amount))
        run = site.run("--once", program=argv, text=True)
        codes.append(run.wait_exit())
        assert codes[-1] in (0, 75), f"{amount}: {run.transcript()}"
        assert codes[-1] == 0 or ADVICE in run.said or "TasksMax=" in run.said
        for word in ("bug", "Traceback", "event loop is", "never awaited", "running event loop"):
            assert word not in run.said, f"{amount}: {run.said}"
    assert set(codes) == {0, 75}


def test_too_few_descriptors_at_the_start_are_never_a_bug(site: Site) -> None:
    site.write(
        {"p": {}},
        secret="generate",
        deadline="2s",
        env_file="{pair}.{end}.env",
        hooks={"up": site.write_hook()},
        process={"status": "s.sock", "metrics": {"textfile": "netpunch.prom"}},
    )
    assert_never_a_bug(site, LIMITED, range(5, 48, 3))


def test_too_few_threads_are_never_a_bug(site: Site) -> None:
    site.write(
        {"p": {}},
        secret="generate",
        deadline="2s",
        env_file="{pair}.{end}.env",
        hooks={"up": site.write_hook()},
        process={"metrics": {"textfile": "netpunch.prom"}},
    )
    assert_never_a_bug(site, FEW_THREADS, range(12))
