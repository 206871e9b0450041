"""The status reaches the socket, the metrics file and systemd when it changes."""

from __future__ import annotations

import asyncio
import json
import re
import stat
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from netpunch.node import monitoring as monitoring_module
from netpunch.node.monitoring import Monitoring
from netpunch.node.services import Services
from netpunch.output import atomic as atomic_module
from netpunch.output.atomic import replace_file
from netpunch.output.console import Console
from netpunch.output.events import PairAlive
from netpunch.output.journal import Journal
from netpunch.output.status import Figures
from netpunch.output.status_model import StatusModel
from netpunch.output.systemd import Notifier
from tests.cli.programs import netpunch
from tests.e2e.conftest import site as site
from tests.e2e.harness import EVENT_SECONDS
from tests.e2e.site import Site
from tests.node.children import Run, on_both_loops

Main = Callable[["Watched"], Awaitable[None]]

UP = 'netpunch_pair_up{pair="p",end="a"} '


class Statuses(Notifier):
    """Only remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.recorder: list[str] = []
        self._came = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return True

    def status(self, text: str) -> None:
        self.recorder.append(text)
        self._came.set()

    async def wait_for(self, text: str) -> None:
        while text not in self.recorder:
            self._came.clear()
            await self._came.wait()


class Watched:
    """A run with nothing in it, and a folder for what it leaves."""

    def __init__(self, folder: Path, period: float) -> None:
        self.said: list[str] = []
        self.notifier = Statuses()
        status = StatusModel()
        journal = Journal(lambda _: True, node="home", observer=status.take)
        console = Console(self.take_line)
        self.services = Services(journal, console, status=status, notifier=self.notifier)
        self.monitoring = Monitoring(self.services, period=period)
        self.socket = folder / "status.sock"
        self.textfile = folder / "netpunch.prom"

    def take_line(self, line: bytes) -> bool:
        self.said.append(line.decode())
        return True

    def tell_alive(self) -> None:
        self.services.journal.emit(PairAlive("p", "a"))

    async def metrics(self, wanted: str) -> str:
        """The file, once this is in it."""
        return await asyncio.to_thread(wait_for_text, self.textfile, wanted)


def wait_for_text(path: Path, wanted: str) -> str:
    give_up_at = time.monotonic() + EVENT_SECONDS
    while True:
        text = path.read_text() if path.exists() else ""
        if wanted in text:
            return text
        assert time.monotonic() < give_up_at, text
        time.sleep(0.005)


def watched(run: Run[None], folder: Path, main: Main, period: float = 60.0) -> Watched:
    seen: list[Watched] = []

    async def whole() -> None:
        site = Watched(folder, period)
        seen.append(site)
        async with site.monitoring:
            await main(site)

    run(whole())
    return seen[0]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring_module, "SHORTEST_PAUSE", 0.02)


@on_both_loops
def test_changes_are_published_at_once(run: Run[None], tmp_path: Path) -> None:
    async def main(site: Watched) -> None:
        site.monitoring.use(None, site.textfile)
        site.services.status.add_end("p", "a")
        await site.metrics(UP + "0")
        site.tell_alive()
        await site.metrics(UP + "1")

    site = watched(run, tmp_path, main)
    assert site.notifier.recorder[0] == "0 of 1 pair up"
    assert site.notifier.recorder[-1] == "1 of 1 pair up"
    assert stat.S_IMODE(site.textfile.stat().st_mode) == 0o644


@on_both_loops
def test_systemd_hears_how_held_links_do(run: Run[None], tmp_path: Path) -> None:
    async def main(site: Watched) -> None:
        site.services.status.add_end("p", "a")
        site.tell_alive()
        figures = Figures(0.0214, 0.001, 0.05)
        with site.services.status.measuring("p", "a", lambda: figures):
            await site.notifier.wait_for("1 of 1 pair up; round trip 21.4 ms, loss 5%")

    watched(run, tmp_path, main, period=0.1)


@on_both_loops
def test_a_status_that_nobody_reads_is_not_made(
    run: Run[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may hold a thousand links."""
    monkeypatch.setattr(Statuses, "is_open", False)
    read: list[str] = []

    async def main(site: Watched) -> None:
        site.services.status.add_end("p", "a")
        with site.services.status.measuring("p", "a", lambda: read.append("!")):
            for _ in range(3):
                site.tell_alive()
                await asyncio.sleep(0.05)
            assert not read

    watched(run, tmp_path, main, period=0.1)


@on_both_loops
def test_metrics_are_written_again_though_nothing_happens(run: Run[None], tmp_path: Path) -> None:
    async def main(site: Watched) -> None:
        site.monitoring.use(None, site.textfile)
        await site.metrics("netpunch_info")
        site.textfile.unlink()
        await site.metrics("netpunch_info")

    watched(run, tmp_path, main, period=0.1)


@on_both_loops
def test_many_changes_are_published_together(
    run: Run[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring_module, "SHORTEST_PAUSE", 30.0)

    async def main(site: Watched) -> None:
        site.services.status.add_end("p", "a")
        for _ in range(100):
            site.tell_alive()
            await asyncio.sleep(0)

    assert len(watched(run, tmp_path, main).notifier.recorder) == 1


@on_both_loops
def test_the_last_metrics_stay_after_the_run(run: Run[None], tmp_path: Path) -> None:
    async def main(site: Watched) -> None:
        site.monitoring.use(None, site.textfile)
        site.services.status.add_end("p", "a")
        await site.metrics(UP + "0")
        site.tell_alive()

    assert UP + "1" in watched(run, tmp_path, main).textfile.read_text()


@on_both_loops
def test_the_last_metrics_wait_for_a_write_in_progress(
    run: Run[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, writers = threading.Event(), list[Path]()

    def slow(path: Path, content: bytes, mode: int) -> None:
        writers.append(path)
        assert len(writers) == 1, "two at the same time"
        begun.set()
        time.sleep(0.05)
        replace_file(path, content, mode)
        writers.pop()

    monkeypatch.setattr(atomic_module, "replace_file", slow)

    async def main(site: Watched) -> None:
        site.monitoring.use(None, site.textfile)
        await asyncio.to_thread(begun.wait, EVENT_SECONDS)

    assert "netpunch_info" in watched(run, tmp_path, main).textfile.read_text()


@on_both_loops
def test_metrics_that_cannot_be_written_are_warned_of_once(run: Run[None], tmp_path: Path) -> None:
    missing = tmp_path / "later"

    async def main(site: Watched) -> None:
        site.textfile = missing / "netpunch.prom"
        site.monitoring.use(None, site.textfile)
        site.services.status.add_end("p", "a")
        while len(site.notifier.recorder) < 3:
            site.tell_alive()
            await asyncio.sleep(0.01)
        missing.mkdir()
        site.tell_alive()
        await site.metrics(UP + "1")

    (complaint,) = watched(run, tmp_path, main, period=0.1).said
    assert complaint.startswith(f"warning: no metrics: {missing}/netpunch.prom: No such file")


@on_both_loops
def test_the_status_socket_sends_the_present_status(run: Run[None], tmp_path: Path) -> None:
    async def main(site: Watched) -> None:
        site.monitoring.use(site.socket, None)
        site.services.status.add_end("p", "a")
        site.tell_alive()
        answer = await asked(site.socket)
        assert (answer["node"], answer["summary"], answer["ok"]) == (
            *("home", "1 of 1 pair up"),
            True,
        )

    assert not watched(run, tmp_path, main).socket.exists()


async def asked(path: Path) -> dict[str, object]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    answer: dict[str, object] = json.loads(await reader.read(-1))
    writer.close()
    return answer


@on_both_loops
def test_a_reload_may_move_the_socket_and_the_metrics(run: Run[None], tmp_path: Path) -> None:
    async def main(site: Watched) -> None:
        other = site.socket.with_name("other.sock")
        site.monitoring.use(site.socket, site.textfile)
        first = site.monitoring._server
        site.monitoring.use(site.socket, site.textfile)
        assert site.monitoring._server is first, "nothing has changed"
        site.monitoring.use(other, None)
        assert (await asked(other))["node"] == "home"
        assert not is_there(site.socket)
        site.monitoring.use(None, None)
        assert not is_there(other)

    assert watched(run, tmp_path, main).said == []


def is_there(path: Path) -> bool:
    return path.exists()


@on_both_loops
def test_a_status_socket_that_cannot_be_opened_is_warned_of(run: Run[None], tmp_path: Path) -> None:
    async def main(site: Watched) -> None:
        site.socket.write_text("precious")
        site.monitoring.use(site.socket, None)

    site = watched(run, tmp_path, main)
    (complaint,) = site.said
    assert complaint.startswith(f"warning: no status socket: {site.socket}: not a socket")
    assert site.socket.read_text() == "precious"


# The whole program.


def metrics_of(site: Site, wanted: str) -> str:
    return wait_for_text(site.folder / "netpunch.prom", wanted)


def write_site(site: Site, mode: str) -> None:
    site.write({"p": {}}, secret="generate", mode=mode)
    recorder = {"status": "status.sock", "metrics": {"textfile": "netpunch.prom"}}
    site.file.write_text(json.dumps(json.loads(site.file.read_text()) | recorder))


def test_metrics_and_status_of_a_link_in_keep(site: Site) -> None:
    write_site(site, "keep")
    program = site.run()
    text = metrics_of(site, UP + "1")
    assert re.search(r'^netpunch_pair_rtt_seconds\{pair="p",end="a"\} 0\.', text, re.MULTILINE)
    assert netpunch("status", str(site.file)).returncode == 0
    program.wait_for("pair.up", 2)
    assert program.stop() == 0
    assert UP + "0" in metrics_of(site, ""), "nobody keeps it any more"
    assert netpunch("status", str(site.file)).returncode == 75


def test_metrics_of_a_link_in_once(site: Site) -> None:
    """A timer's run has ended; what it has found stays true."""
    write_site(site, "once")
    assert site.run().wait_exit() == 0
    assert UP + "1" in metrics_of(site, "")


def test_metrics_and_status_of_a_control(site: Site) -> None:
    """The pair's other end never comes."""
    site.write({"p": {"b": {"enabled": False}}}, secret="generate", mode="keep")
    program = site.run(env={"RUNTIME_DIRECTORY": str(site.folder)})
    program.wait_for("control.registered")
    program.wait_for("pair.waiting", reason="partner_absent")
    shown = netpunch("status", "--json", str(site.folder / "status.sock"))
    assert shown.returncode == 75, shown
    answer = json.loads(shown.stdout)
    (control,) = answer["controls"]
    assert control["registered"] == 1
    assert control["addresses"][0] == f"127.0.0.1:{site.port}"
    (end,) = answer["pairs"]
    assert (end["state"], end["reason"]) == ("waiting", "partner_absent")


def test_metrics_and_status_of_a_control_whose_port_is_in_use(site: Site) -> None:
    site.write({"p": {}}, secret="generate", mode="keep")
    site.run().wait_for("pair.up", 2)
    second = site.run(env={"RUNTIME_DIRECTORY": str(site.folder)})
    second.wait_for("control.failed", control="control")
    shown = netpunch("status", "--json", RUNTIME_DIRECTORY=str(site.folder))
    (control,) = json.loads(shown.stdout)["controls"]
    assert control["addresses"] == []
    assert "is in use by " in control["problems"][0]
