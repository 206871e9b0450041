"""Faults of files, hosts and controls, on loopback."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.faults.bench import provoke, unnamed
from tests.faults.loopback import NEEDS_ROOT, PROVOKED, LoopbackScene
from tests.faults.table import FAULTS


def test_the_first_complaint_names_the_cause_and_the_cure(tmp_path: Path) -> None:
    """All at once, as most of the time is waiting."""
    faults = {fault.name: fault for fault in FAULTS if not fault.network}
    assert faults.keys() == PROVOKED.keys()
    with ExitStack() as cleanup:
        scenes: dict[str, LoopbackScene] = {}
        for number, name in enumerate(PROVOKED.keys() - NEEDS_ROOT):
            folder = tmp_path / str(number)
            folder.mkdir()
            scenes[name] = LoopbackScene(folder, cleanup)
        provoke(scenes, PROVOKED)
        wrong = unnamed(scenes, faults)
    assert not wrong, wrong
