"""Events that say no more than their type."""

from __future__ import annotations

from netpunch.core.events import Finished, TurnOver


def test_each_is_true_and_equal_to_its_like_alone() -> None:
    assert Finished()
    assert Finished() == Finished() != TurnOver()
    assert len({Finished(), Finished(), TurnOver()}) == 2
    assert repr(TurnOver()) == "TurnOver()"
