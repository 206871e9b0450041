"""netpunch.cli.peer: what is asked of the library, and what is made of its answer."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import netpunch
from netpunch import Address, Link, NotLinkedError
from netpunch.cli import main

Captured = pytest.CaptureFixture[str]
LINK = Link(Address("0.0.0.0", 5000), Address("198.51.100.7", 5001), "observed", 0.01, 1.0)
LINE = "peer {slot} --secret-file classic.secret --local :5000 --remote vps.example.net:7777"


class Library:
    """Stands in for `netpunch.punch`."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.answer: Link | Exception = LINK

    async def punch(self, **asked: Any) -> Link:
        self.asked = asked
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, classic_secret: Path) -> Library:
    library = Library()
    monkeypatch.setattr(netpunch, "punch", library.punch, raising=False)
    return library


@pytest.fixture
def python_signals() -> Iterator[None]:
    """Restores what the exec changes, since the exec itself is replaced."""
    before = {number: signal.getsignal(number) for number in (signal.SIGPIPE, signal.SIGXFSZ)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def executed(python_signals: None, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The programs that this process would have become."""
    calls: list[list[str]] = []

    def execvp(program: str, argv: Sequence[str]) -> None:
        assert program == argv[0]
        calls.append(list(argv))

    monkeypatch.setattr(os, "execvp", execvp)
    return calls


def peer(*more: str, slot: str = "a") -> int:
    return main([*LINE.format(slot=slot).split(), *more])


def test_peer_prints_the_result_line(library: Library, capsys: Captured) -> None:
    assert peer() == 0
    assert capsys.readouterr().out == (
        "LADDR/LHOST/LPORT/RADDR/RHOST/RPORT: "
        "0.0.0.0:5000 0.0.0.0 5000 198.51.100.7:5001 198.51.100.7 5001\n"
    )


def test_peer_prints_the_result_line_with_ipv6(library: Library, capsys: Captured) -> None:
    library.answer = Link(Address("::", 5000), Address("2001:db8::1", 1), "ipv6", None, 1.0)
    assert peer() == 0
    assert capsys.readouterr().out == (
        "LADDR/LHOST/LPORT/RADDR/RHOST/RPORT: [::]:5000 :: 5000 [2001:db8::1]:1 2001:db8::1 1\n"
    )


def test_peer_passes_its_classic_options_to_punch(library: Library) -> None:
    assert peer(slot="c") == 0
    assert callable(library.asked.pop("observer"))
    assert library.asked == {
        "pair": "",
        "end": "c",
        "secret": b"a secret\n",
        "control": "vps.example.net:7777",
        "local": ":5000",
        "protocol": "classic",
        "deadline": None,
    }


def test_peer_passes_its_v2_options_to_punch(library: Library, pair_key: Path) -> None:
    v2 = ("--protocol", "v2", "--pair", "home-office", "--secret-file", "pair.key")
    assert peer(*v2, "--deadline", "2m", "--silent", slot="b") == 0
    assert library.asked["secret"] not in (b"", pair_key.read_bytes())
    del library.asked["secret"]
    assert library.asked == {
        "pair": "home-office",
        "end": "b",
        "control": "vps.example.net:7777",
        "local": ":5000",
        "protocol": "v2",
        "deadline": 120.0,
        "observer": None,
    }


def test_peer_logs_its_start_and_end(library: Library, capsys: Captured) -> None:
    assert peer() == 0
    first, last = capsys.readouterr().err.splitlines()
    assert first.endswith(
        f" [{os.getpid()}] [a] [info] Start in peer mode on :5000 to server at vps.example.net:7777"
    )
    assert last.endswith(" [a] [info] close: ok")


def test_a_silent_peer_writes_no_log(library: Library, capsys: Captured) -> None:
    assert peer("--silent", "--template", "x") == 0
    assert capsys.readouterr() == ("x\n", "")


@pytest.mark.parametrize(("slot", "name"), [("a", "a-b a"), ("b", "a-b b"), ("z", "y-z b")])
def test_a_classic_pair_is_named_by_its_letters(
    slot: str, name: str, library: Library, capsys: Captured
) -> None:
    assert peer("--template", "{pair} {end}", slot=slot) == 0
    assert capsys.readouterr().out == name + "\n"


def test_peer_prints_a_template_instead_of_the_result_line(
    library: Library, folder: Path, capsys: Captured
) -> None:
    assert peer("--template", "{{{raddr}}} {lport}") == 0
    (folder / "vpn.in").write_text("remote {rhost} {rport}\nlport {lport}\n")
    assert peer("--template-file", "vpn.in") == 0
    assert capsys.readouterr().out == (
        "{198.51.100.7:5001} 5000\nremote 198.51.100.7 5001\nlport 5000\n"
    )


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{.RemoteIP}}", "--template: `{{.RemoteIP}}` is the Go netpunch's form; write {rhost}"),
        ("{rhos}", "did you mean {rhost}?"),
        ("{", "write `{{` for a brace"),
    ],
)
def test_a_wrong_template_is_refused_before_punching(
    template: str, complaint: str, library: Library, capsys: Captured
) -> None:
    assert peer("--template", template) == 64
    assert complaint in capsys.readouterr().err
    assert library.asked == {}


@pytest.mark.parametrize(
    ("content", "code", "complaint"),
    [
        (None, 66, "vpn.in: no such file"),
        (b"remote\n{rhos}\n", 78, "vpn.in:2: unknown placeholder {rhos}"),
        (b"\xff", 78, "vpn.in: not UTF-8 text"),
        (b"x" * (1024 * 1024 + 1), 78, "vpn.in: is longer than"),
    ],
)
def test_a_wrong_template_file_is_refused_before_punching(
    content: bytes | None,
    code: int,
    complaint: str,
    library: Library,
    folder: Path,
    capsys: Captured,
) -> None:
    if content is not None:
        (folder / "vpn.in").write_bytes(content)
    assert peer("--template-file", "vpn.in") == code
    assert complaint in capsys.readouterr().err
    assert library.asked == {}


def test_an_unreadable_template_file_is_a_permissions_error(
    library: Library, capsys: Captured
) -> None:
    assert peer("--template-file", "x" * 5000) == 77
    assert "can't be read: File name too long" in capsys.readouterr().err


def test_the_command_replaces_the_peer(
    library: Library, executed: list[list[str]], capsys: Captured
) -> None:
    assert peer("--command", "echo", "--debug", "--", "-x", "{rhost}:{rport}", "{{}}") == 0
    assert executed == [["echo", "--debug", "--", "-x", "198.51.100.7:5001", "{}"]]
    assert capsys.readouterr().out == ""
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_DFL


def test_a_template_is_printed_before_the_command(
    library: Library, executed: list[list[str]], capsys: Captured
) -> None:
    assert peer("--template", "{raddr}", "--command", "true") == 0
    assert (capsys.readouterr().out, executed) == ("198.51.100.7:5001\n", [["true"]])


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ([], "--command needs a program, and is the last option"),
        (["no-such-program"], "--command: 'no-such-program': no such program, or not executable"),
        (["true", "{rhos}"], "--command: '{rhos}': unknown placeholder {rhos}"),
    ],
)
def test_a_wrong_command_is_refused_before_punching(
    command: list[str], complaint: str, library: Library, capsys: Captured
) -> None:
    assert peer("--command", *command) == 64
    assert complaint in capsys.readouterr().err
    assert library.asked == {}


def test_a_command_that_cannot_be_run_is_a_hook_error(
    python_signals: None, library: Library, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def execvp(program: str, argv: Sequence[str]) -> None:
        raise OSError(8, "Exec format error")

    monkeypatch.setattr(os, "execvp", execvp)
    assert peer("--command", "true") == 1
    assert capsys.readouterr().err.endswith(
        "netpunch peer: --command: cannot run 'true': Exec format error\n"
    )


def test_a_peer_that_does_not_link_exits_with_75(library: Library, capsys: Captured) -> None:
    library.answer = NotLinkedError("the partner did not announce itself")
    assert peer("--silent") == 75
    assert capsys.readouterr() == (
        "",
        "netpunch peer: the partner did not announce itself\n",
    )


@pytest.mark.parametrize("slot", ["A", "aa", "", "1", "\u00e9"])
def test_an_invalid_slot_is_a_usage_error(slot: str, library: Library) -> None:
    arguments = LINE.split()
    arguments[1] = slot
    assert main(arguments) == 64
    assert library.asked == {}


def test_a_v2_slot_is_a_or_b(library: Library, capsys: Captured) -> None:
    assert peer("--protocol", "v2", "--pair", "home-office", slot="c") == 64
    assert "SLOT is a or b, not 'c'" in capsys.readouterr().err


def test_two_templates_are_a_usage_error(library: Library) -> None:
    assert peer("--template", "x", "--template-file", "y") == 64


def test_a_command_with_an_equals_sign_is_a_usage_error(library: Library, capsys: Captured) -> None:
    assert peer("--command=true") == 64
    assert "write --command PROGRAM ARG..." in capsys.readouterr().err
    assert library.asked == {}
