"""The files in contrib/ are accepted by the programs that will read them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from netpunch.cli.run import parse
from netpunch.errors import (
    ConfigurationError,
    MissingFileError,
    NotLinkedError,
    PermissionsError,
    UsageError,
)

CONTRIB = Path(__file__).parent.parent / "contrib"
UNITS = sorted(path.name for path in CONTRIB.iterdir() if path.suffix in {".service", ".timer"})
CRON_LINE = re.compile(r"(?P<when>(\S+ ){5})(?P<user>\S+) (?P<command>.+)")
INSTALLED = "/usr/bin/netpunch"
STAND_IN = "/bin/true"
"""A program that exists where netpunch is not installed; systemd wants an executable file."""
COMMAND_SECONDS = 30
FIRST_SYSTEMD = 250
"""The first that can judge units without a running systemd."""


def systemd_version() -> int:
    """0 where there is no systemd-analyze."""
    if shutil.which("systemd-analyze") is None:
        return 0
    found = re.search(r"systemd (\d+)", run("systemd-analyze", "--version").stdout)
    return int(found[1]) if found else 0


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=COMMAND_SECONDS,
    )


def analyze(*arguments: str) -> str:
    """What systemd-analyze complains of, the exit code included."""
    done = run("systemd-analyze", "--no-pager", *arguments)
    complaints = "\n".join(filter(None, [done.stderr, f"exit {done.returncode}"]))
    return "" if complaints == "exit 0" else f"{done.stdout}\n{complaints}"


def verify(unit: Path) -> str:
    return analyze("verify", "--man=no", "--recursive-errors=no", str(unit))


def lines_of(name: str) -> list[str]:
    return (CONTRIB / name).read_text(encoding="utf-8").splitlines()


def settings(name: str, key: str) -> list[str]:
    """The values of a unit's lines `key=value`."""
    return [line.partition("=")[2] for line in lines_of(name) if line.startswith(f"{key}=")]


def cron_line() -> re.Match[str]:
    lines = [line for line in lines_of("netpunch.cron") if line and line[0] in "*0123456789@"]
    assert len(lines) == 1
    match = CRON_LINE.fullmatch(lines[0])
    assert match is not None
    return match


needs_systemd = pytest.mark.skipif(
    systemd_version() < FIRST_SYSTEMD, reason=f"needs systemd-analyze >= {FIRST_SYSTEMD}"
)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder with the units, their program replaced by one that exists."""
    for name in UNITS:
        text = (CONTRIB / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace(INSTALLED, STAND_IN), encoding="utf-8")
    return tmp_path


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_the_unit(units: Path, name: str) -> None:
    assert verify(units / name) == ""


@needs_systemd
@pytest.mark.parametrize("mistake", ["ProtectSytem=strict", "RestartSec=soon"])
def test_the_verification_notices_mistakes(units: Path, mistake: str) -> None:
    unit = units / "netpunch-control.service"
    unit.write_text(unit.read_text().replace("[Service]", f"[Service]\n{mistake}"))
    assert f"{unit}:" in verify(unit)


@needs_systemd
@pytest.mark.parametrize(
    ("name", "exposure"), [("netpunch-control.service", 1.5), ("netpunch-once@.service", 3.0)]
)
def test_the_service_is_hardened(units: Path, name: str, exposure: float) -> None:
    """`exposure` is systemd's own measure: 0 is a service that can do nothing, 10 is root."""
    threshold = f"--threshold={exposure * 10:.0f}"
    assert analyze("security", "--offline=yes", threshold, str(units / name)) == ""


@pytest.mark.parametrize(
    ("name", "once"), [("netpunch-control.service", False), ("netpunch-once@.service", True)]
)
def test_the_service_runs_the_site_file(name: str, once: bool) -> None:
    (command,) = settings(name, "ExecStart")
    program, subcommand, *arguments = shlex.split(command)
    assert (program, subcommand) == (INSTALLED, "run")
    options = parse("netpunch run", arguments)
    assert (options.file, options.once) == ("/etc/netpunch/site.yaml", once)


def test_control_is_not_restarted_for_what_a_restart_does_not_mend() -> None:
    (codes,) = settings("netpunch-control.service", "RestartPreventExitStatus")
    lasting = (UsageError, MissingFileError, PermissionsError, ConfigurationError)
    assert [int(code) for code in codes.split()] == [error.exit_code for error in lasting]


def test_an_absent_partner_is_no_failure_of_the_once_service() -> None:
    (code,) = settings("netpunch-once@.service", "SuccessExitStatus")
    assert int(code) == NotLinkedError.exit_code


def test_the_timer_keeps_both_ends_in_step() -> None:
    name = "netpunch-once@.timer"
    assert settings(name, "OnUnitInactiveSec") == ["30s"]
    assert settings(name, "AccuracySec") == ["1s"]
    assert settings(name, "RandomizedDelaySec") == []


def test_the_cron_line_is_one_of_the_system_table() -> None:
    line = cron_line()
    assert line["when"].split() == ["*"] * 5
    assert line["user"] == "root"
    assert "%" not in line["command"]


@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock")
def test_the_cron_line_runs_one_netpunch_at_a_time(tmp_path: Path) -> None:
    lock, calls = tmp_path / "lock", tmp_path / "calls"
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in {"netpunch": f'echo "$*" >>{calls}', "logger": "cat >/dev/null"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    command = cron_line()["command"].replace("/run/netpunch.lock", str(lock))
    assert str(lock) in command
    line = f"PATH={programs}:$PATH; {command}"
    run("sh", "-c", line)
    run("flock", str(lock), "sh", "-c", line)  # somebody else holds the lock meanwhile
    (call,) = calls.read_text().splitlines()
    subcommand, *arguments = call.split()
    assert subcommand == "run"
    assert parse("netpunch run", arguments).once
