"""Starting is cheap: a command imports what it needs, and only when it needs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from netpunch.tunnels import has_tunnel
from tests.cli.programs import PATIENCE, environment

HEAVY = ("asyncio", "uvloop", "cryptography", "yaml", "socket", "logging", "netpunch.config")
LOADED = "import sys; from netpunch.cli import main; code = main(sys.argv[1:]); "
REPORT = "print(*sys.modules, file=sys.stderr); sys.exit(code)"
LIBRARIES = "import sys, argparse, uvloop, yaml; print(*sys.modules, file=sys.stderr)"
"""A program that imports only the libraries that netpunch needs."""


AT_FIRST_DATAGRAM = """
import os, sys

def watch(event, arguments):
    if event == "socket.sendto":
        print(*sys.modules, file=sys.stderr, flush=True)
        os._exit(0)

sys.addaudithook(watch)
from netpunch.cli import main
main(sys.argv[1:])
"""

NOT_FOR_ONE_V2_END = (
    *(
        "netpunch.node.control_task",
        "netpunch.core.control.node",
        "netpunch.core.control.registrations",
    ),
    *("netpunch.core.classic.end", "netpunch.wire.classic"),
    *("netpunch.net.port_mapping", "netpunch.wire.portmap", "netpunch.net.routes"),
    *("netpunch.net.forward", "netpunch.net.standby"),
    *("netpunch.net.watch", "netpunch.net.held_path", "netpunch.net.netlink"),
    *("netpunch.node.publish", "netpunch.output.status_socket", "netpunch.output.metrics"),
    *(
        "netpunch.core.traversal.escalation",
        "netpunch.config.display",
        "netpunch.config.document.syntax",
    ),
    *("shutil", "tempfile", "dataclasses", "ctypes"),
    "cryptography.hazmat.backends.openssl.backend",
)
"""Modules that this configuration does not need, or only after control has answered."""


def told_modules(program: str, *arguments: str, cwd: Path) -> set[str]:
    """The modules that a program names on standard error."""
    result = subprocess.run(
        [sys.executable, "-S", "-c", program, *arguments],
        cwd=cwd,
        env=environment(PYTHONPATH=":".join(sys.path)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return set(result.stderr.split())


def modules_after(*arguments: str, cwd: Path) -> set[str]:
    return told_modules(LOADED + REPORT, *arguments, cwd=cwd)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["version"]])
def test_help_and_version_import_nothing_heavy(arguments: list[str], folder: Path) -> None:
    modules = modules_after(*arguments, cwd=folder)
    assert not modules.intersection(HEAVY)
    assert "netpunch.cli.arguments" in modules


@pytest.mark.parametrize("command", ["run", "check", "key", "control", "peer"])
def test_a_command_s_help_needs_no_network(command: str, folder: Path) -> None:
    modules = modules_after(command, "--help", cwd=folder)
    assert not modules & {"asyncio", "uvloop", "cryptography", "yaml", "socket"}


@pytest.mark.skipif(has_tunnel(), reason="the routes of a host with a tunnel are looked at")
def test_check_needs_no_network_and_no_cryptography(site: Path, pair_key: Path) -> None:
    modules = modules_after("check", "site.yaml", "--node", "home", cwd=site.parent)
    assert not modules & {"asyncio", "uvloop", "cryptography", "netpunch.net", "netpunch.node"}
    assert "yaml" in modules


def test_one_command_does_not_import_another(site: Path, pair_key: Path) -> None:
    modules = modules_after("check", "site.yaml", "--node", "home", cwd=site.parent)
    others = {f"netpunch.cli.{name}" for name in ("run", "key", "control", "peer")}
    assert not modules & others


def test_the_first_datagram_waits_for_nothing_that_is_not_needed(
    site: Path, pair_key: Path
) -> None:
    address = '"127.0.0.1:9"'  # nothing is sent: the process ends just before
    site.write_text(site.read_text().replace('"vps.example.net:10001"', address))
    modules = told_modules(AT_FIRST_DATAGRAM, "run", "site.yaml", "--node", "home", cwd=site.parent)
    assert {"netpunch.core.end.end", "cryptography", "uvloop"} <= modules
    # Python 3.14's traceback, for one, needs dataclasses itself.
    unavoidable = told_modules(LIBRARIES, cwd=site.parent)
    assert not modules.intersection(NOT_FOR_ONE_V2_END) - unavoidable
