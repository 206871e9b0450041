"""Secrets and site files that several tests use."""

from __future__ import annotations

from pathlib import Path

import pytest

from netpunch.cli import main

SITE = """\
version: 1
control: {node: vps, address: "vps.example.net:10001"}
pairs:
  home-office:
    secret_file: pair.key
    a: {node: home,   local: ":5000"}
    b: {node: office, local: ":5000"}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the current one; the environment names no node."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NETPUNCH_NODE", raising=False)
    return tmp_path


@pytest.fixture
def pair_key(folder: Path) -> Path:
    assert main(["key", "new", "-o", "pair.key"]) == 0
    return folder / "pair.key"


@pytest.fixture
def control_key(pair_key: Path, folder: Path) -> Path:
    assert main(["key", "control", "home-office", "pair.key", "-o", "control.key"]) == 0
    return folder / "control.key"


@pytest.fixture
def classic_secret(folder: Path) -> Path:
    return secret(folder / "classic.secret", b"a secret\n")


@pytest.fixture
def site(folder: Path) -> Path:
    file = folder / "site.yaml"
    file.write_text(SITE)
    return file


def secret(file: Path, content: bytes, mode: int = 0o600) -> Path:
    file.write_bytes(content)
    file.chmod(mode)
    return file
