"""netpunch.doctor.keys: which keys can be read here, and what is wrong with the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from netpunch.config.loading import load
from netpunch.doctor.finding import Level
from netpunch.doctor.keys import Key, Reader, unusable
from netpunch.keys import new_key
from tests.doctor.seen import only, site_of

OK, WARN, FAIL = Level


def key_of(folder: Path, pair: str = "", credentials: Path | None = None) -> Key:
    """End a's, of the pair with these lines."""
    site = site_of(folder)
    if pair:
        text = site.path.read_text().replace("secret_file: p.key", pair)
        site.path.write_text(text)
        site = load(site.path)
    [key] = Reader(site, {}, credentials).keys(site.pairs[0].a, "p", "end")
    return key


def write(file: Path, text: str, mode: int = 0o600) -> None:
    file.write_text(text)
    file.chmod(mode)


def test_a_key_has_the_fingerprint_that_key_id_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from netpunch.cli import main

    write(tmp_path / "p.key", new_key())
    key = key_of(tmp_path)
    assert main(["key", "id", "p", str(tmp_path / "p.key")]) == 0
    assert key.fingerprint == capsys.readouterr().out.strip()
    assert not list(unusable([key], None))


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    found = only(FAIL, unusable([key_of(tmp_path)], None))
    assert found.text == f"there is no file {tmp_path}/p.key"
    assert found.cure.startswith("copy the other end's")
    assert found.blocks


def test_a_file_that_holds_no_key_is_not_shown(tmp_path: Path) -> None:
    write(tmp_path / "p.key", "my password")
    found = only(FAIL, unusable([key_of(tmp_path)], None))
    assert "my password" not in str(found)
    assert found.text == "not a v2 key"


def test_a_file_that_others_may_read(tmp_path: Path) -> None:
    write(tmp_path / "p.key", new_key(), 0o644)
    found = only(FAIL, unusable([key_of(tmp_path)], None))
    assert found.cure == f"`chmod 600 {tmp_path}/p.key`"


def test_a_credential_that_only_the_service_can_open(tmp_path: Path) -> None:
    found = only(WARN, unusable([key_of(tmp_path, "credential: netpunch_p.key")], None))
    assert found.text == "netpunch_p.key: only the systemd service can open it"
    assert found.cure.startswith("`--credentials DIR`")


def test_a_credential_in_the_folder_that_it_comes_from(tmp_path: Path) -> None:
    write(tmp_path / "p.key", new_key())
    assert key_of(tmp_path, "credential: netpunch_p.key", tmp_path).fingerprint


def test_a_classic_secret_cannot_be_asked_about(tmp_path: Path) -> None:
    write(tmp_path / "p.key", "password")
    key = key_of(tmp_path, "protocol: classic, slots: a-b, secret_file: p.key")
    assert "classic" in only(OK, unusable([key], None)).text
    assert not key.fingerprint


def test_no_part_of_a_secret_is_shown(tmp_path: Path) -> None:
    text = new_key()
    write(tmp_path / "p.key", text)
    assert text[5:] not in repr(key_of(tmp_path))
