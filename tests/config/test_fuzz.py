"""Whatever a file holds, it is a site or a SiteError, soon, and no secret is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netpunch.config.display import show
from netpunch.config.document.problems import SiteError
from netpunch.config.document.secrecy import OUR_KEYS
from netpunch.config.loading import load
from tests.config.test_loading import EVERYTHING

quickly = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

KEYS = sorted(OUR_KEYS)
TEXTS = st.one_of(
    st.sampled_from(["", "off", "on", "1", "keep", "classic", "a-b", "5s", ":1", "h:1", "{pair}"]),
    st.sampled_from(["generate", "[::1]:1", "200/s", "~", "npk1:AAAA", "observed", "{{", "\0"]),
    st.text(max_size=12),
)
TREES = st.recursive(
    TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | TEXTS, inner, max_size=6)
    ),
    max_leaves=40,
)
SITES = st.fixed_dictionaries(
    {
        "version": st.just(1),
        "control": st.just({"address": "vps:10001"}) | TREES,
        "pairs": st.dictionaries(st.sampled_from(["p", "q"]), TREES, max_size=2),
    },
    optional={"defaults": TREES, "node": TEXTS, "status": TREES, "metrics": TREES},
)
PIECES = st.sampled_from(
    [
        *(": ", "- ", "? ", "\n", "\n  ", "{", "}", "[", "]", ", ", "&a ", "*a", "!t ", "|", ">"),
        *("'", '"', "#", "%", "@", "---\n", "...\n", "\t", "\\", "\u2028", "\ufeff"),
        *("secret", "a", "<<", "~"),
    ]
)


def report_of(file: Path) -> str:
    """What is said of a file; empty if it is right."""
    try:
        show(load(file))
    except SiteError as error:
        return str(error)
    return ""


def check(folder: Path, data: bytes) -> None:
    file = folder / "site.yaml"
    file.write_bytes(data)
    report = report_of(file)
    assert not report or report.startswith(f"{file}:")
    report.encode()  # can be printed: holds no half characters


@quickly
@given(st.binary(max_size=200))
def test_a_site_file_of_any_bytes_is_loaded_or_refused(tmp_path: Path, data: bytes) -> None:
    check(tmp_path, data)


@pytest.mark.parametrize("parser", ["C", "Python"])
@quickly
@given(data=st.data())
def test_a_site_file_of_pieces_of_yaml_is_loaded_or_refused(
    tmp_path: Path, parser: str, data: st.DataObject
) -> None:
    text = "".join(data.draw(st.lists(PIECES | st.text(max_size=3), max_size=40)))
    with pytest.MonkeyPatch.context() as patch:
        if parser == "Python":
            patch.delattr(yaml, "CSafeLoader", raising=False)
        check(tmp_path, text.encode("utf-8", "surrogatepass"))


@quickly
@given(SITES)
def test_a_site_file_of_any_structure_is_loaded_or_refused(tmp_path: Path, tree: Any) -> None:
    check(tmp_path, yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))


@quickly
@given(st.data())
def test_a_valid_site_file_with_a_slip_is_loaded_or_refused(
    tmp_path: Path, data: st.DataObject
) -> None:
    """Some characters are removed, some others typed, perhaps next to the secret."""
    text = EVERYTHING.replace("secret: 010", "secret: hunter2")
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, min(begin + 5, len(text))))
    check(tmp_path, (text[:begin] + data.draw(PIECES) + text[end:]).encode())


@quickly
@given(st.data())
def test_the_report_about_a_slip_does_not_show_the_secret(
    tmp_path: Path, data: st.DataObject
) -> None:
    """One behind or before it; a slip in `secret` itself is another key, and hidden as well."""
    text = EVERYTHING.replace("secret: 010", "secret: hunter2")
    value = text.index("hunter2")
    begin = data.draw(
        st.integers(0, text.index("secret: hunter2")) | st.integers(value + 7, len(text))
    )
    file = tmp_path / "site.yaml"
    file.write_text(text[:begin] + data.draw(PIECES) + text[begin:])
    assert "hunter2" not in report_of(file)
