"""Two hosts behind routers and their control, each with its own folder, like real hosts."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from netpunch.address import Address
from tests.lab.network import Host, Lab, Nat, Router
from tests.lab.program import Program, write_key

CONTROL_PORT = 10001
RELAY_PORT = 10003
UPLINK_SECONDS = 0.02
"""The latency of a common uplink."""
PING_SECONDS = 30
"""Longer than any test waits for a ping."""

SITE = """
version: 1
control: {{node: vps, address: "{control}", relay: {relay}}}
defaults:
  a: {{node: home}}
  b: {{node: office}}
pairs:
"""


class VpnSite:
    """Nodes `vps`, `home` (end a of every pair) and `office` (b), which share a site file."""

    def __init__(self, lab: Lab, nat: Nat, directory: Path, cleanup: ExitStack) -> None:
        """`nat` is what both routers do; `cleanup` ends the programs."""
        self._directory = directory
        self._cleanup = cleanup
        self.routers = {
            node: lab.router(f"{node}_router", nat, latency=UPLINK_SECONDS)
            for node in ("home", "office")
        }
        self.hosts = {node: lab.host(node, router) for node, router in self.routers.items()}
        self.hosts["vps"] = lab.server("vps")
        for node in self.hosts:
            self.folder(node).mkdir()

    @property
    def relay(self) -> Address:
        """That of control, if it has one."""
        return Address(self.hosts["vps"].address, RELAY_PORT)

    def folder(self, node: str) -> Path:
        """The folder of a node's site file and of the files that it names."""
        return self._directory / node

    def write(self, pairs: Mapping[str, str], *, relay: bool = False) -> None:
        """Write the site file and a key for each pair; `pairs` are their settings in YAML. `relay`:
        control relays."""
        control = Address(self.hosts["vps"].address, CONTROL_PORT)
        text = SITE.format(control=control, relay=f'":{RELAY_PORT}"' if relay else "off")
        for name, settings in pairs.items():
            key = self._directory / f"{name}.key"
            write_key(key)
            text += f"  {name}:\n    secret_file: {key}\n{settings}"
        for node in self.hosts:
            (self.folder(node) / "site.yaml").write_text(text)

    def start(self, node: str) -> Program:
        program = Program(self.hosts[node].namespace, self.folder(node) / "site.yaml", node)
        self._cleanup.callback(program.close)
        return program

    def start_control(self) -> None:
        self.start("vps").wait_for("control.ready")

    def start_ends(self) -> tuple[Program, Program]:
        return self.start("home"), self.start("office")

    def said(self) -> str:
        """The messages of the ends so far."""
        logs = (self.folder(node) / f"{node}.stderr" for node in ("home", "office"))
        return "\n".join(f"-- {log.name}:\n{log.read_text()}" for log in logs)


def answers(host: Host, address: str, seconds: float) -> bool:
    """Whether a ping through a tunnel is answered before so many seconds have passed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        # It may fail at once, for want of a route: then the tunnel is not there yet.
        ping = host.namespace.command("ping", "-n", "-q", "-i0.2", "-c1", "-w1", address)
        if subprocess.run(ping, capture_output=True, timeout=PING_SECONDS).returncode == 0:
            return time.monotonic() < deadline
    return False


def change_address(router: Router, address: str) -> None:
    """Give a router another public address, as a provider does at night."""
    router.namespace.configure(
        f"address delete {router.wan.address4}/24 dev wan",
        f"address add {address}/24 dev wan",
        f"route add default via {router.wan.address4.rpartition('.')[0]}.1",
    )
    router.forget_flows()
