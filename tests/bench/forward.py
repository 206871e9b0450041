"""Throughput and latency of `forward`, beside a direct socket, in the same run on loopback.

    python -m tests.bench forward [--count N]

A program sends datagrams of a tunnel's size to an echo; once straight, once through both ends of
a pair that one `netpunch run` holds: in at one end's `listen`, out at the other's `to`, and back.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.bench.processes import machine

SIZE = 1280
"""Bytes: the smallest MTU of IPv6, which tunnels like."""
WINDOW = 16
"""Datagrams under way at once, for throughput."""
SITE = """\
version: 1
control: {{address: "127.0.0.1:{control}", listen: "127.0.0.1:{control}", observe: off}}
pairs:
  bench:
    secret: generate
    mode: keep
    local: "127.0.0.1:0"
    a: {{forward: {{listen: "127.0.0.1:{listen}"}}}}
    b: {{forward: {{listen: "127.0.0.1:{other}", to: "127.0.0.1:{echo}"}}}}
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def echo_for_ever(sock: socket.socket) -> None:
    while True:
        data, source = sock.recvfrom(65535)
        sock.sendto(data, source)


def round_trips(target: tuple[str, int], count: int) -> list[float]:
    """Seconds of each of `count` questions, one at a time."""
    times = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2.0)
        for _ in range(count):
            begun = time.perf_counter()
            sock.sendto(bytes(SIZE), target)
            sock.recv(65535)
            times.append(time.perf_counter() - begun)
    return times


def throughput(target: tuple[str, int], count: int) -> float:
    """Datagrams a second, there and back, with WINDOW of them under way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2.0)
        begun = time.perf_counter()
        for _ in range(WINDOW):
            sock.sendto(bytes(SIZE), target)
        for _ in range(count):
            sock.recv(65535)
            sock.sendto(bytes(SIZE), target)
        return count / (time.perf_counter() - begun)


def report(name: str, target: tuple[str, int], count: int) -> tuple[float, float]:
    median = statistics.median(round_trips(target, count // 4)) * 1e6
    rate = throughput(target, count)
    mbit = rate * SIZE * 8 / 1e6
    print(f"  {name:8} round trip {median:6.0f} µs, {rate:8.0f} datagrams/s ({mbit:.0f} Mbit/s)")
    return median, rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=40_000)
    count = parser.parse_args().count
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
        echo.bind(("127.0.0.1", 0))
        threading.Thread(target=echo_for_ever, args=[echo], daemon=True).start()
        control, listen, other = free_ports(3)
        ports = {"control": control, "listen": listen, "other": other}
        site = SITE.format(**ports, echo=echo.getsockname()[1])
        print(f"forward, {SIZE}-byte datagrams to an echo and back; {machine()}")
        direct = report("direct", echo.getsockname(), count)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "site.yaml")
            path.write_text(site)
            argv = [sys.executable, "-m", "netpunch", "run", str(path), "-q", "--format", "json"]
            with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
                try:
                    wait_until_linked(process)
                    relayed = report("forward", ("127.0.0.1", listen), count)
                finally:
                    process.terminate()
                    process.communicate()
    print(
        f"  added latency {relayed[0] - direct[0]:.0f} µs for four relays, "
        f"throughput {relayed[1] / direct[1]:.2f} x direct"
    )


def wait_until_linked(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    linked = 0
    while linked < 2:
        linked += json.loads(process.stdout.readline())["event"] == "pair.up"


if __name__ == "__main__":
    main()
