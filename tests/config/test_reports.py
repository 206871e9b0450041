"""Wrong files and the exact reports they are met with.

Each case in the text files is a title behind `====`, what is wrong, `----`, and the report."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.config.conftest import ReportOf

FOLDER = Path(__file__).parent

SITE = """\
version: 1
control: {node: vps, address: "vps:10001"}
pairs:
  p:
    secret_file: p.key
    a: {node: home}
    b: {node: office}
"""


def cases(name: str) -> list[object]:
    _, *sections = f"\n{(FOLDER / name).read_text()}".split("\n==== ")
    found: list[object] = []
    for section in sections:
        title, _, rest = section.partition("\n")
        text, _, report = rest.partition("\n----\n")
        found.append(pytest.param(text + "\n", report.strip("\n"), id=title))
    return found


@pytest.mark.parametrize(("line", "report"), cases("wrong_keys.txt"))
def test_the_report_about_a_wrong_key_of_a_pair(
    report_of: ReportOf, line: str, report: str
) -> None:
    assert report_of(SITE + line) == report


@pytest.mark.parametrize(("text", "report"), cases("wrong_sites.txt"))
def test_the_report_about_a_wrong_site(
    report_of: ReportOf, tmp_path: Path, text: str, report: str
) -> None:
    assert report_of(text) == report.replace("DIRECTORY", str(tmp_path))


@pytest.mark.parametrize("parser", ["C", "Python"])
@pytest.mark.parametrize(("text", "report"), cases("wrong_yaml.txt"))
def test_the_report_about_wrong_yaml(
    report_of: ReportOf, monkeypatch: pytest.MonkeyPatch, parser: str, text: str, report: str
) -> None:
    """The same words, whichever parser PyYAML was built with."""
    if parser == "Python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    told = report_of(text)
    assert told == report
    assert "hunter" not in told


def test_the_files_of_expected_reports_are_found() -> None:
    assert all(len(cases(f"wrong_{name}.txt")) > 20 for name in ("keys", "sites", "yaml"))
