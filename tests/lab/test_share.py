"""WireGuard keeps its port: netpunch finds and holds the paths of its peers from the same port.

Three hosts behind routers with port-restricted NAT; one interface at home with two peers, so two
pairs share its port. WireGuard is that of contrib/hooks/wireguard.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.lab.network import HOME_ROUTER, Lab
from tests.lab.program import Program, write_key
from tests.lab.vpn_site import UPLINK_SECONDS, answers, change_address
from tests.lab.vpn_tunnels import HOOKS, WIREGUARD_SOCKETS, missing

pytestmark = pytest.mark.lab

NODES = ("home", "office", "cabin")
LEAVES = ("office", "cabin")
PORT = 51820
CONTROL_PORT = 10001
UP_SECONDS = 5.0
"""From the start of the programs to the first ping through each tunnel: 2 s more than it takes on a
machine that does nothing else."""
BACK_SECONDS = 5.0
"""The same from a change of a NAT's public address until pings pass again."""
SITE = """
version: 1
control: {{node: vps, address: "{control}:{port}", listen: ":{port}"}}
meshes:
  lan:
    secret_file: {key}
    hub: home
    share: on
    local: ":51820"
    hooks: {{up: [{hook}]}}
    nodes:
"""
HOOK = """\
#!/bin/sh
exec {hook} {prefix}"${{NETPUNCH_NODE}}" "$@"
"""


class SharedWireGuard:
    """The interfaces, and the hosts' netpunch."""

    def __init__(self, lab: Lab, folder: Path, cleanup: ExitStack) -> None:
        self.folder = folder
        self._cleanup = cleanup
        self.routers = {
            node: lab.router(f"{node}_r", HOME_ROUTER, latency=UPLINK_SECONDS) for node in NODES
        }
        self.hosts = {node: lab.host(node, router) for node, router in self.routers.items()}
        self.vps = lab.server("vps")
        keys = {node: _wg("genkey") for node in NODES}
        self.public = {node: _wg("pubkey", key) for node, key in keys.items()}
        self.addresses = {node: f"10.77.0.{at}" for at, node in enumerate(NODES, 1)}
        for node in NODES:
            self._make_interface(node, keys[node])
        self._write_site()

    def interface(self, node: str) -> str:
        """wireguard-go's sockets lie outside of network namespaces."""
        return f"np{os.getpid()}{node}"[:15]

    def start(self, node: str, *options: str) -> Program:
        namespace = self.vps.namespace if node == "vps" else self.hosts[node].namespace
        program = Program(namespace, self.folder / "site.yaml", node, *options)
        self._cleanup.callback(program.close)
        return program

    def assert_leaves_answer(self, since: float, seconds: float) -> None:
        """Through their tunnels from home, before so much time since then is over."""
        for leaf in LEAVES:
            left = since + seconds - time.monotonic()
            assert answers(self.hosts["home"], self.addresses[leaf], left), self.said()

    def said(self) -> str:
        return "\n".join(
            f"-- {log.name}:\n{log.read_text()}" for log in self.folder.glob("*.stderr")
        )

    def _make_interface(self, node: str, key: str) -> None:
        interface, namespace = self.interface(node), self.hosts[node].namespace
        peers = LEAVES if node == "home" else ("home",)
        text = f"[Interface]\nPrivateKey = {key}\nAddress = {self.addresses[node]}/24\n"
        text += f"ListenPort = {PORT}\nMTU = 1420\n"
        for peer in peers:
            text += f"[Peer]\nPublicKey = {self.public[peer]}\n"
            text += f"AllowedIPs = {self.addresses[peer]}/32\n"
        file = self.folder / f"{interface}.conf"
        file.write_text(text)
        file.chmod(0o600)
        self._cleanup.callback(self._remove, node)
        namespace.run("wg-quick", "up", str(file))

    def _remove(self, node: str) -> None:
        interface = self.interface(node)
        with suppress(RuntimeError):
            self.hosts[node].namespace.configure(f"link delete {interface}")
        (WIREGUARD_SOCKETS / f"{interface}.sock").unlink(missing_ok=True)

    def _write_site(self) -> None:
        key, hook = self.folder / "lan.key", self.folder / "hook"
        write_key(key)
        prefix = f"np{os.getpid()}"
        hook.write_text(HOOK.format(hook=HOOKS / "wireguard", prefix=prefix))
        hook.chmod(0o755)
        text = SITE.format(control=self.vps.address, port=CONTROL_PORT, key=key, hook=hook)
        for node, public in self.public.items():
            text += f'      {node}: {{wireguard_key: "{public}"}}\n'
        (self.folder / "site.yaml").write_text(text)


def _wg(subcommand: str, stdin: str = "") -> str:
    done = subprocess.run(["wg", subcommand], input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def wireguard(lab: Lab, tmp_path: Path) -> Iterator[SharedWireGuard]:
    if lack := missing():
        pytest.skip(f"the VPNs need {lack}")
    with ExitStack() as cleanup:
        yield SharedWireGuard(lab, tmp_path, cleanup)


def test_two_tunnels_at_one_port_come_up_and_follow_a_nat(wireguard: SharedWireGuard) -> None:
    wireguard.start("vps").wait_for("control.ready")
    started = time.monotonic()
    for node in NODES:
        wireguard.start(node)
    wireguard.assert_leaves_answer(started, UP_SECONDS)
    changed = time.monotonic()
    change_address(wireguard.routers["home"], "203.0.113.200")
    wireguard.assert_leaves_answer(changed, BACK_SECONDS)
