"""Faults of files, hosts and controls, on loopback."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.faults.bench import provoke
from tests.faults.loopback import NEEDS_ROOT, PROVOKED, LoopbackScene
from tests.faults.table import FAULTS


def test_the_first_complaint_names_the_cause_and_the_cure(tmp_path: Path) -> None:
    """All at once, as most of the time is waiting."""
    faults = [fault for fault in FAULTS if not fault.network]
    assert {fault.name for fault in faults} == set(PROVOKED)
    with ExitStack() as cleanup:
        scenes: dict[str, LoopbackScene] = {}
        for number, name in enumerate(PROVOKED.keys() - NEEDS_ROOT):
            folder = tmp_path / str(number)
            folder.mkdir()
            scenes[name] = LoopbackScene(folder, cleanup)
        provoke(scenes, PROVOKED)
        wrong = [
            text
            for fault in faults
            if fault.name in scenes and (text := scenes[fault.name].unnamed(fault))
        ]
    assert not wrong, "\n" + "\n\n".join(wrong)
