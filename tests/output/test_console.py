from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from netpunch.output.console import ALL, QUIET, Console, Verbosity
from netpunch.output.terminal import Screen


class Written:
    """What a console has written, and what it wants to do later."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.waiting: list[Callable[[], None]] = []

    def write(self, line: bytes) -> bool:
        self.lines.append(line)
        return True

    def later(self, _: float, call: Callable[[], None]) -> None:
        self.waiting.append(call)

    def pass_time(self) -> None:
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call()

    @property
    def text(self) -> str:
        return b"".join(self.lines).decode()


@pytest.mark.parametrize(
    ("verbosity", "expected"),
    [
        (ALL, "linked\nup\nnothing new\nwarning: odd\nerror: wrong\n"),
        (Verbosity(remarks=False), "linked\nup\nwarning: odd\nerror: wrong\n"),
        (Verbosity(news=False, remarks=False), "warning: odd\nerror: wrong\n"),
        (QUIET, "error: wrong\n"),
    ],
)
def test_verbosity_suppresses_all_but_errors(verbosity: Verbosity, expected: str) -> None:
    written = Written()
    console = Console(written.write, verbosity)
    console.say("linked")
    console.good("up")
    console.remark("nothing new")
    console.warn("odd")
    console.error("wrong")
    assert written.text == expected


def test_a_line_for_people_cannot_steer_the_terminal() -> None:
    written = Written()
    Console(written.write).say("from \x1b[2J a hook\n  caret\n  ^")
    assert written.text == "from \\x1b[2J a hook\n  caret\n  ^\n"


def test_a_terminal_gets_the_time_and_colour() -> None:
    written = Written()
    console = Console(written.write, screen=lambda: Screen(colour=True), timed=True).named("p a")
    console.good("linked \x1b[2J")
    console.warn("odd")
    now = r"\x1b\[2m\d\d:\d\d:\d\d \x1b\[0m"
    linked = now + r"\x1b\[1mp a\x1b\[0m: \x1b\[32mlinked \\x1b\[2J\x1b\[0m\n"
    odd = now + r"\x1b\[33mwarning: \x1b\[0m\x1b\[1mp a\x1b\[0m: odd\n"
    assert re.fullmatch(linked + odd, written.text)


SILENT = (
    "no answer from control at 192.0.2.9:10001: is it running, does a firewall drop UDP, and does "
    "it have this pair's key?"
)


def test_a_terminal_breaks_lines_between_words() -> None:
    written = Written()
    screen = Screen(40, colour=True)
    console = Console(written.write, screen=lambda: screen, timed=True).named("home-office a")
    console.good(SILENT)
    console.error("site.yaml is broken\n  pairs: {this line of the file stays: however long}")
    lines = re.sub(r"\x1b\[\d+m|\d\d:\d\d:\d\d ", "", written.text).splitlines()
    assert lines == [
        "home-office a: no answer from",
        "           control at 192.0.2.9:10001:",
        "           is it running, does a",
        "           firewall drop UDP, and does",
        "           it have this pair's key?",
        "error: home-office a: site.yaml",
        "           is broken",
        "  pairs: {this line of the file stays: however long}",
    ]


def test_what_to_do_is_told_once_to_many_ends() -> None:
    written = Written()
    console = Console(written.write, later=written.later)
    for name in ("p a", "q a", "r a"):
        console.named(name, gathered=True).say(SILENT)
    written.pass_time()
    what, _, _ = SILENT.partition(": ")
    assert written.text.splitlines() == [f"p a: {SILENT}", f"q a, r a: {what}"]


def test_equal_lines_of_many_ends_are_gathered() -> None:
    written = Written()
    console = Console(written.write, later=written.later)
    ends = [console.named(f"p{number} a", gathered=True) for number in range(50)]
    for end in ends:
        end.say("no answer from control")
    assert written.text == "p0 a: no answer from control\n"
    written.pass_time()
    assert written.text.splitlines()[1:] == ["p1 a and 48 more: no answer from control"]
    for end in ends[:3]:
        end.error("no answer from control")
    written.pass_time()
    assert written.text.splitlines()[2:] == [
        "error: p0 a: no answer from control",
        "error: p1 a, p2 a: no answer from control",
    ]


def test_what_is_said_of_one_end_stays_in_order() -> None:
    written = Written()
    console = Console(written.write, later=written.later)
    one, other = (console.named(name, gathered=True) for name in ("p a", "p b"))
    for end in (one, other, other):
        end.say("waiting")
    other.good("linked")
    one.good("linked")
    console.flush()
    written.pass_time()
    assert written.text.splitlines() == [
        *("p a: waiting", "p b: waiting", "p b: waiting", "p b: linked", "p a: linked")
    ]


def test_lines_that_are_gathered_are_written_at_the_end() -> None:
    written = Written()
    console = Console(written.write, later=written.later)
    for name in ("p a", "p b"):
        console.named(name, gathered=True).say("waiting")
    console.flush()
    assert written.text.splitlines() == ["p a: waiting", "p b: waiting"]


def test_lines_of_controls_and_of_the_process_are_not_gathered() -> None:
    written = Written()
    console = Console(written.write, later=written.later)
    for each in (console, console.named("control one"), console.named("control two")):
        each.say("stopping")
    assert len(written.lines) == 3
    assert not written.waiting
