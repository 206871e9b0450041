"""Damaged site files tell no secret (100,000 of them: `python -m tests.config.mutants`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.config.mutants import LAYOUTS, SECRETS, WRITTEN, Mutant, mutants, told, verdict

COUNT = 3000
KEY_TEXT, PASSPHRASE = SECRETS[0], SECRETS[3]

SEED = 20_000
"""Another one than that of the long run."""


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETPUNCH_NODE", "home")


def test_no_damaged_site_file_shows_its_secret(tmp_path: Path) -> None:
    codes: Counter[int] = Counter()
    for _, mutant in zip(range(COUNT), mutants(SEED), strict=False):
        seen = verdict(tmp_path, mutant)
        codes[seen.code] += 1
        assert not told(mutant, seen.said), f"{mutant.text}\n--- said\n{seen.said}"
    assert codes[78] > COUNT / 2
    assert set(codes) <= {0, 77, 78}


@pytest.mark.parametrize("written", WRITTEN[1:3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_site_files_are_valid_before_they_are_damaged(
    tmp_path: Path, layout: str, written: Callable[[str], str]
) -> None:
    """What is refused is refused for its damage."""
    secret = PASSPHRASE if "classic" in layout else KEY_TEXT
    mutant = Mutant(layout.replace("SECRET", written(secret)), secret)
    assert verdict(tmp_path, mutant).code == 0
