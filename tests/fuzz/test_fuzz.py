"""Each target for a moment: its seeds and mutations of them, and atheris where it is installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
MUTATIONS = 300
SECONDS = 3
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


def mutated(random: Random, seed: bytes) -> bytes:
    data = bytearray(seed)
    for _ in range(random.randrange(1, 6)):
        position = random.randrange(len(data) + 1)
        data[position : position + random.randrange(3)] = random.randbytes(random.randrange(4))
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_fuzz_targets_accept_their_seeds_and_mutations(name: str) -> None:
    random, target = Random(name), TARGETS[name]
    for seed in target.seeds:
        target.run(seed)
    for _ in range(MUTATIONS):
        target.run(mutated(random, random.choice(target.seeds)))


@pytest.mark.skipif(not HAS_ATHERIS, reason="atheris is not installed")
@pytest.mark.parametrize("name", TARGETS)
def test_atheris_finds_nothing(name: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tests.fuzz", name, f"--seconds={SECONDS}"]
    result = subprocess.run(
        [*argv, f"--corpus={tmp_path}"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr[-3000:]
