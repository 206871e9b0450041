"""netpunch.cli.descriptors: 0 to 2 are open from the start, on the null device if need be."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.programs import COMMAND, PATIENCE, environment

NULL = "/dev/null"

PROBE = """
import os, sys
from netpunch.cli.descriptors import open_standard_descriptors
open_standard_descriptors()
found = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
inherited = [os.get_inheritable(number) for number in range(3)]
with open(sys.argv[1], "w") as told:
    print(*found, *inherited, sep="\\n", file=told)
"""


def started_without(closed: tuple[int, ...], *argv: str) -> subprocess.CompletedProcess[str]:
    redirections = " ".join(f"{number}>&-" for number in closed)
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", *argv],
        stdin=subprocess.PIPE,
        capture_output=True,
        env=environment(),
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize(
    "closed", [each for count in range(4) for each in itertools.combinations(range(3), count)]
)
def test_closed_ones_are_opened(closed: tuple[int, ...], tmp_path: Path) -> None:
    told = tmp_path / "told"
    result = started_without(closed, sys.executable, "-c", PROBE, str(told))
    assert result.returncode == 0, result.stderr
    found = told.read_text().splitlines()
    assert {number for number in range(3) if found[number] == NULL} == set(closed)
    assert found[3:] == 3 * ["True"]


def test_a_command_whose_output_is_its_product_says_that_it_is_lost() -> None:
    result = started_without((1,), *COMMAND, "key", "new")
    assert result.returncode == 73
    assert result.stderr == "netpunch key: standard output is closed\n"
