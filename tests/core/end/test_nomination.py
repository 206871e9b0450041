"""How often and for how long a path is nominated."""

from __future__ import annotations

from itertools import pairwise

import pytest

from netpunch.core.end.checks import Path
from netpunch.core.end.partner import Nomination
from netpunch.core.events import PathKind
from tests.core.v2_pair import B

BEGAN = 100.0


@pytest.fixture
def nomination() -> Nomination:
    return Nomination(Path(0, B, PathKind.HOST, next_ping=0.0), BEGAN)


def sent_until_given_up(nomination: Nomination, step: float) -> list[float]:
    """When it is sent, by a driver that looks every `step` seconds; since its beginning."""
    sent, tick = [], 0
    while not nomination.given_up(BEGAN + tick * step):
        if nomination.due(BEGAN + tick * step):
            sent.append(tick * step)
        tick += 1
        assert tick * step < 60.0
    return sent


def test_it_is_sent_at_once_then_every_50_ms_later_every_100(nomination: Nomination) -> None:
    sent = sent_until_given_up(nomination, 0.005)
    gaps = [later - earlier for earlier, later in pairwise(sent)]
    assert sent[0] == 0.0
    assert gaps[:8] == pytest.approx([0.05] * 8, abs=0.006)
    assert gaps[10:] == pytest.approx([0.1] * len(gaps[10:]), abs=0.006)


def test_over_a_stream_it_is_sent_every_200_ms() -> None:
    """What the stream has lost comes before what is sent again."""
    path = Path(0, B, PathKind.RELAY, next_ping=0.0)
    sent = sent_until_given_up(Nomination(path, BEGAN, over_stream=True), 0.005)
    assert len(sent) == 20
    assert {round(later - earlier, 1) for earlier, later in pairwise(sent)} == {0.2}


@pytest.mark.parametrize("step", [0.005, 0.05, 0.2, 1.0])
def test_it_is_given_up_after_at_least_20_repeats_and_2_5_s(
    nomination: Nomination, step: float
) -> None:
    sent = sent_until_given_up(nomination, step)
    assert len(sent) >= 20
    assert sent[-1] + 0.1 + step >= 2.5
    assert not nomination.due(BEGAN + 1000.0), "and then no more"


def test_it_is_not_sent_before_its_time(nomination: Nomination) -> None:
    assert nomination.due(BEGAN)
    assert not nomination.due(BEGAN + 0.049)
    assert nomination.due(BEGAN + 0.05)


def test_it_goes_on_while_the_partner_still_pings(nomination: Nomination) -> None:
    """Whose path may become valid late; then it is to hear as many as anybody."""
    nomination.partner_pings(BEGAN)
    for tick in range(100):
        now = BEGAN + tick * 0.05
        nomination.due(now)
        if now < BEGAN + 4.0:
            nomination.partner_pings(now)
    assert not nomination.given_up(BEGAN + 6.0)
    sent = sum(nomination.due(BEGAN + 5.0 + tick * 0.05) for tick in range(100))
    assert sent >= 10
    assert nomination.given_up(BEGAN + 10.0)


def test_but_not_for_ever(nomination: Nomination) -> None:
    for tick in range(400):
        now = BEGAN + tick * 0.05
        nomination.due(now)
        nomination.partner_pings(now)
    assert nomination.given_up(BEGAN + 20.0)


def test_once_given_up_it_stays_so(nomination: Nomination) -> None:
    sent_until_given_up(nomination, 0.05)
    nomination.partner_pings(BEGAN + 2.6)
    assert nomination.given_up(BEGAN + 2.6)
