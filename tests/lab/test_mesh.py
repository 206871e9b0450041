"""WireGuard meshes, by the recipes as they are written: four hosts behind NATs of their own, then a
fifth one; and a star of thirty."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path

import pytest

from tests.lab import wg
from tests.lab.bare_host import ETC, NETPUNCH, BareHost
from tests.lab.network import Lab
from tests.lab.program import REPOSITORY
from tests.lab.vpn_site import UPLINK_SECONDS
from tests.lab.vpn_tunnels import HOOKS, WIREGUARD_SOCKETS, missing

pytestmark = pytest.mark.lab

MESH, STAR = "\n## A mesh\n", "\n### A star of thirty\n"
NODES = ("home", "office", "cabin", "shed")
FIFTH = "barn"
HUB = "office"
SHOPS = tuple(f"shop{number:02}" for number in range(1, 30))
CONTROL_NAME = "vps.example.net"
UP_SECONDS = 15.0
"""Until every pair answers pings: ten pairs, whose hooks run on two cores in CI."""


def blocks(recipe: str) -> tuple[str, str]:
    """Its site file, and its wg0.conf."""
    _, _, text = (REPOSITORY / "docs" / "recipes.md").read_text().partition(recipe)
    site, wireguard = re.findall(r"^```(?:yaml|ini)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[:2]
    return site, wireguard


class Mesh:
    """Hosts and a control. Those `behind_nats` have a router each, the others public addresses."""

    def __init__(
        self,
        lab: Lab,
        folder: Path,
        cleanup: ExitStack,
        recipe: str,
        nodes: Sequence[str],
        *,
        name: str,
        behind_nats: Collection[str],
    ) -> None:
        self._site, self._wireguard = blocks(recipe)
        self._runs: dict[str, subprocess.Popen[str]] = {}
        self.hosts: dict[str, BareHost] = {}
        tools = folder / "tools"
        tools.mkdir()
        (tools / "netpunch").write_text(NETPUNCH)
        (tools / "netpunch").chmod(0o755)
        WIREGUARD_SOCKETS.mkdir(exist_ok=True)
        vps = lab.server("vps")
        for node in ("vps", *nodes):
            if node in behind_nats:
                member = lab.host(node, lab.router(f"{node}_r", latency=UPLINK_SECONDS))
            else:
                member = vps if node == "vps" else lab.server(node)
            line = f"{vps.address} {CONTROL_NAME}"
            cleanup.enter_context(member.namespace.hosts_file(line))
            host = BareHost(node, member.namespace, folder, cleanup, tools=tools)
            shutil.copytree(HOOKS, host.folder / "etc" / HOOKS.name)
            self.hosts[node] = host
        self._private = {node: wg.private_key() for node in nodes}
        self._public = {node: wg.public_key(key) for node, key in self._private.items()}
        self.address = {node: f"10.9.0.{at}" for at, node in enumerate(nodes, 1)}
        first, key = self.hosts[nodes[0]], f"{name}.key"
        first.run(f"netpunch key new -o {ETC}/{key}")
        first.run(f"netpunch key control {name} {ETC}/{key} -o {ETC}/control.key")
        (first.folder / "etc" / "control.key").rename(self.hosts["vps"].folder / "etc" / key)
        for node in nodes[1:]:
            shutil.copy(first.folder / "etc" / key, self.hosts[node].folder / "etc")

    def write_site(self, *, nodes: Sequence[str]) -> None:
        """The recipe's, on every host; with lines for more nodes."""
        site = self._site
        for name in nodes:
            if f"{name}: {{" not in site:
                site += f'      {name}: {{wireguard_key: "KEY-OF-{name.upper()}="}}\n'
            assert site.count(placeholder(name)) == 1
            site = site.replace(placeholder(name), self._public[name])
        for host in self.hosts.values():
            (host.folder / "etc" / "site.yaml").write_text(site)

    def start(self, name: str, peers: Sequence[str] = ()) -> None:
        """With wg0, unless it is the control."""
        host = self.hosts[name]
        if name in self._private:
            self._write_wireguard(host, name, peers)
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

    def _write_wireguard(self, host: BareHost, name: str, peers: Sequence[str]) -> None:
        """The recipe's, for another host: its own key and address, and its peers. A single one
        carries what is for all."""
        interface, block, *_ = re.split(r"^# \w+$\n", self._wireguard, flags=re.MULTILINE)
        own = interface.replace("PRIVATE-KEY", self._private[name])
        text = re.sub(r"10\.9\.0\.\d+/24", f"{self.address[name]}/24", own)
        for peer in peers:
            each = block.replace(placeholder("office"), self._public[peer])
            if len(peers) > 1:
                each = re.sub(r"10\.9\.0\.\d+/\d+", f"{self.address[peer]}/32", each)
            text += each
        file = host.folder / "wg0.conf"
        file.write_text(text)
        file.chmod(0o600)


def placeholder(node: str) -> str:
    return f"KEY-OF-{node.upper()}="


@pytest.fixture
def cleanup(lab: Lab) -> Iterator[ExitStack]:
    """Ends before the lab does."""
    if lack := missing():
        pytest.skip(f"the VPNs need {lack}")
    with ExitStack() as cleanup:
        yield cleanup


needs_nsenter = pytest.mark.skipif(shutil.which("nsenter") is None, reason="needs nsenter")


@needs_nsenter
def test_four_hosts_and_then_a_fifth_reach_each_other_through_wireguard(
    lab: Lab, tmp_path: Path, cleanup: ExitStack
) -> None:
    five = (*NODES, FIFTH)
    mesh = Mesh(lab, tmp_path, cleanup, MESH, five, name="lan", behind_nats=five)
    mesh.write_site(nodes=NODES)
    mesh.start("vps")
    for name in NODES:
        mesh.start(name, [each for each in NODES if each != name])
    began = time.monotonic()
    for one, other in combinations(NODES, 2):
        mesh.await_answers(one, other, began + UP_SECONDS)
    print(f"six pairs: {time.monotonic() - began:.1f} s")
    mesh.write_site(nodes=five)
    for name in NODES:
        mesh.add_peer(name, FIFTH)
    for name in ("vps", *NODES):
        mesh.reload(name)
    mesh.start(FIFTH, NODES)
    began = time.monotonic()
    for name in NODES:
        mesh.await_answers(FIFTH, name, began + UP_SECONDS)
    print(f"a fifth host's four pairs: {time.monotonic() - began:.1f} s")
    for one, other in combinations(NODES, 2):
        mesh.await_answers(one, other, began + UP_SECONDS)


@needs_nsenter
def test_an_office_reaches_29_shops_and_they_each_other_by_way_of_it(
    lab: Lab, tmp_path: Path, cleanup: ExitStack
) -> None:
    star = Mesh(
        lab, tmp_path, cleanup, STAR, (HUB, *SHOPS), name="shops", behind_nats=(HUB, *SHOPS[:3])
    )
    star.write_site(nodes=(HUB, *SHOPS))
    star.start("vps")
    star.start(HUB, SHOPS)
    star.hosts[HUB].run("sysctl -q net.ipv4.ip_forward=1")
    for shop in SHOPS:
        star.start(shop, [HUB])
    began = time.monotonic()
    for shop in SHOPS:
        star.await_answers(HUB, shop, began + UP_SECONDS)
    print(f"29 pairs: {time.monotonic() - began:.1f} s")
    star.await_answers(SHOPS[0], SHOPS[-1], began + UP_SECONDS)
