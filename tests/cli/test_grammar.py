"""What is generated from the parsers: completions, run in their shells, and the manual page."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netpunch.cli import COMMANDS, main
from netpunch.cli.grammar import program
from tests.cli.programs import PATIENCE

Captured = pytest.CaptureFixture[str]

COMPLETED = [
    ("netpunch sta", {"status"}),
    ("netpunch key c", {"control"}),
    ("netpunch run --on", {"--once", "--only"}),
    ("netpunch run --only ", {"control", "once", "keep"}),
    ("netpunch diagram --format s", {"svg"}),
    ("netpunch completion f", {"fish"}),
    ("netpunch run si", {"site.yaml"}),
    ("netpunch diagram --pair lab -o si", {"site.yaml"}),
    ("netpunch run site.yaml --pair ", {"home-office", "lab", "lan"}),
    ("netpunch run site.yaml --pair la", {"lab", "lan"}),
    ("netpunch status --pair h", {"home-office"}),
    ("netpunch check --node ", {"cabin", "home", "office", "vps"}),
    ("netpunch run wrong.yaml --pair ", set()),
    ("netpunch run --node si", set()),
]
"""What is typed, and what the shell offers."""

SITE = """\
version: 1
control: {node: vps, address: "vps:10001"}
defaults: {secret_file: key}
pairs:
  home-office: {a: {node: home}, b: {node: office}}
  lab: {a: {node: home}, b: {node: cabin}}
meshes: {lan: {nodes: [home, office, cabin]}}
"""


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(shell), reason=f"{shell} is not installed")


@pytest.fixture
def scripts(folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the completions, and of a site file."""
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == 0
        name = "_netpunch" if shell == "zsh" else f"netpunch.{shell}"
        (folder / name).write_text(capsys.readouterr().out)
    (folder / "site.yaml").write_text(SITE)
    (folder / "wrong.yaml").write_text(SITE.replace("lab", "$(touch executed)"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return folder


def run(*argv: str, cwd: Path) -> str:
    done = subprocess.run(
        argv, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert done.stderr == ""
    return done.stdout


@needs("bash")
@pytest.mark.parametrize(("line", "offered"), COMPLETED)
def test_bash_completes(line: str, offered: set[str], scripts: Path) -> None:
    words = " ".join(f"'{word}'" for word in line.split(" "))
    code = (
        f"source ./netpunch.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
        '_netpunch; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    found = run("bash", "--norc", "-c", code, cwd=scripts).split()
    assert set(found) == offered


@needs("fish")
@pytest.mark.parametrize(("line", "offered"), COMPLETED)
def test_fish_completes(line: str, offered: set[str], scripts: Path) -> None:
    code = f"source netpunch.fish; complete -C '{line}'"
    found = run("fish", "--no-config", "-c", code, cwd=scripts).splitlines()
    assert {each.partition("\t")[0] for each in found} == offered


@needs("zsh")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("netpunch sta\t", "netpunch status "),
        ("netpunch key con\t", "netpunch key control "),
        ("netpunch run --onc\t", "netpunch run --once "),
        ("netpunch diagram --format s\t", "netpunch diagram --format svg "),
        ("netpunch run si\t", "netpunch run site.yaml "),
        ("netpunch run site.yaml --pair ho\t", "--pair home-office "),
        ("netpunch run site.yaml --node ca\t", "--node cabin "),
    ],
)
def test_zsh_completes(typed: str, completed: str, scripts: Path) -> None:
    """On a terminal, as its completion has no other way in."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="dumb", ZDOTDIR=str(scripts), PS1="> ")
        os.execvp("zsh", ["zsh", "-f", "-i"])
    try:
        setup = "fpath=($PWD $fpath); autoload -U compinit; compinit -u -d ./dump; echo rea''dy\n"
        os.write(terminal, setup.encode())
        assert shows(terminal, "ready\r\n")
        os.write(terminal, typed.encode())
        assert shows(terminal, completed.rstrip())
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)


def shows(terminal: int, text: str) -> bool:
    shown, give_up_at = "", time.monotonic() + PATIENCE
    while text not in shown.replace("\x07", "") and time.monotonic() < give_up_at:
        if select.select([terminal], [], [], 0.5)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
    return text in shown.replace("\x07", "")


def test_the_grammar_has_every_command() -> None:
    assert [command.path[0] for command in program().actions] == list(COMMANDS)


def test_the_manual_has_every_command_and_option(capsys: Captured) -> None:
    assert main(["man"]) == 0
    page = capsys.readouterr().out.replace("\\-", "-")
    for command in program().all():
        assert " ".join(["netpunch", *command.path]) in page
        for option in command.options:
            assert option.flags[-1] in page


@needs("groff")
def test_the_manual_is_valid(folder: Path, capsys: Captured) -> None:
    main(["man"])
    (folder / "netpunch.1").write_text(capsys.readouterr().out)
    assert run("groff", "-man", "-Tutf8", "-ww", "-z", "netpunch.1", cwd=folder) == ""


def test_nothing_on_the_line_is_executed(scripts: Path) -> None:
    line = ["completion", "--names", "pairs", "run", "wrong.yaml", "$(touch executed)", "-x", "--"]
    assert main(line) == 0
    assert not (scripts / "executed").exists()


def test_a_pipe_on_the_line_is_not_waited_for(folder: Path, capsys: Captured) -> None:
    os.mkfifo(folder / "pipe.yaml")
    assert main(["completion", "--names", "nodes", "run", "pipe.yaml", "~nobody-here/x.yaml"]) == 0
    assert capsys.readouterr() == ("", "")


def test_another_shell_is_a_usage_error(folder: Path) -> None:
    assert main(["completion", "tcsh"]) == 64
