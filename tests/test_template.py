"""Placeholders."""

from __future__ import annotations

import pytest

from netpunch.errors import ConfigurationError
from netpunch.template import (
    ALL_PLACEHOLDERS,
    PATH_PLACEHOLDERS,
    TemplateError,
    escape,
    render,
    validate,
)

VALUES: dict[str, str | int] = {"pair": "home", "end": "a", "rhost": "192.0.2.1", "rport": 5000}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("", ""),
        ("no placeholder", "no placeholder"),
        ("{pair}.{end}", "home.a"),
        ("{rhost} {rport}", "192.0.2.1 5000"),
        ("{{pair}}", "{pair}"),
        ("{{{pair}}}", "{home}"),
        ("}{pair}}", "}home}"),
        ("{{{{.RemoteIP}}}}", "{{.RemoteIP}}"),
        ("{{.Names}}", "{.Names}"),
        ("a\n{pair}\n", "a\nhome\n"),
    ],
)
def test_render(text: str, rendered: str) -> None:
    validate(text)
    assert render(text, VALUES) == rendered


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("x {", 2, "a `{` without a placeholder's name and `}`: write `{{` for a brace"),
        ("{pair\n}", 0, "a `{` without a placeholder's name and `}`: write `{{` for a brace"),
        ("{pair} {", 7, "a `{` without a placeholder's name and `}`: write `{{` for a brace"),
        ("{{.RemoteIP}}", 0, "`{{.RemoteIP}}` is the Go program's form: write {rhost}"),
        ("{{- .RemoteHost }}", 0, "`{{- .RemoteHost }}` is the Go program's form: write {rhost}"),
        ("{{.LocalAddr}}", 0, "`{{.LocalAddr}}` is the Go program's form: write {laddr}"),
        ("{{.LocalPort}}", 0, "`{{.LocalPort}}` is the Go program's form: write {lport}"),
        (
            " {raddress}",
            1,
            "{raddress} is no placeholder (did you mean {raddr}?): write {end} {laddr} {lhost} "
            "{lport} {pair} {raddr} {rhost} {rport}, or `{{` for a brace",
        ),
        (
            "{}",
            0,
            "{} is no placeholder: write {end} {laddr} {lhost} "
            "{lport} {pair} {raddr} {rhost} {rport}, or `{{` for a brace",
        ),
    ],
)
def test_what_is_no_template(text: str, offset: int, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        validate(text)
    assert (str(caught.value), caught.value.offset) == (message, offset)
    assert isinstance(caught.value, ConfigurationError)


def test_a_long_text_in_braces_is_not_repeated() -> None:
    with pytest.raises(TemplateError) as caught:
        validate("{" + "x" * 1000 + "}")
    assert str(caught.value).startswith("{xxxxxxxxxxxxxxxxxxxx} is no placeholder: write")


def test_what_could_steer_a_terminal_is_escaped() -> None:
    with pytest.raises(TemplateError, match=r"^\{\\x1b\[2J\} is no placeholder"):
        validate("{\x1b[2J}")
    with pytest.raises(TemplateError, match=r"^`\{\{\\u2028\.RemoteIP\}\}` is the Go"):
        validate("{{\u2028.RemoteIP}}")


def test_paths_know_no_addresses() -> None:
    validate("/run/{pair}.{end}", PATH_PLACEHOLDERS)
    with pytest.raises(TemplateError, match="not known here, where there is no link yet"):
        validate("/run/{raddr}", PATH_PLACEHOLDERS)
    with pytest.raises(TemplateError, match="this text has no placeholders"):
        validate("/run/{pair}", ())


def test_rendering_needs_a_value_for_each() -> None:
    with pytest.raises(TemplateError, match="laddr"):
        render("{laddr}", VALUES)


def test_values_are_not_expanded_again() -> None:
    assert render("{pair}", {"pair": "{end}", "end": "a"}) == "{end}"


def test_all_are_known() -> None:
    text = " ".join(f"{{{name}}}" for name in sorted(ALL_PLACEHOLDERS))
    validate(text)
    assert render(text, dict.fromkeys(ALL_PLACEHOLDERS, "x")) == "x x x x x x x x"


@pytest.mark.parametrize("text", ["{", "}", "{pair}", "{{}}", "a{{.RemoteIP}}b", ""])
def test_escaped_texts_stay_what_they_are(text: str) -> None:
    assert render(escape(text), {}) == text
