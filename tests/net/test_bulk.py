"""How programs' datagrams are received: alone while they come alone, at once when they don't."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

if sys.platform != "linux":
    pytest.skip("recvmmsg(2) is Linux's", allow_module_level=True)

from netpunch.net.batch import BATCH
from netpunch.net.bulk import ALONE, Inlet

SOON = 3 * ALONE
"""Datagrams: more than are received before the next check."""


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    sender, receiver = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with sender, receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        sender.connect(receiver.getsockname())
        yield sender, receiver


def test_datagrams_that_come_alone_are_received_alone(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    sender, receiver = pair
    inlet, alone = Inlet(receiver), 0
    for number in range(SOON):
        sender.send(b"%d" % number)
        received = inlet.receive()
        length = received.lengths[0] if received is not None else inlet.lone[0]
        assert bytes(inlet.first[:length]) == b"%d" % number
        if received is None:
            assert inlet.lone[1] == sender.getsockname()
            alone += 1
    assert alone >= SOON * ALONE // (ALONE + 1) - ALONE
    with pytest.raises(BlockingIOError):
        inlet.receive()


def test_many_that_wait_are_soon_received_at_once(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    sender, receiver = pair
    inlet = Inlet(receiver)
    sender.send(b"alone")
    assert inlet.receive() is not None, "the first look is a check"
    for _ in range(SOON):
        sender.send(bytes(100))
    calls = left = 0
    while left < SOON:
        received = inlet.receive()
        left += 1 if received is None else len(received.lengths)
        calls += 1
    assert calls == ALONE + 1
    for _ in range(BATCH):
        sender.send(bytes(100))
    received = inlet.receive()
    assert received is not None, "the last ones were many"
    assert len(received.lengths) == BATCH
