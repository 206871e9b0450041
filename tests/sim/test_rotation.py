"""A pair's key is rotated while its link is held: in whatever order control and both ends get the
new key, and then lose the old one, the link goes on, and new links come about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from random import Random
from typing import Any

import pytest

from netpunch.core import timing
from netpunch.core.end.end import End, EndState
from netpunch.core.events import Linked, Lost, Moved, MoveReason
from netpunch.wire.drop import Drop
from netpunch.wire.keys import control_key
from tests.sim.machines import PAIR, SECRET
from tests.sim.nat import HARD_RANDOM, PORT_RESTRICTED_CONE, NatBehavior
from tests.sim.promises import TALLY, one_path
from tests.sim.scenarios import Scenario, Setup, Side

NEW = bytes(range(32, 64))
OLD = SECRET
PARTIES = ("control", "a", "b")
HELD = {"holds": True, "deadline_from_start": False}
SAMPLE = 5
"""Of the orders every fifth, where each costs much."""
STEP = 5.0
"""Seconds between two steps: an administrator takes longer."""

Keys = Sequence[bytes]
Step = tuple[str, Keys]


class Rotation:
    """A held link, and what each party has of the keys."""

    def __init__(self, seed: int, **setup: Any) -> None:
        TALLY.runs += 1
        usual = {"nat_a": (PORT_RESTRICTED_CONE,), "nat_b": (PORT_RESTRICTED_CONE,)}
        self.run = Scenario(seed, Setup(**{**usual, "settings": dict(HELD), **setup}))
        self.run.start()
        assert self.run.run_until_linked(20.0)
        self.run.run(1.0)

    def take(self, step: Step) -> None:
        """A party has these keys from now on."""
        party, keys = step
        if party == "control":
            derived = [{PAIR: control_key(key, PAIR)} for key in keys]
            self.run.control.ask(lambda node, _now: node.v2.replace_pairs(*derived))
            return
        side = self.side(party)
        side.settings |= {"secret": keys[0], "other_secret": b"".join(keys[1:])}
        side.host.ask(lambda end, now: end.rekey(keys, now))

    def side(self, name: str) -> Side:
        return self.run.a if name == "a" else self.run.b

    def linked(self, side: Side) -> int:
        """How often it was linked anew."""
        return len(list(side.host.told_of(Linked)))

    @property
    def lost(self) -> list[Lost]:
        return [lost for side in self.run.sides for _, lost in side.host.told_of(Lost)]

    @property
    def moves(self) -> list[Moved]:
        return [move for side in self.run.sides for _, move in side.host.told_of(Moved)]

    def holds(self) -> bool:
        """Whether both ends hold the same link, which works."""
        a, b = self.run.sides
        if a.link is None or b.link is None or a.link.session_key != b.link.session_key:
            return False
        ends = [side.host.machine for side in self.run.sides]
        return all(isinstance(end, End) and end.state is EndState.HOLDING for end in ends)

    def is_under(self, key: bytes) -> bool:
        """Whether the link is under this key at both ends."""
        ends = [side.host.machine for side in self.run.sides]
        return all(
            isinstance(end, End) and end._link is not None and end._link.channels.are_of(key)
            for end in ends
        )


def orders() -> Iterator[list[Step]]:
    """Everybody gets the new key, beside the old one, in any order; then everybody loses the old
    one, in any order."""
    for adding in permutations(PARTIES):
        for removing in permutations(PARTIES):
            yield [(each, (NEW, OLD)) for each in adding] + [(each, (NEW,)) for each in removing]


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_a_held_link_survives_every_order_of_steps(loss: float) -> None:
    for seed, steps in enumerate(orders()):
        rotation = Rotation(seed, loss=loss)
        for step in steps:
            rotation.take(step)
            rotation.run.run(STEP)
        assert rotation.run.run_until(lambda r=rotation: r.is_under(NEW), 30.0), steps  # type: ignore[misc]
        rotation.run.run(30.0)
        assert not rotation.lost, steps
        assert rotation.holds(), steps
        if not loss:
            assert {move.reason for move in rotation.moves} == {MoveReason.KEY_CHANGED}, steps
            assert len(rotation.moves) == 2, "once, at each end"


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_after_every_step_new_links_come_about_at_once(loss: float) -> None:
    """The other order of a file's two keys, the old one first, does as well."""
    for seed, steps in enumerate([*orders()][::SAMPLE]):
        random = Random(f"new links/{seed}")
        rotation = Rotation(seed, loss=loss)
        for party, keys in steps:
            rotation.take((party, random.sample(keys, len(keys))))
            before = [rotation.linked(side) for side in rotation.run.sides]
            for side in rotation.run.sides:
                side.host.stop()
            for side in rotation.run.sides:
                rotation.run.start_end(side)

            def linked(r: Rotation = rotation, before: list[int] = before) -> bool:
                now = [r.linked(side) for side in r.run.sides]
                return all(map(int.__gt__, now, before))

            assert rotation.run.run_until(linked, 1.0 if not loss else 15.0), (steps, party)
            rotation.run.run(STEP)
            assert rotation.holds()
        assert rotation.is_under(NEW)


def test_a_node_that_restarts_during_a_rotation_finds_the_link_that_is_held() -> None:
    """Its partner has both keys, or one of them, and is linked already."""
    for seed, steps in enumerate([*orders()][::SAMPLE]):
        rotation = Rotation(seed)
        for number, step in enumerate(steps):
            rotation.take(step)
            rotation.run.run(STEP)
            rotation.run.restart_end(rotation.run.sides[(seed + number) % 2])
            assert rotation.run.run_until(rotation.holds, 20.0), (steps, step)
        assert not [lost for lost in rotation.lost if not lost.ended], steps


@pytest.mark.parametrize("other", [HARD_RANDOM, PORT_RESTRICTED_CONE], ids=["relayed", "sprayed"])
def test_behind_hard_nats_a_link_comes_under_another_key_on_the_path_that_it_has(
    other: NatBehavior,
) -> None:
    """No other one might be found, or only by another thousand probes."""
    for seed in range(3):
        rotation = Rotation(seed, nat_a=(HARD_RANDOM,), nat_b=(other,), relay=True)
        for step in next(orders()):
            rotation.take(step)
            rotation.run.run(STEP)
        assert rotation.run.run_until(lambda r=rotation: r.is_under(NEW), 10.0)  # type: ignore[misc]
        assert not rotation.lost
        assert rotation.holds()
        assert not list(one_path(rotation.run))
        rekeyed = [move for move in rotation.moves if move.reason is MoveReason.KEY_CHANGED]
        assert len(rekeyed) == 2
        assert all(move.previous == move.remote for move in rekeyed)


def test_without_a_control_the_link_goes_on_under_a_removed_key_for_a_while() -> None:
    rotation = Rotation(1)
    for party in PARTIES:
        rotation.take((party, (NEW, OLD)))
        rotation.run.run(STEP)
    rotation.run.control.stop()
    rotation.take(("a", (NEW,)))
    rotation.run.run(timing.REKEY_WITHIN / 2)
    assert rotation.holds()
    assert rotation.is_under(OLD)
    rotation.run.start_control()
    rotation.take(("control", (NEW, OLD)))
    assert rotation.run.run_until(lambda: rotation.is_under(NEW), 2 * timing.REKEY_INTERVAL)
    rotation.run.run(timing.REKEY_WITHIN)
    assert not rotation.lost


def test_a_partner_that_has_only_the_removed_key_is_cut_off() -> None:
    rotation = Rotation(1)
    for party in ("control", "a"):
        rotation.take((party, (NEW, OLD)))
    rotation.run.run(STEP)
    rotation.take(("a", (NEW,)))
    rotation.run.run(timing.REKEY_WITHIN - 1.0)
    assert not rotation.lost
    rotation.run.run(2.0)
    assert "its key was removed" in rotation.lost[0].detail
    rotation.run.restart_end(rotation.run.a)
    assert not rotation.run.run_until(rotation.holds, 30.0)


def test_keys_that_come_back_leave_the_link_where_it_is() -> None:
    rotation = Rotation(1)
    rotation.run.control.stop()
    rotation.take(("a", (NEW, OLD)))
    rotation.take(("a", (NEW,)))
    rotation.run.run(STEP)
    rotation.take(("a", (OLD, NEW)))
    rotation.run.run(timing.REKEY_WITHIN)
    assert rotation.holds()
    assert not rotation.moves


def test_a_removed_key_opens_nothing_but_the_link_that_is_still_under_it() -> None:
    rotation = Rotation(1)
    for party in PARTIES:
        rotation.take((party, (NEW, OLD)))
        rotation.run.run(STEP)
    for party in PARTIES:
        rotation.take((party, (NEW,)))
        rotation.run.run(STEP)
    rotation.run.run(timing.RETIRED_FOR + STEP)
    rotation.take(("b", (OLD,)))  # a thief, with control's help
    rotation.take(("control", (NEW, OLD)))
    end = rotation.run.a.host.machine
    assert isinstance(end, End)
    before = end.drops
    rotation.run.restart_end(rotation.run.b)
    rotation.run.run(STEP)
    assert rotation.is_under(NEW) is False
    assert len(rotation.run.a.links) == 2, "the first one, and its move to the new key"
    assert not (end.drops - before).keys() - {Drop.BAD_MAC, Drop.UNEXPECTED_SOURCE}
