"""A flood of forged datagrams from a million forged sources. Linux, root; loopback alone."""

from __future__ import annotations

import itertools
import os
import random
import socket
import struct
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

from tests.bench.subjects import GENERATOR_CORE, pin

SOURCES = 1_000_000
BATCH = 50
"""Datagrams between two readings of the clock."""
PREPARED = 4096
"""Different forgeries; their sources differ anyway."""

IP_HEADER = struct.Struct("!BBHHHBBH4s4s")
UDP_HEADER = struct.Struct("!HHHH")
SOURCE_OFFSET = 12
NET = 127 << 24
FIRST_HOST = 1 << 16
"""Sources begin at 127.1.0.0, away from the addresses that are really used."""


def may_forge() -> bool:
    """Whether this process may write its own IP headers."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).close()
    except OSError:
        return False
    return True


def forgeries(tags: Sequence[bytes]) -> list[bytes]:
    """Half for known pairs with a wrong signature; the others are cheaper to refuse."""
    kinds = itertools.cycle(["known", "unknown", "known", "noise"])
    made = []
    for kind in itertools.islice(kinds, PREPARED):
        tag = random.choice(tags) if kind == "known" else os.urandom(8)
        good = b"\xf2" + random.choice([b"\x01", b"\x81"]) + tag + os.urandom(374)
        made.append(os.urandom(random.randrange(1, 500)) if kind == "noise" else good)
    return made


def packet(data: bytes, source_port: int, port: int) -> bytearray:
    """IPv4 and UDP to 127.0.0.1; the kernel fills in length and checksum, UDP may have none."""
    udp = UDP_HEADER.pack(source_port, port, UDP_HEADER.size + len(data), 0)
    host = socket.inet_aton("127.0.0.1")
    ip = IP_HEADER.pack(0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0, host, host)
    return bytearray(ip + udp + data)


def forge(
    done: Connection,
    tags: Sequence[bytes],
    source_port: int,
    port: int,
    rate: int,
    seconds: float,
) -> None:
    """Sends `rate` datagrams a second, or as many as it can; tells how many it sent, and how many
    seconds it took."""
    pin(GENERATOR_CORE)
    packets = itertools.cycle([packet(data, source_port, port) for data in forgeries(tags)])
    hosts = itertools.cycle(range(NET + FIRST_HOST, NET + FIRST_HOST + SOURCES))
    put_source = struct.Struct("!I").pack_into
    target = ("127.0.0.1", 0)
    sent, begun = 0, time.perf_counter()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        while (elapsed := time.perf_counter() - begun) < seconds:
            if sent > elapsed * rate:
                time.sleep(sent / rate - elapsed)
            for forged, host in zip(itertools.islice(packets, BATCH), hosts, strict=False):
                put_source(forged, SOURCE_OFFSET, host)
                raw.sendto(forged, target)
            sent += BATCH
    done.send((sent, time.perf_counter() - begun))
