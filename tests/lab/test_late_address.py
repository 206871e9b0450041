"""An address that comes after the program has started, as at boot: a DHCP answer, a check for
duplicates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.namespace import Namespace
from tests.lab.program import Program, write_key

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("_namespaces")]

ADDRESS = "198.51.100.10"
SITE = f"""
version: 1
control: {{node: vps, address: "{ADDRESS}:10001", listen: "{ADDRESS}:10001", observe: off}}
pairs:
  p:
    secret_file: p.key
    retry_after: 500ms
    a: {{node: home, local: "{ADDRESS}:5000", mode: %(mode)s}}
    b: {{node: office, mode: %(mode)s}}
"""


class LateHost:
    """All nodes of a site in a namespace without addresses."""

    def __init__(self, folder: Path, cleanup: ExitStack, mode: str) -> None:
        self._site = folder / "site.yaml"
        self._cleanup = cleanup
        self._namespace = Namespace("late")
        cleanup.callback(self._namespace.delete)
        self._site.write_text(SITE % {"mode": mode})
        write_key(folder / "p.key")

    def start(self, node: str) -> Program:
        program = Program(self._namespace, self._site, node)
        self._cleanup.callback(program.close)
        return program

    def give_address(self) -> None:
        self._namespace.configure(f"address add {ADDRESS}/32 dev lo")


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as cleanup:
        yield cleanup


def test_run_waits_for_an_address_that_appears_later(tmp_path: Path, cleanup: ExitStack) -> None:
    host = LateHost(tmp_path, cleanup, "keep")
    programs = {node: host.start(node) for node in ("vps", "home", "office")}
    assert programs["vps"].wait_for("control.failed")["reason"] == "network_not_ready"
    assert programs["home"].wait_for("pair.failed")["reason"] == "network_not_ready"
    host.give_address()
    for node in ("home", "office"):
        programs[node].wait_for("pair.up")
    assert programs["vps"].terminate() == 0


def test_once_exits_with_75_if_its_address_does_not_exist_yet(
    tmp_path: Path, cleanup: ExitStack
) -> None:
    """A timer tries again, and no unit is kept from starting."""
    home = LateHost(tmp_path, cleanup, "once").start("home")
    assert home.wait_for("pair.failed")["reason"] == "network_not_ready"
    assert home.wait_exit() == 75
