"""`python -m tests.lab.map_port PORT`: has a port mapped until its input ends, and says how.

A program of its own because the routes that it looks for are those of its namespace. One line for
each change: `mapped ADDRESS...`, `lost DETAIL`."""

from __future__ import annotations

import asyncio
import sys

from netpunch.address import Address
from netpunch.core.events import Event, MappingLost
from netpunch.net.driver import Datagram
from netpunch.net.loop import run
from netpunch.net.port_mapping import PortMapping


async def map_port(port: int) -> None:
    mapping = PortMapping(_say_mapped, _say_lost)
    mapping.open([Address("0.0.0.0", port), Address("::", port)])
    await asyncio.to_thread(sys.stdin.read)
    await mapping.close()


def _say_mapped(externals: tuple[Address, ...]) -> None:
    print("mapped", *externals, flush=True)


def _say_lost(seen: Datagram | Event) -> None:
    if isinstance(seen, MappingLost):
        print("lost", seen.detail, flush=True)


if __name__ == "__main__":
    run(map_port(int(sys.argv[1])))
