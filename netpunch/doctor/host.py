"""What this host says of itself: who owns a port, what a process may do, which units there are.
Only Linux tells most of it; elsewhere it is not known."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from netpunch.net.port_owner import PROC

RECEIVE_BUFFER_LIMIT = Path("/proc/sys/net/core/rmem_max")
FIRST_FREE_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
SYSTEMD = Path("/run/systemd/system")
"""Exists while systemd runs this host."""
UNITS = "netpunch*"
SYSTEMCTL_SECONDS = 3.0
"""It answers at once, or hangs because systemd does."""

# Bits of capabilities, linux/capability.h.
CAPABILITIES = {"CAP_NET_BIND_SERVICE": 10, "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}


class Unit(NamedTuple):
    """A unit of systemd: `active` as systemctl has it (active, inactive, failed...), `enabled`
    whether it starts with the host."""

    name: str
    active: str
    enabled: str


def capabilities(pid: int | None = None) -> set[str] | None:
    """What a process, or this one, may do; None if that is not known."""
    status = PROC / (str(pid) if pid else "self") / "status"
    try:
        lines = status.read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    effective = next(
        (int(line.split()[1], 16) for line in lines if line.startswith("CapEff")), None
    )
    if effective is None:
        return None
    return {name for name, bit in CAPABILITIES.items() if effective >> bit & 1}


def descriptor_limit(pid: int | None = None) -> int | None:
    """How many files and sockets a process, or this one, may have open."""
    limits = PROC / (str(pid) if pid else "self") / "limits"
    try:
        lines = limits.read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    line = next((line for line in lines if line.startswith("Max open files")), "")
    soft = line.split()[3] if line else ""
    return int(soft) if soft.isdigit() else None


def number_in(path: Path) -> int | None:
    """The number that a file of /proc holds."""
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None


def units() -> list[Unit] | None:
    """The units of netpunch that are installed; None where systemd does not run this host, or does
    not answer."""
    systemctl = shutil.which("systemctl")
    if systemctl is None or not SYSTEMD.exists():
        return None
    try:
        files = _output(systemctl, "list-unit-files", UNITS)
        loaded = _output(systemctl, "list-units", "--all", UNITS)
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_units(files, loaded)


def parse_units(files: str, loaded: str) -> list[Unit]:
    """From what systemctl lists, a unit a line: name, whether it starts with the host; and name,
    load state, active state. A template is known by its instances only."""
    enabled = {words[0]: words[1] for words in map(str.split, files.splitlines()) if words[1:]}
    active = {words[0]: words[2] for words in map(str.split, loaded.splitlines()) if words[2:]}
    names = [name for name in {**enabled, **active} if "@." not in name]
    return [
        Unit(name, active.get(name, "inactive"), enabled.get(name, _of_template(name, enabled)))
        for name in sorted(names)
    ]


def _of_template(name: str, enabled: dict[str, str]) -> str:
    prefix, at, instance = name.partition("@")
    suffix = instance.rpartition(".")[2]
    return enabled.get(f"{prefix}@.{suffix}", "") if at else ""


def _output(systemctl: str, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed words
        [systemctl, "--plain", "--no-legend", "--no-pager", *arguments],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=SYSTEMCTL_SECONDS,
    )
    return done.stdout
