"""Advice about broken YAML (most of it is tested with whole reports, in wrong_yaml.txt)."""

from __future__ import annotations

import pytest
import yaml

import netpunch.config.loading  # noqa: F401 (tells which keys are ours: they are shown)
from netpunch.config.document.problems import Position, Source
from netpunch.config.document.syntax import explain


def explained(error: yaml.YAMLError, text: str) -> tuple[Position, str]:
    return explain(error, Source("f", text), Position(7, 7))


def mark(line: int, column: int) -> yaml.Mark:
    return yaml.Mark("f", 0, line, column, None, 0)


def test_a_yaml_error_without_a_position_is_placed_at_the_last_event() -> None:
    place, told = explained(yaml.YAMLError("no luck"), "a")
    assert (place, told) == (Position(7, 7), "not valid YAML: no luck")


def test_an_unknown_yaml_error_quotes_the_parser() -> None:
    error = yaml.scanner.ScannerError(None, None, "found something else", mark(0, 2))
    assert explained(error, "a:x") == (Position(1, 3), "not valid YAML: found something else")
    assert explained(error, "a") == (Position(1, 3), "not valid YAML: found something else")


@pytest.mark.parametrize(
    ("line", "advised"),
    [
        ("command: [x, {pair}.conf, y", "{pair}.conf"),
        ("command: [x, /run/{pair}.{end}], y", "/run/{pair}.{end}"),
        ("command: [{pair}.conf, y", "{pair}.conf"),
        ("{listen: [{lhost}]:5000}", "[{lhost}]:5000"),
    ],
)
def test_advice_about_braces_shows_the_word_to_quote(line: str, advised: str) -> None:
    """Where the line is shown so far: what may be a secret is not quoted."""
    place = mark(0, line.rindex("}", 0, -1))
    error = yaml.parser.ParserError("while parsing a flow sequence", mark(0, 0), "x", place)
    assert explained(error, line)[1] == f'quote the whole of a value with braces, as in "{advised}"'
