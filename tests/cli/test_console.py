"""netpunch.cli.console: standard output that fails is told; standard error that fails is not."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from netpunch.cli.console import put, put_line, tell
from netpunch.errors import OutputError
from tests.cli.programs import COMMAND, PATIENCE, environment


def test_a_line_ends_with_one_newline(capsys: pytest.CaptureFixture[str]) -> None:
    put_line("one")
    put_line("two\n")
    assert capsys.readouterr().out == "one\ntwo\n"


def test_closed_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    tell("nobody hears")
    with pytest.raises(OutputError, match="standard output is closed"):
        put("text")


def test_what_the_encoding_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    with pytest.raises(OutputError, match=r"latin-1, has no '\\u20ac'"):
        put("5 \u20ac")


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


def test_a_reader_that_has_gone_is_met_with_silence() -> None:
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as reader:
        reader.wait()
        result = run_with_output(reader.stdin)
    assert (result.returncode, result.stderr) == (73, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        result = run_with_output(full)
    assert result.returncode == 73
    assert result.stderr == ("netpunch: cannot write standard output: No space left on device\n")
