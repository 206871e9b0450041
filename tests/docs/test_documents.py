"""The documents: their links lead somewhere, and what they show is valid."""

from __future__ import annotations

import base64
import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml

from netpunch.cli.arguments import GO_FLAGS
from netpunch.config.loading import load, select
from netpunch.config.model import Site
from netpunch.errors import EXIT_CODES

ROOT = Path(__file__).parents[2]
TOPS = (ROOT, ROOT / "netpunch")
SITE = ROOT / "configs" / "site.yaml"
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README_LINES = 150
"""A newcomer reads it in some minutes; everything else is in docs/."""

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")

by_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def prose(document: Path) -> str:
    """A document without its code blocks."""
    return FENCE.sub("", document.read_text(encoding="utf-8"))


def blocks(document: Path, language: str) -> list[str]:
    """Its code blocks in one language."""
    found = FENCE.findall(document.read_text(encoding="utf-8"))
    return [text for named, text in found if named == language]


def anchors(document: Path) -> set[str]:
    """The fragments that GitHub gives its headings, which are all different."""
    headings = HEADING.findall(prose(document))
    plain = [re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading).lower() for heading in headings]
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in plain}


@by_document
def test_every_relative_link_of_a_document_leads_to_a_file_and_a_heading(document: Path) -> None:
    broken = []
    for path, fragment in LINK.findall(prose(document)):
        target = document.parent / path if path else document
        if not target.exists() or (fragment and fragment not in anchors(target)):
            broken.append(f"{path}#{fragment}")
    assert not broken


@by_document
def test_every_source_file_that_a_document_names_exists(document: Path) -> None:
    """Below the repository or, for short, below netpunch/."""
    named = set(re.findall(r"`([\w/.-]+/[a-z_]+\.(?:py|sh|txt))`", prose(document)))
    missing = {path for path in named if not any((top / path).exists() for top in TOPS)}
    assert not missing


HEAD = 'version: 1\ncontrol: {node: vps, address: "vps.example.net:10001"}\n'
PUBLIC_KEY = re.compile("KEY-OF-([A-Z0-9]+)=")
"""What a reader fills in."""


def _public_key(placeholder: re.Match[str]) -> str:
    return base64.b64encode(placeholder[1].encode().ljust(32, b"\0")).decode()


def whole(text: str) -> str:
    """A mesh that is shown without its control, with one; other texts as they are."""
    return HEAD + text if text.startswith("meshes:") else text


@by_document
def test_every_whole_site_in_a_document_is_valid(document: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    for number, text in enumerate(blocks(document, "yaml")):
        if text.startswith("pairs: "):
            (tmp_path / "pairs" / f"{number}.yaml").write_text(text)
    for text in map(whole, blocks(document, "yaml")):
        if text.startswith("version: 1"):
            (tmp_path / "site.yaml").write_text(PUBLIC_KEY.sub(_public_key, text))
            assert load(tmp_path / "site.yaml").pairs


def test_the_mesh_by_forward_has_the_ports_that_the_recipe_says(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    _, _, recipe = text.partition("Without `share`, by `forward`:")
    (_, mesh), (_, wireguard) = FENCE.findall(recipe)[:2]
    (tmp_path / "site.yaml").write_text(HEAD + mesh)
    ends = [end for pair in load(tmp_path / "site.yaml").pairs for end in pair.ends]
    ports = {(end.node, end.partner_node): end.forward.listen.port for end in ends if end.forward}
    told = re.findall(r"\b(52\d{3})\s+(?:leads\s+)?to\s+(\w+)", recipe)
    assert ports == {
        (node, partner): int(port) for port, partner in told for _, node in told if node != partner
    }
    peers = re.findall(r"# (\w+)\nEndpoint = 127\.0\.0\.1:(\d+)", wireguard)
    assert [ports["home", peer] for peer, _ in peers] == [int(port) for _, port in peers]
    assert peers


@by_document
def test_every_netpunch_command_in_a_document_can_be_parsed(document: Path) -> None:
    text = "\n".join(blocks(document, "sh")).replace("\\\n", "")
    for line in re.findall(r"^ *(netpunch [^|#\n]+)", text, re.MULTILINE):
        _, command, *arguments = shlex.split(line)
        importlib.import_module(f"netpunch.cli.{command}").parse("netpunch", arguments)


def test_the_recipes_list_every_exit_code() -> None:
    _, _, section = (ROOT / "docs" / "recipes.md").read_text().partition("## Exit codes")
    listed = re.findall(r"^\| (\d+) \|", section.partition("\n## ")[0], re.MULTILINE)
    assert {int(code) for code in listed} == set(EXIT_CODES)


def test_the_migration_guide_has_a_row_for_every_flag_of_the_go_netpunch() -> None:
    text = (ROOT / "docs" / "migrating-from-go.md").read_text()
    rows = "".join(re.findall(r"^\|([^|]+)\|", text, re.MULTILINE))
    assert set(re.findall(r"`-([a-z-]+)", rows)) == {"secret", *GO_FLAGS}


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= README_LINES


def test_the_readme_shows_the_real_site_file_without_its_comments() -> None:
    (shown,) = [text for text in blocks(ROOT / "README.md", "yaml") if text.startswith("version")]
    assert yaml.safe_load(shown) == yaml.safe_load(SITE.read_text())


def test_install_and_the_real_site_file_make_keys_by_the_same_commands() -> None:
    install = (ROOT / "docs" / "install.md").read_text()
    commands = re.findall(r"^((?:netpunch key|ssh) .+)$", install, re.M)
    assert len(commands) == 3
    assert commands == re.findall(r"^#   ((?:netpunch key|ssh) .+)$", SITE.read_text(), re.M)


def test_the_pair_of_a_fleet_has_two_controls(tmp_path: Path) -> None:
    (text,) = [text for text in blocks(ROOT / "docs" / "fleets.md", "yaml") if "shop-1042" in text]
    (tmp_path / "site.yaml").write_text(text)
    site = load(tmp_path / "site.yaml")
    assert site.pairs[0].controls == ("c17", "c03")
    for node in ("c03", "c17", "till-1042", "warehouse"):
        assert len(parts_of(site, node)) == 1


def parts_of(site: Site, node: str) -> list[object]:
    part = select(site, node, "any-host", None)
    return [*part.controls, *part.ends]
