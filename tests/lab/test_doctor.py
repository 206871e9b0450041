"""`netpunch doctor` behind real NATs: what it says of them, and that it disturbs nothing."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from netpunch.address import Address
from tests.lab.network import HOME_ROUTER, Host, Lab, Nat, Ports
from tests.lab.program import NETPUNCH, REPOSITORY, Program, write_key

pytestmark = pytest.mark.lab

SITE = """
version: 1
control: {{node: vps, address: "{control}", relay: ":10003", tls: ":443"}}
pairs:
  p:
    mode: keep
    secret_file: p.key
    forward: {{listen: "127.0.0.1:6000", to: "127.0.0.1:6001"}}
    a: {{node: home}}
    b: {{node: office}}
"""
PATIENCE = 12.0
"""Seconds that it takes at most, whoever is silent."""
WELL_SECONDS = 5.0
"""Where all is well; it takes some two."""


class Network:
    """A control, and a host behind a router."""

    def __init__(self, folder: Path, lab: Lab, cleanup: ExitStack, nat: Nat) -> None:
        self.site = folder / "site.yaml"
        self._cleanup = cleanup
        self.router = lab.router("router", nat)
        self.host = lab.host("home", self.router)
        self.vps = lab.server("vps")
        self.site.write_text(SITE.format(control=Address(self.vps.address, 10001)))
        write_key(folder / "p.key")
        self.control = self.start(self.vps, "vps")
        self.control.wait_for("control.ready")

    def start(self, host: Host, node: str) -> Program:
        program = Program(host.namespace, self.site, node)
        self._cleanup.callback(program.close)
        return program

    def doctor(self, *options: str) -> str:
        """What it prints on the host at home."""
        done = subprocess.run(
            self.host.namespace.command(
                *NETPUNCH, "doctor", str(self.site), "--node", "home", *options
            ),
            capture_output=True,
            check=False,
            cwd=REPOSITORY,
            env={"PATH": os.environ["PATH"]},
            text=True,
            timeout=PATIENCE,
        )
        assert not done.stderr
        return done.stdout

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.doctor("--json"))
        return report


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as cleanup:
        yield cleanup


def finding(report: dict[str, Any], name: str) -> tuple[str, str]:
    """Level and text of the only finding of this name."""
    [found] = [each for each in report["findings"] if each["name"] == name]
    return found["level"], found["text"]


NATS = {
    "easy": HOME_ROUTER,
    "hard_step": Nat(Ports.SEQUENTIAL),
    "hard_random": Nat(Ports.RANDOM),
}


@pytest.mark.parametrize("expected", NATS)
def test_the_class_of_a_nat(expected: str, tmp_path: Path, lab: Lab, cleanup: ExitStack) -> None:
    network = Network(tmp_path, lab, cleanup, NATS[expected])
    began = time.monotonic()
    report = network.report()
    assert time.monotonic() - began < WELL_SECONDS
    assert report["nat"] == expected
    level, text = finding(report, "NAT")
    assert level == ("warn" if expected == "hard_random" else "ok")
    assert text.endswith(f"public address {network.router.wan.address}")
    assert report["exit_code"] == 0
    assert all(way["likely"] == 1.0 for way in report["verdicts"][0]["outlook"])
    assert finding(report, "relay")[1] == "vps relays, port 10003"


def test_where_nothing_answers_it_is_patient_but_not_for_long(
    tmp_path: Path, lab: Lab, cleanup: ExitStack
) -> None:
    """Neither the name servers nor control, over UDP or TLS."""
    network = Network(tmp_path, lab, cleanup, HOME_ROUTER)
    network.host.namespace.run("nft", "-f", "-", stdin=SILENCE)
    silent = network.report()
    assert silent["exit_code"] == 75
    assert finding(silent, "control")[1].endswith("is silent, over TLS too")
    site = network.site.read_text()
    network.site.write_text(site.replace(network.vps.address, "vps.example.net"))
    nameless = network.report()
    assert nameless["exit_code"] == 75
    assert "'vps.example.net'" in finding(nameless, "control")[1]


SILENCE = """
    table inet filter {
        chain input { type filter hook input priority filter; iif != "lo" drop; }
    }
"""


def test_where_udp_is_blocked_tls_is_found(tmp_path: Path, lab: Lab, cleanup: ExitStack) -> None:
    report = Network(tmp_path, lab, cleanup, Nat(udp_blocked=True)).report()
    level, text = finding(report, "control")
    assert level == "warn"
    assert text.endswith("UDP is blocked here")
    [verdict] = report["verdicts"]
    assert verdict["text"] == "will link by the relay at vps over TLS"
    assert "matching" in finding(report, "key")[1]


def test_a_second_port_that_a_firewall_closes(tmp_path: Path, lab: Lab, cleanup: ExitStack) -> None:
    network = Network(tmp_path, lab, cleanup, HOME_ROUTER)
    network.vps.namespace.run("nft", "-f", "-", stdin=CLOSES_SECOND_PORT)
    report = network.report()
    assert finding(report, "observe") == ("warn", "port 10002 of vps is silent")
    assert report["nat"] == "unknown"


CLOSES_SECOND_PORT = """
    table inet filter {
        chain input { type filter hook input priority filter; udp dport 10002 drop; }
    }
"""


def test_it_disturbs_nothing_that_runs(tmp_path: Path, lab: Lab, cleanup: ExitStack) -> None:
    """An end that waits for its partner, from the same host and with the same key, notices
    nothing, nor does control."""
    network = Network(tmp_path, lab, cleanup, HOME_ROUTER)
    end = network.start(network.host, "home")
    network.control.wait_for("control.registered")
    end.wait_for("pair.waiting")
    before = network.control.records(), end.records()
    report = network.report()
    assert finding(report, "state")[1].endswith("partner not there: control answers")
    assert report["verdicts"][0]["text"].endswith("; now: partner not there")
    assert (network.control.records(), end.records()) == before


def test_a_route_to_control_that_leads_into_a_tunnel(
    tmp_path: Path, lab: Lab, cleanup: ExitStack
) -> None:
    network = Network(tmp_path, lab, cleanup, HOME_ROUTER)
    network.host.namespace.configure(
        "tuntap add tun0 mode tun", "link set tun0 up", f"route add {network.vps.address} dev tun0"
    )
    report = network.report()
    assert finding(report, "route")[0] == "warn"
    assert "leads into the tunnel tun0" in finding(report, "route")[1]
    assert report["exit_code"] == 75
