"""WireGuard keeps its port: netpunch finds and holds the paths of its peers beside it.

`python -m tests.lab.sharing` measures the same more often, and what tunnels carry."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.network import Lab, Nat, Ports
from tests.lab.sharing import LEAVES, Overheard, SharedWireGuard, traffic
from tests.lab.vpn_site import RELAY_PORT
from tests.lab.vpn_tunnels import missing

pytestmark = pytest.mark.lab

UP_SECONDS = 3.0
"""From the start of netpunch to the first ping through each tunnel."""
BACK_SECONDS = 3.0
"""From a change of a NAT's public address until packets pass through a tunnel again."""
WATCHED_SECONDS = 4.0
RELAYED_SECONDS = 15.0
"""As UP_SECONDS, through a relay."""
SYMMETRIC_ROUTER = Nat(ports=Ports.RANDOM)


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    if lack := missing():
        pytest.skip(f"the VPNs need {lack}")
    with ExitStack() as cleanup:
        yield cleanup


def test_two_tunnels_at_one_port_come_up_and_follow_a_nat(
    lab: Lab, tmp_path: Path, cleanup: ExitStack
) -> None:
    wireguard = SharedWireGuard(lab, tmp_path, cleanup)
    started = wireguard.start_all()
    for leaf in LEAVES:
        assert wireguard.leaf_answers(leaf, started, UP_SECONDS), wireguard.said()
    overheard = Overheard(wireguard)
    with traffic(wireguard, "office") as through:
        time.sleep(1)  # so that an outage is no late start
        changed = time.monotonic()
        wireguard.change_address("home", "203.0.113.200")
        time.sleep(WATCHED_SECONDS)
        assert through.outage(changed) < BACK_SECONDS, wireguard.said()
    assert through.numbers == list(range(through.sent)), "the TCP connection goes on"
    for leaf in LEAVES:
        assert wireguard.leaf_answers(leaf, time.monotonic(), 1), wireguard.said()
    ours, others, datagrams = overheard.close()
    assert (ours > 0, others, datagrams > ours) == (True, 0, True), "netpunch sees its own only"


def test_tunnels_come_up_by_ipv6(ipv6_lab: Lab, tmp_path: Path, cleanup: ExitStack) -> None:
    """Raw sockets of IPv6 have other rules than those of IPv4."""
    wireguard = SharedWireGuard(ipv6_lab, tmp_path, cleanup)
    started = wireguard.start_all()
    for leaf in LEAVES:
        assert wireguard.leaf_answers(leaf, started, UP_SECONDS), wireguard.said()


def test_both_tunnels_are_relayed_when_nothing_else_passes(
    lab: Lab, tmp_path: Path, cleanup: ExitStack
) -> None:
    """Their datagrams come from one address: the relay tells them apart by its own ports."""
    relay = f'":{RELAY_PORT}", relay_ports: {len(LEAVES)}'
    wireguard = SharedWireGuard(lab, tmp_path, cleanup, SYMMETRIC_ROUTER, relay=relay)
    started = wireguard.start_all()
    for leaf in LEAVES:
        assert wireguard.leaf_answers(leaf, started, RELAYED_SECONDS), wireguard.said()
    ups = [wireguard.programs[leaf].wait_for("pair.up") for leaf in LEAVES]
    assert [up["path"] for up in ups] == ["relay", "relay"]
