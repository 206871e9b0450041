"""A program that prints a line for each change of its network that it is told of."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from netpunch.net import netlink, watch
from netpunch.net.interfaces import host_addresses
from netpunch.net.loop import run
from netpunch.net.sockets import SocketOptions
from netpunch.net.watch import network_watch


async def main(mark: int, asked: list[str]) -> None:
    def take(*, woke: bool) -> None:
        has = [host for host in asked if host in network_watch().hosts]
        told = {"woke": woke, "hosts": host_addresses(), "has": has, "at": time.monotonic()}
        print(json.dumps(told), flush=True)

    network_watch().follow(take, SocketOptions(mark=mark))
    print("follows", flush=True)
    await asyncio.get_running_loop().connect_read_pipe(asyncio.Protocol, sys.stdin)
    await asyncio.Event().wait()


def refuse() -> None:
    raise OSError("no netlink")


if __name__ == "__main__":
    how, mark, *asked = sys.argv[1:]
    if how == "polls":
        netlink.open_changes = refuse  # type: ignore[assignment]
        watch.POLL = 0.1
    run(main(int(mark), asked))
