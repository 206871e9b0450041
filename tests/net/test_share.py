"""Several ends at one port that a program has: each gets its own pair's datagrams, and no other."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest

from netpunch.address import Address
from netpunch.core.settings import EndSettings
from netpunch.errors import PortInUseError
from netpunch.net import share
from netpunch.net.driver import Driver
from netpunch.net.share import Shares, until_owned
from netpunch.wire.keys import pair_tag
from tests.net.machines import EchoMachine

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="needs Linux and CAP_NET_RAW"
)

HOST = "127.0.0.1"
PAIRS = ("home", "office", "cabin")
ATTACKS = 10_000
AT_ONCE = 100
"""Fewer than a socket's queue has room for."""
TIMEOUT = 20.0


@contextmanager
def program() -> Iterator[socket.socket]:
    """A program that has a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        sock.settimeout(TIMEOUT)
        yield sock


def settings(pair: str, port: int) -> EndSettings:
    return EndSettings(pair, "a", bytes(32), holds=True, share=True, local=("", port))


def datagram(pair: str, serial: int = 0) -> bytes:
    return b"\xf2\x11" + pair_tag(pair) + serial.to_bytes(4) + bytes(114)


class Ends:
    """An end for each pair, all at one port. Machines send back what they get."""

    def __init__(self, cleanup: ExitStack, port: int, *pairs: str) -> None:
        self.machines = {pair: EchoMachine() for pair in pairs}
        self.drivers = {pair: self._drive(pair, port) for pair in pairs}
        for driver in self.drivers.values():
            cleanup.callback(driver.close)

    def _drive(self, pair: str, port: int) -> Driver:
        shares = Shares(settings(pair, port))
        driver = Driver(self.machines[pair], on_event=lambda _: None)
        driver.open(shares.sockets, endpoint=shares.endpoint)
        return driver

    def received(self, pair: str) -> list[bytes]:
        return [each.data for each in self.machines[pair].received]


async def arrived(partner: socket.socket, count: int) -> list[tuple[bytes, Address]]:
    """That many answers."""
    loop = asyncio.get_running_loop()
    partner.setblocking(False)
    answers = []
    async with asyncio.timeout(TIMEOUT):
        for _ in range(count):
            data, source = await loop.sock_recvfrom(partner, 2048)
            answers.append((data, Address(*source)))
    return answers


def test_each_end_gets_and_answers_its_own_pair_s_datagrams() -> None:
    async def main(port: int, partner: socket.socket, cleanup: ExitStack) -> None:
        ends = Ends(cleanup, port, *PAIRS)
        for serial in range(AT_ONCE):
            partner.sendto(datagram(PAIRS[serial % 3], serial), (HOST, port))
        answers = await arrived(partner, AT_ONCE)
        assert {source for _, source in answers} == {Address(HOST, port)}
        for at, pair in enumerate(PAIRS):
            expected = [datagram(pair, serial) for serial in range(at, AT_ONCE, 3)]
            assert ends.received(pair) == expected

    run(main)


def test_other_pairs_and_strangers_reach_no_end() -> None:
    """They name a pair that is not here, or none; the one that is meant is served among them."""

    async def main(port: int, partner: socket.socket, cleanup: ExitStack) -> None:
        ends = Ends(cleanup, port, "home")
        rng = Random(7)
        for start in range(0, ATTACKS, AT_ONCE):
            for serial in range(start, start + AT_ONCE):
                partner.sendto(b"\xf2" + rng.randbytes(127), (HOST, port))
                partner.sendto(datagram("shed", serial), (HOST, port))
            partner.sendto(datagram("home", start), (HOST, port))
            assert [data for data, _ in await arrived(partner, 1)] == [datagram("home", start)]
        assert len(ends.received("home")) == ATTACKS / AT_ONCE

    run(main)


def test_an_end_that_leaves_takes_nothing_from_the_others() -> None:
    async def main(port: int, partner: socket.socket, cleanup: ExitStack) -> None:
        ends = Ends(cleanup, port, *PAIRS)
        ends.drivers["office"].close()
        for pair in PAIRS:
            partner.sendto(datagram(pair), (HOST, port))
        await arrived(partner, 2)
        assert [len(ends.received(pair)) for pair in PAIRS] == [1, 0, 1]

    run(main)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_raw_sockets_of_a_port_are_closed_with_its_last_end() -> None:
    async def main(port: int, partner: socket.socket, cleanup: ExitStack) -> None:
        before = open_files()
        ends = Ends(cleanup, port, *PAIRS)
        assert open_files() == before + 1
        for driver in ends.drivers.values():
            driver.close()
        assert open_files() == before
        again = Ends(cleanup, port, "home")
        partner.sendto(datagram("home"), (HOST, port))
        await arrived(partner, 1)
        assert len(again.received("home")) == 1

    run(main)


def test_a_pair_has_one_end_at_a_port() -> None:
    async def main(port: int, _: socket.socket, cleanup: ExitStack) -> None:
        Ends(cleanup, port, "home")
        with pytest.raises(PortInUseError, match="another end of the pair home"):
            Shares(settings("home", port))

    run(main)


def test_an_end_waits_for_the_program_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "LOOK_FOR_OWNER", 0.01)

    async def main() -> list[str]:
        with program() as sock:
            port = sock.getsockname()[1]
        told: list[str] = []
        said = asyncio.Event()

        def tell(text: str) -> None:
            told.append(text)
            said.set()

        waiting = asyncio.create_task(until_owned(settings("home", port), tell))
        await said.wait()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
            late.bind(("", port))
            async with asyncio.timeout(TIMEOUT):
                await waiting
            await until_owned(settings("home", port), tell)
        return [text.replace(str(port), "PORT") for text in told]

    told = asyncio.run(main())
    assert told == ["no program of this host has UDP port PORT: start the one that shares it"]


def run(main: object) -> None:
    """With the port of a program, a partner's socket, and what is closed in the end."""
    assert callable(main)
    with program() as sock, program() as partner, ExitStack() as cleanup:
        asyncio.run(main(sock.getsockname()[1], partner, cleanup))
