"""netpunch.cli.arguments: a wrong value is refused with an example of a right one; a flag of the Go
netpunch is refused with our spelling."""

from __future__ import annotations

import argparse

import pytest

from netpunch.cli import main
from netpunch.cli.arguments import (
    control_address,
    duration,
    local_address,
    pair_name,
    refuse_go_flags,
)


def test_valid_arguments_are_parsed() -> None:
    assert pair_name("home-office") == "home-office"
    assert str(local_address(":5000")) == ":5000"
    assert str(local_address("[::1]:0")) == "[::1]:0"
    assert str(control_address("vps.example.net:7777")) == "vps.example.net:7777"
    assert duration("2m") == 120.0


@pytest.mark.parametrize(
    ("parse", "text", "complaint"),
    [
        (pair_name, "Home", "invalid pair name 'Home': up to 32 of a-z, 0-9 and '-'"),
        (pair_name, "a" * 33, "invalid pair name 'aaa"),
        (local_address, "5000", "got '5000': no colon before the port"),
        (local_address, "::1:5000", "brackets"),
        (local_address, ":99999", "got ':99999': no port "),
        (control_address, ":7777", "got ':7777': no host"),
        (control_address, "vps.example.net:0", "got 'vps.example.net:0': port 0 is not allowed"),
        (duration, "60", "got '60': no unit"),
    ],
)
def test_a_wrong_argument_is_refused_with_an_example(
    parse: object, text: str, complaint: str
) -> None:
    assert callable(parse)
    with pytest.raises(argparse.ArgumentTypeError) as raised:
        parse(text)
    assert complaint in str(raised.value)


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
def test_a_secret_as_an_argument_is_refused_and_not_repeated(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
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
        ("peer a -command openvpn -arg --config", "use --command PROGRAM ARG..., as the last"),
        ("peer a -command=openvpn", "use --command PROGRAM ARG..., as the last option"),
        ("peer a -arg {{.RemoteIP}}", "write TEXT behind --command PROGRAM, with {rhost} for"),
        ("peer a --arg=x --command openvpn", "--arg is a flag of the Go netpunch: write TEXT"),
        ("peer a -fields x", "write each word behind --command PROGRAM"),
        ("peer a --raw x", "write TEXT behind --command PROGRAM, and {{ for a brace"),
        ("peer a -help", "use --help"),
        ("-help", "use --help"),
    ],
)
def test_a_flag_of_the_go_netpunch_is_refused_with_our_spelling(
    line: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 64
    errors = capsys.readouterr().err
    assert advice in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        "a --secret-file F --local :5000 --remote h:1 --template x --template-file F --silent",
        "a --command program -secret x -local y",
        "a --command program -arg x --raw y",
        "id secret FILE",
        "id peer FILE",
        "--version",
    ],
)
def test_our_own_flags_and_those_of_another_program_are_accepted(line: str) -> None:
    refuse_go_flags([], line.split())
