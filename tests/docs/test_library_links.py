"""docs/library.md: its programs with links run as they are written, and are typed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import netpunch
from netpunch.wire.keys import control_key
from tests.bench.processes import server
from tests.bench.subjects import control
from tests.docs.test_documents import FENCE, ROOT

DOCUMENT = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
PATIENCE = 120.0
"""Seconds: for mypy without a cache on a slow machine."""
CHAT_LINES = 12
"""At most, of the shortest program."""


def section(title: str, language: str) -> str:
    """The code block of that language in a section."""
    text = DOCUMENT.split(f"\n## {title}\n")[1].split("\n## ")[0]
    (block,) = [str(code) for named, code in FENCE.findall(text) if named == language]
    return block


PROGRAMS = {
    "chat.py": section("A chat", "python"),
    "keep.py": section("Keep a link, and react", "python"),
    "files.py": section("Files over QUIC", "python"),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library")
    for name, program in PROGRAMS.items():
        (path / name).write_text(program)
    key = netpunch.new_key()
    for pair in ("chat", "files"):
        (path / f"{pair}.key").touch(0o600)
        (path / f"{pair}.key").write_text(key)
    command = section("Files over QUIC", "sh").split()
    subprocess.run(command, cwd=path, check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def at(directory: Path) -> Iterator[str]:
    """Where control is."""
    secret = netpunch.load_key(directory / "chat.key")
    keys = {pair: control_key(secret, pair) for pair in ("chat", "files")}
    with server(control, keys, {}) as running:
        yield f"127.0.0.1:{running.port}"


class Program:
    """A running one."""

    def __init__(self, directory: Path, name: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", name, *arguments],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.input, self.output = self._process.stdin, self._process.stdout

    def ended(self) -> str:
        """The rest of its output; it must end well."""
        rest, complaints = self._process.communicate(timeout=PATIENCE)
        assert (self._process.returncode, complaints) == (0, "")
        return rest

    def left(self) -> int:
        """The exit code, once it has ended while its input was still open."""
        return self._process.wait(PATIENCE)

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


Start = Callable[..., Program]
"""Of a program, by its name, as an end, with more arguments."""


@pytest.fixture
def start(directory: Path, at: str) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def start(name: str, end: str, *more: str) -> Program:
            program = Program(directory, name, end, at, *more)
            stack.callback(program.kill)
            return program

        yield start


def test_the_chat_is_short() -> None:
    lines = [line for line in PROGRAMS["chat.py"].splitlines() if line.strip()]
    assert len(lines) <= CHAT_LINES


def test_the_chat_passes_on_lines_until_one_end_leaves(start: Start) -> None:
    a, b = (start("chat.py", end) for end in "ab")
    a.input.write("hello b\n")
    a.input.flush()
    assert b.output.readline() == "hello b\n"
    b.input.write("hello a\n")
    b.input.flush()
    assert a.output.readline() == "hello a\n"
    assert a.ended() == ""  # which closes its input first
    assert b.left() == 0  # though nobody has typed anything there since


def test_an_interrupt_ends_the_chat_at_both_ends(start: Start) -> None:
    a, b = (start("chat.py", end) for end in "ab")
    a.input.write("hello b\n")
    a.input.flush()
    assert b.output.readline() == "hello b\n"
    a.interrupt()
    assert a.left() == -signal.SIGINT
    assert b.left() == 0


def test_the_kept_link_is_made_again_when_the_partner_has_left(start: Start) -> None:
    kept = start("keep.py", "a")
    for _ in range(2):
        partner = start("chat.py", "b")
        assert kept.output.readline().startswith("linked: ")
        assert re.fullmatch(r"round trip \w+( ms)?, 0% lost, 0 dropped\n", kept.output.readline())
        partner.input.write("hello\n")
        partner.input.flush()
        assert partner.output.readline() == "echo: hello\n"
        assert partner.ended() == ""
        assert kept.output.readline() == "over (partner_stopped): the partner has ended it\n"


def test_a_file_is_copied_over_quic(start: Start, directory: Path) -> None:
    (directory / "original").write_bytes(os.urandom(300_000))
    receiver = start("files.py", "b", "copy")
    sender = start("files.py", "a", "original")
    assert sender.ended() == "partner: 300000 bytes stored\n"
    assert receiver.ended() == "300000 bytes received\n"
    assert (directory / "copy").read_bytes() == (directory / "original").read_bytes()


def test_its_programs_are_typed_as_their_users_see_them(directory: Path) -> None:
    """Outside of this repository, from the installed package."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--scripts-are-modules", *PROGRAMS],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
