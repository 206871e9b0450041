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
def test_placeholders_are_replaced_and_braces_unescaped(text: str, rendered: str) -> None:
    validate(text)
    assert render(text, VALUES) == rendered


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("x {", 2, "expected a placeholder's name and `}` after `{`; write `{{` for a brace"),
        ("{pair\n}", 0, "expected a placeholder's name and `}` after `{`; write `{{` for a brace"),
        ("{pair} {", 7, "expected a placeholder's name and `}` after `{`; write `{{` for a brace"),
        ("{{.RemoteIP}}", 0, "`{{.RemoteIP}}` is the Go netpunch's form; write {rhost}"),
        ("{{- .RemoteHost }}", 0, "`{{- .RemoteHost }}` is the Go netpunch's form; write {rhost}"),
        ("{{.LocalAddr}}", 0, "`{{.LocalAddr}}` is the Go netpunch's form; write {laddr}"),
        ("{{.LocalPort}}", 0, "`{{.LocalPort}}` is the Go netpunch's form; write {lport}"),
        (
            " {raddress}",
            1,
            "unknown placeholder {raddress} (did you mean {raddr}?): write {end} {faddr} "
            "{fhost} {fport} {laddr} {lhost} {lport} {mesh} {node} {pair} {partner} "
            "{raddr} {rhost} {rport}, or `{{` for a brace",
        ),
        (
            "{}",
            0,
            "unknown placeholder {}: write {end} {faddr} "
            "{fhost} {fport} {laddr} {lhost} {lport} {mesh} {node} {pair} {partner} "
            "{raddr} {rhost} {rport}, or `{{` for a brace",
        ),
    ],
)
def test_an_invalid_template_is_refused_with_its_offset(
    text: str, offset: int, message: str
) -> None:
    with pytest.raises(TemplateError) as caught:
        validate(text)
    assert (str(caught.value), caught.value.offset) == (message, offset)
    assert isinstance(caught.value, ConfigurationError)


def test_a_long_unknown_placeholder_is_shortened_in_its_error() -> None:
    with pytest.raises(TemplateError) as caught:
        validate("{" + "x" * 1000 + "}")
    assert str(caught.value).startswith("unknown placeholder {xxxxxxxxxxxxxxxxxxxx}: write")


def test_terminal_escapes_in_a_template_error_are_escaped() -> None:
    with pytest.raises(TemplateError, match=r"^unknown placeholder \{\\x1b\[2J\}"):
        validate("{\x1b[2J}")
    with pytest.raises(TemplateError, match=r"^`\{\{\\u2028\.RemoteIP\}\}` is the Go"):
        validate("{{\u2028.RemoteIP}}")


def test_a_path_takes_no_address_placeholder() -> None:
    validate("/run/{pair}.{end}", PATH_PLACEHOLDERS)
    with pytest.raises(TemplateError, match="has no value before a link"):
        validate("/run/{raddr}", PATH_PLACEHOLDERS)
    with pytest.raises(TemplateError, match="this text has no placeholders"):
        validate("/run/{pair}", ())


def test_a_placeholder_without_a_value_is_an_error() -> None:
    with pytest.raises(TemplateError, match="laddr"):
        render("{laddr}", VALUES)


def test_placeholders_within_values_are_not_expanded() -> None:
    assert render("{pair}", {"pair": "{end}", "end": "a"}) == "{end}"


def test_all_placeholders_are_allowed_by_default() -> None:
    text = " ".join(f"{{{name}}}" for name in sorted(ALL_PLACEHOLDERS))
    validate(text)
    assert render(text, dict.fromkeys(ALL_PLACEHOLDERS, "x")) == " ".join(
        "x" * len(ALL_PLACEHOLDERS)
    )


@pytest.mark.parametrize("text", ["{", "}", "{pair}", "{{}}", "a{{.RemoteIP}}b", ""])
def test_an_escaped_text_renders_to_itself(text: str) -> None:
    assert render(escape(text), {}) == text
