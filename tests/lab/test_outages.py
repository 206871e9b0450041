"""What happens to a network hardly interrupts a held link: one run of each, with limits that a busy
machine keeps, too. `tests.lab.outages` measures how short the outages are."""

from __future__ import annotations

from pathlib import Path
from socket import socket

import pytest

from tests.lab.disturbances import DISTURBANCES
from tests.lab.network import Lab
from tests.lab.outages import measure
from tests.lab.traffic import Direction

pytestmark = pytest.mark.lab

WATCHED_SECONDS = 3.0
"""At least, from when it has happened."""
UNDISTURBED = 2.0
"""Seconds without a datagram while nothing should be wrong."""
NOTICED = 3.0
"""The same where the host itself notices what has happened."""


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("control-restarts", UNDISTURBED),
        ("uplink-kept", UNDISTURBED),
        ("host-address", NOTICED),
        ("route-moves", NOTICED),
        ("both-uplinks", NOTICED),
        ("killed", 5.0),
        ("nat-address", 6.0),
    ],
)
def test_the_outage_of_a_held_link_is_short(
    lab: Lab, tmp_path: Path, name: str, limit: float
) -> None:
    outcome = measure(lab, tmp_path, DISTURBANCES[name], 0, watched=WATCHED_SECONDS, timeline=True)
    told = f"{outcome}\n{outcome.timeline}"
    assert outcome.steady, told
    assert outcome.outage < limit, told
    assert not outcome.events["pair.down"], told


def test_an_outage_is_the_longest_pause_at_any_place() -> None:
    with socket() as sock:
        direction = Direction(sock, sock, arrivals=[0.5, 1.0, 2.5, 3.0])
    assert direction.outage(0.75, 3.25) == 1.5
    assert direction.outage(0.0, 9.0) == 6.0
    assert direction.outage(3.5, 4.0) == 0.5


def test_what_has_not_arrived_is_lost() -> None:
    with socket() as sock:
        direction = Direction(sock, sock, sent=9, numbers={0, 5, 6, 8})
    assert direction.lost(4) == 2
