"""TLS at a control, on loopback: what ends get, and what strangers cost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable

import pytest

from netpunch.address import Address
from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.core.events import Registered
from netpunch.errors import PortInUseError
from netpunch.net import tls_listener, tls_stream
from netpunch.net.listener import Listener, TlsAt
from netpunch.net.tls_certificate import server_context
from netpunch.net.tls_listener import TlsEndpoint
from netpunch.wire import v2
from tests.core.v2_pair import CONTROL_KEY, PAIR, Voice, read
from tests.net.conftest import Run
from tests.net.machines import client, has_ipv6
from tests.net.nodes import Watcher
from tests.net.tls_peer import TlsPeer, close, tcp_peer, tls_peer

NOWHERE = Address("192.0.2.9", 9)
"""A Voice's own idea of its address, which it does not need here."""


@pytest.fixture(scope="module")
def context() -> ssl.SSLContext:
    return server_context()


class Served:
    """A control of PAIR that listens on UDP, on loopback, and on TLS."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self.watcher = Watcher()
        self.v2 = ControlV2({PAIR: CONTROL_KEY}, random=os.urandom)
        node = ControlNode(self.v2, ClassicControl({}))
        at = TlsAt(host, 0, context)
        self.listener = Listener(node, [("127.0.0.1", 0)], tls=at, observer=self.watcher)
        self.listener.open()
        assert self.listener.tls is not None
        self.tls: TlsEndpoint = self.listener.tls
        (self.udp,) = self.listener.addresses

    async def until(self, holds: Callable[[], bool]) -> None:
        """What a peer does reaches a listener some turns of the loop later."""
        while not holds():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)

    async def serves_udp(self) -> bool:
        """Whether an end on UDP is answered."""
        with client(self.udp.host) as end:
            answer, _ = await end.ask(Voice("b", NOWHERE, os.urandom(8)).announcement(), self.udp)
        return isinstance(read(answer), v2.Waiting | v2.Knock | v2.Introduce | v2.Challenge)


@contextlib.asynccontextmanager
async def served(context: ssl.SSLContext, host: str = "127.0.0.1") -> AsyncIterator[Served]:
    control = Served(context, host)
    try:
        yield control
    finally:
        control.listener.close()


def voice(end: str = "a") -> Voice:
    return Voice("a" if end == "a" else "b", NOWHERE, os.urandom(8))


# What ends get.


def test_an_end_registers_over_tls_at_the_address_of_its_connection(
    run: Run, context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with served(context) as control, tls_peer(control.tls.local) as peer:
            answer = await peer.register(voice())
            assert isinstance(answer, v2.Waiting)
            assert answer.observed == peer.address
            registered = await control.watcher.wait_for(Registered)
            assert registered == Registered(PAIR, "a", peer.address)
            assert (control.tls.ends, control.tls.strangers) == (1, 0)

    run(main())


def test_ends_on_udp_and_on_tls_are_introduced_to_each_other(
    run: Run, context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with served(context) as control, tls_peer(control.tls.local) as peer:
            await peer.register(voice("a"))
            with client() as b:
                other = voice("b")
                answer, _ = await b.ask(other.announcement(), control.udp)
                message = read(answer)
                assert isinstance(message, v2.Introduce)
                assert message.partner_observed == peer.address
                assert isinstance(read(await peer.receive()), v2.Knock)

    run(main())


def test_the_connections_of_a_removed_pair_are_closed(run: Run, context: ssl.SSLContext) -> None:
    """Its ends are strangers from now on, however busy they are."""

    async def main() -> None:
        async with (
            served(context) as control,
            tls_peer(control.tls.local) as peer,
            tls_peer(control.tls.local) as gone,
        ):
            control.v2.add_pair("other", CONTROL_KEY)
            await peer.register(voice("a"))
            await gone.register(voice("b"))
            control.listener.pairs_removed(["other"])
            assert control.tls.ends == 2
            control.v2.remove_pair(PAIR)
            control.listener.pairs_removed([PAIR])
            assert control.tls.ends == 0
            assert not control.tls._of_pair
            await gone.is_closed()

    run(main())


@pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_one_socket_serves_all_addresses_of_both_families(
    run: Run, context: ssl.SSLContext, host: str
) -> None:
    async def main() -> None:
        async with served(context, "") as control:
            at = Address(host, control.tls.local.port)
            async with tls_peer(at) as peer:
                answer = await peer.register(voice())
                assert isinstance(answer, v2.Waiting)
                assert answer.observed == peer.address

    run(main())


def test_many_datagrams_in_one_record_and_one_in_many_arrive(
    run: Run, context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with served(context) as control, tls_peer(control.tls.local) as peer:
            end = voice()
            await peer.register(end)
            peer.send(*(end.announcement() for _ in range(8)))
            for _ in range(8):
                assert isinstance(read(await peer.receive()), v2.Waiting)
            announcement = end.announcement()
            framed = len(announcement).to_bytes(2, "big") + announcement
            for at in range(0, len(framed), 100):
                peer.writer.write(framed[at : at + 100])
                await peer.writer.drain()
                await asyncio.sleep(0)
            assert isinstance(read(await peer.receive()), v2.Waiting)

    run(main())


def test_a_connection_that_an_end_has_ended_is_forgotten(run: Run, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with served(context) as control:
            async with tls_peer(control.tls.local) as peer:
                await peer.register(voice())
            await control.until(lambda: control.tls.ends == 0)
            assert not control.tls.send(b"too late", peer.address)
            assert control.listener.send_errors["ENOTCONN"] == 1

    run(main())


def test_a_port_in_use_is_told_before_anything_is_bound(run: Run, context: ssl.SSLContext) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            node = ControlNode(ControlV2({}, random=os.urandom), ClassicControl({}))
            listener = Listener(node, [("127.0.0.1", 0)], tls=TlsAt("127.0.0.1", port, context))
            with pytest.raises(PortInUseError, match=rf"127\.0\.0\.1:{port} is in use.*ss -tlpn"):
                listener.open()

    run(main())


def test_a_slow_reader_loses_datagrams_and_costs_a_bounded_queue(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_stream, "QUEUE", 8 * 1024)

    async def main() -> None:
        async with served(context) as control, tls_peer(control.tls.local) as peer:
            await peer.register(voice())
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            datagram, sent = bytes(1000), 0
            while control.listener.send_errors["ENOBUFS"] < 100:
                sent += control.tls.send(datagram, peer.address)
                await asyncio.sleep(0)
            assert await control.serves_udp()
            peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
            got = 0
            while got < sent:
                got += len(await peer.receive()) == len(datagram)
            assert control.tls.send(datagram, peer.address)

    run(main())


def test_a_silent_end_is_forgotten(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_listener, "SWEEP", 0.01)
    monkeypatch.setattr(tls_listener, "IDLE", 0.1)

    async def main() -> None:
        async with served(context) as control, tls_peer(control.tls.local) as peer:
            await peer.register(voice())
            assert await peer.is_closed() == b""
            assert control.tls.ends == 0

    run(main())


# What strangers get.


async def _is_dropped(control: Served, peer: TlsPeer) -> None:
    """Closed without a word of netpunch, and forgotten."""
    assert await peer.is_closed() == b""
    await control.until(lambda: control.tls.strangers == 0)
    assert control.tls.ends == 0
    assert await control.serves_udp()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0\0",
        b"\xff\xff" + bytes(100),
        b"\x00\x80" + bytes(128),
        b"\x01\x80" + bytes(384),
        b"GET / HTTP/1.1\r\nHost: example.net\r\n\r\n",
    ],
    ids=["empty", "longest", "of a peer's length", "of a control's length", "HTTP"],
)
def test_garbage_within_tls_ends_the_connection_silently(
    run: Run, context: ssl.SSLContext, garbage: bytes
) -> None:
    async def main() -> None:
        async with served(context) as control, tls_peer(control.tls.local) as peer:
            peer.writer.write(garbage)
            await _is_dropped(control, peer)

    run(main())


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", bytes(1000), b"\x16\x03\x01\xff\xff" + bytes(40_000)]
)
def test_what_is_no_tls_ends_the_connection_silently(
    run: Run, context: ssl.SSLContext, garbage: bytes
) -> None:
    async def main() -> None:
        async with served(context) as control, tcp_peer(control.tls.local) as peer:
            peer.writer.write(garbage)
            await _is_dropped(control, peer)

    run(main())


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"])
def test_a_handshake_that_is_not_finished_has_a_limit_in_time(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(tls_listener, "SWEEP", 0.01)
    monkeypatch.setattr(tls_listener, "HANDSHAKE_WITHIN", 0.1)

    async def main() -> None:
        async with served(context) as control, tcp_peer(control.tls.local) as peer:
            peer.writer.write(said)
            await _is_dropped(control, peer)

    run(main())


def test_a_half_open_connection_is_forgotten_at_once(run: Run, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with served(context) as control, tcp_peer(control.tls.local) as peer:
            await control.until(lambda: control.tls.strangers == 1)
            peer.writer.write_eof()
            await _is_dropped(control, peer)

    run(main())


def test_a_handshake_byte_by_byte_is_not_worth_more_than_some_reads(
    run: Run, context: ssl.SSLContext
) -> None:
    """Each read costs as much as a few hundred bytes."""

    async def main() -> None:
        async with served(context) as control, tcp_peer(control.tls.local) as peer:
            reads = 0
            with contextlib.suppress(ConnectionError):
                while not peer.reader.at_eof() and reads < 1000:
                    peer.writer.write(b"\x16\x03\x01\x40\x00"[reads : reads + 1] or b"\0")
                    reads += 1
                    await asyncio.sleep(0.001)
            assert reads <= 2 * tls_listener.STRANGER_READS
            await _is_dropped(control, peer)

    run(main())


def test_a_stranger_that_stays_silent_after_the_handshake_has_a_limit_in_time(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_listener, "SWEEP", 0.01)
    monkeypatch.setattr(tls_listener, "PROOF_WITHIN", 0.2)

    async def main() -> None:
        async with served(context) as control, tls_peer(control.tls.local) as peer:
            await _is_dropped(control, peer)

    run(main())


def test_recordings_do_not_make_a_connection_an_ends(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even of a whole dialogue: its cookie is another address's."""
    monkeypatch.setattr(tls_listener, "SWEEP", 0.01)

    async def main() -> None:
        async with served(context) as control:
            end = voice()
            async with tls_peer(control.tls.local) as peer:
                first = end.announcement()
                peer.send(first)
                answer = read(await peer.receive())
                assert isinstance(answer, v2.Waiting)
                end.cookie = answer.cookie
                proof = end.announcement()
                peer.send(proof)
                await peer.receive()
            monkeypatch.setattr(tls_listener, "PROOF_WITHIN", 0.2)
            async with tls_peer(control.tls.local) as attacker:
                attacker.send(first, proof)
                await attacker.is_closed()
            assert control.tls.ends == 0

    run(main())


def test_a_stranger_may_send_no_more_than_some_announcements(
    run: Run, context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with served(context) as control, tls_peer(control.tls.local) as peer:
            attacker = voice()
            sent = 0
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while not peer.reader.at_eof() and sent < 1000:
                    peer.send(attacker.announcement(counter=1))
                    sent += 1
                    await peer.writer.drain()
                    await asyncio.sleep(0.001)
            assert sent <= 3 * tls_listener.STRANGER_SIZE // 384
            await control.until(lambda: control.tls.strangers == 0)

    run(main())


def test_a_new_stranger_takes_the_place_of_the_oldest(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow ones keep no end out."""
    monkeypatch.setattr(tls_listener, "MOST_STRANGERS", 3)

    async def main() -> None:
        async with served(context) as control, contextlib.AsyncExitStack() as stack:
            slow = [await stack.enter_async_context(tcp_peer(control.tls.local)) for _ in range(3)]
            await control.until(lambda: control.tls.strangers == 3)
            async with tls_peer(control.tls.local) as peer:
                await peer.register(voice())
                assert await slow[0].is_closed() == b""
                assert (control.tls.ends, control.tls.strangers) == (1, 2)

    run(main())


def test_one_host_gets_a_bounded_number_of_connections(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_listener, "MOST_OF_HOST", 2)

    async def main() -> None:
        async with served(context) as control, contextlib.AsyncExitStack() as stack:
            first = [await stack.enter_async_context(tcp_peer(control.tls.local)) for _ in range(2)]
            await control.until(lambda: control.tls.strangers == 2)
            async with tcp_peer(control.tls.local) as third:
                assert await third.is_closed() == b""
            await close(first[0].writer)
            await control.until(lambda: control.tls.strangers == 1)
            async with tls_peer(control.tls.local) as peer:
                await peer.register(voice())

    run(main())


def test_all_ends_together_have_a_bounded_number_of_connections(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_listener, "MOST_ENDS", 1)

    async def main() -> None:
        async with served(context) as control, tls_peer(control.tls.local) as a:
            await a.register(voice("a"))
            async with tls_peer(control.tls.local) as b:
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                    await b.register(voice("b"))
                await b.is_closed()
            assert control.tls.ends == 1

    run(main())


def test_connections_are_accepted_at_a_bounded_rate(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_listener, "HANDSHAKES", 1.0)
    monkeypatch.setattr(tls_listener, "HANDSHAKES_AT_ONCE", 5.0)

    async def main() -> None:
        async with served(context) as control, contextlib.AsyncExitStack() as stack:
            for _ in range(10):
                await stack.enter_async_context(tcp_peer(control.tls.local))
            assert await control.serves_udp()
            assert control.tls.strangers <= 6

    run(main())


def test_one_64_network_counts_as_one_host() -> None:
    one, same, other = (
        tls_listener.host_of(Address(host, 9))
        for host in ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")
    )
    assert one == same != other
    assert tls_listener.host_of(Address("192.0.2.1", 9)) == "192.0.2.1"
