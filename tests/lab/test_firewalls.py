"""A firewall on netpunch's own host refuses what it sends: the kernel says EPERM."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.lab.namespace import Namespace
from tests.lab.program import EVENT_SECONDS, Program, write_key

pytestmark = pytest.mark.lab

CONTROL_PORT = 10001
REFUSED = "EPERM): a firewall on this host?"
POLL_SECONDS = 0.05
SITE = """
version: 1
control: {node: vps, address: "127.0.0.1:%d"}
pairs:
  home-office:
    secret_file: home-office.key
    mode: %s
    deadline: 2s
    local: "127.0.0.1:0"
    a: {node: home}
    b: {node: office}
"""
WATCHED = """
status: status.sock
metrics: {textfile: netpunch.prom}
"""
"""Only control has one: each process would need its own files."""
RULES = """
table inet netpunch {
    chain output { type filter hook output priority filter; udp %s drop; }
}
"""


class Alone:
    """One host with all three nodes, and its firewall."""

    def __init__(self, folder: Path, cleanup: ExitStack) -> None:
        self.folder = folder
        self._namespace = Namespace("alone")
        self._cleanup = cleanup
        cleanup.callback(self._namespace.delete)
        write_key(folder / "home-office.key")

    def write(self, mode: str) -> None:
        site = SITE % (CONTROL_PORT, mode)
        (self.folder / "ends.yaml").write_text(site)
        (self.folder / "control.yaml").write_text(site + WATCHED)

    def start(self, node: str) -> Program:
        file = "control.yaml" if node == "vps" else "ends.yaml"
        program = Program(self._namespace, self.folder / file, node)
        self._cleanup.callback(program.close)
        return program

    def refuse(self, what: str) -> None:
        """Refuse outgoing datagrams that match, such as `dport 1`."""
        self._namespace.run("nft", "-f", "-", stdin=RULES % what)

    def allow_all(self) -> None:
        self._namespace.run("nft", "delete", "table", "inet", "netpunch")

    def status(self) -> Any:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(EVENT_SECONDS)
            client.connect(str(self.folder / "status.sock"))
            return json.loads(b"".join(iter(lambda: client.recv(65536), b"")))

    def metrics(self) -> str:
        return (self.folder / "netpunch.prom").read_text()


@pytest.fixture
def alone(_namespaces: None, tmp_path: Path) -> Iterator[Alone]:
    with ExitStack() as cleanup:
        yield Alone(tmp_path, cleanup)


def wait_until(condition: Any) -> None:
    """For what emits no event."""
    deadline = time.monotonic() + EVENT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)


def test_an_end_whose_firewall_refuses_everything_fails_and_says_so(alone: Alone) -> None:
    alone.write("once")
    alone.refuse(f"dport {CONTROL_PORT}")
    alone.start("vps").wait_for("control.ready")
    home = alone.start("home")
    failed = home.wait_for("pair.failed")
    assert failed["reason"] == "secret_rejected_or_silent"
    assert failed["err"].endswith(REFUSED)
    assert home.wait_exit() == 69


def test_ends_link_once_the_firewall_rule_is_gone(alone: Alone) -> None:
    """Until then they report the error and keep trying."""
    alone.write("keep")
    alone.refuse(f"dport {CONTROL_PORT}")
    alone.start("vps").wait_for("control.ready")
    ends = [alone.start(node) for node in ("home", "office")]
    for end in ends:
        waiting = end.wait_for("pair.waiting")
        assert waiting["err"].endswith(REFUSED)
    alone.allow_all()
    for end in ends:
        end.wait_for("pair.up")


def test_a_control_whose_firewall_refuses_its_answers_reports_it(alone: Alone) -> None:
    """It counts them, shows the count, and goes on: ends link once answers get through."""
    alone.write("keep")
    alone.refuse(f"sport {CONTROL_PORT}")
    control = alone.start("vps")
    control.wait_for("control.ready")
    ends = [alone.start(node) for node in ("home", "office")]
    for end in ends:
        waiting = end.wait_for("pair.waiting")
        assert REFUSED not in waiting["err"], "nobody refuses what they send"
    [status] = alone.status()["controls"]
    assert status["send_errors"]["EPERM"] > 0
    counted = 'netpunch_control_send_errors_total{control="vps",error="EPERM"}'
    wait_until(lambda: counted in alone.metrics())
    alone.allow_all()
    for end in ends:
        end.wait_for("pair.up")
