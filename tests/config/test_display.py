"""The effective configuration, as `check --show` prints it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from netpunch.config.display import show
from netpunch.config.document.problems import Position
from netpunch.config.loading import select
from netpunch.config.model import Site
from tests.config.conftest import LoadText
from tests.config.test_loading import EVERYTHING, MINIMAL
from tests.config.test_loading_selection import IN_ONE_PROCESS
from tests.config.test_secrets import PAIR_KEY


def without_positions(value: Any) -> Any:
    if isinstance(value, Position):
        return None
    if isinstance(value, Site):
        value = value._replace(source="")
    if isinstance(value, tuple):
        return tuple(without_positions(part) for part in value)
    return value


@pytest.mark.parametrize("text", [MINIMAL, EVERYTHING, IN_ONE_PROCESS])
def test_the_shown_configuration_loads_to_the_same_site(load_text: LoadText, text: str) -> None:
    site = load_text(text)
    shown = show(site).replace("(redacted)", "010")
    assert without_positions(load_text(shown)) == without_positions(site)
    assert show(load_text(shown)) == show(site)


def test_the_shown_configuration_has_no_secret(load_text: LoadText) -> None:
    site = load_text(IN_ONE_PROCESS.replace("generate", f'"{PAIR_KEY}"'))
    for shown in (show(site), show(select(site, None, "x", None))):
        assert "npk1" not in shown
        assert re.findall("secret: (.*)", shown)[0] == "(redacted)"


def test_the_shown_part_has_only_what_its_node_runs(load_text: LoadText) -> None:
    part = select(load_text(MINIMAL), "home", "x", None)
    shown = show(part)
    assert shown.startswith("node: home\ncontrol: []\npairs:\n  home-office:\n    a:\n")
    assert "office\n" not in shown
    assert "    b:" not in shown


def test_the_shown_part_has_the_slot_of_a_classic_end(load_text: LoadText, tmp_path: Path) -> None:
    (tmp_path / "p.a.in").touch()
    site = load_text(EVERYTHING.replace("enabled: false", "enabled: true"))
    assert "      protocol: classic\n      slot: d\n" in show(select(site, "home", "x", None))
