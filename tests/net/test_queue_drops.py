"""Datagrams that the system drops because a queue is full are counted over all sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import pytest

from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.net.listener import Listener
from netpunch.net.sockets import SocketOptions, bind, queue_drops

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts them")

SMALL = 2048
DATAGRAMS = 200


def flood(address: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(DATAGRAMS):
            sender.sendto(bytes(384), address)


def test_datagrams_dropped_by_a_full_queue_are_counted() -> None:
    (sock,) = bind("127.0.0.1", 0, SocketOptions(receive_buffer=SMALL))
    with sock:
        assert queue_drops(sock) == 0
        flood(sock.getsockname())
        received = 0
        while received < DATAGRAMS:
            try:
                sock.recv(2048)
            except BlockingIOError:
                break
            received += 1
        assert 0 < received < DATAGRAMS
        assert queue_drops(sock) == DATAGRAMS - received


def test_a_closed_socket_has_no_queue_drops() -> None:
    (sock,) = bind("127.0.0.1", 0)
    sock.close()
    assert queue_drops(sock) == 0


def test_a_listener_adds_up_the_queue_drops_of_its_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netpunch.net.listener.RECEIVE_BUFFER", SMALL)

    async def main() -> None:
        node = ControlNode(ControlV2({}, random=os.urandom), ClassicControl({}))
        listener = Listener(node, [("127.0.0.1", 0), ("127.0.0.1", 0)])
        assert (listener.queue_drops, listener.send_errors) == (0, {})
        listener.open()
        for address in listener.addresses:
            flood(address)  # the loop cannot read meanwhile
        assert listener.queue_drops > DATAGRAMS
        assert listener.send_errors == {}
        listener.close()

    asyncio.run(main())
