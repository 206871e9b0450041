"""netpunch.doctor.report: what a person sees in 80 columns, and what a program reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netpunch.doctor.finding import Finding, Level, fail, halves, ok, warn
from netpunch.doctor.outlook import EASY, OPEN, RANDOM, Circumstances, How, Way, outlook
from netpunch.doctor.report import Report, Verdict, as_text
from netpunch.errors import EXIT_CODES

LONG = "the system refuses " + "word " * 40 + "`netpunch key control home-office pair.key -o x`"
WAYS = {OPEN: Way(How.DIRECT, 1.0, (0.15, 0.15)), EASY: Way(How.RELAY, 1.0, (2.0, 5.5))}


def report(*findings: Finding, verdicts: tuple[Verdict, ...] = ()) -> Report:
    return Report("site.yaml", "home", verdicts, findings)


def test_the_verdict_comes_first_then_findings_then_the_table() -> None:
    verdict = Verdict("p", "will link", can_link=True, ways=WAYS)
    text = as_text(report(ok("key", "it matches"), verdicts=(verdict,)))
    assert text.splitlines() == [
        "p: will link",
        "  ok    key       it matches",
        "",
        "  partner behind                   link               likely  in",
        "  no NAT                           directly           100 %   0.15 s",
        "  an easy NAT (one port for all)   by relay           100 %   2 to 5.5 s",
        "  from the later end's start, at a round trip of 50 ms: docs/networks.md",
    ]


def test_what_to_do_stands_below_what_is_wrong() -> None:
    lines = as_text(report(warn("observe", "silent", "open it"), fail("hook", "gone", "make it")))
    assert lines.splitlines() == [
        "  warn  observe   silent",
        "                  -> open it",
        "  FAIL  hook      gone",
        "                  -> make it",
    ]


def test_no_line_is_longer_than_80_columns() -> None:
    verdict = Verdict("p", LONG, ways=WAYS)
    text = as_text(report(warn("key", LONG, LONG), verdicts=(verdict,)))
    assert max(map(len, text.splitlines())) <= 80


def test_a_path_is_never_broken() -> None:
    path = "/usr/local/lib/" + "netpunch-hooks/" * 6
    assert path in as_text(report(ok("program", path)))


def test_the_same_line_for_several_pairs_is_one_line() -> None:
    pairs = [f"p{number}" for number in range(5)]
    findings = [ok("port", "free", pair) for pair in pairs]
    findings.append(fail("program", "gone", "make it", "p1"))
    verdicts = tuple(Verdict(pair, "will link") for pair in pairs)
    assert as_text(report(*findings, verdicts=verdicts)).splitlines() == [
        "p0, p1, p2 and 2 more: will link",
        "  ok    port      free",
        "  FAIL  program   p1: gone",
        "                  -> make it",
    ]


def test_many_pairs_that_are_well_are_counted() -> None:
    findings = [ok("port", f"UDP {number} is free", f"p{number}") for number in range(199)]
    findings.insert(50, warn("port", "UDP 7 is nobody's", "start it", "p7"))
    assert as_text(report(*findings)).splitlines() == [
        "  ok    port      p0: UDP 0 is free",
        "  ok    port      p1: UDP 1 is free",
        "  ok    port      well for 197 more pairs (`--json` lists them)",
        "  warn  port      p7: UDP 7 is nobody's",
        "                  -> start it",
    ]


def test_pairs_with_different_ways_get_tables_of_their_own() -> None:
    one = Verdict("p", "links", can_link=True, ways=WAYS)
    other = Verdict("q", "links, too", can_link=True, ways={RANDOM: Way(How.UNKNOWN, None)})
    text = as_text(report(verdicts=(one, other)))
    assert "\np:\n" in text
    assert "\nq:\n" in text
    assert "  a symmetric NAT, random ports    -                  ?       -" in text


def test_the_table_in_the_documents_is_that_of_an_easy_nat() -> None:
    given = Circumstances(EASY, False, False, False, False, True, True)
    verdict = Verdict("p", "links", can_link=True, ways=outlook(given))
    table = as_text(report(verdicts=(verdict,))).partition("\n\n")[2]
    documents = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
    assert table in documents.read_text("utf-8")


def test_colours_show_the_level() -> None:
    text = as_text(report(fail("key", "gone", "make it")), colour=True)
    assert "\x1b[31mFAIL  \x1b[0m" in text


@pytest.mark.parametrize("colour", [False, True])
def test_nothing_from_outside_steers_the_terminal(colour: bool) -> None:
    hostile = warn("state", "a\x1b]0;title\x07", "b\x1b[2J")
    verdict = Verdict("p\x1b[2J", "c\x1b[2J")
    text = as_text(report(hostile, verdicts=(verdict,)), colour=colour)
    assert "\x1b[2J" not in text
    assert "\x07" not in text


def test_the_record_is_json_with_all_of_it() -> None:
    verdict = Verdict("p", "will link", can_link=True, ways=WAYS)
    record = report(ok("key", "it matches", "p"), verdicts=(verdict,)).as_record()
    found = json.loads(json.dumps(record))
    assert found["ok"] is True
    assert found["verdicts"][0]["outlook"][1] == {
        "partner": "easy",
        "how": "by relay",
        "likely": 1.0,
        "seconds": [2.0, 5.5],
    }
    assert found["findings"] == [
        {
            "level": "ok",
            "name": "key",
            "text": "it matches",
            "cure": None,
            "pairs": ["p"],
            "blocks": False,
        }
    ]


@pytest.mark.parametrize(
    ("findings", "can_link", "code"),
    [
        ([ok("a", "b"), warn("a", "b", "c")], True, 0),
        ([ok("a", "b")], None, 0),
        ([fail("a", "b", "c", code=78)], False, 75),
        ([fail("a", "b", "c", code=73)], True, 73),
        ([fail("a", "b", "c", code=69), fail("a", "b", "c", code=77)], True, 77),
    ],
)
def test_the_exit_code(findings: list[Finding], can_link: bool | None, code: int) -> None:
    verdicts = (Verdict("p", "", can_link=can_link),)
    assert report(*findings, verdicts=verdicts).exit_code == code
    assert code in EXIT_CODES


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("x is wrong; do y", ("x is wrong", "do y")),
        ("x is wrong: do y", ("x is wrong", "do y")),
        ("a: b: c; do y", ("a: b: c", "do y")),
        ("only this", ("only this", "see `netpunch check`")),
        ("first: line\nsecond", ("first", "line")),
    ],
)
def test_what_is_wrong_and_what_to_do(message: str, expected: tuple[str, str]) -> None:
    assert halves(message) == expected


def test_levels_are_sorted_by_how_bad_they_are() -> None:
    assert list(Level) == ["ok", "warn", "FAIL"]
