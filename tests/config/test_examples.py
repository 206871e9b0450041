"""The site files that come with netpunch are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netpunch.config import load, select
from netpunch.config.secrets import read_secret

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
FLEET = re.compile(r"<!-- fleet-site -->\n```yaml\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.name)
def test_it_loads(file: Path) -> None:
    site = load(file)
    assert site.pairs
    assert site.warnings == ()


def test_the_example_runs_as_it_is() -> None:
    site = load(CONFIGS / "example.yaml")
    part = select(site, None, "any-host", None)
    assert len(part.controls) == 1
    assert len(part.ends) == 4
    assert {pair.protocol for pair in site.pairs} == {"v2", "classic"}
    addresses = [part.controls[0].address, *part.controls[0].listen, *part.controls[0].observe]
    addresses += [end.local for end in part.ends]
    assert {address.host for address in addresses} == {"127.0.0.1"}
    for end in part.ends:
        key = f"pairs.{end.pair}.secret"
        assert read_secret(
            end.secret, end.protocol, site=site, key=key, role="end", environ={}
        ).value


@pytest.mark.parametrize("node", ["vps", "home", "office", "cabin"])
def test_every_host_of_the_real_one_has_its_part(node: str) -> None:
    part = select(load(CONFIGS / "home-office.yaml"), node, "any-host", None)
    assert part.controls or part.ends


def test_the_readmes_pair_of_a_fleet_has_two_controls(tmp_path: Path) -> None:
    found = FLEET.search((ROOT / "README.md").read_text())
    assert found is not None
    (tmp_path / "site.yaml").write_text(found[1])
    site = load(tmp_path / "site.yaml")
    assert site.pairs[0].controls == ("c17", "c03")
    for node in ("c03", "c17", "till-1042", "warehouse"):
        part = select(site, node, "any-host", None)
        assert len(part.controls) + len(part.ends) == 1
