"""Files that a site file includes: which these are, what they may contain, and how mistakes in them
are told."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from netpunch.config import reading
from netpunch.config.document.composer import MAX_EVENTS
from netpunch.config.document.problems import SiteError
from netpunch.config.loading import load
from netpunch.config.model import Site
from netpunch.errors import PermissionsError
from tests.config.conftest import LoadText, ReportOf
from tests.config.test_secrets import PAIR_KEY

HEAD = """\
version: 1
control: {node: vps, address: "vps:10001"}
defaults: {secret_file: "keys/{pair}.key", a: {node: hub}}
"""
PAIRS = HEAD + "include: pairs/\n"


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> Path:
    """An empty folder of pairs."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    return folder


def pair(name: str, more: str = "") -> str:
    return f"pairs:\n  {name}: {{b: {{node: {name}}}{more}}}\n"


def names(site: Site) -> list[str]:
    return [pair.name for pair in site.pairs]


# Which files.


@pytest.mark.parametrize(
    ("include", "found"),
    [
        ("pairs/b.yaml", ["b"]),
        ("[pairs/b.yaml, pairs/a.yml]", ["b", "a"]),
        ("pairs/", ["a", "b"]),
        ("pairs", ["a", "b"]),
        ("pairs/*.yaml", ["b"]),
        ('"pairs/[ab].y*"', ["a", "b"]),
        ("[pairs/b.yaml, pairs/, pairs/../pairs/a.yml]", ["b", "a"]),
    ],
)
def test_files_folders_and_patterns_are_included_in_alphabetical_order(
    load_text: LoadText, files: Path, include: str, found: list[str]
) -> None:
    (files / "b.yaml").write_text(pair("b"))
    (files / "a.yml").write_text(pair("a"))
    (files / ".hidden.yaml").write_text("{")
    (files / "notes.txt").write_text("{")
    assert names(load_text(f"{HEAD}include: {include}\n")) == found


def test_braces_in_the_name_of_a_file_are_written_twice(load_text: LoadText, files: Path) -> None:
    (files / "{a}.yaml").write_text(pair("a"))
    assert names(load_text(f'{HEAD}include: "pairs/{{{{a}}}}.yaml"\n')) == ["a"]


def test_an_absolute_path_is_included(load_text: LoadText, files: Path) -> None:
    (files / "a.yaml").write_text(pair("a"))
    assert names(load_text(f"{HEAD}include: {files}/a.yaml\n")) == ["a"]


def test_included_pairs_follow_those_of_the_file_itself(load_text: LoadText, files: Path) -> None:
    (files / "a.yaml").write_text(pair("a") + "meshes: {lan: {secret_file: k, nodes: [x, y]}}\n")
    site = load_text(f"{PAIRS}pairs: {{z: {{b: {{node: z}}}}}}\n")
    assert names(site) == ["z", "a", "lan.x.y"]


def test_paths_in_an_included_file_are_relative_to_the_site_file(
    load_text: LoadText, files: Path, tmp_path: Path
) -> None:
    (files / "a.yaml").write_text(pair("a", ", env_file: a.env"))
    (loaded,) = load_text(PAIRS).pairs
    assert loaded.secret.path == f"{tmp_path}/keys/a.key"
    assert loaded.a.env_file == f"{tmp_path}/a.env"
    assert loaded.a.directory == tmp_path


def test_an_empty_folder_is_remarked_upon(load_text: LoadText) -> None:
    site = load_text(PAIRS)
    assert site.pairs == ()
    assert site.warnings == ("site.yaml:4:10: include: warning: no file there matches yet",)


# Mistakes.


def test_mistakes_are_told_with_their_files_in_order(report_of: ReportOf, files: Path) -> None:
    (files / "a.yaml").write_text(pair("a", ", mode: kep"))
    (files / "b.yaml").write_text("pairs:\n  b: {b: {node: b}, local: 5000}\n")
    assert report_of(PAIRS + "node: none\nstatus: ~/x\n") == (
        "site.yaml:6:9: status: `~` is not expanded: write the whole path\n"
        "status: ~/x\n"
        "        ^\n"
        "pairs/a.yaml:2:27: pairs.a.mode: expected once or keep, got 'kep' (did you mean keep?)\n"
        "  a: {b: {node: a}, mode: kep}\n"
        "                          ^\n"
        'pairs/b.yaml:2:28: pairs.b.local: expected an address such as ":5000", '
        '"192.0.2.1:5000" or "[2001:db8::1]:5000", got \'5000\': no colon before the port\n'
        "  b: {b: {node: b}, local: 5000}\n"
        "                           ^"
    )


@pytest.mark.parametrize(
    ("text", "report"),
    [
        ("", "the file is empty: expected a mapping with `pairs`"),
        ("[]", "expected a mapping with `pairs`, got a list"),
        ("version: 1\n", "belongs in the site file that includes this one"),
        ("pairs: {}\ninclude: more/\n", "2:1: include: belongs in the site file that"),
        ("pairs: {}\ndefaults: {mode: keep}\n", "2:1: defaults: belongs in the site file"),
        ("pairs: {a: {}, a: {}}\n", "duplicate key, first defined on line 1"),
        ("pairs: {\n", "not valid YAML"),
        ("pairs: {}\n---\n", "a second YAML document"),
        ("pairs: {}\npear: {}\n", "unknown key"),
        ("\0", "control character U+0000"),
    ],
)
def test_an_included_file_has_pairs_and_meshes_alone(
    report_of: ReportOf, files: Path, text: str, report: str
) -> None:
    (files / "a.yaml").write_text(text)
    (files / "b.yaml").write_text(pair("b", ", x: 1"))
    told = report_of(PAIRS)
    assert told.startswith("pairs/a.yaml:")
    assert report in told
    assert "pairs/b.yaml:2:21: pairs.b.x: unknown key" in told, "one wrong file hides no other"


def test_a_name_that_two_files_use_is_told_with_both_places(
    report_of: ReportOf, files: Path
) -> None:
    (files / "a.yaml").write_text(pair("x"))
    (files / "b.yaml").write_text(pair("x") + "  home: {b: {node: q}}\n")
    told = report_of(f"{PAIRS}pairs:\n  home: {{b: {{node: r}}}}\n")
    assert "pairs/b.yaml:2:3: pairs.x: the name is taken, pairs/a.yaml:2: give each its own" in told
    assert "pairs/b.yaml:3:3: pairs.home: the name is taken, site.yaml:6: give each its own" in told


def test_a_port_that_pairs_of_two_files_use_is_told_with_both_places(
    report_of: ReportOf, files: Path
) -> None:
    for name in "ab":
        (files / f"{name}.yaml").write_text(pair(name, ', local: ":5000"'))
    told = report_of(PAIRS)
    assert (
        "pairs/b.yaml:2:28: pairs.b.a.local: pairs.a.a.local uses port 5000 on the same node "
        in (told)
    )
    assert "(pairs/a.yaml:2): choose another port" in told


@pytest.mark.parametrize(
    ("include", "report"),
    [
        ("none.yaml", "site.yaml:4:10: include: there is no file none.yaml: make it"),
        ("none/", "site.yaml:4:10: include: there is no folder none: make it on"),
        ("[pairs/, none/*.yaml]", "site.yaml:4:19: include[1]: there is no folder none: make"),
        ('"*/a.yaml"', "only the name of the files may have wildcards"),
        ("site.yaml", "includes this file itself"),
        ("./*.yaml", "includes this file itself"),
        ("~/pairs", "`~` is not expanded"),
        ('"pairs/{node}.yaml"', "{node} has no value here: this text has no placeholders"),
        ("[]", "got an empty list"),
        ("{}", "got a mapping"),
        ("/dev/zero", "/dev/zero is not a regular file"),
        ("fifo", "fifo is not a regular file"),
        ("loop", "loop can't be read: Too many levels of symbolic links"),
    ],
)
def test_what_cannot_be_included_is_told_where_it_is_named(
    report_of: ReportOf, tmp_path: Path, include: str, report: str
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    told = report_of(f"{HEAD}include: {include}\n")
    assert report in told
    assert told.startswith("site.yaml:4:")


def test_a_file_that_this_user_may_not_read_is_a_matter_of_permissions(
    load_text: LoadText, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(reading, "read_regular", refuse)
    with pytest.raises(PermissionsError, match=r"pairs/a\.yaml: this user may not read it"):
        load_text(f"{HEAD}include: pairs/a.yaml\n")


@pytest.mark.parametrize("name", ["\x1b[2J.yaml", "a\n.yaml", "\udcff.yaml"])
def test_a_hostile_name_of_a_file_is_not_shown(report_of: ReportOf, files: Path, name: str) -> None:
    (files / name).write_text("{")
    told = report_of(PAIRS)
    assert "rename the file: it can't be shown" in told
    assert told.replace("\n", "").isprintable()


def test_a_wrong_included_file_does_not_make_the_nodes_in_it_unknown(
    report_of: ReportOf, files: Path
) -> None:
    (files / "a.yaml").write_text(pair("a", ", x: 1"))
    told = report_of(PAIRS + "node: a\n")
    assert "no part runs on" not in told


# Secrets.


def test_errors_about_an_included_file_show_no_secret(report_of: ReportOf, files: Path) -> None:
    (files / "a.yaml").write_text(f'pairs:\n  a: {{secret: "{PAIR_KEY}", b: {{node: b}}, x: 1}}\n')
    (files / "b.yaml").write_text("pairs:\n  b: {b: {node: b}, passwort: hunter2, mode: kep}\n")
    told = report_of(PAIRS)
    assert "unknown key" in told
    assert PAIR_KEY[5:] not in told
    assert "hunter2" not in told


def test_an_included_file_with_a_secret_that_others_may_read_is_warned_of(
    load_text: LoadText, files: Path
) -> None:
    for name, mode in (("a", 0o644), ("b", 0o600)):
        file = files / f"{name}.yaml"
        file.write_text(pair(name, f', secret: "{PAIR_KEY}"'))
        file.chmod(mode)
    assert load_text(PAIRS).warnings == (
        "pairs/a.yaml: warning: contains secrets and others may read it: `chmod 600 pairs/a.yaml`",
    )


def test_the_texts_of_included_files_are_kept_without_their_secrets(
    load_text: LoadText, files: Path
) -> None:
    (files / "a.yaml").write_text(pair("a", f', secret: "{PAIR_KEY}"'))
    site = load_text(PAIRS)
    assert PAIR_KEY[5:] not in site.included["pairs/a.yaml"]
    place = site.pairs[0].secret.position
    told = str(site.problem(place, "pairs.a.secret", "wrong"))
    assert told.startswith(
        "pairs/a.yaml:2:29: pairs.a.secret: wrong\n  a: {b: {node: a}, secret: *"
    )


def test_an_included_file_is_not_overwritten(report_of: ReportOf, files: Path) -> None:
    (files / "a.yaml").write_text(pair("a", ", env_file: pairs/a.yaml"))
    told = report_of(PAIRS)
    assert "pairs/a.yaml, which is an included file" in told


# Bounds.


def test_the_bounds_hold_for_all_files_together(
    report_of: ReportOf, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        (files / f"{name}.yaml").write_text(pair(name) + "#" * 400 + "\n")
    monkeypatch.setattr(reading, "MAX_FILE", 1200)
    assert "pairs/c.yaml:1:1: with this file the site is longer than 1 KiB" in report_of(PAIRS)
    monkeypatch.setattr(reading, "MAX_FILE", 4096)
    monkeypatch.setattr(reading, "MAX_LINES", 14)
    assert "pairs/c.yaml:2:1: with this file the site is longer than 14 lines" in report_of(PAIRS)
    monkeypatch.setattr(reading, "MAX_LINES", 1000)
    monkeypatch.setattr(reading, "MAX_INCLUDED", 2)
    assert "site.yaml:4:10: include: more than 2 files: split the site" in report_of(PAIRS)
    monkeypatch.setattr(reading, "MAX_ENTRIES", 2)
    assert "has more than 2 entries: use another one" in report_of(PAIRS)


def test_yaml_events_are_counted_over_all_files(report_of: ReportOf, files: Path) -> None:
    for name in "abc":
        (files / f"{name}.yaml").write_text("pairs: {}\nx: [" + "a," * (MAX_EVENTS // 2) + "]\n")
    told = report_of(PAIRS)
    assert "pairs/b.yaml:2:" in told
    assert "more than 50,000 YAML events: split the file" in told


def test_a_site_of_five_hundred_files_is_loaded_within_a_second(
    load_text: LoadText, files: Path
) -> None:
    for number in range(500):
        (files / f"p{number}.yaml").write_text(f"pairs: {{p{number}: {{b: {{}}}}}}\n")
    before = time.process_time()
    with pytest.raises(SiteError, match="`node` is missing"):
        load_text(PAIRS)
    assert time.process_time() - before < 1.0


def test_a_site_file_in_another_folder_names_its_files_from_here(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site.yaml").write_text(PAIRS)
    (files / "a.yaml").write_text("pairs: []\n")
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(SiteError) as caught:
        load(Path(tmp_path.name, "site.yaml"))
    assert str(caught.value).startswith(f"{tmp_path.name}/pairs/a.yaml:1:8: pairs: expected")
