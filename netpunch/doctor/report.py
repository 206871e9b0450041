"""The report: verdicts, what they rest on, and how each pair will link; for people and programs."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from netpunch.doctor.finding import Finding, Level, ok
from netpunch.doctor.outlook import PARTNERS, How, Way
from netpunch.errors import NotLinkedError, combined_exit_code
from netpunch.output.console import printable
from netpunch.wire.card import NatClass

VERSION = 1
"""Of the JSON object."""
WIDTH = 80
LEVEL_WIDTH, NAME_WIDTH = 6, 10
INDENT = " " * (2 + LEVEL_WIDTH + NAME_WIDTH)
MOST_NAMES = 3
"""Pairs that a line lists; the others are counted."""
COLOURS = {Level.OK: "32", Level.WARN: "33", Level.FAIL: "31"}
"""SGR codes: green, yellow, red."""

TABLE_NOTE = "from the later end's start, at a round trip of 50 ms: docs/networks.md"


class Verdict(NamedTuple):
    """Of a pair, or a control of this node. `can_link`: None if that is not known; `cure`: what to
    do about what the text says is wrong."""

    name: str
    text: str
    can_link: bool | None = None
    ways: Mapping[NatClass, Way] = {}
    cure: str = ""


class Report(NamedTuple):
    """All of it. `nat` is this end's NAT class, if anybody was asked."""

    file: str
    node: str | None
    verdicts: tuple[Verdict, ...]
    findings: tuple[Finding, ...]
    nat: NatClass | None = None

    @property
    def exit_code(self) -> int:
        if any(verdict.can_link is False for verdict in self.verdicts):
            return NotLinkedError.exit_code
        failures = [each.code for each in self.findings if each.level is Level.FAIL]
        return combined_exit_code(failures)

    def as_record(self) -> dict[str, Any]:
        """The JSON object of `--json`."""
        return {
            "v": VERSION,
            "file": self.file,
            "node": self.node,
            "ok": self.exit_code == 0,
            "exit_code": self.exit_code,
            "nat": None if self.nat is None else self.nat.name.lower(),
            "verdicts": [_verdict_record(each) for each in self.verdicts],
            "findings": [_finding_record(each) for each in self.findings],
        }


def as_text(report: Report, *, colour: bool = False) -> str:
    """For people, WIDTH columns wide."""
    lines = [line for each in _folded_verdicts(report.verdicts) for line in _verdict_lines(*each)]
    everybody = {name for each in report.findings for name in each.pairs}
    for finding, pairs in _shortened(_folded(report.findings)):
        some = () if everybody <= set(pairs) else pairs
        lines += _finding_lines(finding, some, colour=colour)
    for names, ways in _tables(report.verdicts):
        lines += ["", *_table(names, ways)]
    return "".join(f"{line}\n" for line in lines)


def _folded_verdicts(verdicts: Iterable[Verdict]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Pairs of the same verdict together, with its cure."""
    together: dict[tuple[str, str], list[str]] = {}
    for each in verdicts:
        together.setdefault((each.text, each.cure), []).append(each.name)
    yield from ((tuple(names), text, cure) for (text, cure), names in together.items())


def _verdict_lines(names: tuple[str, ...], text: str, cure: str) -> list[str]:
    lines = _wrapped(f"{_names(names)}: {text}", WIDTH, "  ")
    if cure:
        lines += ["  " + line for line in _cure_lines(cure, WIDTH - 2)]
    return lines


def _folded(findings: Iterable[Finding]) -> Iterator[tuple[Finding, tuple[str, ...]]]:
    """The same line for several pairs is one."""
    together: dict[Finding, list[str]] = {}
    for each in findings:
        together.setdefault(each._replace(pairs=()), []).extend(each.pairs)
    yield from ((finding, tuple(pairs)) for finding, pairs in together.items())


def _shortened(
    findings: Iterable[tuple[Finding, tuple[str, ...]]],
) -> Iterator[tuple[Finding, tuple[str, ...]]]:
    """Of lines that say that another pair is well in the same way, the first and a count."""
    every = list(findings)
    alike = Counter(each.name for each, pairs in every if pairs and each.level is Level.OK)
    seen: Counter[str] = Counter()
    for each, pairs in every:
        if not pairs or each.level is not Level.OK or alike[each.name] <= MOST_NAMES:
            yield each, pairs
            continue
        seen[each.name] += 1
        if seen[each.name] < MOST_NAMES:
            yield each, pairs
        elif seen[each.name] == MOST_NAMES:
            rest = alike[each.name] - MOST_NAMES + 1
            yield ok(each.name, f"well for {rest} more pairs (`--json` lists them)"), ()


def _finding_lines(finding: Finding, pairs: tuple[str, ...], *, colour: bool) -> list[str]:
    level, name = finding.level, finding.name
    text = f"{_names(pairs)}: {finding.text}" if pairs else finding.text
    width = WIDTH - len(INDENT)
    lines = _wrapped(text, width)
    if finding.cure:
        lines += _cure_lines(finding.cure, width)
    shown = f"{level:<{LEVEL_WIDTH}}"
    shown = f"\x1b[{COLOURS[level]}m{shown}\x1b[0m" if colour else shown
    head = f"  {shown}{name:<{NAME_WIDTH}}"
    return [f"{head}{lines[0]}", *(INDENT + line for line in lines[1:])]


def _cure_lines(cure: str, width: int) -> list[str]:
    first, *others = _wrapped(cure, width - 3)
    return [f"-> {first}", *(f"   {line}" for line in others)]


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Commands and paths stay whole: they are there to be copied. `indent`: of the lines after the
    first."""
    return textwrap.wrap(
        printable(text),
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"


def _tables(
    verdicts: Iterable[Verdict],
) -> Iterator[tuple[tuple[str, ...], Mapping[NatClass, Way]]]:
    together: dict[tuple[Any, ...], tuple[list[str], Mapping[NatClass, Way]]] = {}
    for each in verdicts:
        if each.ways:
            names, _ = together.setdefault(tuple(each.ways.items()), ([], each.ways))
            names.append(each.name)
    several = len(together) > 1
    for names, ways in together.values():
        yield (tuple(names) if several else (), ways)


def _table(names: tuple[str, ...], ways: Mapping[NatClass, Way]) -> Iterator[str]:
    if names:
        yield f"{_names(names)}:"
    yield f"  {'partner behind':<33}{'link':<19}{'likely':<8}in"
    for partner, way in ways.items():
        likely = "?" if way.likely is None else f"{way.likely * 100:.0f} %"
        how = "-" if way.how is How.UNKNOWN else way.how
        yield f"  {PARTNERS[partner]:<33}{how:<19}{likely:<8}{_seconds(way)}".rstrip()
    yield f"  {TABLE_NOTE}"


def _seconds(way: Way) -> str:
    if way.seconds is None:
        return "-"
    median, worst = way.seconds
    return f"{median:.2g} s" if worst - median < median / 2 else f"{median:.2g} to {worst:.2g} s"


def _verdict_record(verdict: Verdict) -> dict[str, Any]:
    return {
        "name": verdict.name,
        "text": verdict.text,
        "can_link": verdict.can_link,
        "cure": verdict.cure or None,
        "outlook": [
            {
                "partner": partner.name.lower(),
                "how": way.how.value,
                "likely": way.likely,
                "seconds": way.seconds,
            }
            for partner, way in verdict.ways.items()
        ],
    }


def _finding_record(finding: Finding) -> dict[str, Any]:
    return {
        "level": finding.level.value,
        "name": finding.name,
        "text": finding.text,
        "cure": finding.cure or None,
        "pairs": list(finding.pairs),
        "blocks": finding.blocks,
    }
