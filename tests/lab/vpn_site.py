"""Two hosts behind routers and a control, each with a folder of its own, as on real machines."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from netpunch.address import Address
from tests.lab.network import Host, Lab, Router
from tests.lab.program import Program, write_key

CONTRIB = Path(__file__).parents[2] / "contrib"
CONTROL_PORT = 10001
UPLINK_SECONDS = 0.02
"""The latency of a common uplink."""
ENDS = {"home": "a", "office": "b"}

SITE = """
version: 1
control: {{node: vps, address: "{control}"}}
defaults:
  a: {{node: home}}
  b: {{node: office}}
pairs:
"""


class VpnSite:
    """Runs the same site file on `vps`, `home` and `office`."""

    def __init__(self, lab: Lab, directory: Path, programs: ExitStack) -> None:
        self._directory = directory
        self._programs = programs
        self.hosts: dict[str, Host] = {"vps": lab.server("vps")}
        self.routers: dict[str, Router] = {}
        for node in ENDS:
            router = lab.router(f"{node}_router", latency=UPLINK_SECONDS)
            self.routers[node] = router
            self.hosts[node] = lab.host(node, router)
        for node in self.hosts:
            self.folder(node).mkdir()

    def folder(self, node: str) -> Path:
        """Where this node's site file lies, and what it names."""
        return self._directory / node
