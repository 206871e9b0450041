"""netpunch.cli.oneshot: what `control` and `peer` have in common."""

from __future__ import annotations

import pytest

from netpunch.cli import main


@pytest.mark.parametrize("command", ["control", "peer a --remote 192.0.2.1:7777"])
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--protocol v2", "--protocol v2 needs --pair NAME"),
        ("--pair home-office", "--pair is for --protocol v2; classic pairs are letters"),
        ("--protocol v3", "invalid choice: 'v3'"),
        ("--protocol v2 --pair Home", "'Home' is no name of a pair"),
    ],
)
def test_a_pair_has_a_name_in_v2_only(
    command: str, options: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"{command} --secret-file F --local 127.0.0.1:0 {options}"
    assert main(line.split()) == 64
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("command", ["control", "peer a --remote 192.0.2.1:7777"])
@pytest.mark.parametrize("missing", ["--secret-file F", "--local :5000"])
def test_what_is_required(command: str, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"{command} --secret-file F --local :5000".replace(missing, "")
    assert main(line.split()) == 64
    assert f"required: {missing.split()[0]}; see `netpunch " in capsys.readouterr().err
