"""A held link with steady traffic, between two hosts that can go to another uplink.

vps, spare ──┐                 ┌── router ── lan ─┐
             ├── internet ─────┤                  ├── host        (home; office likewise)
             │   (a router)    └── router ── lan ─┘ (no address at first)
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from tests.lab.network import HOME_ROUTER, Host, Lab, Nat, Ports, Router
from tests.lab.program import NETPUNCH, Program, write_key
from tests.lab.suspendable import SuspendClock
from tests.lab.traffic import FORWARD, Traffic

UPLINK_SECONDS = 0.02
"""The latency of each uplink, each way: a round trip between the hosts takes four times that."""
CONTROL_NAME = "control.lab.test"
CONTROL_PORT = 10001
WITH_RELAY = 'relay: ":10003"\n  tls: ":443"'
WITHOUT_RELAY = "relay: off"
NODES = ("home", "office")
UNDERWAY_SECONDS = 0.3
"""More than a datagram takes."""
FLOWING_SECONDS = 5.0
"""From `pair.up` until datagrams arrive both ways: one round trip, on a busy machine."""

SITE = f"""
version: 1
control:
  node: vps
  address: "{CONTROL_NAME}:{CONTROL_PORT}"
  listen: ":{CONTROL_PORT}"
  %s
defaults: {{mode: keep, {FORWARD}}}
pairs:
  p:
    secret_file: p.key
    a: {{node: home, local: ":5000"}}
    b: {{node: office, local: ":5000"}}
"""


class MovingPair:
    """The hosts, their routers, a control and the programs. Hosts are known by their nodes, `home`
    (end a) and `office` (end b)."""

    def __init__(
        self,
        lab: Lab,
        folder: Path,
        cleanup: ExitStack,
        *,
        relayed: bool = False,
        trace: bool = False,
    ) -> None:
        """`cleanup` ends the programs, before the lab is closed. `relayed`: behind NATs that only
        the control's relay links, which is also reached by TLS. `trace`: the programs report each
        datagram as an event."""
        self._folder = folder
        self._nat = Nat(Ports.RANDOM) if relayed else HOME_ROUTER
        self._cleanup = cleanup
        self._options = ("--trace",) if trace else ()
        self.routers = {node: self._router(lab, f"{node}_router") for node in NODES}
        self.other_routers = {node: self._router(lab, f"{node}_other") for node in NODES}
        self.hosts = {node: lab.host(node, self.routers[node]) for node in NODES}
        self.other_uplinks = {
            node: self.other_routers[node].lan.plug(self.hosts[node].namespace, "eth1")
            for node in NODES
        }
        self.controls = [lab.server("vps"), lab.server("spare")]
        self._hosts_files = [
            cleanup.enter_context(host.namespace.hosts_file(self._control_line()))
            for host in (*self.hosts.values(), *self.controls)
        ]
        (folder / "site.yaml").write_text(SITE % (WITH_RELAY if relayed else WITHOUT_RELAY))
        write_key(folder / "p.key")
        self.programs: dict[str, Program] = {}
        """What runs now, by its node."""
        self.clocks: dict[str, SuspendClock] = {}
        """Of the ends that run now."""
        self.ended: list[tuple[str, Program]] = []
        """What was killed."""
        self.start_control()
        for node in NODES:
            self.start(node)
        for node in NODES:
            self.programs[node].wait_for("pair.up")
        self.traffic = Traffic({node: host.namespace for node, host in self.hosts.items()})
        cleanup.callback(self.traffic.close)
        self._wait_until_traffic_flows()

    def start(self, node: str) -> None:
        """Start the program of a host."""
        clock = SuspendClock(self._folder / f"{node}.clock")
        self.clocks[node] = clock
        self._start(node, self.hosts[node], clock.command())

    def start_control(self) -> None:
        """Start the first of the controls, and wait until it is ready."""
        self._start("vps", self.controls[0], NETPUNCH)
        self.programs["vps"].wait_for("control.ready")

    def kill(self, node: str) -> None:
        """SIGKILL: nobody is told."""
        program = self.programs.pop(node)
        program.close()
        self.ended.append((node, program))

    def move_control(self) -> None:
        """The control of that name is another machine from now on."""
        self.kill("vps")
        self.controls.reverse()
        for file in self._hosts_files:
            file.write(self._control_line())
        self.start_control()

    def wait_until_steady(self, since: float, longest: float) -> float:
        """Wait until datagrams have arrived both ways for a while without a pause, `longest`
        seconds at most; returns the time."""
        steady, pause = 3.0, 0.5
        while (now := time.monotonic()) < since + longest:
            outages = [each.outage(now - steady, now) for each in self.traffic.directions.values()]
            if now > since + steady and max(outages) < pause:
                break
            time.sleep(0.1)
        return now

    def drain_traffic(self) -> None:
        """Send no more, and let what is underway arrive."""
        for direction in self.traffic.directions.values():
            direction.paused = True
        time.sleep(UNDERWAY_SECONDS)

    def _wait_until_traffic_flows(self) -> None:
        deadline = time.monotonic() + FLOWING_SECONDS
        while not all(each.arrivals for each in self.traffic.directions.values()):
            assert time.monotonic() < deadline, "no datagram passes"
            time.sleep(0.01)

    def _start(self, node: str, host: Host, command: tuple[str, ...]) -> None:
        site = self._folder / "site.yaml"
        program = Program(host.namespace, site, node, *self._options, netpunch=command)
        self._cleanup.callback(program.close)
        self.programs[node] = program

    def _router(self, lab: Lab, label: str) -> Router:
        return lab.router(label, self._nat, latency=UPLINK_SECONDS)

    def _control_line(self) -> str:
        return f"{self.controls[0].address} {CONTROL_NAME}"
