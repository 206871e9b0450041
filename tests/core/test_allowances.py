"""What strangers may be sent: the long run, the burst, bounded memory, and what was here before."""

from __future__ import annotations

import tracemalloc

import pytest

from netpunch.core.allowances import (
    STRANGERS,
    TO_STRANGER,
    Allowance,
    Allowances,
    Replays,
    Strangers,
)
from tests.core.v2_pair import seeded


def allowed(allowances: Allowances, seconds: float, every: float, began: float = 0.0) -> int:
    """How many are allowed of one key."""
    times = (began + number * every for number in range(int(seconds / every)))
    return sum(allowances.take(b"key", time) for time in times)


@pytest.mark.parametrize("began", [-1e6, 0.0, 1e9])
def test_the_burst_at_once_and_then_one_each_interval(began: float) -> None:
    allowances = Allowances(Allowance(2.0, 5), 16, seeded(1))
    assert sum(allowances.take(b"key", began) for _ in range(100)) == 5
    assert allowed(allowances, 100.0, 0.1, began + 0.1) == 50


def test_who_asks_seldom_is_never_refused() -> None:
    allowances = Allowances(Allowance(2.0, 1), 16, seeded(1))
    assert allowed(allowances, 2000.0, 2.0) == 1000


def test_a_pause_saves_no_more_than_the_burst() -> None:
    allowances = Allowances(Allowance(1.0, 3), 16, seeded(1))
    allowances.take(b"key", 0.0)
    assert sum(allowances.take(b"key", 1e6) for _ in range(100)) == 3


def test_keys_have_allowances_of_their_own_where_cells_suffice() -> None:
    allowances = Allowances(Allowance(1.0, 1), 1 << 16, seeded(1))
    assert sum(allowances.take(b"%d" % number, 0.0) for number in range(1000)) > 980


def test_which_keys_share_a_cell_depends_on_the_secret() -> None:
    def sharing(seed: int) -> set[int]:
        allowances = Allowances(Allowance(1.0, 1), 64, seeded(seed))
        return {number for number in range(64) if not allowances.take(b"%d" % number, 0.0)}

    assert sharing(1) != sharing(2)


@pytest.mark.parametrize("kind", ["allowances", "replays"])
def test_memory_stays_the_same_whoever_comes(kind: str) -> None:
    allowances, replays = Allowances(TO_STRANGER, 64, seeded(1)), Replays(64, seeded(1))
    tracemalloc.start()
    try:
        for number in range(10_000):
            if kind == "allowances":
                allowances.take(b"%d" % number, float(number))
            else:
                replays.is_new(b"%d" % number)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2000


def test_a_replay_is_known_and_nothing_else_is() -> None:
    replays = Replays(1 << 15, seeded(1))
    things = [b"%d" % number for number in range(10_000)]
    assert all(map(replays.is_new, things))
    known = [not replays.is_new(thing) for thing in reversed(things)]
    assert sum(known) > 8000, "some have fallen where others were"


def test_all_strangers_of_an_end_together_get_little() -> None:
    strangers = Strangers(seeded(1))
    heard = sum(
        strangers.may_hear(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", n / 1000)
        for n in range(60_000)
    )
    assert heard <= STRANGERS.burst + 60 / STRANGERS.interval
