"""WireGuard that keeps its port, with netpunch beside it: how soon tunnels are there, for how long
another address of a NAT interrupts them, what they carry, and that netpunch sees none of it.

    python -m tests.lab.sharing [--runs N]
"""

from __future__ import annotations

import argparse
import os
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from statistics import median
from threading import Event, Thread

from netpunch.address import Address
from netpunch.net.raw_socket import RawSocket
from netpunch.net.sockets import DEFAULT_OPTIONS
from netpunch.wire.envelope import may_be_ours
from tests.lab import wg
from tests.lab.network import HOME_ROUTER, Lab, Nat
from tests.lab.program import Program, write_key
from tests.lab.tcp_rate import carried
from tests.lab.vpn_site import UPLINK_SECONDS, answers, change_address
from tests.lab.vpn_tunnels import HOOKS, WIREGUARD_SOCKETS

NODES = ("home", "office", "cabin")
LEAVES = ("office", "cabin")
PORT = 51820
CONTROL_PORT = 10001
SITE = """
version: 1
control: {{node: vps, address: "{control}", relay: {relay}}}
meshes:
  lan:
    secret_file: {key}
    hub: home
    share: on
    local: ":51820"
    hooks: [{hook}]
    nodes:
"""
HOOK = """\
#!/bin/sh
exec {hook} {prefix}"${{NETPUNCH_NODE}}"
"""
"""For each node another interface: wireguard-go's sockets lie outside of network namespaces."""

TUNNEL_PORT = 7000
INTERVAL = 0.01
NUMBER = struct.Struct("!Q")
CHUNK = 256 * 1024
COMMAND_SECONDS = 20
FIRST_SECONDS = 20.0
SETTLED_SECONDS = 2.0
WATCHED_SECONDS = 5.0
CARRIED_SECONDS = 3.0
STARTED_SECONDS = 5.0
"""After which the start of netpunch takes nothing from the tunnel on a machine with few cores."""
ROUNDS = 9


class SharedWireGuard:
    """A star: an interface at home with two peers, so two pairs share its port. All hosts are
    behind routers of their own."""

    def __init__(
        self,
        lab: Lab,
        folder: Path,
        cleanup: ExitStack,
        nat: Nat = HOME_ROUTER,
        *,
        relay: str = "off",
        latency: float = UPLINK_SECONDS,
    ) -> None:
        self.folder = folder
        self.programs: dict[str, Program] = {}
        self._cleanup = cleanup
        self.routers = {node: lab.router(f"{node}_r", nat, latency=latency) for node in NODES}
        self.hosts = {node: lab.host(node, router) for node, router in self.routers.items()}
        self.vps = lab.server("vps")
        self.addresses = {node: f"10.77.0.{at}" for at, node in enumerate(NODES, 1)}
        keys = {node: wg.private_key() for node in NODES}
        self._public = {node: wg.public_key(key) for node, key in keys.items()}
        for node, key in keys.items():
            self._make_interface(node, key)
        self._write_site(relay)

    def start(self, node: str) -> Program:
        namespace = self.vps.namespace if node == "vps" else self.hosts[node].namespace
        program = self.programs[node] = Program(namespace, self.folder / "site.yaml", node)
        self._cleanup.callback(program.close)
        return program

    def start_all(self) -> float:
        """Returns when the last of the ends began, Python's own start not included."""
        self.start("vps").wait_for("control.ready")
        for program in [self.start(node) for node in NODES]:
            program.wait_for("run.start")
        return time.monotonic()

    def change_address(self, node: str, address: str) -> None:
        """Its router gets another public address, and knows nothing of its flows."""
        change_address(self.routers[node], address)

    def leaf_answers(self, leaf: str, since: float, seconds: float) -> bool:
        """Whether a ping from home through its tunnel comes back before so much time is over."""
        left = since + seconds - time.monotonic()
        return answers(self.hosts["home"], self.addresses[leaf], left)

    def said(self) -> str:
        """The messages of all programs so far."""
        logs = sorted(self.folder.glob("*.stderr"))
        return "\n".join(f"-- {log.name}:\n{log.read_text()}" for log in logs)

    def _interface(self, node: str) -> str:
        return f"np{os.getpid()}{node}"

    def _make_interface(self, node: str, key: str) -> None:
        interface, namespace = self._interface(node), self.hosts[node].namespace
        text = f"[Interface]\nPrivateKey = {key}\nAddress = {self.addresses[node]}/24\n"
        text += f"ListenPort = {PORT}\nMTU = 1420\n"
        for peer in LEAVES if node == "home" else ("home",):
            text += f"[Peer]\nPublicKey = {self._public[peer]}\n"
            text += f"AllowedIPs = {self.addresses[peer]}/32\n"
        file = self.folder / f"{interface}.conf"
        file.write_text(text)
        file.chmod(0o600)
        self._cleanup.callback(self._remove, node)
        namespace.run("wg-quick", "up", str(file))

    def _remove(self, node: str) -> None:
        interface = self._interface(node)
        with suppress(RuntimeError):  # it was never there
            self.hosts[node].namespace.configure(f"link delete {interface}")
        (WIREGUARD_SOCKETS / f"{interface}.sock").unlink(missing_ok=True)

    def _write_site(self, relay: str) -> None:
        key, hook = self.folder / "lan.key", self.folder / "hook"
        write_key(key)
        hook.write_text(HOOK.format(hook=HOOKS / "wireguard", prefix=f"np{os.getpid()}"))
        hook.chmod(0o755)
        control = Address(self.vps.address, CONTROL_PORT)
        site = SITE.format(control=control, relay=relay, key=key, hook=hook)
        for node, public in self._public.items():
            site += f'      {node}: {{wireguard_key: "{public}"}}\n'
        (self.folder / "site.yaml").write_text(site)


class TunnelTraffic:
    """Numbered datagrams, and a TCP connection, from home to a leaf, until it is closed."""

    def __init__(self, wireguard: SharedWireGuard, leaf: str) -> None:
        home, away = wireguard.hosts["home"].namespace, wireguard.hosts[leaf].namespace
        here, there = wireguard.addresses["home"], wireguard.addresses[leaf]
        self.arrivals: list[float] = []
        """Of datagrams, by the monotonic clock."""
        self.numbers: list[int] = []
        """What came over the connection."""
        self.sent = 0
        self._ending = Event()
        self._sender = home.udp_socket(here, TUNNEL_PORT)
        self._receiver = away.udp_socket(there, TUNNEL_PORT)
        with away.open_socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((there, TUNNEL_PORT))
            listener.listen()
            self._near = home.open_socket(socket.AF_INET, socket.SOCK_STREAM)
            self._near.connect((there, TUNNEL_PORT))
            self._far, _ = listener.accept()
        self._there = (there, TUNNEL_PORT)
        self._threads = [
            Thread(target=each) for each in (self._send, self._receive, self._read_stream)
        ]
        for thread in self._threads:
            thread.start()

    def outage(self, since: float) -> float:
        """The longest time without a datagram since then, in seconds."""
        arrived = [each for each in list(self.arrivals) if each > since]
        return max(
            later - before for before, later in pairwise([since, *arrived, time.monotonic()])
        )

    def close(self) -> None:
        """Ends it; everything that the connection has taken arrives first, if it still works."""
        self._ending.set()
        self._threads[0].join()
        self._near.shutdown(socket.SHUT_WR)
        self._far.settimeout(COMMAND_SECONDS)
        self._threads[2].join()
        self._receiver.close()  # of a thread in recv() that is woken by the last datagram
        self._threads[1].join()
        for sock in (self._sender, self._near, self._far):
            sock.close()

    def _send(self) -> None:
        while not self._ending.wait(INTERVAL):
            with suppress(OSError):  # no endpoint, no route: that is what is measured
                self._sender.sendto(NUMBER.pack(self.sent), self._there)
            self._near.sendall(NUMBER.pack(self.sent))
            self.sent += 1

    def _receive(self) -> None:
        self._receiver.settimeout(INTERVAL)
        while not self._ending.is_set():
            with suppress(TimeoutError):
                self._receiver.recv(CHUNK)
                self.arrivals.append(time.monotonic())

    def _read_stream(self) -> None:
        with self._far.makefile("rb") as stream, suppress(OSError):
            while number := stream.read(NUMBER.size):
                self.numbers += NUMBER.unpack(number)


@contextmanager
def traffic(wireguard: SharedWireGuard, leaf: str) -> Iterator[TunnelTraffic]:
    through = TunnelTraffic(wireguard, leaf)
    try:
        yield through
    finally:
        through.close()


class Overheard:
    """What passes the filter of netpunch's raw socket at home, seen by one beside it; and how many
    datagrams of WireGuard arrive there meanwhile."""

    def __init__(self, wireguard: SharedWireGuard) -> None:
        namespace = wireguard.hosts["home"].namespace
        self._namespace = namespace
        self._raw = namespace.inside(lambda: RawSocket("0.0.0.0", PORT, DEFAULT_OPTIONS))
        self._before = self._received()

    def close(self) -> tuple[int, int, int]:
        """How many of ours it has got, how many others, and how many UDP datagrams have arrived."""
        ours = others = 0
        with suppress(BlockingIOError):
            while True:
                data, _ = self._raw.receive()
                ours, others = (ours + 1, others) if may_be_ours(data) else (ours, others + 1)
        self._raw.close()
        return ours, others, self._received() - self._before

    def _received(self) -> int:
        lines = self._namespace.run("cat", "/proc/net/snmp").splitlines()
        names, values = (line.split() for line in lines if line.startswith("Udp:"))
        return int(values[names.index("InDatagrams")])


def tunnel_rate(wireguard: SharedWireGuard, leaf: str, seconds: float) -> float:
    """What a TCP connection from home to a leaf carries, in bytes a second."""
    home, away = (wireguard.hosts[node].namespace for node in ("home", leaf))
    return carried(home, away, (wireguard.addresses[leaf], TUNNEL_PORT), seconds)


@contextmanager
def star(latency: float) -> Iterator[SharedWireGuard]:
    """In a lab of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="netpunch-sharing-") as folder,
        Lab() as lab,
        ExitStack() as cleanup,
    ):
        yield SharedWireGuard(lab, Path(folder), cleanup, latency=latency)


def measure(number: int) -> None:
    """Prints what it finds."""
    with star(UPLINK_SECONDS) as wireguard:
        started = wireguard.start_all()
        for leaf in LEAVES:
            assert wireguard.leaf_answers(leaf, started, FIRST_SECONDS), wireguard.said()
            print(f"{number}: first ping to {leaf}: {time.monotonic() - started:.2f} s")
        overheard = Overheard(wireguard)
        time.sleep(SETTLED_SECONDS)
        for at, node in enumerate(("home", "office")):
            with traffic(wireguard, "office") as through:
                time.sleep(SETTLED_SECONDS)
                changed = time.monotonic()
                wireguard.change_address(node, f"203.0.113.{200 + at}")
                time.sleep(WATCHED_SECONDS)
                outage = through.outage(changed)
            survived = through.numbers == list(range(through.sent))
            print(f"{number}: address of {node}'s NAT: {outage:.2f} s, TCP survives: {survived}")
        tunnel_rate(wireguard, "office", CARRIED_SECONDS)
        ours, others, datagrams = overheard.close()
        print(
            f"{number}: passed the filter at home: {ours} datagrams of netpunch, {others} of "
            f"WireGuard, of {datagrams}"
        )
    with star(0.0) as wireguard:  # a cable with a length would be the slowest part
        started = wireguard.start_all()
        assert wireguard.leaf_answers("office", started, FIRST_SECONDS), wireguard.said()
        with_it, alone = compared(wireguard)
        print(
            f"{number}: TCP, median of {ROUNDS}: {with_it / 125_000:.0f} Mbit/s with netpunch, "
            f"{alone / 125_000:.0f} without: {with_it / alone:.2f}"
        )


def compared(wireguard: SharedWireGuard) -> tuple[float, float]:
    """What the tunnel to the office carries with netpunch at both its ends, and without: medians,
    taken in turn, as this machine may have other things to do."""
    with_it: list[float] = []
    alone: list[float] = []
    for number in range(ROUNDS):
        for runs in (True, False) if number % 2 else (False, True):
            for node in ("home", "office"):
                wireguard.programs[node].close()
            for node in ("home", "office") if runs else ():
                wireguard.start(node).wait_for("pair.up")
            time.sleep(STARTED_SECONDS)
            (with_it if runs else alone).append(tunnel_rate(wireguard, "office", CARRIED_SECONDS))
    return median(with_it), median(alone)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.sharing", description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    for number in range(parser.parse_args().runs):
        measure(number)


if __name__ == "__main__":
    main()
