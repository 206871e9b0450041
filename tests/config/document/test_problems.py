"""What errors show of a file."""

from __future__ import annotations

from netpunch.config.document.problems import Position, Source, position_of, shown


def test_lines_of_a_source_end_where_yaml_ends_them() -> None:
    text = "a\r\nb\rc\nd\x85e\u2028f\u2029g\x0ch\x1ci"
    source = Source("f", text, is_site=False)
    assert [source.line(n) for n in range(1, 10)] == [*"abcdef", "g\x0ch\x1ci", "", ""]
    assert position_of(text, text.index("c")) == Position(3, 1)
    assert position_of(text, text.index("h")) == Position(7, 3)


def test_an_excerpt_is_a_printable_line_with_a_caret() -> None:
    source = Source("f", "a: b\n\t\x1b\u202ex\n\n", is_site=False)
    assert source.excerpt(Position(1, 4)) == "a: b\n   ^"
    assert source.excerpt(Position(1, 99)) == "a: b\n    ^"
    assert source.excerpt(Position(2, 4)) == "   x\n   ^"
    assert source.excerpt(Position(3, 1)) == ""
    assert source.excerpt(Position(9, 1)) == ""


def test_an_excerpt_of_a_long_line_is_cut_around_the_caret() -> None:
    source = Source("f", "x" * 500 + "!" + "y" * 500, is_site=False)
    assert source.excerpt(Position(1, 501)) == f"{'x' * 60}!{'y' * 59}\n{' ' * 60}^"
    assert source.excerpt(Position(1, 1)) == f"{'x' * 120}\n^"


def test_a_hidden_span_becomes_stars() -> None:
    source = Source("f", "a: b c\n  d\ne", is_site=False)
    source.hide(Position(1, 4), Position(3, 1))
    assert source.text() == "a: ***\n***\ne"
    source.hide(Position(3, 1), Position(9, 9))
    assert source.text() == "a: ***\n***\n*"


def test_a_source_knows_whether_it_shows_a_span() -> None:
    source = Source("f", "mode: keep\nfoo: hunter2\nmode: once")
    assert source.shows(Position(1, 7), Position(1, 11))
    assert source.shows(Position(2, 1), Position(2, 6))
    assert not source.shows(Position(2, 6), Position(2, 7))
    assert not source.shows(Position(1, 7), Position(3, 1)), "of several lines one is hidden"
    assert source.shows(Position(3, 1), Position(3, 99))


def test_values_in_messages_are_quoted_short_and_without_secrets() -> None:
    assert shown("a\x1b'b") == '"a\\x1b\'b"'
    assert shown("x" * 61) == f"'{'x' * 60}...'"
    assert shown("npk1:abc npc1:de") == "'npk1:***********'"
    assert shown("secret = abc") == "'secret = ***'"
