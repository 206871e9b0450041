"""netpunch.doctor.examination: a node examined, with a real control on loopback."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from netpunch.api.control import start_control
from netpunch.config.loading import load, select
from netpunch.core import observing
from netpunch.core.events import AuthRejected
from netpunch.doctor import examination, measuring
from netpunch.doctor.examination import Patient, examine
from netpunch.doctor.finding import Finding, Level
from netpunch.doctor.local import Process
from netpunch.doctor.report import Report
from netpunch.keys import control_key, new_key
from netpunch.wire.drop import Drop
from tests.net.conftest import Run
from tests.net.conftest import _what_loops_open_for_ever as _what_loops_open_for_ever
from tests.net.conftest import run as run
from tests.net.machines import client
from tests.net.nodes import Watcher

SITE = """
version: 1
control: {{node: vps, address: "{control}", observe: off}}
meshes:
  lan: {{secret_file: lan.key, nodes: [home, office, attic]}}
pairs:
  p: {{secret_file: p.key, a: {{node: home}}, b: {{node: office}}}}
  q: {{secret_file: q.key, a: {{node: home, local: ":0"}}, b: {{node: office}}}}
"""
OWNERS = ("p", "q", "lan")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "RETRIES", (0.05, 0.1))
    monkeypatch.setattr(observing, "PATIENCE", 0.2)
    monkeypatch.setattr(measuring, "default_gateways", lambda _: [])
    monkeypatch.setattr("netpunch.net.observation.STREAM_PATIENCE", 0.1)


class Clinic:
    """A folder with a site and its keys, and a control that has some of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = {owner: new_key() for owner in OWNERS}
        for owner, key in self.keys.items():
            (folder / f"{owner}.key").write_text(f"{key}\n")
            (folder / f"{owner}.key").chmod(0o600)

    @contextlib.asynccontextmanager
    async def control(self, *owners: str) -> AsyncIterator[Watcher]:
        """It serves these, and the site names it."""
        names = [name for each in owners for name in (PAIRS_OF_MESH if each == "lan" else (each,))]
        keys = {name: self._control_key(name) for name in names}
        seen = Watcher()
        async with start_control(
            listen="127.0.0.1:0", observe=False, pairs=keys, observer=seen
        ) as serving:
            self.write(str(serving.addresses[0]))
            yield seen

    def _control_key(self, pair: str) -> str:
        owner = pair.partition(".")[0]
        return control_key(self.keys[owner], owner)

    def write(self, control: str) -> None:
        (self.folder / "site.yaml").write_text(SITE.format(control=control))

    async def examine(
        self, node: str = "home", processes: Sequence[Process] = (), **more: Any
    ) -> Report:
        site = load(self.folder / "site.yaml")
        part = select(site, node, "", None)
        return await examine(Patient(site, part, {}, None, lambda: processes)._replace(**more))


PAIRS_OF_MESH = ("lan.attic.home", "lan.home.office")


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    return Clinic(tmp_path)


def named(report: Report, name: str, pair: str = "") -> list[Finding]:
    return [
        each for each in report.findings if each.name == name and (not pair or pair in each.pairs)
    ]


def verdicts(report: Report) -> dict[str, bool | None]:
    return {each.name: each.can_link for each in report.verdicts}


def test_a_node_whose_keys_control_has(clinic: Clinic, run: Run) -> None:
    async def main() -> None:
        async with clinic.control(*OWNERS) as seen:
            report = await clinic.examine()
            assert set(verdicts(report).values()) == {True}
            assert set(verdicts(report)) == {"p", "q", *PAIRS_OF_MESH}
            for found in named(report, "key"):
                assert found.level is Level.OK
                assert "control vps has the matching one" in found.text
            assert report.exit_code == 0
            assert not seen.events  # nobody was registered

    run(main())


def test_one_question_is_asked_with_each_key(clinic: Clinic, run: Run) -> None:
    """Control answers a host that it does not know 16 times for each pair: ends need them, too."""

    async def main() -> None:
        async with clinic.control(*OWNERS) as seen:
            await clinic.examine()
            asked = [each for each in seen.datagrams if not each.sent]
            assert len(asked) == len(OWNERS)
            assert all(each.text.startswith("OBSERVE echo=") for each in asked)

    run(main())


def test_a_key_that_control_does_not_have(clinic: Clinic, run: Run) -> None:
    async def main() -> None:
        async with clinic.control("q", "lan"):
            report = await clinic.examine()
            [found] = named(report, "key", "p")
            assert found.level is Level.FAIL
            assert "answers other keys, but not this one" in found.text
            assert verdicts(report)["p"] is False
            assert verdicts(report)["q"] is True
            assert report.exit_code == 75

    run(main())


def test_a_control_that_is_silent(clinic: Clinic, run: Run) -> None:
    async def main() -> None:
        with client() as mute:
            clinic.write(str(mute.address))
            report = await clinic.examine()
        assert set(verdicts(report).values()) == {False}
        [found] = named(report, "control")
        assert found.level is Level.FAIL
        assert all("matching" not in each.text for each in named(report, "key"))

    run(main())


def test_a_control_whose_name_does_not_resolve(
    clinic: Clinic, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "RESOLVE_PATIENCE", 1.0)

    async def main() -> None:
        clinic.write("nowhere.invalid:10001")
        report = await clinic.examine()
        [found] = named(report, "control")
        assert found.level is Level.FAIL
        assert "nowhere.invalid" in found.text

    run(main())


def test_a_site_file_with_warnings(clinic: Clinic, run: Run) -> None:
    async def main() -> None:
        async with clinic.control(*OWNERS):
            site = clinic.folder / "site.yaml"
            site.write_text(f"include: none-*.yaml\n{site.read_text()}")
            [found] = named(await clinic.examine(), "file")
            assert found.level is Level.WARN
            assert found.text.endswith("; 1 warning")
            assert found.cure == "`netpunch check site.yaml`"

    run(main())


def test_a_host_without_the_address_that_it_punches_from(clinic: Clinic, run: Run) -> None:
    async def main() -> None:
        clinic.write("127.0.0.1:1")
        site = clinic.folder / "site.yaml"
        site.write_text(
            site.read_text().replace("{node: home}", '{node: home, local: "192.0.2.7:0"}')
        )
        [found] = named(await clinic.examine(), "control")
        assert found.level is Level.FAIL
        assert "192.0.2.7" in found.text

    run(main())


def test_a_key_that_is_rotated(clinic: Clinic, run: Run) -> None:
    async def main() -> None:
        async with clinic.control(*OWNERS):
            (clinic.folder / "new.key").write_text(new_key())
            (clinic.folder / "new.key").chmod(0o600)
            site = clinic.folder / "site.yaml"
            site.write_text(site.read_text().replace("p.key", "[new.key, p.key]"))
            report = await clinic.examine()
            new, old = named(report, "key", "p")
            assert (new.level, old.level) == (Level.WARN, Level.OK)
            assert new.text.startswith("new.key, ")
            assert verdicts(report)["p"]

    run(main())


def test_a_key_that_is_missing(clinic: Clinic, run: Run) -> None:
    async def main() -> None:
        async with clinic.control(*OWNERS):
            (clinic.folder / "p.key").unlink()
            report = await clinic.examine()
            [found] = named(report, "key", "p")
            assert "there is no file" in found.text
            assert found.code == 78
            assert verdicts(report) == {"p": False, "q": True} | dict.fromkeys(PAIRS_OF_MESH, True)

    run(main())


def test_a_key_that_others_may_read(clinic: Clinic, run: Run) -> None:
    async def main() -> None:
        async with clinic.control(*OWNERS):
            (clinic.folder / "p.key").chmod(0o644)
            [found] = named(await clinic.examine(), "key", "p")
            assert "others may read" in found.text
            assert "chmod 600" in found.cure
            assert found.code == 77

    run(main())


def test_the_control_of_a_node_is_examined_with_its_own_keys(clinic: Clinic, run: Run) -> None:
    async def main() -> None:
        for owner in OWNERS:
            (clinic.folder / f"{owner}.key").write_text(control_key(clinic.keys[owner], owner))
        async with clinic.control(*OWNERS):
            own = {"pid": os.getpid(), "summary": "fine", "controls": [{"control": "vps"}]}
            report = await clinic.examine("vps", [own])
            [found] = named(report, "key")
            assert found.text == "control answers 3 of 3 keys of this file"
            [verdict] = report.verdicts
            assert (verdict.name, verdict.text) == ("control vps", "runs: fine")
            assert report.exit_code == 0

    run(main())


def test_a_control_that_does_not_run(clinic: Clinic, run: Run) -> None:
    async def main() -> None:
        with client() as mute:
            clinic.write(str(mute.address))
            report = await clinic.examine("vps")
            [verdict] = report.verdicts
            assert verdict.text.startswith("does not answer")
            assert report.exit_code == 69

    run(main())


def test_what_a_running_process_says_is_believed(clinic: Clinic, run: Run) -> None:
    pair = {"pair": "p", "end": "a", "state": "up", "path": "observed", "raddr": "203.0.113.9:5"}
    process = {"pid": os.getpid(), "summary": "1 of 4 pairs up", "pairs": [pair], "controls": []}

    async def main() -> None:
        with client() as mute:
            clinic.write(str(mute.address))
            report = await clinic.examine(processes=[process])
        by_name = {each.name: each for each in report.verdicts}
        assert by_name["p"].text == "is linked (observed to 203.0.113.9:5)"
        assert by_name["p"].can_link
        assert by_name["q"].can_link is False

    run(main())


def test_a_process_of_another_node_on_this_host_is_not_mentioned(clinic: Clinic, run: Run) -> None:
    control_process = {"pid": os.getpid(), "pairs": [], "controls": [{"control": "vps"}]}

    async def main() -> None:
        async with clinic.control(*OWNERS):
            [found] = named(await clinic.examine(processes=[control_process]), "running")
            assert found.text.startswith("no process")

    run(main())


def test_a_process_that_does_not_answer_is_not_waited_for(
    clinic: Clinic, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "HOST_PATIENCE", 0.1)

    def hang() -> list[Process]:
        time.sleep(1.0)
        return []

    async def main() -> None:
        async with clinic.control(*OWNERS):
            [found] = named(await clinic.examine(find_processes=hang), "running")
            assert found.level is Level.WARN

    run(main())


def test_a_systemd_that_does_not_answer_is_not_waited_for(
    clinic: Clinic, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "HOST_PATIENCE", 0.1)
    monkeypatch.setattr(examination, "units", lambda: time.sleep(1.0))

    async def main() -> None:
        async with clinic.control(*OWNERS):
            assert [each.level for each in named(await clinic.examine(), "unit")] == [Level.WARN]

    run(main())


def test_the_wrong_keys_of_a_doctor_are_dropped_by_control(clinic: Clinic, run: Run) -> None:
    async def main() -> None:
        async with clinic.control(*OWNERS) as seen:
            (clinic.folder / "p.key").write_text(new_key())
            await clinic.examine()
            rejected = [each for each in seen.events if isinstance(each, AuthRejected)]
            assert {each.reason for each in rejected} == {Drop.BAD_MAC}

    run(main())
