from __future__ import annotations

from collections.abc import Callable

import pytest

from netpunch.output.console import Console


def written() -> tuple[list[bytes], Callable[[bytes], bool]]:
    lines: list[bytes] = []

    def write(line: bytes) -> bool:
        lines.append(line)
        return True

    return lines, write


@pytest.mark.parametrize(
    ("quiet", "expected"),
    [(False, b"linked\nwarning: odd\nerror: wrong\n"), (True, b"error: wrong\n")],
)
def test_quiet_suppresses_all_lines_but_errors(quiet: bool, expected: bytes) -> None:
    lines, write = written()
    console = Console(write, quiet=quiet)
    console.say("linked")
    console.warn("odd")
    console.error("wrong")
    assert b"".join(lines) == expected


def test_a_line_for_people_cannot_steer_the_terminal() -> None:
    lines, write = written()
    console = Console(write)
    console.say("from \x1b[2J a hook\n  caret\n  ^")
    assert lines == [b"from \\x1b[2J a hook\n  caret\n  ^\n"]
