"""How fast commands start, beside Python alone and beside the imports that they need.

    python -m tests.bench startup [--rounds N]

CPU time of whole processes, user and system; of `run` until its first datagram has arrived at
what it takes for its control. Each round runs all of them in turn; a first round, which compiles,
doesn't count.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import netpunch
from tests.bench.processes import ROOT, cpu, environment, machine

EXAMPLE = ROOT / "configs" / "example.yaml"

CRYPTOGRAPHY = (
    "from cryptography.hazmat.primitives import hashes; "
    "from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey; "
    "from cryptography.hazmat.primitives.ciphers.aead import AESGCM; "
    "from cryptography.hazmat.primitives.kdf.hkdf import HKDF"
)
"""What netpunch takes of it."""

ALONE = "python alone"
LIBRARIES = "import uvloop, cryptography, yaml"
FIRST_KEY = "  and a first key"
"""For which cryptography imports its OpenSSL backend."""
HELP = "netpunch --help"
RUN = "netpunch run, first datagram"

COMMANDS = {
    ALONE: ["-c", "pass"],
    "import uvloop": ["-c", "import uvloop"],
    "import cryptography": ["-c", CRYPTOGRAPHY],
    "import yaml": ["-c", "import yaml"],
    LIBRARIES: ["-c", f"import uvloop, yaml; {CRYPTOGRAPHY}"],
    FIRST_KEY: ["-c", f"import uvloop, yaml; {CRYPTOGRAPHY}; X25519PrivateKey.generate()"],
    HELP: ["-m", "netpunch", "--help"],
    "netpunch check example.yaml": ["-m", "netpunch", "check", str(EXAMPLE)],
}

SITE = """\
version: 1
control: {{node: vps, address: "{address}:{port}"}}
pairs:
  home-office:
    secret_file: pair.key
    a: {{node: home, local: "127.0.0.1:0"}}
    b: {{node: office}}
"""
PATIENCE = 20.0
"""Seconds for a datagram that takes a fraction of one."""


def start(arguments: list[str], folder: Path, checkout: Path) -> subprocess.Popen[bytes]:
    """As installed: with its bytecode, which is kept in `folder`."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(checkout) | {"PYTHONPYCACHEPREFIX": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def until_it_ends(folder: Path, arguments: list[str], checkout: Path = ROOT) -> float:
    """CPU seconds of one process."""
    process = start(arguments, folder, checkout)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit status {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def until_its_first_datagram(folder: Path, checkout: Path = ROOT) -> float:
    """CPU seconds of `netpunch run` until its control, this process, gets a datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        control.bind(("127.0.0.1", 0))
        control.settimeout(PATIENCE)
        address, port = control.getsockname()
        site = folder / "site.yaml"
        site.write_text(SITE.format(address=address, port=port))
        arguments = ["-m", "netpunch", "run", str(site), "--node", "home"]
        with start(arguments, folder, checkout) as process:
            try:
                control.recv(1)
                return cpu(process.pid)
            finally:
                process.kill()


def folder_with_key(folder: Path) -> Path:
    key = folder / "pair.key"
    key.touch(mode=0o600)
    key.write_text(netpunch.new_key() + "\n")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = folder_with_key(Path(name))
        subjects: dict[str, Callable[[], float]] = {
            command: partial(until_it_ends, folder, arguments)
            for command, arguments in COMMANDS.items()
        }
        subjects[RUN] = partial(until_its_first_datagram, folder)
        times: dict[str, list[float]] = {subject: [] for subject in subjects}
        for _ in range(rounds + 1):
            for subject, measure in subjects.items():
                times[subject].append(measure())
    medians = {subject: statistics.median(samples[1:]) for subject, samples in times.items()}
    print(f"start, median CPU time of {rounds} rounds; {machine()}")
    for subject, median in medians.items():
        of_alone = median / medians[ALONE]
        print(f"  {subject:36} {median * 1000:6.1f} ms  {of_alone:5.2f} x Python alone")
    print(f"  --help: {medians[HELP] / medians[ALONE]:.2f} x Python alone")
    least = {subject: min(samples[1:]) for subject, samples in times.items()}
    print(
        f"  run: {medians[RUN] / medians[LIBRARIES]:.2f} x the imports of its libraries "
        f"({least[RUN] / least[LIBRARIES]:.2f} x, the least of each), "
        f"{medians[RUN] / medians[FIRST_KEY]:.2f} x these and a first key"
    )


if __name__ == "__main__":
    main()
