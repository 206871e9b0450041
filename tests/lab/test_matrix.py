"""The real program behind each kind of NAT: a few cells of what `tests.lab.matrix` runs whole."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.cell import DEADLINE, KINDS, UPLINK, run_cell
from tests.lab.program import write_key
from tests.lab.tun_network import missing_for_tun

pytestmark = [
    pytest.mark.lab,
    pytest.mark.usefixtures("_namespaces"),
    pytest.mark.skipif(bool(missing_for_tun()), reason=f"needs {missing_for_tun()}"),
]

PINGS_SUFFICE = [
    ("open", "port-restricted"),
    ("full", "restricted"),
    ("port-restricted", "random-port"),
    ("random-port", "random-port"),
    ("hard-random", "open"),
    ("restricted", "hard-step"),
]
PROBES_ARE_NEEDED = [
    ("hard-step", "port-restricted"),
    ("random-port", "hard-step"),
    ("random-port", "hard-random"),
    ("hard-step", "hard-step"),
]

LOSS = 0.1
"""Of each uplink, each way: a datagram to the partner passes two, and a third of the round
trips fail."""
BLOCKED_DEADLINE = 2
"""Seconds: no link is possible."""
UNREACHABLE, NOT_LINKED = 69, 75
"""Exit codes."""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("matrix") / "pair.key"
    write_key(path)
    return path


@pytest.mark.parametrize(("home", "office"), [*PINGS_SUFFICE, *PROBES_ARE_NEEDED])
def test_ends_behind_these_nats_link(home: str, office: str, tmp_path: Path, key: Path) -> None:
    assert run_cell(KINDS[home], KINDS[office], tmp_path, key).linked


def test_ends_link_on_lossy_paths(tmp_path: Path, key: Path) -> None:
    cones = KINDS["port-restricted"], KINDS["random-port"]
    assert run_cell(*cones, tmp_path, key, uplink=replace(UPLINK, loss=LOSS)).linked


def test_an_infeasible_pairing_is_reported_long_before_the_deadline(
    tmp_path: Path, key: Path
) -> None:
    begun = time.monotonic()
    run = run_cell(KINDS["hard-random"], KINDS["hard-random"], tmp_path, key)
    assert time.monotonic() - begun < DEADLINE / 2
    for end in (run.home, run.office):
        assert end.exit_code == NOT_LINKED
        assert "hard_random" in end.said


def test_blocked_udp_is_reported_as_the_cause(tmp_path: Path, key: Path) -> None:
    places = KINDS["blocked"], KINDS["port-restricted"]
    run = run_cell(*places, tmp_path, key, deadline=BLOCKED_DEADLINE)
    assert (run.home.exit_code, run.office.exit_code) == (UNREACHABLE, NOT_LINKED)
