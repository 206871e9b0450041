from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.node.output_lines import (
    LINE_OVERHEAD,
    MAX_LINE_BYTES,
    MAX_OUTPUT_BYTES,
    TRUNCATED,
    OutputLines,
    printable,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Collected:
    def __init__(self, period: float = float("inf")) -> None:
        self.lines: list[tuple[str, str]] = []
        self.clock = Clock()
        self.output = OutputLines(
            lambda stream, text: self.lines.append((stream, text)), period=period, clock=self.clock
        )

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.lines]


@given(st.lists(st.binary(max_size=20)))
def test_how_the_bytes_are_cut_up_does_not_matter(pieces: list[bytes]) -> None:
    piecewise, whole = Collected(), Collected()
    for piece in pieces:
        piecewise.output.feed("stdout", piece)
    piecewise.output.finish()
    whole.output.feed("stdout", b"".join(pieces))
    whole.output.finish()
    assert piecewise.lines == whole.lines


def test_streams_are_kept_apart() -> None:
    collected = Collected()
    collected.output.feed("stdout", b"one ")
    collected.output.feed("stderr", b"warn")
    collected.output.feed("stdout", b"line\r\n\nrest")
    collected.output.finish()
    assert collected.lines == [
        ("stdout", "one line"),
        ("stdout", ""),
        ("stdout", "rest"),
        ("stderr", "warn"),
    ]


def test_a_long_line_is_cut_and_its_end_is_dropped() -> None:
    collected = Collected()
    for _ in range(50):
        collected.output.feed("stdout", b"x" * 1000)
    assert max(map(len, collected.output._partial.values())) <= MAX_LINE_BYTES + 1
    collected.output.feed("stdout", b"\nnext\n")
    assert collected.texts == ["x" * MAX_LINE_BYTES + "…", "next"]
    assert collected.output.dropped == 50 * 1000 - MAX_LINE_BYTES


@pytest.mark.parametrize("line", [b"", b"y", b"z" * 900])
def test_truncation_is_told_once(line: bytes) -> None:
    collected = Collected()
    for _ in range(MAX_OUTPUT_BYTES // LINE_OVERHEAD * 3):
        collected.output.feed("stdout", line + b"\n")
        collected.output.feed("stderr", line + b"\n")
    collected.output.feed("stdout", b"unfinished")
    collected.output.finish()
    assert collected.texts.count(TRUNCATED) == 1
    assert collected.texts[-1] == TRUNCATED
    assert len(collected.texts) == MAX_OUTPUT_BYTES // (LINE_OVERHEAD + len(line)) + 1
    assert collected.output.dropped > 0


def test_the_last_piece_can_be_too_much() -> None:
    collected = Collected()
    collected.output.feed("stdout", b"\n" * (MAX_OUTPUT_BYTES // LINE_OVERHEAD) + b"last")
    collected.output.feed("stderr", b"error")
    collected.output.finish()
    assert collected.texts[-1] == TRUNCATED
    assert collected.texts.count(TRUNCATED) == 1
    assert collected.output.dropped == len("last") + len("error")


def test_a_new_period_lets_output_through_again() -> None:
    collected = Collected(period=60)
    flood = b"\n" * MAX_OUTPUT_BYTES
    collected.output.feed("stdout", flood + b"cut off")
    collected.clock.now = 59.9
    collected.output.feed("stdout", b"too early\n")
    collected.clock.now = 60
    collected.output.feed("stdout", b"heard\n")
    assert collected.texts[-2:] == [TRUNCATED, "heard"]
    collected.output.feed("stdout", flood)
    collected.clock.now = 119
    collected.output.feed("stdout", b"again too early\n")
    assert collected.texts[-1] == TRUNCATED
    assert collected.texts.count(TRUNCATED) == 2


def test_binary_output_is_replaced() -> None:
    collected = Collected()
    collected.output.feed("stdout", b"\xff\xfe caf\xc3\xa9\n")
    assert collected.texts == ["\ufffd\ufffd café"]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain \\ é \N{SNOWMAN}", "plain \\ é \N{SNOWMAN}"),
        ("a\tb", "a\tb"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\rb\x00\x7f\x9b", "a\\rb\\x00\\x7f\\x9b"),
        ("\u202eevil\u2028", "\\u202eevil\\u2028"),
    ],
)
def test_what_could_steer_a_terminal_is_escaped(text: str, escaped: str) -> None:
    assert printable(text) == escaped
