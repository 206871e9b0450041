from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator

import pytest

if sys.platform != "linux":
    pytest.skip("recvmmsg(2) and sendmmsg(2) are Linux's", allow_module_level=True)

from netpunch.address import Address
from netpunch.net import batch
from netpunch.net.batch import ADDRESSES_KEPT, SIZE, TURN, Receiver, Sender, next_batch
from tests.net.machines import has_ipv6, local_address

CAPACITY = 100
PATIENCE = 5.0
needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")

Sockets = tuple[socket.socket, socket.socket]


def bound(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(PATIENCE)
    return sock


@pytest.fixture(params=["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def pair(request: pytest.FixtureRequest) -> Iterator[Sockets]:
    """Two sockets of one family."""
    with bound(request.param) as one, bound(request.param) as other:
        yield one, other


def raising(error: OSError) -> None:
    raise error


def send(sock: socket.socket, *parcels: tuple[bytes, Address]) -> list[OSError]:
    """Returns the errors of refused datagrams."""
    errors: list[OSError] = []
    datagrams, destinations = zip(*parcels, strict=True)
    Sender(sock.family, CAPACITY).send(sock, datagrams, destinations, errors.append)
    return errors


class TestReceiver:
    def test_receiver_returns_datagrams_with_their_sources(self, pair: Sockets) -> None:
        one, other = pair
        sent = [b"a" * length for length in (0, 1, CAPACITY, 7)]
        with bound(one.getsockname()[0]) as third:
            for data in sent:
                one.sendto(data, other.getsockname())
            third.sendto(b"b", other.getsockname())
            expected = [(data, local_address(one)) for data in sent] + [
                (b"b", local_address(third))
            ]
            assert Receiver(other.family, CAPACITY).receive(other) == expected

    def test_receiver_cuts_off_long_datagrams(self, pair: Sockets) -> None:
        one, other = pair
        one.sendto(b"a" * (CAPACITY + 1), other.getsockname())
        one.sendto(b"b", other.getsockname())
        received = Receiver(other.family, CAPACITY).receive(other)
        assert [data for data, _ in received] == [b"a" * CAPACITY, b"b"]

    def test_receiver_returns_one_batch_at_most(self, pair: Sockets) -> None:
        one, other = pair
        receiver = Receiver(other.family, CAPACITY)
        for number in range(SIZE + 3):
            one.sendto(b"%d" % number, other.getsockname())
        assert [data for data, _ in receiver.receive(other)] == [b"%d" % n for n in range(SIZE)]
        assert len(receiver.receive(other)) == 3
        with pytest.raises(BlockingIOError):
            receiver.receive(other)

    def test_receiver_raises_the_error_of_the_system(self, pair: Sockets) -> None:
        one, other = pair
        other.close()
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            Receiver(one.family, CAPACITY).receive(other)
        assert caught.value.errno == errno.EBADF

    def test_receiver_caches_a_bounded_number_of_addresses(
        self, pair: Sockets, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batch, "ADDRESSES_KEPT", 2)
        one, other = pair
        receiver = Receiver(other.family, CAPACITY)
        for _ in range(5):
            with bound(one.getsockname()[0]) as another:
                another.sendto(b"!", other.getsockname())
                assert receiver.receive(other) == [(b"!", local_address(another))]
                assert len(receiver._known) <= 2


class TestSender:
    def test_sender_sends_each_datagram_to_its_destination(self, pair: Sockets) -> None:
        one, other = pair
        with bound(one.getsockname()[0]) as third:
            to_other, to_third = local_address(other), local_address(third)
            assert send(one, (b"a", to_other), (b"bb" * 9, to_third), (b"", to_other)) == []
            assert [other.recvfrom(CAPACITY) for _ in range(2)] == [
                (b"a", one.getsockname()),
                (b"", one.getsockname()),
            ]
            assert third.recv(CAPACITY) == b"bb" * 9

    def test_sender_takes_other_lengths_in_each_batch(self, pair: Sockets) -> None:
        one, other = pair
        sender, destination = Sender(one.family, CAPACITY), local_address(other)
        for lengths in ([3, 5], [5, 3], [CAPACITY] * 3, [1]):
            sent = [bytes([length]) * length for length in lengths]
            sender.send(one, sent, [destination] * len(sent), raising)
            assert [other.recv(CAPACITY) for _ in sent] == sent

    def test_sender_sends_more_than_a_batch(self, pair: Sockets) -> None:
        one, other = pair
        sent = [b"%d" % number for number in range(2 * SIZE + 1)]
        assert send(one, *((data, local_address(other)) for data in sent)) == []
        assert [other.recv(CAPACITY) for _ in sent] == sent

    def test_sender_reports_refused_datagrams_and_sends_the_others(self, pair: Sockets) -> None:
        one, other = pair
        good, bad = local_address(other), Address(local_address(other).host, 0)
        errors = send(one, (b"1", bad), (b"2", good), (b"3", bad), (b"4", bad), (b"5", good))
        assert [error.errno for error in errors] == [errno.EINVAL] * 3
        assert [other.recv(CAPACITY) for _ in range(2)] == [b"2", b"5"]


def test_the_address_cache_is_larger_than_a_batch() -> None:
    """At least as many as ends whose ciphers are kept."""
    from netpunch.core.control.ciphers import CIPHERS_KEPT

    assert ADDRESSES_KEPT >= CIPHERS_KEPT


def test_a_batch_is_as_large_as_fits_into_a_turn() -> None:
    assert next_batch(64, TURN / 4, 8, 256) == 128, "no more than twice as many"
    assert next_batch(64, TURN / 1.5, 8, 256) == 96
    assert next_batch(200, TURN / 4, 8, 256) == 256
    assert next_batch(64, 2 * TURN, 8, 256) == 32, "messages of many segments"
    assert next_batch(64, 20 * TURN, 8, 256) == 32, "another process ran meanwhile"
    assert next_batch(64, 20 * TURN, 2, 8) == 8, "messages of many segments are the first ones"
    assert next_batch(1, 2 * TURN, 8, 256) == 8
    assert next_batch(64, 0.0, 8, 256) == 128, "a clock may stand still"
