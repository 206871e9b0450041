"""Real OpenVPN and WireGuard over punched links between two home routers (port-restricted NAT)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.network import Lab
from tests.lab.vpn_site import VpnSite, answers, change_address
from tests.lab.vpn_tunnels import HOOKS, OpenVpn, WireGuard, missing

pytestmark = pytest.mark.lab

UP_SECONDS = 5.0
"""From the start of both ends to a ping through the tunnel."""
BACK_SECONDS = 20.0
"""From a disturbance to a ping through the tunnel, without anyone's help."""
WIREGUARD_PORT = 5001

OPENVPN_KEEP = """
    mode: keep
    {command}
    check_every: 5s
    a: {{local: ":5000", check: [ping, -c1, -W1, 10.8.0.2]}}
    b: {{local: ":5000", check: [ping, -c1, -W1, 10.8.0.1]}}
"""
WIREGUARD_KEEP = f"""
    mode: keep
    check_every: 5s
    a:
      local: ":{WIREGUARD_PORT}"
      hooks: [{HOOKS}/wireguard, {WireGuard.INTERFACES["home"]}]
      check: [ping, -c1, -W1, 10.9.0.2]
    b:
      local: ":{WIREGUARD_PORT}"
      hooks: [{HOOKS}/wireguard, {WireGuard.INTERFACES["office"]}]
      check: [ping, -c1, -W1, 10.9.0.1]
"""


@pytest.fixture
def cleanup(lab: Lab) -> Iterator[ExitStack]:
    with ExitStack() as cleanup:
        yield cleanup


@pytest.fixture
def site(lab: Lab, tmp_path: Path, cleanup: ExitStack) -> VpnSite:
    if lack := missing():
        pytest.skip(f"the VPNs need {lack}")
    return VpnSite(lab, tmp_path, cleanup)


@pytest.fixture
def wireguard(site: VpnSite, cleanup: ExitStack) -> WireGuard:
    wireguard = WireGuard(site, WIREGUARD_PORT)
    cleanup.callback(wireguard.close)
    return wireguard


def forget_flows(site: VpnSite) -> None:
    site.routers["home"].forget_flows()


def move(site: VpnSite) -> None:
    change_address(site.routers["home"], "203.0.113.200")


@pytest.mark.usefixtures("wireguard")
@pytest.mark.parametrize("disturb", [forget_flows, move])
def test_kept_tunnels_come_and_come_back(
    site: VpnSite, disturb: Callable[[VpnSite], None]
) -> None:
    OpenVpn(site, "openvpn")
    command = OpenVpn.documented_command()
    site.write({"openvpn": OPENVPN_KEEP.format(command=command), "wireguard": WIREGUARD_KEEP})
    site.start_control()
    started = time.monotonic()
    site.start_ends()
    assert_both_answer(site, started, UP_SECONDS)
    disturbed = time.monotonic()
    disturb(site)
    assert_both_answer(site, disturbed, BACK_SECONDS)


def assert_both_answer(site: VpnSite, since: float, seconds: float) -> None:
    """The tunnels' far ends answer within so many seconds from then."""
    for address in (OpenVpn.ADDRESSES["home"], WireGuard.ADDRESSES["home"]):
        left = since + seconds - time.monotonic()
        assert answers(site.hosts["office"], address, left), address
        print(address, time.monotonic()-since)
