"""netpunch.cli: what is raised becomes one message and an exit code."""

from __future__ import annotations

import argparse
import sys
from types import ModuleType

import pytest

from netpunch import cli
from netpunch.cli import COMMANDS, main
from netpunch.errors import (
    ConfigurationError,
    ControlUnreachableError,
    HookError,
    MissingFileError,
    NotLinkedError,
    OutputError,
    PermissionsError,
    PortInUseError,
    UsageError,
)

Captured = pytest.CaptureFixture[str]


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `netpunch version` raise."""

    def execute(options: argparse.Namespace) -> int:
        raise error

    from netpunch.cli import version

    monkeypatch.setattr(version, "execute", execute)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (HookError("what went wrong"), 1),
        (UsageError("what went wrong"), 64),
        (MissingFileError("what went wrong"), 66),
        (ControlUnreachableError("what went wrong"), 69),
        (OutputError("what went wrong"), 73),
        (NotLinkedError("what went wrong"), 75),
        (PortInUseError("what went wrong"), 75),
        (PermissionsError("what went wrong"), 77),
        (ConfigurationError("what went wrong"), 78),
    ],
)
def test_each_error_has_its_exit_code_and_one_line(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    fail_with(monkeypatch, error)
    assert main(["version"]) == code
    assert capsys.readouterr() == ("", "netpunch version: what went wrong\n")


def test_a_report_of_several_lines_is_shown_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    report = "site.yaml:1:2: key: wrong\nkey: value\n ^"
    fail_with(monkeypatch, ConfigurationError(report))
    assert main(["version"]) == 78
    assert capsys.readouterr().err == report + "\n"


def test_a_bug_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    fail_with(monkeypatch, KeyError("lost"))
    assert main(["version"]) == 70
    assert capsys.readouterr().err == (
        "netpunch version: bug: KeyError: 'lost', please report; --debug shows the traceback\n"
    )


@pytest.mark.parametrize("argv", [["--debug", "version"], ["version", "--debug"]])
@pytest.mark.parametrize("error", [KeyError("lost"), OutputError("full")])
def test_debug_shows_the_traceback_before_and_after_the_command(
    argv: list[str], error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    fail_with(monkeypatch, error)
    main(argv)
    assert capsys.readouterr().err.startswith("Traceback (most recent call last):\n")


def test_an_interrupt_ends_with_130_and_no_message(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    assert main(["version"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_missing_command_is_a_usage_error(capsys: Captured) -> None:
    assert main([]) == 64
    assert capsys.readouterr().err == ("netpunch: a command is missing; see `netpunch --help`\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["chek", "x"], "netpunch: unknown command 'chek'; did you mean `check`?\n"),
        (["xyzzy"], "netpunch: unknown command 'xyzzy'; see `netpunch --help`\n"),
        (["--bogus"], "netpunch: unrecognized arguments: --bogus; see `netpunch --help`\n"),
        (
            ["check"],
            "netpunch check: the following arguments are required: FILE; "
            "see `netpunch check --help`\n",
        ),
        (
            ["run", "site.yaml", "--onc"],
            "netpunch run: unrecognized arguments: --onc; see `netpunch run --help`\n",
        ),
        (
            ["key", "control", "Home", "file"],
            "netpunch key: argument PAIR: invalid pair name 'Home': up to 32 of a-z, 0-9 and '-', "
            "not starting with '-'; see `netpunch key control --help`\n",
        ),
    ],
)
def test_a_usage_error_points_to_the_help_text(
    argv: list[str], message: str, capsys: Captured
) -> None:
    assert main(argv) == 64
    assert capsys.readouterr() == ("", message)


@pytest.mark.parametrize("argv", [["version"], ["--version"]])
def test_the_version_is_printed_by_command_and_by_option(argv: list[str], capsys: Captured) -> None:
    from netpunch import __version__

    assert main(argv) == 0
    assert capsys.readouterr() == (f"netpunch {__version__}\n", "")


@pytest.mark.parametrize(
    "argv",
    [[], *([command] for command in COMMANDS), ["key", "new"], ["key", "control"], ["key", "id"]],
    ids=" ".join,
)
def test_help_fits_a_terminal(argv: list[str], capsys: Captured) -> None:
    assert main([*argv, "--help"]) == 0
    output, errors = capsys.readouterr()
    assert output.startswith(f"usage: {' '.join(['netpunch', *argv])} ")
    assert errors == ""
    assert max(map(len, output.splitlines())) <= 80


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "version"])
def test_help_has_examples_and_exit_codes(command: str, capsys: Captured) -> None:
    main([command, "--help"])
    output = capsys.readouterr().out
    assert f"examples:\n  netpunch {command} " in output
    assert "78 configuration" in output


def test_a_command_is_a_module_and_a_line_in_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    module = ModuleType("netpunch.cli.greet")
    exec(
        "from netpunch.cli.arguments import Parser\n"
        "def parse(prog, arguments): return Parser(prog, 'Greet.').parse_args(arguments)\n"
        "def execute(options): print('hello', options.debug); return 3",
        vars(module),
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(COMMANDS, "greet", "say hello")
    assert main(["greet", "--debug"]) == 3
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("hello True\n")
    assert "  greet       say hello\n" in output
    assert main(["greeet"]) == 64
    assert "did you mean `greet`?" in capsys.readouterr().err


def test_the_overview_names_every_command(capsys: Captured) -> None:
    main(["--help"])
    output = capsys.readouterr().out
    for name, summary in COMMANDS.items():
        assert f"  {name:11} {summary}\n" in output


def test_main_reads_the_arguments_of_the_process_by_default(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(sys, "argv", ["netpunch", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("netpunch ")


def test_main_can_be_called_again(capsys: Captured) -> None:
    """Importing a command's module must not hide anything of the package that main uses."""
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
    assert callable(cli.run_command)
