"""netpunch.cli.run: hands the options over and the exit code back."""

from __future__ import annotations

from pathlib import Path

import pytest

import netpunch.node
from netpunch.cli import main
from netpunch.node.options import RunOptions


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, RunOptions]]:
    """What run_site was called with; it returns 42."""
    calls: list[tuple[Path, RunOptions]] = []

    def run_site(path: Path, options: RunOptions) -> int:
        calls.append((path, options))
        return 42

    monkeypatch.setattr(netpunch.node, "run_site", run_site)
    return calls


def test_run_passes_a_file_alone_with_default_options(runs: list[tuple[Path, RunOptions]]) -> None:
    assert main(["run", "site.yaml"]) == 42
    assert runs == [(Path("site.yaml"), RunOptions())]


def test_run_passes_every_option(runs: list[tuple[Path, RunOptions]]) -> None:
    line = (
        "run --once --only keep --only control --pair p --pair q --node n --format json --trace -q"
    )
    assert main([*line.split(), "site.yaml", "--debug"]) == 42
    options = RunOptions(
        once=True,
        only=("keep", "control"),
        pairs=("p", "q"),
        node="n",
        format="json",
        trace=True,
        quiet=True,
        debug=True,
    )
    assert runs == [(Path("site.yaml"), options)]


def test_run_passes_debug_from_before_the_command(runs: list[tuple[Path, RunOptions]]) -> None:
    assert main(["--debug", "run", "site.yaml", "--keep"]) == 42
    assert runs == [(Path("site.yaml"), RunOptions(keep=True, debug=True))]


@pytest.mark.parametrize(
    "line",
    [
        "run",
        "run a b",
        "run a --once --keep",
        "run a --only x",
        "run a --format xml",
        "run a --pair",
    ],
)
def test_wrong_arguments_of_run_are_usage_errors(
    line: str, runs: list[tuple[Path, RunOptions]]
) -> None:
    assert main(line.split()) == 64
    assert runs == []


def test_run_fails_for_a_missing_site_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "none.yaml"]) == 66
    assert capsys.readouterr().err.startswith("netpunch run: none.yaml: ")
