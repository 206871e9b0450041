"""The socket of a link whose program is in this process: single datagrams by its short way, bursts
by the one for many."""

from __future__ import annotations

import socket
import sys

import pytest

import netpunch
from netpunch.net import carrying
from netpunch.net.link_endpoint import ALONE, LinkEndpoint
from netpunch.wire.envelope import CONTROL_DATAGRAM, PEER_DATAGRAM, VERSION
from tests.api.test_link import both, by_seal
from tests.net.conftest import Run
from tests.net.nodes import control

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="for Linux")


def endpoint(link: netpunch.HeldLink) -> LinkEndpoint:
    found = link._transport._punch.endpoint
    assert isinstance(found, LinkEndpoint)
    return found


def counts(link: netpunch.HeldLink) -> tuple[int, int, int, int]:
    """Datagrams and bytes sent, then received."""
    figures = link._transport.figures
    assert figures is not None
    return figures[-5:-1]


@by_seal
def test_single_datagrams_and_bursts_arrive_and_are_counted_once_each(
    run: Run, sealed: bool
) -> None:
    async def main() -> None:
        async with control() as at, both(at, sealed=sealed) as (a, b):
            octets = count = 0
            for size in [1] * (ALONE + 2) + [64, 1, 64] + [1] * (ALONE + 2):
                sent = [bytes(1 + number) for number in range(size)]
                for each in sent:
                    await a.send(each)
                assert [await b.recv() for _ in sent] == sent
                count, octets = count + size, octets + sum(map(len, sent))
            assert counts(a) == (count, octets, 0, 0)
            assert counts(b) == (0, 0, count, octets)

    run(main())


def test_a_program_may_send_what_looks_like_netpunchs_own(run: Run) -> None:
    async def main() -> None:
        async with control() as at, both(at, sealed=False) as (a, b):
            for length in (PEER_DATAGRAM, CONTROL_DATAGRAM):
                await a.send(b"before")
                await a.send(bytes((VERSION,)).ljust(length, b"x"))
                assert [len(await b.recv()) for _ in range(2)] == [6, length]

    run(main())


@by_seal
def test_what_strangers_send_never_reaches_the_program(
    run: Run, sealed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no filter in the kernel")

    monkeypatch.setattr(carrying, "attach", refuse)

    async def main() -> None:
        async with control() as at, both(at, sealed=sealed) as (a, b):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                for number in range(ALONE + 4):
                    stranger.sendto(b"forged", endpoint(b).local)
                    await a.send(bytes((number,)))
                    assert await b.recv() == bytes((number,))
            assert counts(b) == (0, 0, number + 1, number + 1)

    run(main())
