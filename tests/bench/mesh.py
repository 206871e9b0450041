"""A mesh of many nodes: the time that `netpunch check` takes, and the memory of its control.

    python -m tests.bench mesh [--nodes N]

`check` is run for a node and for the control, each a process of its own, several times; the fastest
counts, in CPU time: it does nothing but reckon. The control is the process of `netpunch run`: its
resident memory is told when it has started, with all pairs known; when all ends of all nodes have
registered with it, and want to be linked at the same time; and, in another process, when all links
are held, which were made one after the other: then a successor of each end is registered, on
standby.
"""

from __future__ import annotations

import argparse
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, product
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from netpunch.config.secrets import parse_key
from netpunch.keys import control_key, new_key
from netpunch.mesh import pair_of
from netpunch.wire import keys as wire_keys
from netpunch.wire.envelope import CONTROL_DATAGRAM, EndName
from netpunch.wire.v2 import Purpose
from tests.bench.processes import ROOT, machine, resident
from tests.bench.questions import Announcer
from tests.e2e.harness import free_port

CHECK_RUNS = 3
ANSWER_SECONDS = 5.0
IN_FLIGHT = 50
"""Announcements that wait for their answers: fewer than a socket's queue holds."""
ENDS: tuple[EndName, EndName] = ("a", "b")


class Result(NamedTuple):
    """Seconds, and bytes."""

    check_node: float
    check_control: float
    started: int
    waiting: int
    held: int


class Mesh:
    """A site file of `nodes` nodes and a control, with its keys, in a folder."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.port = free_port()
        self.site = folder / "site.yaml"
        self.names = [f"node{number:03}" for number in range(nodes)]
        key = new_key()
        self.control_key = control_key(key, "lan")
        for name, text in (("lan.key", key), ("control.key", self.control_key)):
            (folder / name).write_text(text + "\n")
            (folder / name).chmod(0o600)
        self.site.write_text(self._text("lan.key"))
        self.control_site = folder / "control.yaml"
        self.control_site.write_text(self._text("control.key"))

    def _text(self, key: str) -> str:
        here, nodes = f"127.0.0.1:{self.port}", ", ".join(self.names)
        return (
            f'version: 1\ncontrol: {{node: vps, address: "{here}", listen: "{here}"}}\n'
            f"meshes: {{lan: {{mode: keep, secret_file: {key}, nodes: [{nodes}]}}}}\n"
        )

    def pairs(self) -> Iterator[str]:
        for number, one in enumerate(self.names):
            yield from (str(pair_of("lan", one, other)) for other in self.names[number + 1 :])


def check(file: Path, node: str) -> float:
    """Seconds of CPU time."""
    command = [sys.executable, "-m", "netpunch", "check", str(file), "--node", node]
    quiet = subprocess.DEVNULL
    times = []
    for _ in range(CHECK_RUNS):
        began = used()
        subprocess.run(command, cwd=ROOT, check=True, stdout=quiet, stderr=quiet)
        times.append(used() - began)
    return min(times)


def used() -> float:
    """Seconds of CPU time that child processes took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def control(mesh: Mesh) -> Iterator[int]:
    """The number of its process, which listens."""
    command = [sys.executable, "-m", "netpunch", "run", str(mesh.control_site), "--node", "vps"]
    with subprocess.Popen(
        [*command, "--format", "json", "--quiet"], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            next(line for line in process.stdout if b'"run.ready"' in line)
            Thread(target=process.stdout.read, daemon=True).start()
            yield process.pid
        finally:
            process.terminate()


def register_all(mesh: Mesh, *purposes: Purpose) -> None:
    """New attempts of both ends of each pair announce themselves, and bring their cookies back, one
    attempt for each purpose."""
    key = parse_key(mesh.control_key).value
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.connect(("127.0.0.1", mesh.port))
        own.settimeout(ANSWER_SECONDS)
        ends = product(mesh.pairs(), ENDS)
        while some := list(islice(ends, IN_FLIGHT)):
            for purpose in purposes:
                register(own, [_voice(key, pair, end, purpose) for pair, end in some])


def _voice(key: bytes, pair: str, end: EndName, purpose: Purpose) -> Announcer:
    return Announcer(pair, end, key=wire_keys.pair_control_key(key, pair), purpose=purpose)


def register(own: socket.socket, voices: list[Announcer]) -> None:
    for _ in range(2):
        for voice in voices:
            own.send(voice.announcement())
            answer = own.recv(CONTROL_DATAGRAM)
            while voice.take(answer) is None:  # of the partner, which is at the same address
                answer = own.recv(CONTROL_DATAGRAM)


def measure(nodes: int) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        mesh = Mesh(Path(folder), nodes)
        times = check(mesh.site, mesh.names[0]), check(mesh.control_site, "vps")
        with control(mesh) as pid:
            started = resident(pid)
            register_all(mesh, Purpose.PUNCH)
            waiting = resident(pid)
        with control(mesh) as pid:
            register_all(mesh, Purpose.PUNCH, Purpose.STANDBY)
            return Result(*times, started, waiting, resident(pid))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=200)
    nodes = parser.parse_args().nodes
    done = measure(nodes)
    print(f"a mesh of {nodes} nodes; {machine()}")
    print(f"  check at a node     {done.check_node:8.2f} s")
    print(f"  check at control    {done.check_control:8.2f} s")
    print(f"  control, started    {done.started / 2**20:8.1f} MiB")
    print(f"  all ends waiting    {done.waiting / 2**20:8.1f} MiB")
    print(f"  all links held      {done.held / 2**20:8.1f} MiB")


if __name__ == "__main__":
    main()
