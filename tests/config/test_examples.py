"""The site files that come with netpunch are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netpunch.config.loading import load, select
from netpunch.config.secrets import read_secrets

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
SITE = CONFIGS / "site.yaml"


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.name)
def test_an_example_site_file_loads(file: Path) -> None:
    site = load(file)
    assert site.pairs
    assert site.warnings == ()


def test_configs_example_runs_as_it_is() -> None:
    site = load(CONFIGS / "example.yaml")
    part = select(site, None, "any-host", None)
    assert len(part.controls) == 1
    assert len(part.ends) == 4
    assert {pair.protocol for pair in site.pairs} == {"v2", "classic"}
    addresses = [part.controls[0].address, *part.controls[0].listen, *part.controls[0].observe]
    hosts = [host for host, _ in addresses] + [end.settings.local[0] for end in part.ends]
    assert set(hosts) == {"127.0.0.1"}
    for end in part.ends:
        (secret,) = read_secrets(
            end.secret, end.protocol, site=site, pair=end.pair, role="end", environ={}
        )
        assert secret.value


@pytest.mark.parametrize("node", ["vps", "home", "office"])
def test_every_node_of_configs_site_has_a_part(node: str) -> None:
    part = select(load(SITE), node, "any-host", None)
    assert len(part.controls) + len(part.ends) == 1


def test_the_commented_alternatives_of_configs_site_are_valid(tmp_path: Path) -> None:
    """Another pair in classic, and a command instead of `forward`."""
    text = SITE.read_text()
    head, version, sections = text.partition("version: 1\n")
    sections = re.sub(r"^( +)# ((  )*[a-z_-]+:( .*)?)$", r"\1\2", sections, flags=re.MULTILINE)
    sections = re.sub(r"^    forward: .*\n", "", sections, flags=re.MULTILINE)
    (tmp_path / "site.yaml").write_text(head + version + sections)
    site = load(tmp_path / "site.yaml")
    assert [(pair.name, pair.protocol) for pair in site.pairs] == [
        ("home-office", "v2"),
        ("home-cabin", "classic"),
    ]
    for end in site.pairs[0].ends:
        assert end.command[0] == "openvpn"
        assert end.check[0] == "ping"
    documented = (ROOT / "contrib" / "openvpn-a.conf").read_text()
    assert re.search(r"# (command: .*openvpn.*)", text)[1] in documented  # type: ignore[index]
