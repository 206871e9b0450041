"""The lab leaves nothing behind, whatever happens."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.lab.namespace import NETNS_DIRECTORY, Namespace, remove_stale_namespaces
from tests.lab.network import Lab

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("_namespaces")]

WAIT_FOREVER = "import signal; print(flush=True); signal.pause()"


def start_waiting(namespace: Namespace) -> subprocess.Popen[bytes]:
    """A process that runs in a namespace until it is killed."""
    process = subprocess.Popen(
        namespace.command(sys.executable, "-c", WAIT_FOREVER), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout as stdout:
        stdout.readline()
    return process


def test_a_lab_that_fails_removes_its_namespaces_and_their_processes() -> None:
    started: list[tuple[Namespace, subprocess.Popen[bytes]]] = []

    def fail_half_way() -> None:
        with Lab() as lab:
            namespace = lab.server("server").namespace
            started.append((namespace, start_waiting(namespace)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    ((namespace, process),) = started
    assert process.wait(timeout=5) == -signal.SIGKILL
    assert not (NETNS_DIRECTORY / namespace.name).exists()


def test_namespaces_of_a_run_that_was_killed_are_removed() -> None:
    leave_one = "from tests.lab.namespace import Namespace; print(Namespace('stale').name)"
    done = subprocess.run(
        [sys.executable, "-c", leave_one], capture_output=True, text=True, check=True, timeout=10
    )
    name = done.stdout.strip()
    assert (NETNS_DIRECTORY / name).exists()
    remove_stale_namespaces()  # or another run that begins just now
    assert not (NETNS_DIRECTORY / name).exists()


def test_namespaces_of_a_run_that_lives_are_kept() -> None:
    namespace = Namespace("alive")
    try:
        assert namespace.name not in remove_stale_namespaces()
        assert (NETNS_DIRECTORY / namespace.name).exists()
    finally:
        namespace.delete()
