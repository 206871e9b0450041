"""Real OpenVPN and WireGuard over punched links, by the hooks and examples in contrib/.

Both hosts are behind routers with port-restricted NAT. Once a tunnel is up, netpunch owns no
socket of it: the ping goes from one VPN program to the other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.network import HOME_ROUTER, Lab, Nat, Ports
from tests.lab.program import Program, remote_of
from tests.lab.vpn_service import DROP_IN, write_systemctl
from tests.lab.vpn_site import VpnSite, answers, change_address
from tests.lab.vpn_tunnels import HOOKS, OpenVpn, WireGuard, missing

pytestmark = pytest.mark.lab

UP_SECONDS = 5.0
"""From the start of both ends to a ping through the tunnel."""
BACK_SECONDS = 20.0
"""From a disturbance to a ping through the tunnel, without anyone's help."""
ANSWERING_ROUTER = Nat(input_drop=False)
"""After it has forgotten its flows, what comes early takes the port: another one must win."""
SYMMETRIC_ROUTER = Nat(ports=Ports.RANDOM)
"""Nothing passes between two of these."""
RELAYED_SECONDS = 15.0
"""From the start of both ends to a ping through a tunnel by way of a relay."""
RELAYED_BACK_SECONDS = 45.0
"""The same from a disturbance: two failed checks and a pause before the next attempt come first."""
DEBIAN_UNIT = Path("/lib/systemd/system/openvpn-client@.service")
COMMAND_SECONDS = 20
LATE_DATE = """\
#!/bin/sh
exec {date} --date '140 seconds' "$@"
"""
"""WireGuard's handshakes are dead after 135 seconds."""

OPENVPN_KEEP = f"""
    mode: keep
    {OpenVpn.documented_command()}
    check_every: 5s
    a: {{local: ":5000", check: [ping, -I, vpn0, -c1, -W1, {OpenVpn.ADDRESSES["office"]}]}}
    b: {{local: ":5000", check: [ping, -I, vpn0, -c1, -W1, {OpenVpn.ADDRESSES["home"]}]}}
"""
OPENVPN_ONCE = f"""
    env_file: "{{pair}}.env"
    hooks: [{HOOKS}/openvpn]
    check: [{HOOKS}/openvpn]
    a: {{local: ":5000"}}
    b: {{local: ":5000"}}
"""
WIREGUARD_KEEP = f"""
    mode: keep
    check_every: 5s
    a:
      local: ":{WireGuard.PORT}"
      hooks: [{HOOKS}/wireguard, {WireGuard.INTERFACES["home"]}]
      check: [ping, -c1, -W1, {WireGuard.ADDRESSES["office"]}]
    b:
      local: ":{WireGuard.PORT}"
      hooks: [{HOOKS}/wireguard, {WireGuard.INTERFACES["office"]}]
      check: [ping, -c1, -W1, {WireGuard.ADDRESSES["home"]}]
"""
WIREGUARD_ONCE = f"""
    session_key: on
    deadline: {{deadline}}
    a:
      local: ":{WireGuard.PORT}"
      hooks: [{HOOKS}/wireguard, {WireGuard.INTERFACES["home"]}]
      check: [{HOOKS}/wireguard, {WireGuard.INTERFACES["home"]}]
    b:
      local: ":{WireGuard.PORT}"
      hooks: [{HOOKS}/wireguard, {WireGuard.INTERFACES["office"]}]
      check: [{HOOKS}/wireguard, {WireGuard.INTERFACES["office"]}]
"""
WIREGUARD_CHECK = (str(HOOKS / "wireguard"), WireGuard.INTERFACES["home"])


@pytest.fixture
def cleanup(lab: Lab) -> Iterator[ExitStack]:
    """Ends before the lab does."""
    with ExitStack() as cleanup:
        yield cleanup


@pytest.fixture
def nat() -> Nat:
    return HOME_ROUTER


@pytest.fixture
def site(lab: Lab, nat: Nat, tmp_path: Path, cleanup: ExitStack) -> VpnSite:
    if lack := missing():
        pytest.skip(f"the VPNs need {lack}")
    return VpnSite(lab, nat, tmp_path, cleanup)


@pytest.fixture
def wireguard(site: VpnSite, cleanup: ExitStack) -> WireGuard:
    return WireGuard(site, cleanup)


def forget_flows(site: VpnSite) -> None:
    site.routers["home"].forget_flows()


def move(site: VpnSite) -> None:
    change_address(site.routers["home"], "203.0.113.200")


@pytest.mark.usefixtures("wireguard")
@pytest.mark.parametrize(
    ("nat", "disturbances"),
    [(HOME_ROUTER, [forget_flows, move]), (ANSWERING_ROUTER, [forget_flows])],
    ids=["home_router", "answering_router"],
)
def test_kept_vpn_tunnels_come_up_and_recover(
    site: VpnSite, disturbances: list[Callable[[VpnSite], None]]
) -> None:
    OpenVpn(site, "openvpn")
    site.write({"openvpn": OPENVPN_KEEP, "wireguard": WIREGUARD_KEEP})
    site.start_control()
    started = time.monotonic()
    site.start_ends()
    assert_both_answer(site, started, UP_SECONDS)
    for disturb in disturbances:
        disturbed = time.monotonic()
        disturb(site)
        assert_both_answer(site, disturbed, BACK_SECONDS)


@pytest.mark.usefixtures("wireguard")
@pytest.mark.parametrize("nat", [SYMMETRIC_ROUTER], ids=["symmetric_router"])
def test_vpns_work_through_a_relay_when_nothing_else_passes(site: VpnSite) -> None:
    """Their ports are handed over: they just see the relay's address as their partner's."""
    OpenVpn(site, "openvpn")
    site.write({"openvpn": OPENVPN_KEEP, "wireguard": WIREGUARD_KEEP}, relay=True)
    site.start_control()
    started = time.monotonic()
    ends = site.start_ends()
    assert_both_answer(site, started, RELAYED_SECONDS)
    ups = [each for end in ends for each in end.records() if each["event"] == "pair.up"]
    assert {each["pair"] for each in ups} == {"openvpn", "wireguard"}
    assert {(each["path"], remote_of(each)) for each in ups} == {("relay", site.relay)}
    disturbed = time.monotonic()
    forget_flows(site)
    assert_both_answer(site, disturbed, RELAYED_BACK_SECONDS)


def test_wireguard_links_once_with_the_session_key(site: VpnSite, wireguard: WireGuard) -> None:
    site.write({"wireguard": WIREGUARD_ONCE.format(deadline="20s")})
    site.start_control()
    assert_linked_and_over(*site.start_ends())
    assert answers(site.hosts["office"], WireGuard.ADDRESSES["home"], UP_SECONDS)
    keys = [wireguard.show(node, "preshared-keys") for node in ("home", "office")]
    assert keys[0] == keys[1] != "(none)"
    assert_left_alone(site.start("home"))
    assert answers(site.hosts["office"], WireGuard.ADDRESSES["home"], UP_SECONDS)


def test_wireguard_gets_its_port_back_when_no_partner_comes(
    site: VpnSite, wireguard: WireGuard
) -> None:
    site.write({"wireguard": WIREGUARD_ONCE.format(deadline="2s")})
    site.start_control()
    lonely = site.start("home")
    lonely.wait_for("pair.waiting")
    assert wireguard.show("home", "listen-port") != str(WireGuard.PORT)
    lonely.wait_for("pair.failed")
    assert lonely.wait_exit() == 75
    assert wireguard.show("home", "listen-port") == str(WireGuard.PORT)


def test_the_wireguard_check_pings_after_an_old_handshake(
    site: VpnSite, wireguard: WireGuard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write({"wireguard": WIREGUARD_ONCE.format(deadline="20s")})
    site.start_control()
    assert_linked_and_over(*site.start_ends())
    date = tmp_path / "bin" / "date"
    date.parent.mkdir()
    date.write_text(LATE_DATE.format(date=shutil.which("date")))
    date.chmod(0o755)
    monkeypatch.setenv("PATH", f"{date.parent}:{os.environ['PATH']}")
    check = site.hosts["home"].namespace.command(*WIREGUARD_CHECK)
    assert subprocess.run(check, timeout=COMMAND_SECONDS).returncode == 0
    wireguard.remove("office")
    assert subprocess.run(check, timeout=COMMAND_SECONDS).returncode == 1
    date.unlink()
    assert subprocess.run(check, timeout=COMMAND_SECONDS).returncode == 0


@pytest.mark.usefixtures("wireguard")
def test_the_wireguard_hook_finds_its_peer(site: VpnSite) -> None:
    with pytest.raises(RuntimeError, match="has no peer AAAA="):
        site.hosts["home"].namespace.run(*WIREGUARD_CHECK, "AAAA=")


def test_openvpn_links_once_as_a_service(
    site: VpnSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_systemctl(tmp_path / "bin", "openvpn", "openvpn.env")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    OpenVpn(site, "openvpn")
    site.write({"openvpn": OPENVPN_ONCE})
    site.start_control()
    assert_linked_and_over(*site.start_ends())
    assert answers(site.hosts["office"], OpenVpn.ADDRESSES["home"], UP_SECONDS)
    assert_left_alone(site.start("home"))
    assert answers(site.hosts["office"], OpenVpn.ADDRESSES["home"], UP_SECONDS)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.skipif(not DEBIAN_UNIT.exists(), reason="needs Debian's openvpn package")
def test_systemd_accepts_the_openvpn_drop_in(tmp_path: Path) -> None:
    shutil.copy(DEBIAN_UNIT, tmp_path)
    instance = tmp_path / "openvpn-client@home-office.service"
    drop_ins = Path(f"{instance}.d")
    drop_ins.mkdir()
    shutil.copy(DROP_IN, drop_ins)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(instance)],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, "")


def assert_both_answer(site: VpnSite, since: float, seconds: float) -> None:
    """The end behind the disturbed router answers in both tunnels, before that much time since
    then is over."""
    for address in (WireGuard.ADDRESSES["home"], OpenVpn.ADDRESSES["home"]):
        left = since + seconds - time.monotonic()
        assert answers(site.hosts["office"], address, left), f"{address}\n{site.said()}"


def assert_linked_and_over(*ends: Program) -> None:
    for end in ends:
        end.wait_for("pair.up")
        assert end.wait_exit() == 0


def assert_left_alone(end: Program) -> None:
    """The check says that the tunnel lives: nothing else is done."""
    end.wait_for("pair.alive")
    assert end.wait_exit() == 0
