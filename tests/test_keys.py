"""netpunch.keys: keys are made, derived and read by the same rules everywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import netpunch
from netpunch.errors import ConfigurationError, MissingFileError, PermissionsError, UsageError
from netpunch.keys import read_secret_file
from netpunch.wire import keys

SECRET = bytes(range(32))
PAIR = "home-office"


def secret(file: Path, content: bytes, mode: int = 0o600) -> Path:
    file.write_bytes(content)
    file.chmod(mode)
    return file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_new_key_is_another_one() -> None:
    one, other = netpunch.new_key(), netpunch.new_key()
    assert one != other
    assert one.startswith("npk1:")
    assert len(netpunch.load_key(one)) == 32


def test_a_pair_key_loads_from_its_text_its_bytes_and_its_file(folder: Path) -> None:
    text = netpunch.new_key()
    value = netpunch.load_key(text)
    file = secret(folder / "pair.key", f"{text}\n".encode())
    assert netpunch.load_key(file) == netpunch.load_key(value) == value


def test_the_key_for_control_is_derived_from_every_form_of_the_pair_key(folder: Path) -> None:
    text = netpunch.new_key()
    value = netpunch.load_key(text)
    file = secret(folder / "pair.key", text.encode())
    derived = {netpunch.control_key(form, PAIR) for form in (text, value, file)}
    assert len(derived) == 1
    for_control = derived.pop()
    assert for_control.startswith("npc1:")
    assert netpunch.load_control_key(for_control, PAIR) == keys.control_key(value, PAIR)
    assert netpunch.load_control_key(file, PAIR) == keys.control_key(value, PAIR)


def test_the_key_for_control_is_not_derived_twice(folder: Path) -> None:
    text = netpunch.control_key(SECRET, PAIR)
    with pytest.raises(UsageError, match="key: already is a key for control"):
        netpunch.control_key(text, PAIR)
    with pytest.raises(ConfigurationError, match=r"control\.key: already is a key for control"):
        netpunch.control_key(secret(folder / "control.key", text.encode()), PAIR)


@pytest.mark.parametrize("name", ["", "Home", "-x", "x" * 33])
def test_a_key_for_control_needs_a_valid_pair_name(name: str) -> None:
    for derive in (netpunch.control_key, netpunch.load_control_key):
        with pytest.raises(UsageError, match=r"pair: expected a pair's name, .*: up to 32 of a-z"):
            derive(SECRET, name)


def test_a_control_cannot_act_as_an_end_with_its_key(folder: Path) -> None:
    text = netpunch.control_key(SECRET, PAIR)
    with pytest.raises(UsageError, match="an end needs the pair's own key"):
        netpunch.load_key(text)
    with pytest.raises(ConfigurationError, match="an end needs the pair's own key"):
        netpunch.load_key(secret(folder / "control.key", text.encode()))


def test_an_error_about_a_key_does_not_repeat_it() -> None:
    text = netpunch.new_key()
    for damaged in (text[:-1], text[:-1].encode(), "hunter2", b"hunter2"):
        with pytest.raises(UsageError, match="key: ") as raised:
            netpunch.load_key(damaged)
        assert text[5:20] not in str(raised.value)
        assert "hunter2" not in str(raised.value)


def test_a_classic_secret_is_the_bytes_of_its_file(folder: Path) -> None:
    content = b"\x00\xff a secret \r\n\n"
    file = secret(folder / "classic", content)
    assert read_secret_file(str(file), "classic", "end").value == content


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o644])
def test_a_secret_file_that_others_can_read_is_refused(folder: Path, mode: int) -> None:
    file = secret(folder / "open", b"hunter2", mode)
    with pytest.raises(PermissionsError, match=f"chmod 600 {file}") as raised:
        read_secret_file(str(file), "classic", "end")
    assert "hunter2" not in str(raised.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_secret_file_that_cannot_be_read_is_refused(folder: Path) -> None:
    file = secret(folder / "shut", b"hunter2", 0o000)
    with pytest.raises(PermissionsError, match="can't be read: Permission denied"):
        read_secret_file(str(file), "classic", "end")


def test_a_file_name_that_the_system_refuses_is_a_permissions_error(folder: Path) -> None:
    with pytest.raises(PermissionsError, match="can't be read: File name too long"):
        read_secret_file("x" * 5000, "classic", "end")


def test_a_file_that_holds_no_secret_is_refused(folder: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        read_secret_file("none", "v2", "end")
    os.mkfifo("fifo", 0o600)
    for name, content in [("empty", b""), ("log", b"x" * 5000)]:
        secret(folder / name, content)
    for name in ("empty", "log", "fifo", "."):
        with pytest.raises(ConfigurationError, match=f"{name}: "):
            read_secret_file(name, "classic", "end")
