"""Whether a program of this host has a UDP port, as /proc tells everybody, and which. Nothing is
bound to find out: that could take the port from a program that is just starting."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from netpunch.address import canonical_host
from netpunch.net.sockets import WILDCARDS
from netpunch.tunnels import wireguard_interfaces

PROC = Path("/proc")
OWN = PROC / "self"
LOOK_AGAIN = 5.0
"""Seconds for which what processes have open is remembered."""
SEEK_AGAIN = 1.0
"""The same of what no process had: one may have begun since."""
TABLES = {
    socket.AF_INET: Path("/proc/net/udp"),
    socket.AF_INET6: Path("/proc/net/udp6"),
}


class Owner(NamedTuple):
    """Who has a port: a program, or without a `pid` the kernel (WireGuard), or one that this user
    may not see."""

    name: str
    pid: int | None = None

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})" if self.pid else self.name


class PortOwners:
    """Who has which UDP port. What the processes have open is looked up once, when it is needed."""

    def __init__(self) -> None:
        self._processes: dict[str, Path] | None = None
        """By the link that each of their sockets is, `socket:[INODE]`."""
        self._complete = True
        """Whether this user may see all processes."""

    def owner(self, host: str, port: int) -> Owner | None:
        """None if the port is free, or if this system does not tell."""
        inodes = sockets_at(host, port)
        if not inodes:
            return None
        names = {f"socket:[{inode}]" for inode in inodes}
        with contextlib.suppress(PermissionError):
            if not names.isdisjoint(_open_by(OWN)):  # which may be newer than the look at all
                return Owner(_name(OWN), os.getpid())
        if self._processes is None:
            self._processes = dict(self._look())
        found = map(self._processes.get, names)
        process = next((each for each in found if each is not None), None)
        if process is not None:
            return Owner(_name(process), int(process.name))
        return Owner(_kernel() if self._complete else _unseen())

    def _look(self) -> Iterator[tuple[str, Path]]:
        for process in _processes():
            try:
                for each in _open_by(process):
                    yield each, process
            except PermissionError:
                self._complete = False


_latest: list[tuple[float, PortOwners]] = []


def owner_lately(host: str, port: int) -> Owner | None:
    """As `PortOwners` tells, which is asked again after LOOK_AGAIN, or SEEK_AGAIN if no process was
    found: a look at all processes takes long, and many ends may find their ports taken at once."""
    now = time.monotonic()
    age = now - _latest[0][0] if _latest else math.inf
    if age <= LOOK_AGAIN:
        owner = _latest[0][1].owner(host, port)
        if age <= SEEK_AGAIN or owner is None or owner.pid is not None:
            return owner
    _latest[:] = [(now, PortOwners())]
    return _latest[0][1].owner(host, port)


def owned_families(host: str, port: int) -> set[int] | None:
    """The address families in which a socket of a program, or of the kernel, receives what is sent
    to the port; `host`: an own address, or empty for any. None if the system does not tell."""
    found: dict[int, set[str]] = {}
    for family, table in TABLES.items():
        with contextlib.suppress(OSError):
            found[family] = {owner for owner, _ in _owners(family, table, port)}
    if not found:
        return None
    reached = {host, *WILDCARDS.values()} if host else set().union(*found.values())
    families = {family for family, owners in found.items() if owners & reached}
    if WILDCARDS[socket.AF_INET6] in found.get(socket.AF_INET6, ()):
        families.add(socket.AF_INET)  # unless it is IPV6_V6ONLY, but then it has one for each
    return families


def sockets_at(host: str, port: int) -> set[int] | None:
    """The inodes of the sockets that prevent another one from being bound there; `host` as for
    `owned_families`. None if the system does not tell."""
    inodes: set[int] = set()
    known = False
    for family, table in TABLES.items():
        wildcard = WILDCARDS[family]
        if host and (":" in host) != (":" in wildcard):
            continue
        with contextlib.suppress(OSError):
            owners = _owners(family, table, port)
            inodes |= {inode for owner, inode in owners if not host or owner in (host, wildcard)}
            known = True
    return inodes if known else None


def _owners(family: int, table: Path, port: int) -> Iterator[tuple[str, int]]:
    """The addresses that sockets are bound to at this port, with the sockets' inodes. The table has
    one line for each, after a heading; the second word is the address, as words of the host's byte
    order, and the port, both in hex, the tenth the inode."""
    for line in table.read_text("ascii").splitlines()[1:]:
        words = line.split()
        address, _, number = words[1].partition(":")
        if int(number, 16) == port:
            packed = bytes.fromhex(address)
            parts = (packed[at : at + 4] for at in range(0, len(packed), 4))
            if sys.byteorder == "little":
                parts = (part[::-1] for part in parts)
            host = canonical_host(socket.inet_ntop(family, b"".join(parts)))
            yield host, int(words[9])


def _open_by(process: Path) -> Iterator[str]:
    """What its descriptors are. Raises PermissionError if this user may not see them."""
    try:
        descriptors = list((process / "fd").iterdir())
    except PermissionError:
        raise
    except OSError:
        return  # it has ended
    for each in descriptors:
        with contextlib.suppress(OSError):  # closed meanwhile
            yield str(each.readlink())


def _processes() -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (each for each in PROC.iterdir() if each.name.isdigit())


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "a program"


def _kernel() -> str:
    """Sockets that no process has are the kernel's: of UDP services only VPNs have some."""
    return _wireguard() or "the kernel"


def _unseen() -> str:
    return " or ".join(filter(None, (_wireguard(), "a program that this user may not see")))


def _wireguard() -> str:
    interfaces = wireguard_interfaces()
    return f"WireGuard ({' or '.join(interfaces)})" if interfaces else ""
