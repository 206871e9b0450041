"""netpunch.cli.streams: a failing standard output is an error, a failing standard error is not, and
no closed standard descriptor is reused."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from netpunch.cli.streams import write_error, write_line, write_output
from netpunch.errors import OutputError
from tests.cli.programs import COMMAND, PATIENCE, environment


def test_a_written_line_ends_with_one_newline(capsys: pytest.CaptureFixture[str]) -> None:
    write_line("one")
    write_line("two\n")
    assert capsys.readouterr().out == "one\ntwo\n"


def test_closed_standard_streams_raise_for_output_and_are_silent_for_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    write_error("lost")
    with pytest.raises(OutputError, match="standard output is closed"):
        write_output("text")


def test_a_character_that_the_encoding_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    with pytest.raises(OutputError, match=r"latin-1, has no '\\u20ac'"):
        write_output("5 \u20ac")


def run_with_output(stdout: IO[Any] | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "--help"],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        timeout=PATIENCE,
        check=False,
    )


def test_a_reader_that_closes_standard_output_ends_help_silently() -> None:
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as reader:
        reader.wait()
        result = run_with_output(reader.stdin)
    assert (result.returncode, result.stderr) == (73, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported() -> None:
    with Path("/dev/full").open("w") as full:
        result = run_with_output(full)
    assert result.returncode == 73
    assert result.stderr == ("netpunch: cannot write standard output: No space left on device\n")


NULL = "/dev/null"

PROBE = """
import os, sys
from netpunch.cli.streams import open_standard_descriptors
open_standard_descriptors()
found = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
inherited = [os.get_inheritable(number) for number in range(3)]
with open(sys.argv[1], "w") as report:
    print(*found, *inherited, sep="\\n", file=report)
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
def test_closed_standard_descriptors_are_opened_on_the_null_device(
    closed: tuple[int, ...], tmp_path: Path
) -> None:
    report = tmp_path / "report"
    result = started_without(closed, sys.executable, "-c", PROBE, str(report))
    assert result.returncode == 0, result.stderr
    found = report.read_text().splitlines()
    assert {number for number in range(3) if found[number] == NULL} == set(closed)
    assert found[3:] == 3 * ["True"]


def test_a_command_whose_output_is_its_product_fails_without_standard_output() -> None:
    result = started_without((1,), *COMMAND, "key", "new")
    assert result.returncode == 73
    assert result.stderr == "netpunch key: standard output is closed\n"
