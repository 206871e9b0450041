"""Links that nothing would use are warned of, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netpunch.config.rules import FILES, HELD, NOTHING, surely_unused, unused_links
from tests.node.recorder import site_with

CHECK = {"mode": "keep", "check": ["true"]}
FORWARD = {"forward": {"listen": "127.0.0.1:51821", "to": "127.0.0.1:51820"}}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (CHECK, NOTHING),
        (CHECK | {"hooks": {"down": ["true"]}}, NOTHING),
        (CHECK | {"env_file": "/run/netpunch/{pair}.env"}, FILES),
        (CHECK | {"command": ["true"]}, None),
        (CHECK | {"hooks": {"up": ["true"]}}, None),
        ({"mode": "keep"}, HELD),
        ({"mode": "keep"} | FORWARD, None),
        ({"mode": "once"}, None),
    ],
)
def test_what_uses_a_link(tmp_path: Path, settings: dict[str, Any], expected: str | None) -> None:
    pair = settings | {"secret": "generate", "a": {}, "b": {"enabled": False}}
    site, part = site_with(tmp_path, {"p": pair})
    problems = list(unused_links(site, part.ends))
    assert [each.message for each in problems] == ([expected] if expected else [])
    assert bool(list(surely_unused(problems))) == (expected == NOTHING)
    assert all(each.key == "pairs.p.a" for each in problems)
