"""netpunch.cli.doctor: what it examines, prints and returns."""

from __future__ import annotations

import json
import signal
import socket
import sys
from pathlib import Path

import pytest

from netpunch.cli import doctor, main
from netpunch.doctor import examination
from netpunch.doctor.examination import Patient
from netpunch.doctor.finding import ok
from netpunch.doctor.report import Report, Verdict
from netpunch.errors import PermissionsError
from tests.cli.programs import PATIENCE, started

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def patients(monkeypatch: pytest.MonkeyPatch) -> list[Patient]:
    """Who is examined, without touching any network."""
    seen: list[Patient] = []

    async def examine(patient: Patient) -> Report:
        seen.append(patient)
        verdict = Verdict("home-office", "will link", can_link=True)
        findings = (ok("processes", str(len(patient.find_processes()))),)
        return Report(str(patient.site.path), patient.part.node, (verdict,), findings)

    monkeypatch.setattr(examination, "examine", examine)
    return seen


def test_the_report_is_for_people(site: Path, patients: list[Patient], capsys: Captured) -> None:
    assert main(["doctor", "site.yaml", "--node", "home"]) == 0
    assert capsys.readouterr() == ("home-office: will link\n  ok    processes 0\n", "")
    [patient] = patients
    assert [end.pair for end in patient.part.ends] == ["home-office"]


def test_the_report_is_one_object_for_programs(
    site: Path, patients: list[Patient], capsys: Captured
) -> None:
    assert main(["doctor", "--node", "home", "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["ok"] is True


@pytest.mark.parametrize("arguments", [["site.yaml", "home-office"], ["home-office"]])
def test_one_pair_may_be_named(arguments: list[str], site: Path, patients: list[Patient]) -> None:
    assert main(["doctor", *arguments, "--node", "home"]) == 0
    assert patients[0].part.controls == ()


def test_a_pair_that_is_not_in_the_file(site: Path, capsys: Captured) -> None:
    assert main(["doctor", "site.yaml", "home-offise", "--node", "home"]) == 64
    expected = "pair home-offise is not in it; choose one of home-office"
    assert expected in capsys.readouterr().err


def test_a_pair_of_other_nodes(site: Path, capsys: Captured) -> None:
    assert main(["doctor", "site.yaml", "home-office", "--node", "vps"]) == 64
    assert "runs on other nodes; this node runs no end" in capsys.readouterr().err


def test_without_a_site_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(doctor, "USUAL_FILES", (Path("site.yaml"), folder / "other.yaml"))
    assert main(["doctor"]) == 64
    assert f"there is neither site.yaml nor {folder}/other.yaml" in capsys.readouterr().err


def test_a_site_file_that_is_missing(folder: Path, capsys: Captured) -> None:
    assert main(["doctor", "none.yaml"]) == 66


@pytest.mark.parametrize("json_too", [False, True])
def test_a_site_file_that_is_wrong_is_a_finding(
    json_too: bool, site: Path, capsys: Captured
) -> None:
    site.write_text(site.read_text().replace("secret_file", "secret_fil"))
    assert main(["doctor", *(["--json"] if json_too else [])]) == 78
    output = capsys.readouterr().out
    assert "unknown key" in output
    assert "`netpunch check site.yaml`" in output
    assert output.startswith("{" if json_too else "site.yaml: cannot be used: ")


def test_a_process_that_may_not_be_asked_is_passed_over(
    site: Path, patients: list[Patient], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from netpunch.cli import status

    paths = [tmp_path / f"{name}.sock" for name in ("ours", "others", "forbidden")]
    answers = {"ours": {"file": str(site.resolve()), "pairs": []}, "others": {"file": "/x"}}

    def ask(path: Path) -> object:
        if path.stem not in answers:
            raise PermissionsError
        return answers[path.stem]

    monkeypatch.setattr(status, "find_sockets", lambda *_: status.Found(paths))
    monkeypatch.setattr(status, "ask", ask)
    assert main(["doctor", "--node", "home"]) == 0
    assert patients[0].find_processes() == [answers["ours"]]


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_colours_are_for_terminals(
    terminal: bool,
    no_color: str,
    coloured: bool,
    site: Path,
    patients: list[Patient],
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert main(["doctor", "--node", "home"]) == 0
    assert ("\x1b[32m" in capsys.readouterr().out) is coloured


def test_an_interrupted_doctor_says_nothing(site: Path, pair_key: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        control.bind(("127.0.0.1", 0))
        control.settimeout(PATIENCE)
        address = f"127.0.0.1:{control.getsockname()[1]}"
        site.write_text(site.read_text().replace("vps.example.net:10001", address))
        with started("doctor", "site.yaml", "--node", "home", cwd=site.parent) as process:
            control.recv(2048)  # it asks
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=PATIENCE) == ("", "")
            assert process.returncode == 130
