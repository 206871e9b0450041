"""Starting is cheap: a command imports what it needs, and only when it needs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.programs import PATIENCE, environment

HEAVY = ("asyncio", "uvloop", "cryptography", "yaml", "socket", "logging", "netpunch.config")
LOADED = "import sys; from netpunch.cli import main; code = main(sys.argv[1:]); "
REPORT = "print(*sys.modules, file=sys.stderr); sys.exit(code)"


def modules_after(*arguments: str, cwd: Path) -> set[str]:
    result = subprocess.run(
        [sys.executable, "-S", "-c", LOADED + REPORT, *arguments],
        cwd=cwd,
        env=environment(PYTHONPATH=":".join(sys.path)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return set(result.stderr.split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["version"]])
def test_help_and_version_import_nothing_heavy(arguments: list[str], folder: Path) -> None:
    modules = modules_after(*arguments, cwd=folder)
    assert not modules.intersection(HEAVY)
    assert "netpunch.cli.parser" in modules


@pytest.mark.parametrize("command", ["run", "check", "key", "control", "peer"])
def test_a_command_s_help_needs_no_network(command: str, folder: Path) -> None:
    modules = modules_after(command, "--help", cwd=folder)
    assert not modules & {"asyncio", "uvloop", "cryptography", "yaml", "socket"}


def test_check_needs_no_network_and_no_cryptography(site: Path, pair_key: Path) -> None:
    modules = modules_after("check", "site.yaml", "--node", "home", cwd=site.parent)
    assert not modules & {"asyncio", "uvloop", "cryptography", "netpunch.net", "netpunch.node"}
    assert "yaml" in modules


def test_one_command_does_not_import_another(site: Path, pair_key: Path) -> None:
    modules = modules_after("check", "site.yaml", "--node", "home", cwd=site.parent)
    others = {f"netpunch.cli.{name}" for name in ("run", "key", "control", "peer")}
    assert not modules & others
