from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from netpunch.address import Address
from netpunch.config.model import EndConfig
from netpunch.core.events import Linked, PathKind
from netpunch.errors import OutputError
from netpunch.node.publish import Published, describe
from tests.node.recorder import end_with

AT = 1_000_000_000.25
LOCAL, REMOTE = Address("::", 5000), Address("2001:db8::1", 5001)


def linked(remote: Address = REMOTE) -> Linked:
    return Linked(0, LOCAL, remote, PathKind.IPV6, 0.01, 0.1)


def files(folder: Path, text: str = "{rhost} {rport} {{}}") -> dict[str, Any]:
    (folder / "vpn.in").write_text(text)
    return {"files": [{"template": "vpn.in", "to": "{pair}.conf", "mode": "0600"}]}


def published_by(end: EndConfig, linked: Linked, at: float) -> Published:
    published = describe(end, linked, at)
    published.write()
    return published


def test_a_link_is_described_before_anything_is_written(tmp_path: Path) -> None:
    end = end_with(tmp_path, env_file="p.env", **files(tmp_path))
    assert describe(end, linked(), AT).env_file == tmp_path / "p.env"
    assert not list(tmp_path.glob("p.*"))


def test_a_link_without_files_is_only_described(tmp_path: Path) -> None:
    published = published_by(end_with(tmp_path), linked(), AT)
    assert (published.env_file, published.changed, published.previous_remote) == (None, True, None)
    assert published.text == "p [::]:5000 [2001:db8::1]:5001"
    assert published.variables["NETPUNCH_RADDR"] == "[2001:db8::1]:5001"
    assert published.variables["NETPUNCH_RHOST"] == "2001:db8::1"
    assert published.variables["NETPUNCH_AT"] == "2001-09-09T01:46:40.250000Z"
    published.withdraw()


def test_a_link_is_shown_by_the_template_of_its_end(tmp_path: Path) -> None:
    end = end_with(tmp_path, template="{pair}.{end} {lhost} {lport} {rhost} {rport} {{{laddr}}}")
    published = published_by(end, linked(), AT)
    assert published.text == "p.a :: 5000 2001:db8::1 5001 {[::]:5000}"


def test_a_link_knows_whether_it_differs_from_the_env_file(tmp_path: Path) -> None:
    end = end_with(tmp_path, env_file="{pair}.{end}.env")
    first = published_by(end, linked(), AT)
    assert (first.changed, first.previous_remote) == (True, None)
    assert first.env_file == tmp_path / "p.a.env"
    lines = [f"{name}={value}" for name, value in first.variables.items()]
    assert (tmp_path / "p.a.env").read_text().splitlines() == lines
    assert published_by(end, linked(), AT + 1).changed is False
    moved = published_by(end, linked(Address("192.0.2.1", 1)), AT)
    assert (moved.changed, moved.previous_remote) == (True, REMOTE)


def test_rendered_files_have_content_and_mode(tmp_path: Path) -> None:
    published_by(end_with(tmp_path, **files(tmp_path)), linked(), AT)
    assert (tmp_path / "p.conf").read_text() == "2001:db8::1 5001 {}"
    assert stat.S_IMODE((tmp_path / "p.conf").stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_leaves_no_env_file(tmp_path: Path) -> None:
    end = end_with(tmp_path, env_file="p.env", **files(tmp_path))
    (tmp_path / "p.conf").mkdir()
    with pytest.raises(OutputError, match=r"p\.conf"):
        published_by(end, linked(), AT)
    assert not (tmp_path / "p.env").exists()


def test_a_withdrawn_link_has_no_env_file(tmp_path: Path) -> None:
    published = published_by(end_with(tmp_path, env_file="p.env"), linked(), AT)
    published.withdraw()
    assert not (tmp_path / "p.env").exists()
    published.withdraw()
