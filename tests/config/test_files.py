"""Templates that a site file names."""

from __future__ import annotations

from pathlib import Path

import pytest

from netpunch.config.document.problems import SiteError
from netpunch.config.loading import select
from tests.config.conftest import LoadText
from tests.config.test_loading_selection import SITE

TEMPLATES = SITE.replace(
    "a: {node: Home}",
    'a: {node: Home, files: [{template: "{pair}.in", to: /1}, {template: p.in, to: /2}]}',
)


def test_templates_are_read_only_on_the_node_that_needs_them(
    load_text: LoadText, tmp_path: Path
) -> None:
    site = load_text(TEMPLATES)
    assert select(site, "office", "x", None).ends[0].files == ()
    (tmp_path / "p.in").write_text("remote {rhost}\n")
    files = select(site, "home", "x", None).ends[0].files
    assert [file.text for file in files] == ["remote {rhost}\n"] * 2
    assert site.pairs[0].a.files[0].text == ""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "can't be read: No such file or directory"),
        (b"\xff", "is not UTF-8"),
        (bytes(1024 * 1024 + 1), "is longer than 1,048,576 bytes"),
        (Path, "is a directory"),
    ],
    ids=["missing", "binary", "long", "directory"],
)
def test_an_unusable_template_file_is_reported_once(
    load_text: LoadText, tmp_path: Path, content: bytes | type[Path] | None, told: str
) -> None:
    site = load_text(TEMPLATES)
    template = tmp_path / "p.in"
    if isinstance(content, bytes):
        template.write_bytes(content)
    elif content is not None:
        template.mkdir()
    with pytest.raises(SiteError) as caught:
        select(site, "home", "x", None)
    assert str(caught.value).splitlines()[0] == (
        f"site.yaml:8:40: pairs.p.a.files[0].template: the template {template} {told}"
    )
    assert len(caught.value.problems) == 1


def test_a_wrong_placeholder_in_a_template_is_shown_with_its_line(
    load_text: LoadText, tmp_path: Path
) -> None:
    site = load_text(TEMPLATES)
    template = tmp_path / "p.in"
    template.write_text("dev tun\nremote {{.RemoteIP}}\n")
    with pytest.raises(SiteError) as caught:
        select(site, "home", "x", None)
    assert str(caught.value) == (
        f"{template}:2:8: `{{{{.RemoteIP}}}}` is the Go netpunch's form; write {{rhost}}\n"
        "remote {{.RemoteIP}}\n"
        "       ^"
    )
