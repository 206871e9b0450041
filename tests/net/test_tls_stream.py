"""Datagrams over TLS: framing, and what garbage and broken connections do to a stream."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.net import tls_stream
from netpunch.net.tls_certificate import server_context
from netpunch.net.tls_client import client_context
from netpunch.net.tls_stream import LONGEST_DATAGRAM, Stream, TooLongError, Unframer, framed
from tests.net.conftest import Run

ATTACKS = 5_000
"""On each of two loops."""
AT_ONCE = 50
SEED = 20


@pytest.fixture(scope="module")
def context() -> ssl.SSLContext:
    return server_context()


class Side:
    """One end of a connection, and what happens to it."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server: bool) -> None:
        self.got: list[bytes] = []
        self.ended = asyncio.Event()
        self.ready = asyncio.Event()
        self.news = asyncio.Event()
        self.stream = Stream(
            sock,
            context,
            server=server,
            on_datagrams=self._take,
            on_ready=self.ready.set,
            on_end=self.ended.set,
        )
        self.stream.start()

    def _take(self, datagrams: list[bytes]) -> None:
        self.got += datagrams
        self.news.set()

    async def until(self, count: int) -> None:
        while len(self.got) < count:
            self.news.clear()
            await self.news.wait()


def sockets() -> tuple[socket.socket, socket.socket]:
    """Of one TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        other, _ = listening.accept()
    return one, other


async def connected(context: ssl.SSLContext) -> tuple[Side, Side]:
    one, other = sockets()
    sides = Side(one, client_context(), server=False), Side(other, context, server=True)
    for side in sides:
        await side.ready.wait()
    return sides


# Framing.

datagrams = st.lists(st.binary(max_size=300), max_size=20)


@given(datagrams, st.lists(st.integers(1, 400), max_size=50))
def test_datagrams_come_out_as_they_went_in_however_they_are_cut(
    sent: list[bytes], cuts: list[int]
) -> None:
    unframer, data = Unframer(), b"".join(map(framed, sent))
    got: list[bytes] = []
    for cut in [*cuts, len(data)]:
        got += unframer.feed(data[:cut])
        data = data[cut:]
    assert got == sent


@given(st.lists(st.binary(max_size=1000), max_size=20), st.integers(0, 500))
def test_any_bytes_are_datagrams_or_too_long(chunks: list[bytes], longest: int) -> None:
    unframer = Unframer()
    unframer.longest = longest
    try:
        for chunk in chunks:
            assert all(len(each) <= longest for each in unframer.feed(chunk))
            assert len(unframer._rest) <= longest + 2
    except TooLongError:
        pass


def test_the_length_is_two_bytes_big_endian() -> None:
    assert framed(b"x" * 0x0102) == b"\x01\x02" + b"x" * 0x0102


# Both ways.


def test_datagrams_of_any_length_pass_both_ways_in_order(run: Run, context: ssl.SSLContext) -> None:
    async def main() -> None:
        one, other = await connected(context)
        for sender, receiver in ((one, other), (other, one)):
            sent = [bytes([7]) * length for length in (0, 1, 384, 16_384, 20_000, 1)]
            for datagram in sent:
                assert sender.stream.send(datagram)
            await receiver.until(len(sent))
            assert receiver.got == sent
            assert sender.stream.send(bytes(LONGEST_DATAGRAM))
            await receiver.until(len(sent) + 1)
            assert not sender.stream.send(bytes(LONGEST_DATAGRAM + 1))
        one.stream.close()
        await other.ended.wait()

    run(main())


def test_what_is_sent_in_one_turn_leaves_in_one_record(run: Run, context: ssl.SSLContext) -> None:
    async def main() -> None:
        one, other = await connected(context)
        for number in range(10):
            one.stream.send(bytes([number]))
        assert not other.got
        await other.until(1)
        assert len(other.got) == 10
        one.stream.close()
        other.stream.close()

    run(main())


def test_nothing_is_sent_before_the_handshake_or_after_the_end(
    run: Run, context: ssl.SSLContext
) -> None:
    async def main() -> None:
        one, other = sockets()
        side = Side(one, client_context(), server=False)
        assert not side.stream.send(b"too early")
        other.close()
        await side.ended.wait()
        assert not side.stream.send(b"too late")
        side.stream.close()

    run(main())


def test_a_full_queue_loses_what_comes_then_and_no_more(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_stream, "QUEUE", 10_000)

    async def main() -> None:
        one, other = await connected(context)
        taken = [one.stream.send(bytes(1000)) for _ in range(20)]
        assert taken == [True] * 9 + [False] * 11
        await other.until(9)
        assert one.stream.send(bytes(1000))
        await other.until(10)
        one.stream.close()
        other.stream.close()

    run(main())


# Attacks.


def hello() -> bytes:
    """The beginning of a handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client_context().wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def garbage(count: int) -> Iterator[bytes]:
    """Random bytes, records of random content, and handshakes that are cut or damaged."""
    chance, true = random.Random(SEED), hello()
    for number in range(count):
        match number % 4:
            case 0:
                yield chance.randbytes(chance.randint(1, 2000))
            case 1:
                length = chance.randint(0, 500)
                kind = bytes([chance.randint(20, 24), 3, chance.randint(0, 4)])
                yield kind + length.to_bytes(2, "big") + chance.randbytes(length)
            case 2:
                yield true[: chance.randint(1, len(true) - 1)]
            case 3:
                damaged = bytearray(true)
                for _ in range(chance.randint(1, 20)):
                    damaged[chance.randrange(len(damaged))] = chance.randrange(256)
                yield bytes(damaged)


def test_no_garbage_does_more_than_end_its_stream(run: Run, context: ssl.SSLContext) -> None:
    async def attack(data: bytes) -> None:
        one, other = sockets()
        side = Side(other, context, server=True)
        one.sendall(data)
        one.shutdown(socket.SHUT_WR)
        await side.ended.wait()
        one.close()
        assert side.got == []

    async def main() -> None:
        attacks = garbage(ATTACKS)
        while some := [data for data, _ in zip(attacks, range(AT_ONCE), strict=False)]:
            await asyncio.gather(*map(attack, some))

    run(main())


def test_no_garbage_within_tls_does_more_than_end_its_stream(
    run: Run, context: ssl.SSLContext
) -> None:
    """Unless it has the form of datagrams, which the machine looks at."""
    chance = random.Random(SEED)

    async def main() -> None:
        for _ in range(200):
            one, other = await connected(context)
            one.stream._frames.append(chance.randbytes(chance.randint(3, 3000)))
            one.stream._flush()
            one.stream.close()
            await other.ended.wait()

    run(main())
