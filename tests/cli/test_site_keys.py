"""netpunch key new --all and key control --all: the keys of a whole site at once."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from netpunch.cli import main
from netpunch.config.secrets import parse_key
from netpunch.wire import keys

Captured = pytest.CaptureFixture[str]

SITE = """\
version: 1
control:
  - {node: vps, address: "vps.example.net:10001"}
  - {node: vps2, address: "vps2.example.net:10001"}
defaults: {secret_file: "keys/{pair}.key", mode: keep}
pairs:
  home-office: {control: vps, a: {node: home}, b: {node: office}}
  home-shed: {control: vps2, credential: "netpunch_{pair}.key", a: {node: home}, b: {node: shed}}
  old:
    protocol: classic
    slots: a-b
    mode: once
    secret_file: word
    control: vps
    a: {node: home}
    b: {node: shed}
meshes:
  lan: {nodes: [home, office, shed]}
"""
NAMES = ["home-office", "home-shed", "lan"]
NEW = ["key", "new", "--all", "site.yaml", "-d", "keys/"]
CONTROL = ["key", "control", "--all", "site.yaml", "-d", "keys/", "-o", "vps-keys"]


@pytest.fixture
def fleet(folder: Path) -> Path:
    (folder / "site.yaml").write_text(SITE)
    return folder


def test_pairs_of_included_files_get_keys_too(fleet: Path) -> None:
    (fleet / "more.yaml").write_text("pairs: {shed-office: {a: {node: shed}, b: {node: office}}}")
    with (fleet / "site.yaml").open("a") as file:
        file.write("include: more.yaml\n")
    assert main(NEW) == 0
    assert (fleet / "keys" / "shed-office.key").exists()


def test_every_pair_and_mesh_with_a_key_file_gets_a_key(fleet: Path, capsys: Captured) -> None:
    assert main(NEW) == 0
    files = sorted((fleet / "keys").iterdir())
    assert [file.name for file in files] == [f"{name}.key" for name in NAMES]
    assert {parse_key(file.read_text()).kind for file in files} == {"pair"}
    assert len({file.read_text() for file in files}) == len(files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((fleet / "keys").stat().st_mode) == 0o700
    output = "".join(f"keys/{name}.key\n" for name in NAMES)
    assert capsys.readouterr() == (output, "keys: 3 keys made\n")


def test_a_second_run_makes_only_the_keys_that_are_not_there(fleet: Path, capsys: Captured) -> None:
    main(NEW)
    before = {file.name: file.read_text() for file in (fleet / "keys").iterdir()}
    (fleet / "keys" / "lan.key").unlink()
    capsys.readouterr()
    assert main(NEW) == 0
    assert capsys.readouterr() == ("keys/lan.key\n", "keys: 1 key made, 2 there already\n")
    after = {file.name: file.read_text() for file in (fleet / "keys").iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"lan.key"}


def test_all_keys_of_a_control_are_derived(fleet: Path, capsys: Captured) -> None:
    main(NEW)
    assert main(CONTROL) == 0
    for name in NAMES:
        own = parse_key((fleet / "keys" / f"{name}.key").read_text())
        derived = parse_key((fleet / "vps-keys" / f"{name}.key").read_text())
        assert (derived.kind, derived.value) == ("control", keys.control_key(own.value, name))
    capsys.readouterr()
    assert main(CONTROL) == 0
    assert capsys.readouterr() == ("", "vps-keys: 0 keys made, 3 there already\n")


def test_a_control_gets_only_the_keys_of_pairs_that_it_introduces(fleet: Path) -> None:
    main(NEW)
    assert main([*CONTROL, "--control", "vps2"]) == 0
    names = {file.name for file in (fleet / "vps-keys").iterdir()}
    assert names == {"home-shed.key", "lan.key"}


def test_the_keys_fit_the_site(fleet: Path, capsys: Captured) -> None:
    main(NEW)
    main(CONTROL)
    (fleet / "word").write_text("a password")
    (fleet / "word").chmod(0o600)
    for node in ("home", "office", "shed"):
        assert main(["check", "site.yaml", "--node", node, "--credentials", "keys"]) == 0
    (fleet / "keys").rename(fleet / "ends")
    (fleet / "vps-keys").rename(fleet / "keys")
    capsys.readouterr()
    for node in ("vps", "vps2"):
        assert main(["check", "site.yaml", "--node", node, "--credentials", "keys"]) == 0
        assert "npk1" not in capsys.readouterr().err


def test_another_key_than_the_derived_one_is_not_overwritten(fleet: Path, capsys: Captured) -> None:
    main(NEW)
    main(CONTROL)
    (fleet / "keys" / "lan.key").unlink()
    main(NEW)
    (fleet / "vps-keys" / "home-shed.key").unlink()
    capsys.readouterr()
    assert main(CONTROL) == 78
    assert "vps-keys/lan.key: expected the key that follows from keys/lan.key" in (
        capsys.readouterr().err
    )
    assert not (fleet / "vps-keys" / "home-shed.key").exists()


def test_a_file_that_is_no_key_is_named_and_nothing_is_made(fleet: Path, capsys: Captured) -> None:
    (fleet / "keys").mkdir()
    (fleet / "keys" / "lan.key").write_text("hunter2")
    (fleet / "keys" / "lan.key").chmod(0o600)
    assert main(NEW) == 78
    errors = capsys.readouterr().err
    assert "keys/lan.key: not a v2 key" in errors
    assert "hunter2" not in errors
    assert [file.name for file in (fleet / "keys").iterdir()] == ["lan.key"]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("{p: {secret: generate, a: {}, b: {}}}", "no pair or mesh with a `secret_file`"),
        (
            "{p: {secret_file: x/k, a: {}, b: {}}, q: {secret_file: y/k, a: {}, b: {}}}",
            "q names a second file k, in another folder",
        ),
        (
            "{p: {secret_file: k, a: {}, b: {}}, q: {secret_file: k, a: {}, b: {}}}",
            "q has the same key file as another pair, k",
        ),
    ],
)
def test_keys_that_cannot_lie_in_one_folder_are_refused(
    folder: Path, capsys: Captured, pairs: str, message: str
) -> None:
    text = f'version: 1\ncontrol: {{address: "127.0.0.1:10001"}}\npairs: {pairs}\n'
    (folder / "site.yaml").write_text(text)
    assert main(NEW) in (64, 78)
    assert message in capsys.readouterr().err
    assert not (folder / "keys").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new", "-d", "keys"], "-d needs --all SITE"),
        (["new", "--all", "site.yaml"], "--all SITE goes with -d DIR"),
        (["new", "--all", "site.yaml", "-d", "keys", "-o", "x"], "--all SITE goes with -d DIR"),
        (["control"], "expected PAIR and FILE, or --all SITE -d DIR -o DIR"),
        (["control", "home-office"], "expected PAIR and FILE, or --all"),
        (["control", "p", "f", "--all", "site.yaml"], "got both"),
        (["control", "p", "f", "--control", "vps"], "--control needs --all SITE"),
        (["control", "--all", "site.yaml", "-d", "keys"], "--all SITE goes with -d DIR -o DIR"),
        (["control", "--all", "site.yaml", "-d", "k", "-o", "k"], "another folder than -d"),
        ([*CONTROL[1:], "--control", "vps3"], "expected --control vps, vps2, got 'vps3'"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(
    fleet: Path, capsys: Captured, arguments: list[str], message: str
) -> None:
    assert main(["key", *arguments]) == 64
    assert message in capsys.readouterr().err
