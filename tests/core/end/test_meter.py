"""What is measured of a held link."""

from __future__ import annotations

import pytest

from netpunch.core.end.meter import LATEST_PINGS, Meter
from netpunch.core.events import PathKind
from netpunch.core.machine import LinkFigures


def figures(meter: Meter) -> LinkFigures:
    return meter.figures(PathKind.HOST, 0.0, 0)


def pings(meter: Meter, answered: str) -> None:
    """One after the other: `+` is answered, `-` is not."""
    for each in answered:
        meter.pinged()
        if each == "+":
            meter.answered(0.02)


def test_nothing_is_known_before_the_first_answer() -> None:
    known = figures(Meter(None))
    assert (known.rtt, known.jitter, known.loss) == (None, None, 0.0)


def test_the_round_trip_follows_slowly_and_the_jitter_is_its_mean_deviation() -> None:
    meter = Meter(0.02)
    for _ in range(100):
        meter.pinged()
        meter.answered(0.02)
    assert figures(meter).rtt == pytest.approx(0.02)
    assert figures(meter).jitter == pytest.approx(0.0, abs=1e-6)
    meter.pinged()
    meter.answered(0.1)
    assert figures(meter).rtt == pytest.approx(0.03)
    for _ in range(100):
        meter.pinged()
        meter.answered(0.1)
    assert figures(meter).rtt == pytest.approx(0.1, rel=0.01)


def test_the_first_round_trips_count_alike() -> None:
    """As one of them may be much longer than all later ones."""
    meter = Meter(0.2)
    for _ in range(3):
        meter.pinged()
        meter.answered(0.08)
    assert figures(meter).rtt == pytest.approx((0.2 + 3 * 0.08) / 4)


@pytest.mark.parametrize(
    ("answered", "loss"),
    [
        ("", 0.0),
        ("+", 0.0),
        ("-", 0.0),  # the answer may still come
        ("-+", 0.5),
        ("+-+-+", 0.4),
        ("-" * 5 + "+" * 15, 0.25),
        ("-" * 5 + "+" * LATEST_PINGS, 0.0),
        ("-" * 100, 1.0),
    ],
)
def test_the_loss_is_that_of_the_latest_pings(answered: str, loss: float) -> None:
    meter = Meter(0.02)
    pings(meter, answered)
    assert figures(meter).loss == pytest.approx(loss)


def test_answers_to_pings_that_were_not_counted_are_no_gain() -> None:
    """Such as those that found the path, and any answer that comes twice."""
    meter = Meter(0.02)
    meter.answered(0.02)
    meter.answered(0.02)
    assert figures(meter).loss == 0.0
    pings(meter, "++-")
    meter.answered(0.02)
    meter.answered(0.02)
    assert figures(meter).loss == 0.0
    pings(meter, "-+" * LATEST_PINGS)
    meter.answered(0.02)
    assert figures(meter).loss == pytest.approx(0.5)
