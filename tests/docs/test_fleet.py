"""The playbook of docs/fleets.md: its commands do what it says, and the second time nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from netpunch.cli import main
from netpunch.config.auto_ports import choose_ports
from netpunch.config.loading import load
from tests.docs.test_documents import ROOT, blocks

SITES = [f"site-{number:02}" for number in range(1, 31)]
LOOPS = {
    "{{ groups.sites }}": SITES,
    "{{ ['vps', 'hub'] + groups.sites }}": ["vps", "hub", "site-07"],  # which stands for all
}
SOURCES = {"vps": "keys-of-vps", "hub": "keys", "site-07": "keys/hub-site-07.key"}
"""Of the keys of a host, as the playbook's second part has it."""

Captured = pytest.CaptureFixture[str]

SITE, EXAMPLE, PLAYBOOK = [
    text for text in blocks(ROOT / "docs" / "fleets.md", "yaml") if "hub" in text
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Ansible runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.yaml").write_text(SITE)
    (tmp_path / "pairs").mkdir()
    return tmp_path


def tasks() -> Iterator[tuple[dict[str, Any], str]]:
    """Those of the playbook's first part, with each item of their loops."""
    for task in yaml.safe_load(PLAYBOOK)[0]["tasks"]:
        for item in LOOPS[task["loop"]] if "loop" in task else [""]:
            yield task, item


def play(capsys: Captured) -> int:
    """Runs them all; returns how many have changed something, as Ansible would count them."""
    changed = 0
    for task, item in tasks():
        if file := task.get("ansible.builtin.copy"):
            path = Path(file["dest"].replace("{{ item }}", item))
            content = file["content"].replace("{{ item }}", item)
            changed += not path.exists() or path.read_text() != content
            path.write_text(content)
            continue
        line = task["ansible.builtin.command"].replace("{{ item }}", item)
        program, *arguments = shlex.split(line)
        assert program == "netpunch"
        assert main(arguments) == 0, line
        printed = capsys.readouterr().out
        assert task["changed_when"] in (False, 'made.stdout != ""')
        changed += bool(task["changed_when"]) and printed.rstrip("\n") != ""
    return changed


def contents(folder: Path) -> dict[Path, tuple[bytes, int, int]]:
    files = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {path: (path.read_bytes(), at.st_mtime_ns, at.st_mode) for path, at in files.items()}


def test_the_second_run_of_the_playbook_changes_nothing(folder: Path, capsys: Captured) -> None:
    assert play(capsys) == len(SITES) + 2
    made = {path: found for path, found in contents(folder).items() if "pairs" not in path.parts}
    assert len(made) == 1 + 2 * len(SITES)
    assert play(capsys) == 0
    assert {path: found for path, found in contents(folder).items() if path in made} == made
    assert (folder / "pairs" / "site-07.yaml").read_text() == EXAMPLE


def test_one_more_site_makes_its_keys_alone(folder: Path, capsys: Captured) -> None:
    play(capsys)
    (folder / "pairs" / "site-31.yaml").write_text(EXAMPLE.replace("site-07", "site-31"))
    commands = [task["ansible.builtin.command"] for task, _ in tasks() if "register" in task]
    printed = []
    for line in commands:
        assert main(shlex.split(line)[1:]) == 0
        printed.append(capsys.readouterr().out)
    assert printed == ["keys/hub-site-31.key\n", "keys-of-vps/hub-site-31.key\n"]


@pytest.mark.parametrize("host", SOURCES)
def test_a_host_has_all_that_it_needs_and_no_other_key(
    folder: Path, host: str, capsys: Captured
) -> None:
    play(capsys)
    source, keys = folder / SOURCES[host], folder / host / "keys"
    keys.mkdir(parents=True)
    for name in ("site.yaml", "pairs"):
        (folder / host / name).symlink_to(folder / name)
    for file in source.iterdir() if source.is_dir() else [source]:
        (keys / file.name).write_bytes(file.read_bytes())
        (keys / file.name).chmod(0o640)
    assert main(["check", f"{host}/site.yaml", "--node", host]) == 0
    prefix = b"npc1:" if host == "vps" else b"npk1:"
    assert all(file.read_bytes().startswith(prefix) for file in keys.iterdir())
    for file in keys.iterdir():
        file.unlink()
    assert main(["check", f"{host}/site.yaml", "--node", host]) == 78


def test_the_ports_are_those_that_the_text_names(folder: Path, capsys: Captured) -> None:
    play(capsys)
    site = load(Path("site.yaml"))
    assert [at.port for at in choose_ports(site, "hub").values()] == [*range(23001, 23031)]
    assert [at.port for at in choose_ports(site, "site-07").values()] == [23001]
