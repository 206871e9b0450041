"""Which part of a site a host runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from netpunch.config.document.problems import SiteError
from netpunch.config.loading import pairs_served, select
from netpunch.errors import ConfigurationError
from tests.config.conftest import LoadText

SITE = """\
version: 1
control:
  - {node: vps.example.net, address: "vps.example.net:10001"}
  - {node: home, address: "home.example.net:10001"}
defaults: {secret_file: key}
pairs:
  p:
    a: {node: Home}
    b: {node: office}
  q:
    control: home
    a: {node: home}
    b: {node: office, enabled: off}
  off:
    enabled: off
    a: {node: home}
    b: {node: cabin}
"""

IN_ONE_PROCESS = """\
version: 1
control: {address: "127.0.0.1:10001"}
defaults: {secret: generate}
pairs: {p: {a: {}, b: {}}}
"""


@pytest.mark.parametrize(
    ("node", "hostname", "environ", "chosen"),
    [
        ("office", "home", "vps.example.net", "office"),
        ("OFFICE", "home", None, "office"),
        (None, "home", "office", "office"),
        (None, "home", "", "home"),
        (None, "HOME.lan", None, "home"),
        (None, "vps.example.net", None, "vps.example.net"),
        (None, "cabin", None, "cabin"),
    ],
)
def test_the_node(
    load_text: LoadText, node: str | None, hostname: str, environ: str | None, chosen: str
) -> None:
    assert select(load_text(SITE), node, hostname, environ).node == chosen


def test_the_node_of_the_file(load_text: LoadText) -> None:
    site = load_text(f"node: office\n{SITE}")
    assert select(site, None, "home", None).node == "office"
    assert select(site, None, "home", "cabin").node == "cabin"
    assert select(site, "home", "office", "cabin").node == "home"


def test_a_node_that_is_none(load_text: LoadText) -> None:
    names = "cabin, home, office, vps.example.net"
    with pytest.raises(ConfigurationError) as caught:
        select(load_text(SITE), None, "vps", None)
    assert str(caught.value) == (
        f"site.yaml: no part runs on 'vps': choose one of {names} "
        "with `--node`, NETPUNCH_NODE, or `node:` in the file"
    )
    with pytest.raises(ConfigurationError) as caught:
        select(load_text(SITE), "home.lan", "home", None)
    assert str(caught.value) == (
        f"site.yaml: no part runs on 'home.lan': choose one of {names} with `--node`"
    )


def test_the_part_of_a_node(load_text: LoadText) -> None:
    site = load_text(SITE)
    home = select(site, "home", "x", None)
    assert [control.name for control in home.controls] == ["home"]
    assert [(end.pair, end.end) for end in home.ends] == [("p", "a"), ("q", "a")]
    office = select(site, "office", "x", None)
    assert [(end.pair, end.end) for end in office.ends] == [("p", "b")]
    cabin = select(site, "cabin", "x", None)
    assert (cabin.controls, cabin.ends) == ((), ())


def test_everything_in_one_process(load_text: LoadText) -> None:
    site = load_text(IN_ONE_PROCESS)
    part = select(site, None, "whatever", "ignored")
    assert part.node is None
    assert part.controls == site.controls
    assert part.ends == site.pairs[0].ends
    with pytest.raises(ConfigurationError, match="no part names a node, so all parts run in this"):
        select(site, "home", "whatever", None)


def test_what_a_control_serves(load_text: LoadText) -> None:
    site = load_text(SITE)
    vps, home = site.controls
    assert [pair.name for pair in pairs_served(site, vps)] == ["p"]
    assert [pair.name for pair in pairs_served(site, home)] == ["p", "q"]


TEMPLATES = SITE.replace(
    "a: {node: Home}",
    'a: {node: Home, files: [{template: "{pair}.in", to: /1}, {template: p.in, to: /2}]}',
)


def test_templates_are_read_where_they_are_needed(load_text: LoadText, tmp_path: Path) -> None:
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
def test_templates_that_are_none(
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


def test_a_wrong_placeholder_in_a_template(load_text: LoadText, tmp_path: Path) -> None:
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
