"""Faults of networks, in namespaces."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.bench import provoke, unnamed
from tests.faults.networks import PROVOKED, scenes
from tests.faults.table import FAULTS
from tests.lab.conftest import _namespaces as _namespaces
from tests.lab.conftest import dual_lab as dual_lab
from tests.lab.network import Lab

NEEDS = {"port of WireGuard": "wireguard-go"}


@pytest.mark.lab
def test_the_first_complaint_names_the_cause_and_the_cure(dual_lab: Lab, tmp_path: Path) -> None:
    """All at once, as most of the time is waiting."""
    faults = {fault.name: fault for fault in FAULTS if fault.network}
    assert faults.keys() == PROVOKED.keys()
    able = [name for name in faults if shutil.which(NEEDS.get(name, "sh"))]
    with ExitStack() as cleanup:
        built = scenes(dual_lab, tmp_path, cleanup, able)
        provoke(built, PROVOKED)
        wrong = unnamed(built, faults)
    assert not wrong, wrong
