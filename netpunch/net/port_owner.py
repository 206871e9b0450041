"""Whether a program of this host has a UDP port, as /proc tells everybody. Nothing is bound to find
out: that could take the port from a program that is just starting."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from netpunch.address import canonical_host
from netpunch.net.sockets import WILDCARDS

TABLES = {
    socket.AF_INET: Path("/proc/net/udp"),
    socket.AF_INET6: Path("/proc/net/udp6"),
}


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
