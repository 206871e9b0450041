"""A WireGuard mesh, by the recipe as it is written: four hosts behind NATs of their own, then a
fifth one."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path

import pytest

from tests.lab.bare_host import ETC, NETPUNCH, BareHost, make_folder
from tests.lab.network import Lab
from tests.lab.program import REPOSITORY
from tests.lab.vpn_site import UPLINK_SECONDS
from tests.lab.vpn_tunnels import HOOKS, WIREGUARD_SOCKETS, missing

pytestmark = pytest.mark.lab

RECIPE = "## A mesh\n"
NODES = ("home", "office", "cabin", "shed")
FIFTH = "barn"
CONTROL_NAME = "vps.example.net"
TOOLS = Path("/usr/local/lib/netpunch")
UP_SECONDS = 15.0
"""Until every pair answers pings: ten pairs, whose hooks run on two cores in CI."""


def blocks() -> tuple[str, str]:
    """The recipe's site file, and its wg0.conf of home."""
    _, _, text = (REPOSITORY / "docs" / "recipes.md").read_text().partition(RECIPE)
    site, wireguard = re.findall(r"^```(?:yaml|ini)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[:2]
    return site, wireguard


class Mesh:
    """Five hosts and a control; the fifth host is not in use yet."""

    def __init__(self, lab: Lab, folder: Path, cleanup: ExitStack) -> None:
        self._site, self._wireguard = blocks()
        self._runs: dict[str, subprocess.Popen[str]] = {}
        self.hosts: dict[str, BareHost] = {}
        tools = folder / "tools"
        tools.mkdir()
        (tools / "netpunch").write_text(NETPUNCH)
        (tools / "netpunch").chmod(0o755)
        make_folder(TOOLS, cleanup)
        WIREGUARD_SOCKETS.mkdir(exist_ok=True)
        members = {"vps": lab.server("vps")}
        for name in (*NODES, FIFTH):
            router = lab.router(f"{name}_r", latency=UPLINK_SECONDS)
            members[name] = lab.host(name, router)
        for name, member in members.items():
            line = f"{members['vps'].address} {CONTROL_NAME}"
            cleanup.enter_context(member.namespace.hosts_file(line))
            self.hosts[name] = BareHost(
                name, member.namespace, folder, cleanup, tools=tools, mounts={TOOLS: HOOKS}
            )
        self._private = {name: wg("genkey") for name in (*NODES, FIFTH)}
        self._public = {name: wg("pubkey", key) for name, key in self._private.items()}
        self.address = {name: f"10.9.0.{at}" for at, name in enumerate((*NODES, FIFTH), 1)}
        home = self.hosts["home"]
        home.run(f"netpunch key new -o {ETC}/lan.key")
        home.run(f"netpunch key control lan {ETC}/lan.key -o {ETC}/control.key")
        (home.folder / "etc" / "control.key").rename(self.hosts["vps"].folder / "etc" / "lan.key")
        for name in (*NODES[1:], FIFTH):
            shutil.copy(home.folder / "etc" / "lan.key", self.hosts[name].folder / "etc")

    def write_site(self, *, nodes: tuple[str, ...]) -> None:
        """The recipe's, on every host; with lines for more nodes."""
        site = self._site
        for name in nodes:
            if f"      {name}: " not in site:
                site += f'      {name}: {{wireguard_key: "KEY-OF-{name.upper()}="}}\n'
            assert site.count(placeholder(name)) == 1
            site = site.replace(placeholder(name), self._public[name])
        for host in self.hosts.values():
            (host.folder / "etc" / "site.yaml").write_text(site)

    def start(self, name: str) -> None:
        """With wg0, unless it is the control."""
        host = self.hosts[name]
        if name in self._private:
            self._write_wireguard(host, name)
            host.run(f"wg-quick up {host.folder}/wg0.conf")
        self._runs[name] = host.start(f"netpunch run --format json {ETC}/site.yaml")

    def add_peer(self, name: str, peer: str) -> None:
        """As the recipe says."""
        allowed = f"{self.address[peer]}/32"
        self.hosts[name].run(f"wg set wg0 peer {self._public[peer]} allowed-ips {allowed}")

    def reload(self, name: str) -> None:
        """Of the process below `timeout`, which passes the signal on."""
        self._runs[name].send_signal(signal.SIGHUP)

    def await_answers(self, one: str, other: str, deadline: float) -> None:
        """A ping through the tunnel of a pair."""
        ping = f"ping -n -q -i 0.2 -c 1 -w {max(1, int(deadline - time.monotonic()))}"
        try:
            self.hosts[one].run(f"{ping} {self.address[other]}")
        except AssertionError:
            said = "\n".join(host.said() for host in self.hosts.values())
            raise AssertionError(f"no answer: {one} to {other}\n{said}") from None

    def _write_wireguard(self, host: BareHost, name: str) -> None:
        """The recipe's, for another host: its own key and address, and the others as peers."""
        interface, *peers = re.split(r"^# \w+$\n", self._wireguard, flags=re.MULTILINE)
        own = interface.replace("PRIVATE-KEY", self._private[name])
        text = own.replace("Address = 10.9.0.1/24", f"Address = {self.address[name]}/24")
        assert len(peers) == len(NODES) - 1
        for peer in NODES:
            if peer != name:
                block = peers[0].replace(placeholder("office"), self._public[peer])
                text += block.replace("10.9.0.2/32", f"{self.address[peer]}/32")
        file = host.folder / "wg0.conf"
        file.write_text(text)
        file.chmod(0o600)


def placeholder(node: str) -> str:
    return f"KEY-OF-{node.upper()}="


def wg(subcommand: str, text: str = "") -> str:
    argv = ["wg", subcommand]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def mesh(lab: Lab, tmp_path: Path) -> Iterator[Mesh]:
    if lack := missing():
        pytest.skip(f"the VPNs need {lack}")
    with ExitStack() as cleanup:
        yield Mesh(lab, tmp_path, cleanup)


@pytest.mark.skipif(shutil.which("nsenter") is None, reason="needs nsenter")
def test_four_hosts_and_then_a_fifth_reach_each_other_through_wireguard(mesh: Mesh) -> None:
    mesh.write_site(nodes=NODES)
    for name in ("vps", *NODES):
        mesh.start(name)
    began = time.monotonic()
    for one, other in combinations(NODES, 2):
        mesh.await_answers(one, other, began + UP_SECONDS)
    print(f"six pairs: {time.monotonic() - began:.1f} s")
    mesh.write_site(nodes=(*NODES, FIFTH))
    for name in NODES:
        mesh.add_peer(name, FIFTH)
    for name in ("vps", *NODES):
        mesh.reload(name)
    mesh.start(FIFTH)
    began = time.monotonic()
    for name in NODES:
        mesh.await_answers(FIFTH, name, began + UP_SECONDS)
    print(f"a fifth host's four pairs: {time.monotonic() - began:.1f} s")
    for one, other in combinations(NODES, 2):
        mesh.await_answers(one, other, began + UP_SECONDS)
