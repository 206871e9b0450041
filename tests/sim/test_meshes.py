"""A node of a mesh starts: all its links are up within seconds."""

from __future__ import annotations

import pytest

from tests.sim.meshes import EASY, HARD, start_node
from tests.sim.setups import Place

NODES = 40


@pytest.mark.parametrize("own", [EASY, HARD], ids=["easy", "hard"])
def test_with_a_relay_all_links_of_a_node_are_up_at_once(own: Place) -> None:
    """Those that take long to find a direct path are relayed until they have one."""
    done = start_node(1, NODES, own, hard=0.1, relay=True)
    assert (len(done.times), done.missing) == (NODES - 1, 0)
    assert done.times[-1] < 4.0


def test_without_a_relay_hard_pairs_are_up_one_after_the_other() -> None:
    """Each takes as long as 252 probes, on average, at the rate that the process may send."""
    done = start_node(1, NODES, EASY, hard=0.1, relay=False)
    assert done.missing == 0
    assert done.times[NODES * 8 // 10] < 0.5, "easy pairs wait for none of them"
    assert done.times[-1] < 20.0
