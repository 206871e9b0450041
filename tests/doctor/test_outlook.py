"""netpunch.doctor.outlook: the ways of a link, and the figures of docs/networks.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netpunch.core.settings import EndSettings
from netpunch.doctor.outlook import (
    BLOCKED,
    DIRECT,
    EASY,
    NO_WAY,
    NOT_KNOWN,
    OPEN,
    RANDOM,
    RELAYED_HANDED_OVER,
    RELAYED_HOLDING,
    RELAYED_OVER_TLS,
    STEP,
    Circumstances,
    How,
    circumstances,
    outlook,
    sentence,
)
from netpunch.wire.card import NatClass

NETWORKS = Path(__file__).parents[2] / "docs" / "networks.md"
ROWS = {OPEN: "open", EASY: "port-restricted", STEP: "hard-step", RANDOM: "hard-random"}
ALL = Circumstances(
    EASY, relay=True, tls=True, holds=True, may_relay=True, opens_here=True, opens_there=True
)
NOTHING = ALL._replace(
    relay=False, tls=False, holds=False, may_relay=False, opens_here=False, opens_there=False
)


def documented(one: NatClass, other: NatClass) -> tuple[float, float] | None:
    """Median and 95 % without loss in the matrix of docs/networks.md; None: it does not link."""
    names = {ROWS[one], ROWS[other]}
    for line in NETWORKS.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 6 and set(cells[1].split(", ")) == names:
            figures = re.fullmatch(r"100 % (\d+)/(\d+)", cells[2])
            return figures and (int(figures[1]) / 1000, int(figures[2]) / 1000)
    raise AssertionError(f"no row of {names}")


@pytest.mark.parametrize("one", ROWS)
@pytest.mark.parametrize("other", ROWS)
def test_the_figures_are_those_of_the_documents(one: NatClass, other: NatClass) -> None:
    assert DIRECT.get(frozenset({one, other})) == documented(one, other)


@pytest.mark.parametrize("figures", [RELAYED_HOLDING, RELAYED_HANDED_OVER, RELAYED_OVER_TLS])
def test_the_figures_of_relayed_links_are_those_of_the_documents(
    figures: tuple[float, float],
) -> None:
    median, worst = (round(each * 1000) for each in figures)
    assert f"| {median}/{worst}/" in NETWORKS.read_text("utf-8")


@pytest.mark.parametrize("own", [OPEN, EASY, STEP, RANDOM, BLOCKED])
def test_with_relay_and_tls_every_partner_is_reached(own: NatClass) -> None:
    ways = outlook(ALL._replace(own=own))
    assert all(way.likely == 1.0 for way in ways.values())


@pytest.mark.parametrize(
    ("own", "direct"),
    [
        (OPEN, {OPEN, EASY, STEP, RANDOM}),
        (EASY, {OPEN, EASY, STEP, RANDOM}),
        (STEP, {OPEN, EASY, STEP}),
        (RANDOM, {OPEN, EASY}),
        (BLOCKED, set()),
    ],
)
def test_which_partners_are_reached_directly(own: NatClass, direct: set[NatClass]) -> None:
    ways = outlook(ALL._replace(own=own))
    assert {partner for partner, way in ways.items() if way.how is How.DIRECT} == direct


def test_a_port_that_is_shared_behind_a_hard_nat_reaches_open_partners_only() -> None:
    ways = outlook(NOTHING._replace(own=RANDOM))
    assert {partner for partner, way in ways.items() if way != NO_WAY} == {OPEN}


def test_whether_a_relay_helps_is_not_known_where_control_did_not_say() -> None:
    assert outlook(ALL._replace(own=RANDOM, relay=None))[RANDOM] == NOT_KNOWN


def test_of_an_unknown_nat_only_open_partners_are_sure() -> None:
    ways = outlook(ALL._replace(own=NatClass.UNKNOWN))
    assert ways[OPEN].likely == 1.0
    assert ways[EASY] == ways[RANDOM] == NOT_KNOWN


def test_both_ends_decide_what_is_tried() -> None:
    free = EndSettings("p", "a", b"", holds=True)
    tied = free._replace(share=True, candidates=frozenset({"observed"}))
    given = circumstances(EASY, True, True, free, tied)
    assert not any(given[3:])
    assert circumstances(EASY, True, True, free, free).opens_there


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (ALL._replace(own=OPEN, tls=False), "will link directly with any partner, except behind "
         "blocked UDP (not at all)"),
        (ALL, "will link directly with any partner, except behind blocked UDP (by the relay at vps "
         "over TLS)"),
        (ALL._replace(own=STEP), "will link directly with any partner, except behind a symmetric "
         "NAT with random ports (by the relay at vps) or blocked UDP (by the relay at vps over "
         "TLS)"),
        (ALL._replace(own=RANDOM), "will link directly with a partner behind no NAT or an easy "
         "NAT; behind a symmetric NAT: by the relay at vps; behind blocked UDP: by the relay at "
         "vps over TLS"),
        (ALL._replace(own=RANDOM, relay=False), "will link directly with a partner behind no NAT "
         "or an easy NAT; behind a symmetric NAT or blocked UDP: not at all"),
        (ALL._replace(own=BLOCKED), "will link by the relay at vps over TLS"),
        (ALL._replace(own=BLOCKED, holds=False), "cannot link: UDP is blocked here, and an end "
         "that hands its port over needs it"),
        (ALL._replace(own=BLOCKED, relay=False), "cannot link: UDP is blocked here, and control "
         "has no relay"),
        (ALL._replace(own=BLOCKED, may_relay=False), "cannot link: UDP is blocked here, and "
         "`relay` is not among the `candidates` of both ends"),
        (ALL._replace(own=NatClass.UNKNOWN), "will link directly unless the NATs at both ends are "
         "symmetric, or UDP is blocked: how this NAT maps is not known"),
    ],
)  # fmt: skip
def test_the_verdict_in_words(given: Circumstances, expected: str) -> None:
    relay = "vps" if given.relay else ""
    assert sentence(given, outlook(given), relay) == expected
