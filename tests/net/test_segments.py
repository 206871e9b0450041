"""Whole batches from socket to socket: every datagram arrives as it was, in its flow's order."""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from random import Random

import pytest

if sys.platform != "linux":
    pytest.skip("recvmmsg(2), sendmmsg(2) and segments are Linux's", allow_module_level=True)

from hypothesis import given
from hypothesis import strategies as st

from netpunch.address import Address
from netpunch.net.batch import system_name
from netpunch.net.segments import (
    MOST_OCTETS,
    MOST_SEGMENTS,
    UDP_SEGMENT,
    Segments,
    groups,
    heads,
    join_on_arrival,
    name_of,
    split,
)
from tests.net.machines import has_ipv6, local_address

BATCHES = 60
FLOWS = 4
LENGTHS = [0, 1, 60, 60, 100, 384, 1200, 1200, 1200, 1472, 9000]


@contextmanager
def sockets(host: str, count: int) -> Iterator[list[socket.socket]]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:
        opened = [
            stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in range(count)
        ]
        for sock in opened:
            sock.bind((host, 0))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            sock.settimeout(5.0)
        yield opened


def refuse(error: OSError) -> None:
    raise error


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1")])
@pytest.mark.parametrize("longest", [0, 100, 65535], ids=lambda longest: f"segments to {longest}")
def test_flows_arrive_whole_and_in_order(host: str, longest: int) -> None:
    """Single datagrams and messages of many, mixed, whatever the system can cut."""
    if ":" in host and not has_ipv6():
        pytest.skip("this host has no IPv6")
    random = Random(f"{host} {longest}")
    with sockets(host, 2 * FLOWS + 1) as opened:
        relay, senders, receivers = opened[0], opened[1 : FLOWS + 1], opened[FLOWS + 1 :]
        segments = Segments(relay.family)
        segments._longest = longest
        join_on_arrival(relay)
        routes = {
            system_name(relay.family, local_address(one)): local_address(other)
            for one, other in zip(senders, receivers, strict=True)
        }
        for _ in range(BATCHES):
            sent: dict[Address, list[bytes]] = {to: [] for to in routes.values()}
            for _ in range(random.randrange(1, 40)):
                sender = random.choice(senders)
                length, count = random.choice(LENGTHS), random.choice([1, 1, 1, 2, 7, 40])
                if length == 0 or length * count > MOST_OCTETS:
                    count = 1
                payloads = [random.randbytes(length) for _ in range(count)]
                send(sender, payloads, local_address(relay))
                sent[routes[system_name(relay.family, local_address(sender))]] += payloads
            missing = sum(map(len, sent.values()))
            while missing > 0:
                names, messages = segments.receive(relay)
                missing -= sum(messages.datagrams)
                each = split(names, segments.step)
                order = sorted(range(len(each)), key=each.__getitem__)
                flows = Counter(each[number] for number in order)
                to = [name_of(routes[name]) for name in flows]
                sizes = list(flows.values())
                segments.send(relay, to, sizes, messages.chosen(order), refuse)
            for receiver in receivers:
                expected = sent[local_address(receiver)]
                assert [receiver.recv(65535) for _ in expected] == expected


def send(sender: socket.socket, payloads: list[bytes], destination: Address) -> None:
    length = len(payloads[0]).to_bytes(2, sys.byteorder)
    option = [(socket.IPPROTO_UDP, UDP_SEGMENT, length)] if len(payloads) > 1 else []
    sender.sendmsg(payloads, option, 0, destination)


@given(st.lists(st.sampled_from(LENGTHS), min_size=1, max_size=64), st.sampled_from([0, 100, 2000]))
def test_groups_are_what_the_system_cuts_into_the_same_datagrams(
    lengths: list[int], longest: int
) -> None:
    found = list(groups(lengths, longest))
    assert [number for first, end in found for number in range(first, end)] == list(
        range(len(lengths))
    )
    for first, end in found:
        together = lengths[first:end]
        if len(together) == 1:
            continue
        assert together[0] <= longest
        assert set(together[:-1]) == {together[0]}
        assert 0 < together[-1] <= together[0]
        assert len(together) <= MOST_SEGMENTS
        assert sum(together) <= MOST_OCTETS


@given(
    st.lists(st.lists(st.sampled_from(LENGTHS), min_size=1, max_size=20), min_size=1, max_size=8),
    st.sampled_from([0, 100, 2000]),
)
def test_no_message_goes_to_two_destinations(flows: list[list[int]], longest: int) -> None:
    """What is found for all flows at once is what is found for each."""
    expected, first = [], 0
    for flow in flows:
        expected += [first + head for head in heads(flow, longest)]
        first += len(flow)
    assert heads(list(chain.from_iterable(flows)), longest, list(map(len, flows))) == expected


def test_groups_are_as_large_as_they_can_be() -> None:
    assert list(groups([1200] * 5 + [60, 1200, 1200], 1500)) == [(0, 6), (6, 8)]
    assert list(groups([1200] * 64, 1500)) == [(0, 54), (54, 64)]
    assert list(groups([60] * 70, 1500)) == [(0, 64), (64, 70)]
    assert list(groups([1200, 1200, 1400, 0, 60], 1300)) == [(0, 2), (2, 3), (3, 4), (4, 5)]
