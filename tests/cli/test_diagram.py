from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from netpunch.cli import main

Captured = pytest.CaptureFixture[str]


def datagram(pair: str, said: str = "PING sequence=1") -> str:
    return json.dumps(
        {
            **{"ts": "2026-01-31T12:00:00Z", "run": "1", "event": "datagram", "pair": pair},
            **{"end": "a", "laddr": "192.0.2.1:1", "raddr": "192.0.2.2:1", "direction": "sent"},
            **{"bytes": 1, "text": said},
        }
    )


@pytest.fixture
def events(folder: Path) -> Path:
    path = folder / "events.jsonl"
    path.write_text(f'12:00:00 a line for people\n[]\n{{"event"\n{datagram("lab")}\n')
    return path


def test_a_diagram_of_a_file(events: Path, capsys: Captured) -> None:
    assert main(["diagram", str(events)]) == 0
    assert " PING " in capsys.readouterr().out


def test_a_diagram_of_standard_input(
    events: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(events.read_text()))
    assert main(["diagram", "--format", "mermaid"]) == 0
    assert capsys.readouterr().out.startswith("sequenceDiagram\n")


@pytest.mark.parametrize(
    ("name", "start"), [("link.svg", "<svg"), ("link.mmd", "sequence"), ("link.txt", "  ")]
)
def test_the_name_of_the_file_says_the_format(events: Path, name: str, start: str) -> None:
    assert main(["diagram", str(events), "-o", name]) == 0
    assert (events.parent / name).read_text().startswith(start)


def test_several_pairs_need_a_choice(events: Path, capsys: Captured) -> None:
    with events.open("a") as file:
        file.write(datagram("home-office", "PONG sequence=2") + "\n")
    assert main(["diagram", str(events)]) == 64
    assert "several pairs, home-office, lab: choose one by --pair" in capsys.readouterr().err
    assert main(["diagram", str(events), "--pair", "lab"]) == 0
    assert "PONG" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["none.jsonl"], 66, "none.jsonl: No such file or directory"),
        (["events.jsonl", "--pair", "x"], 75, "no datagrams of pair x: there are those of lab"),
        (["empty.jsonl"], 75, "were the events recorded with --trace?"),
        (["events.jsonl", "-o", "none/x.svg"], 73, "none/x.svg: No such file or directory"),
    ],
)
def test_what_is_missing_is_said(
    arguments: list[str], code: int, error: str, events: Path, capsys: Captured
) -> None:
    (events.parent / "empty.jsonl").touch()
    assert main(["diagram", *arguments]) == code
    assert error in capsys.readouterr().err
