from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
from collections.abc import Iterator
from typing import TextIO

import pytest

from netpunch.output.terminal import Screen, Style, screen_of, wants_colour


@pytest.fixture
def terminal() -> Iterator[TextIO]:
    """Of 70 columns and 20 lines."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 70, 0, 0))
    with os.fdopen(slave, "w") as stream:
        yield stream
    os.close(master)


@pytest.mark.parametrize(
    ("environ", "screen"),
    [
        ({"TERM": "xterm"}, Screen(70, 20, True)),
        ({"TERM": "xterm", "NO_COLOR": "1"}, Screen(70, 20)),
        ({"TERM": "xterm", "NO_COLOR": ""}, Screen(70, 20, True)),
        ({"TERM": "dumb"}, Screen(70, 20)),
        ({}, Screen(70, 20)),
        ({"COLUMNS": "40"}, Screen(40, 20)),
        ({"COLUMNS": "wide"}, Screen(70, 20)),
    ],
)
def test_the_screen_of_a_terminal(
    terminal: TextIO, environ: dict[str, str], screen: Screen
) -> None:
    assert screen_of(terminal, environ) == screen


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_a_pipe_has_no_limits_and_no_colour(stream: TextIO | None) -> None:
    assert screen_of(stream, {"TERM": "xterm"}) == Screen()
    assert screen_of(stream, {"COLUMNS": "80"}) == Screen(80)
    assert not wants_colour(stream, {"TERM": "xterm"})


def test_nothing_is_painted_without_colour() -> None:
    assert Screen().paint("text", Style.RED) == "text"
    assert Screen(colour=True).paint("", Style.RED) == ""
