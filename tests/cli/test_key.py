"""netpunch.cli.key: keys are made, derived and compared; nothing is ever overwritten."""

from __future__ import annotations

import os
import resource
import signal
import stat
from pathlib import Path

import pytest

from netpunch.cli import main
from netpunch.cli.new_files import write_new_file
from netpunch.config.secrets import parse_key
from netpunch.errors import OutputError
from netpunch.wire import keys
from tests.cli.conftest import secret

Captured = pytest.CaptureFixture[str]


def test_key_new_writes_only_the_key_to_standard_output(capsys: Captured) -> None:
    assert main(["key", "new"]) == 0
    first, errors = capsys.readouterr()
    assert parse_key(first).kind == "pair"
    assert (first.count("\n"), errors) == (1, "")
    main(["key", "new"])
    assert capsys.readouterr().out != first


def test_a_new_key_file_has_mode_0600(pair_key: Path, capsys: Captured) -> None:
    assert stat.S_IMODE(pair_key.stat().st_mode) == 0o600
    assert parse_key(pair_key.read_text()).kind == "pair"
    assert capsys.readouterr() == ("", "")


def test_the_mode_of_a_key_file_does_not_depend_on_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        assert main(["key", "new", "-o", "open.key"]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "open.key").stat().st_mode) == 0o600


def test_a_key_file_is_never_overwritten(pair_key: Path, capsys: Captured) -> None:
    before = pair_key.read_bytes()
    assert main(["key", "new", "-o", "pair.key"]) == 73
    assert pair_key.read_bytes() == before
    assert capsys.readouterr().err == (
        "netpunch key: pair.key: the file exists, and keys are never overwritten: "
        "choose another name, or move it away\n"
    )


def test_a_key_is_not_written_through_a_dangling_symlink(folder: Path) -> None:
    (folder / "link.key").symlink_to(folder / "elsewhere.key")
    assert main(["key", "new", "-o", "link.key"]) == 73
    assert not (folder / "elsewhere.key").exists()


def test_a_key_file_in_a_missing_folder_is_an_output_error(folder: Path, capsys: Captured) -> None:
    assert main(["key", "new", "-o", "no/such.key"]) == 73
    assert "no/such.key: cannot be created: No such file" in capsys.readouterr().err


def test_a_full_disk_leaves_no_key_file_behind(folder: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            write_new_file("big.key", "x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(folder.iterdir()) == []


def test_the_key_for_control_is_derived(pair_key: Path, control_key: Path) -> None:
    pair = parse_key(pair_key.read_text())
    control = parse_key(control_key.read_text())
    assert control.kind == "control"
    assert control.value == keys.control_key(pair.value, "home-office")
    assert stat.S_IMODE(control_key.stat().st_mode) == 0o600


def test_the_key_for_control_on_standard_output(control_key: Path, capsys: Captured) -> None:
    assert main(["key", "control", "home-office", "pair.key"]) == 0
    assert capsys.readouterr() == (control_key.read_text(), "")


def test_a_key_for_control_gives_no_further_key(control_key: Path, capsys: Captured) -> None:
    assert main(["key", "control", "home-office", "control.key"]) == 78
    assert capsys.readouterr().err == (
        "netpunch key: control.key: already is a key for control (npc1:): "
        "copy it as it is, or give the pair's key (npk1:)\n"
    )


def test_keys_of_one_pair_have_one_fingerprint(control_key: Path, capsys: Captured) -> None:
    prints = []
    for pair, file in [
        ("home-office", "pair.key"),
        ("home-office", "control.key"),
        ("other", "pair.key"),
    ]:
        assert main(["key", "id", pair, file]) == 0
        prints.append(capsys.readouterr().out)
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize("action", ["control", "id"])
def test_a_file_that_is_not_a_key_is_refused(action: str, folder: Path, capsys: Captured) -> None:
    secret(folder / "word", b"hunter2\n")
    secret(folder / "open", b"hunter2\n", 0o644)
    for file, code in [("word", 78), ("open", 77), ("none", 66), (".", 78)]:
        assert main(["key", action, "home-office", file]) == code
        errors = capsys.readouterr().err
        assert errors.startswith(f"netpunch key: {file}: ")
        assert "hunter2" not in errors


def test_a_mesh_has_one_key_for_control_whatever_pair_is_named(
    pair_key: Path, capsys: Captured
) -> None:
    mesh_key = parse_key(pair_key.read_text()).value
    printed = []
    for name in ("lan", "lan.home.office"):
        assert main(["key", "control", name, str(pair_key)]) == 0
        printed.append(capsys.readouterr().out)
    assert parse_key(printed[0]).value == keys.control_key(mesh_key, "lan")
    assert printed[0] == printed[1]
    assert main(["key", "id", "lan.office.home", str(pair_key)]) == 64
    assert "lan.home.office: a mesh's pair has its nodes in alphabetical order" in (
        capsys.readouterr().err
    )
