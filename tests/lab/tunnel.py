"""What WireGuard carries through `forward` at both ends, beside the same tunnel without netpunch.

    python -m tests.lab.tunnel [--rounds N] [--seconds S]

Two hosts on one network, each with a WireGuard interface: in the kernel, or else by wireguard-go,
which sends and takes messages of segments. The peers know each other directly, or by the `forward`
of the netpunch beside them. Both are measured in turn: what a TCP connection inside the tunnel
carries, and the round trip of a ping. Needs root.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

from netpunch.address import Address
from tests.bench.processes import cpu
from tests.lab import wg
from tests.lab.network import Host, Lab
from tests.lab.program import Program, write_key
from tests.lab.tcp_rate import carried
from tests.lab.vpn_site import answers
from tests.lab.vpn_tunnels import WIREGUARD_SOCKETS

NODES = ("home", "office")
WIREGUARD_PORT, FORWARD_PORT, CONTROL_PORT, TCP_PORT = 51820, 51821, 10001, 7000
SITE = """
version: 1
control: {{node: vps, address: "{control}"}}
defaults:
  mode: keep
  forward: {{listen: "127.0.0.1:51821", to: "127.0.0.1:51820"}}
pairs:
  p:
    secret_file: {key}
    a: {{node: home, local: ":5000"}}
    b: {{node: office, local: ":5000"}}
"""
ANSWER_SECONDS = 15.0
PINGS = 200
_MEAN = re.compile(r"= [\d.]+/([\d.]+)/")


class Tunnel:
    """Two hosts and a control, linked."""

    def __init__(self, lab: Lab, folder: Path, cleanup: ExitStack) -> None:
        self.hosts = {node: lab.server(node) for node in NODES}
        vps = lab.server("vps")
        self.addresses = {"home": "10.78.0.1", "office": "10.78.0.2"}
        self._cleanup = cleanup
        self._folder = folder
        keys = {node: wg.private_key() for node in NODES}
        self._public = {node: wg.public_key(key) for node, key in keys.items()}
        for node, key in keys.items():
            self._make_interface(node, key)
        key_file = folder / "p.key"
        write_key(key_file)
        control = Address(vps.address, CONTROL_PORT)
        (folder / "site.yaml").write_text(SITE.format(control=control, key=key_file))
        self.programs = [
            self._start(host, node) for node, host in {"vps": vps, **self.hosts}.items()
        ]
        for program in self.programs[1:]:
            program.wait_for("pair.up")

    def use(self, *, forward: bool) -> None:
        """Has both peers know each other by `forward`, or directly."""
        for node, other in (NODES, NODES[::-1]):
            there = Address(self.hosts[other].address, WIREGUARD_PORT)
            endpoint = Address("127.0.0.1", FORWARD_PORT) if forward else there
            peer = ("peer", self._public[other], "endpoint", str(endpoint))
            self.hosts[node].namespace.run("wg", "set", self._interface(node), *peer)
        assert answers(self.hosts["home"], self.addresses["office"], ANSWER_SECONDS)

    def carried(self, seconds: float) -> float:
        """What a TCP connection from home to office carries, in Mbit/s."""
        there = (self.addresses["office"], TCP_PORT)
        home, office = (self.hosts[node].namespace for node in ("home", "office"))
        return carried(home, office, there, seconds) * 8e-6

    def round_trip(self) -> float:
        """The mean of some pings through the tunnel, in microseconds."""
        ping = ("ping", "-n", "-q", "-i0.002", f"-c{PINGS}", self.addresses["office"])
        found = _MEAN.search(self.hosts["home"].namespace.run(*ping))
        assert found is not None
        return float(found[1]) * 1000

    def cpu(self) -> float:
        """Seconds that both ends have used."""
        return sum(cpu(program.pid) for program in self.programs[1:])

    def _start(self, host: Host, node: str) -> Program:
        program = Program(host.namespace, self._folder / "site.yaml", node)
        self._cleanup.callback(program.close)
        if node == "vps":
            program.wait_for("control.ready")
        return program

    def _interface(self, node: str) -> str:
        return f"np{os.getpid()}{node}"

    def _make_interface(self, node: str, key: str) -> None:
        interface = self._interface(node)
        (other,) = set(NODES) - {node}
        file = self._folder / f"{interface}.conf"
        file.write_text(
            f"[Interface]\nPrivateKey = {key}\nAddress = {self.addresses[node]}/24\n"
            f"ListenPort = {WIREGUARD_PORT}\nMTU = 1420\n"
            f"[Peer]\nPublicKey = {self._public[other]}\n"
            f"AllowedIPs = {self.addresses[other]}/32\n"
        )
        file.chmod(0o600)
        self._cleanup.callback(self._remove, node)
        self.hosts[node].namespace.run("wg-quick", "up", str(file))

    def _remove(self, node: str) -> None:
        interface = self._interface(node)
        with suppress(RuntimeError):  # it was never there
            self.hosts[node].namespace.configure(f"link delete {interface}")
        (WIREGUARD_SOCKETS / f"{interface}.sock").unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.tunnel", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="netpunch-tunnel-") as folder,
        Lab() as lab,
        ExitStack() as cleanup,
    ):
        tunnel = Tunnel(lab, Path(folder), cleanup)
        rates: dict[bool, list[float]] = {False: [], True: []}
        trips: dict[bool, list[float]] = {False: [], True: []}
        for number in range(arguments.rounds):
            for forward in (False, True):
                tunnel.use(forward=forward)
                begun = tunnel.cpu()
                rates[forward].append(tunnel.carried(arguments.seconds))
                used = (tunnel.cpu() - begun) / arguments.seconds
                trips[forward].append(tunnel.round_trip())
                print(
                    f"{number}: {'forward' if forward else 'direct':8} "
                    f"{rates[forward][-1]:6.0f} Mbit/s, {trips[forward][-1]:5.0f} us, "
                    f"both ends {used:.2f} of a core"
                )
    direct, through = (statistics.median(rates[forward]) for forward in (False, True))
    added = statistics.median(trips[True]) - statistics.median(trips[False])
    print(
        f"TCP {through:.0f} Mbit/s through forward, {direct:.0f} without: "
        f"{through / direct:.2f}; {added:.0f} us more for a round trip"
    )


if __name__ == "__main__":
    main()
