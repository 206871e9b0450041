"""Kinds of values: how they are read, and what their JSON schema says."""

from __future__ import annotations

from typing import Any

import pytest

from netpunch.config.document.composer import compose
from netpunch.config.document.problems import Position, Problems, Source
from netpunch.config.kinds import (
    BROKEN,
    REQUIRED,
    Cursor,
    Key,
    Kind,
    Rejected,
    closest,
    did_you_mean,
    is_whole,
    list_of,
    mapping,
    off_or,
    one_or_list,
    scalar,
)

number = scalar("a number", int)


def read(kind: Kind[Any], text: str) -> tuple[Any, list[str]]:
    """The value (BROKEN if it is rejected) and the problems."""
    problems = Problems(Source("f", text))
    root = compose(text, problems)
    try:
        value = kind.read(Cursor(root, "", Position(1, 1), problems))
    except Rejected:
        value = BROKEN
    told = [str(problem).splitlines()[0] for problem in problems.error().problems]
    return value, told


def key(name: str, *, required: bool = False) -> Key[Any]:
    return Key(name, number, 0, "what it is for", REQUIRED if required else "")


def test_a_scalar_is_converted_or_refused_with_what_is_expected() -> None:
    assert read(number, "10") == (10, [])
    value, told = read(number, "ten")
    assert value is BROKEN
    assert told == [
        "f:1:1: expected a number, got another value: invalid literal for int() with base 10: 'ten'"
    ]
    assert read(number, "[1]")[1] == ["f:1:1: expected a number, got a list"]
    assert read(number, "{a: 1}")[1] == ["f:1:1: expected a number, got a mapping"]
    assert read(number, "{a: , b: }")[1] == ["f:1:1: expected a number, got a mapping"]
    assert read(number, "{}")[1] == ["f:1:1: expected a number, got a mapping"]


def test_an_empty_text_in_quotes_is_a_text() -> None:
    text = scalar("a text", str)
    assert read(text, '""') == ("", [])
    assert read(text, '"~"') == ("~", [])
    assert read(text, "~")[1] == ["f:1:1: expected a text, got no value"]


def test_a_list_reports_every_wrong_item() -> None:
    assert read(list_of(number, "numbers"), "[1, 2]") == ((1, 2), [])
    value, told = read(list_of(number, "numbers"), "[x, 2, [3]]")
    assert value is BROKEN
    assert [line[:9] for line in told] == ["f:1:2: [0", "f:1:8: [2"]
    assert read(one_or_list(number, "numbers"), "5") == ((5,), [])
    assert read(one_or_list(number, "numbers"), "[5, 6]") == ((5, 6), [])


def test_off_stands_for_the_value_off() -> None:
    reader = off_or(number, None)
    assert read(reader, "off") == (None, [])
    assert read(reader, "5") == (5, [])


def test_a_mapping_reads_its_keys_and_reports_missing_ones() -> None:
    reader: Kind[dict[str, Any]] = mapping([key("a", required=True), key("b")], dict, "this")
    settings, told = read(reader, "a: 1\nb: x\n")
    assert settings["a"].value == 1
    assert (settings["a"].position, settings["a"].path) == (Position(1, 4), "a")
    assert settings["b"].value is BROKEN
    assert len(told) == 1
    assert not is_whole(settings)
    settings, told = read(reader, "b: 2\n")
    assert told == ["f:1:1: `a` is missing: expected this"]
    assert settings["a"].value is BROKEN


def test_a_misspelt_key_is_not_reported_as_missing_too() -> None:
    reader: Kind[dict[str, Any]] = mapping([key("alpha", required=True)], dict, "this")
    settings, told = read(reader, "alhpa: 1")
    assert told == ["f:1:1: alhpa: unknown key; did you mean alpha?"]
    assert settings["alpha"].value is BROKEN
    settings, told = read(reader, "alpha: 1\nalhpa: 2")
    assert settings["alpha"].value == 1


def test_an_odd_key_is_shown_only_if_it_resembles_a_known_one() -> None:
    """They are quoted then; else they may be anything, a part of a secret as well."""
    reader: Kind[dict[str, Any]] = mapping([key("alpha")], dict, "this")
    _, told = read(reader, '"a b": 1\n"alph\\e": 2\n')
    assert told == [
        "f:1:1: *: unknown key; known here: alpha",
        "f:2:1: 'alph\\x1b': unknown key; did you mean alpha?",
    ]
    _, (told_of_long,) = read(reader, f"{'x' * 1000}: 1")
    assert len(told_of_long) < 120


@pytest.mark.parametrize(
    ("text", "guess"), [("alhpa", "alpha"), ("ALPHA", "alpha"), ("x", None), ("alpha" * 99, None)]
)
def test_the_closest_known_word_is_suggested(text: str, guess: str | None) -> None:
    assert closest(text, ["alpha", "beta"]) == guess
    assert did_you_mean(text, ["alpha"]) == (f" (did you mean {guess}?)" if guess else "")
