"""netpunch.api.secret_file: secrets named on the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netpunch.api import secret_file
from netpunch.api.secret_file import read_secret_file
from netpunch.config.secrets import parse_key
from netpunch.errors import ConfigurationError, MissingFileError, PermissionsError
from netpunch.wire import keys
from tests.cli.conftest import secret


def test_a_classic_secret_is_the_bytes_of_its_file(folder: Path) -> None:
    content = b"\x00\xff a secret \r\n\n"
    file = secret(folder / "classic", content)
    assert read_secret_file(str(file), "classic", "end").value == content


def test_keys(pair_key: Path, control_key: Path) -> None:
    pair = read_secret_file(str(pair_key), "v2", "end")
    derived = keys.control_key(pair.value, "home-office")
    assert pair == parse_key(pair_key.read_text())
    for file in (pair_key, control_key):
        found = read_secret_file(file, "v2", "control")
        assert secret_file.control_key(found, "home-office") == derived


def test_an_end_can_do_nothing_with_the_key_for_control(control_key: Path) -> None:
    with pytest.raises(ConfigurationError, match="it needs the pair's own key"):
        read_secret_file(str(control_key), "v2", "end")


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o644])
def test_a_file_that_others_can_read(folder: Path, mode: int) -> None:
    file = secret(folder / "open", b"hunter2", mode)
    with pytest.raises(PermissionsError, match=f"chmod 600 {file}") as raised:
        read_secret_file(str(file), "classic", "end")
    assert "hunter2" not in str(raised.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_we_cannot_read(folder: Path) -> None:
    file = secret(folder / "shut", b"hunter2", 0o000)
    with pytest.raises(PermissionsError, match="can't be read: Permission denied"):
        read_secret_file(str(file), "classic", "end")


def test_a_name_that_the_system_refuses(folder: Path) -> None:
    with pytest.raises(PermissionsError, match="can't be read: File name too long"):
        read_secret_file("x" * 5000, "classic", "end")


def test_what_is_no_secret(folder: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        read_secret_file("none", "v2", "end")
    os.mkfifo("fifo", 0o600)
    for name, content in [("empty", b""), ("log", b"x" * 5000)]:
        secret(folder / name, content)
    for name in ("empty", "log", "fifo", "."):
        with pytest.raises(ConfigurationError, match=f"{name}: "):
            read_secret_file(name, "classic", "end")
