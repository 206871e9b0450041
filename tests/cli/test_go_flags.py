"""netpunch.cli.go_flags: whoever comes from the Go netpunch is told our spelling."""

from __future__ import annotations

import pytest

from netpunch.cli import main
from netpunch.cli.go_flags import refuse


@pytest.mark.parametrize(
    "line",
    [
        "-secret hunter2 -local :7777",
        "-peer a -secret hunter2 -local :5000 -remote 192.0.2.1:7777",
        "control -secret hunter2 --local :7777",
        "control --secret=hunter2 --local :7777",
        "peer a --secret hunter2 --local :5000 --remote 192.0.2.1:7777",
        "run site.yaml --secret=hunter2",
    ],
)
def test_a_secret_as_an_argument(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 64
    errors = capsys.readouterr().err
    assert "visible to everyone on this host" in errors
    assert "--secret-file FILE" in errors
    assert "hunter2" not in errors


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("-secret-file F -local :7777", "`netpunch control --secret-file F --local :7777`"),
        ("--peer a --secret-file F --local :5000", "`netpunch peer a --secret-file F"),
        ("-version", "use --version"),
        ("peer a -local :5000", "use --local ADDRESS:PORT"),
        ("peer a -remote=h:1", "use --remote HOST:PORT"),
        ("peer a -secret-file F", "use --secret-file FILE"),
        ("peer a -template {{.RemoteIP}}", "use --template TEXT, with {rhost} for"),
        ("peer a -template-file F", "use --template-file FILE, with {rhost} for"),
        ("peer a -silent", "use --silent"),
        ("control -raw-logging", "use --raw-logging"),
        ("control --peer a", "use `netpunch peer SLOT ...`"),
    ],
)
def test_other_flags(line: str, advice: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 64
    errors = capsys.readouterr().err
    assert advice in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        "a --secret-file F --local :5000 --remote h:1 --template x --template-file F --silent",
        "a --command program -secret x -local y",
        "id secret FILE",
        "id peer FILE",
        "--version",
    ],
)
def test_our_own_spelling_and_another_program_s_are_left_alone(line: str) -> None:
    refuse([], line.split())
