"""A file of any content, as long as is allowed, is read or refused soon: a control reads it while
it serves."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from netpunch.config.document.composer import MAX_EVENTS
from netpunch.config.document.problems import MAX_LINES, SiteError
from netpunch.config.loading import load
from netpunch.config.reading import MAX_FILE

SECONDS = 2.0
"""Of this process's time, on a machine that is busy with other things."""

HEAD = 'version: 1\ncontrol: {address: "127.0.0.1:1"}\n'
PAIR = """\
  pair-{}:
    secret_file: keys/pair.key
    a: {{node: home}}
    b: {{node: office}}
"""
BEGINNINGS = {
    "the file": "",
    "a secret": f"{HEAD}pairs:\n  p:\n    secret: ",
    "a quoted text": f'{HEAD}defaults: {{template: "',
    "a block": f"{HEAD}defaults:\n  template: |\n    ",
}
PIECES = [
    *("]", "}", "[", "{", ",", "-", ":", "?", "*", "&", "!", "%", "@", "|", "'", '"', "\\", "#"),
    *("- ", "? ", ": ", "a ", "a: ", "a:", "{a: ", "[a,", "a]", "[]", "{}", "}{", "{{", "{pair}"),
    *("\n", "\r", "\x85", "\u2028", " ", "\t", "x\n", "x: 1\n", "x:\n", "- \n", " a\n", "---\n"),
    *(
        "secret ",
        "secret: x\n",
        "secret: x ",
        "key",
        "npk1:",
        "npk1: ",
        "s",
        "pass",
        "k=",
        "é",
        "😀",
    ),
    *('"a",', "'' ", "\\x41", "mode: keep\n", "mode: keep, ", "\ufeff", "0", "a" * 4999 + "\n"),
]


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_no_hostile_site_file_takes_more_than_linear_time(tmp_path: Path, beginning: str) -> None:
    """A quarter of the longest file: one that is slower takes half a minute for it."""
    for piece in PIECES:
        assert seconds(tmp_path, beginning, piece, MAX_FILE // 4) < SECONDS, repr(piece)


@pytest.mark.parametrize("piece", ["]", "{", "\n", "x\n", "mode: keep\n", "- \n", '"a",', "npk1:"])
def test_the_longest_hostile_site_files_are_refused_within_two_seconds(
    tmp_path: Path, piece: str
) -> None:
    assert seconds(tmp_path, "the file", piece, MAX_FILE) < SECONDS


def seconds(folder: Path, beginning: str, piece: str, size: int) -> float:
    """What it takes to refuse a file of such pieces."""
    file, begin = folder / "site.yaml", BEGINNINGS[beginning]
    count = (size - len(begin.encode())) // len(piece.encode())
    file.write_text(begin + piece * count, newline="")
    before = time.process_time()
    with pytest.raises(SiteError):
        load(file)
    return time.process_time() - before


def test_the_largest_site_is_loaded_within_two_seconds(tmp_path: Path) -> None:
    count = MAX_EVENTS // 20
    pairs = "".join(PAIR.format(number) for number in range(count))
    file = tmp_path / "site.yaml"
    file.write_text(f'version: 1\ncontrol: {{node: vps, address: "192.0.2.1:1"}}\npairs:\n{pairs}')
    before = time.process_time()
    assert len(load(file).pairs) == count
    assert time.process_time() - before < SECONDS


def test_a_site_file_with_too_many_lines_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("\n" * (MAX_LINES + 1))
    with pytest.raises(SiteError, match="more than 100,000 lines: split the file"):
        load(file)
