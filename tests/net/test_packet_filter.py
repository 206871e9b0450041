"""What the kernel lets through to the socket of a held link."""

from __future__ import annotations

import contextlib
import sys

import pytest

if sys.platform != "linux":
    pytest.skip("the packet filter is Linux's", allow_module_level=True)

from netpunch.net.packet_filter import all_of, attach
from netpunch.wire.envelope import VERSION
from tests.net.machines import client, has_ipv6

TAG = b"of pair."
OURS = bytes((VERSION, 0x11)) + TAG + b"anything"
OTHERS = [OURS[:9], OURS[:5] + b"x" + OURS[6:], OURS[:9] + b"x", b"x" + OURS[1:]]
PROGRAMS = [b"", b"x", bytes(1280), bytes(60_000), *OTHERS]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_partners_get_everything_through_and_others_what_may_be_netpunchs(
    host: str, count: int
) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("this host has no IPv6")
    with contextlib.ExitStack() as stack:
        held, stranger = stack.enter_context(client(host)), stack.enter_context(client(host))
        partners = [stack.enter_context(client(host)) for _ in range(count)]
        attach(held.sock, all_of([each.address for each in partners], TAG))
        expected = [(OURS, stranger.address)]
        for data in PROGRAMS:
            stranger.send(data, held.address)
            for each in partners:
                each.send(data, held.address)
                expected.append((data, each.address))
            stranger.send(OURS, held.address) if data == PROGRAMS[0] else None
        arrived = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, source = held.sock.recvfrom(65536)
                arrived.append((data, source[:2]))
        assert sorted(arrived) == sorted(expected)


def test_a_partner_is_known_by_address_and_port_together() -> None:
    with client("127.0.0.2") as held, client("127.0.0.3") as partner:
        attach(held.sock, all_of([partner.address._replace(port=partner.address.port ^ 1)], TAG))
        partner.send(b"another port", held.address)
        attach(held.sock, all_of([partner.address._replace(host="127.0.0.4")], TAG))
        partner.send(b"another host", held.address)
        attach(held.sock, all_of([partner.address], TAG))
        partner.send(b"hello", held.address)
        assert held.sock.recv(100) == b"hello"
