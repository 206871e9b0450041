"""What errors show of a file."""

from __future__ import annotations

import pytest

from netpunch.config.model import Position
from netpunch.config.source import Source, position_of, shown, sounds_secret


def test_lines_end_where_yaml_ends_them() -> None:
    text = "a\r\nb\rc\nd\x85e\u2028f\u2029g\x0ch\x1ci"
    source = Source("f", text)
    assert [source.line(n) for n in range(1, 10)] == [*"abcdef", "g\x0ch\x1ci", "", ""]
    assert position_of(text, text.index("c")) == Position(3, 1)
    assert position_of(text, text.index("h")) == Position(7, 3)


def test_an_excerpt() -> None:
    source = Source("f", "a: b\n\t\x1b\u202ex\n\n")
    assert source.excerpt(Position(1, 4)) == "a: b\n   ^"
    assert source.excerpt(Position(1, 99)) == "a: b\n    ^"
    assert source.excerpt(Position(2, 4)) == "   x\n   ^"
    assert source.excerpt(Position(3, 1)) == ""
    assert source.excerpt(Position(9, 1)) == ""


def test_a_long_line_is_shown_around_the_caret() -> None:
    source = Source("f", "x" * 500 + "!" + "y" * 500)
    assert source.excerpt(Position(1, 501)) == f"{'x' * 60}!{'y' * 59}\n{' ' * 60}^"
    assert source.excerpt(Position(1, 1)) == f"{'x' * 120}\n^"


def test_hiding_a_span() -> None:
    source = Source("f", "a: b c\n  d\ne")
    source.hide(Position(1, 4), Position(3, 1))
    assert source.text() == "a: ***\n***\ne"
    source.hide(Position(3, 1), Position(9, 9))
    assert source.text() == "a: ***\n***\n*"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("secret: hunter2", "secret: *******"),
        ("{secret: 'x', a: b}", "{secret: **********"),
        ("'secret' : x\nb", "'secret' : *\nb"),
        ("  secret: |\n    x\n\n   y\n  a: b", "  secret: *\n*****\n\n****\n  a: b"),
        ("secret: generate  # x", "secret: generate  # x"),
        ("secret: generated", "secret: *********"),
        ("{secret: generate, b: {secret: x}}", "{secret: generate, b: {secret: ***"),
        ("secret_file: x", "secret_file: x"),
        ("no key: npk1:abc-_9=", "no key: npk1:******="),
    ],
)
def test_hiding_without_a_structure(text: str, hidden: str) -> None:
    source = Source("f", text)
    source.hide_all_secrets()
    assert source.text() == hidden


def test_what_is_hidden_already_hides_nothing_else() -> None:
    """Found by fuzzing: half of a key was hidden, and so its value was not recognized."""
    source = Source("f", "secret    slots: d-c\n    secret: hunter2")
    source.hide(Position(1, 18), Position(2, 11))
    source.hide_all_secrets()
    assert source.line(2) == "**********: *******"


def test_values_in_messages() -> None:
    assert shown("a\x1b'b") == '"a\\x1b\'b"'
    assert shown("x" * 61) == f"'{'x' * 60}...'"
    assert shown("npk1:abc npc1:de") == "'npk1:*** npc1:**'"


def test_keys_that_sound_secret() -> None:
    assert all(map(sounds_secret, ["secret", "PSK", "api_key", "passwd", "secret_key"]))
    assert not any(map(sounds_secret, ["secret_file", "session_key", "credential", "keepalive"]))
