"""The relay on real sockets: in batches, as segments, across families, and one by one."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from netpunch.address import Address
from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.node import ControlNode
from netpunch.core.control.relay import HEADERS, LARGEST
from netpunch.errors import PortInUseError
from netpunch.net.driver import clock
from netpunch.net.listener import Listener, TlsAt
from netpunch.net.tls_certificate import server_context
from netpunch.wire import v2
from netpunch.wire.envelope import EndName
from tests.core.control.relaying import Binder
from tests.core.v2_pair import Voice, make_control, read
from tests.net.conftest import Run
from tests.net.machines import Client, client, has_ipv6, port_is_free
from tests.net.nodes import Watcher
from tests.net.tls_peer import tls_peer

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="segments are Linux's")

LENGTHS = [0, 1, *[100] * 5, 60, *[384] * 4, *[1400] * 3, 1472, 9000, 60_000, 65_507]
UDP_SEGMENT = 103


class End:
    """One end on a real socket."""

    def __init__(self, name: EndName, socket: Client, relay: Address) -> None:
        self.client = socket
        self.relay = relay
        self.binder = Binder(name, b"attempt" + name.encode(), socket.address)
        self.voice = Voice(name, socket.address, self.binder.attempt)

    async def bind(self, node: ControlNode) -> v2.Bound:
        self.voice.register(node, clock())
        message = await self._ask()
        if isinstance(message, v2.Challenge):
            self.binder.cookie = message.cookie
            message = await self._ask()
        assert isinstance(message, v2.Bound)
        return message

    async def _ask(self) -> v2.Message:
        answer, source = await self.client.ask(self.binder.message(), self.relay)
        assert source == self.relay
        return read(answer)

    def send(self, *datagrams: bytes) -> None:
        for data in datagrams:
            self.client.send(data, self.relay)

    def send_segments(self, *datagrams: bytes) -> None:
        """All in one message."""
        length = len(datagrams[0]).to_bytes(2, sys.byteorder)
        option = (socket.IPPROTO_UDP, UDP_SEGMENT, length)
        self.client.sock.sendmsg(datagrams, [option], 0, self.relay)

    async def receive(self, count: int) -> list[bytes]:
        received = [await self.client.receive() for _ in range(count)]
        assert {source for _, source in received} <= {self.relay}
        return [data for data, _ in received]


class Relayed:
    """A control with a relay, and both ends of a pair."""

    def __init__(self, stack: ExitStack, hosts: tuple[str, str], listen: str, **how: Any) -> None:
        self.node = ControlNode(make_control(), ClassicControl({}))
        self.relay = self.node.v2.relay
        self.relay.limit(1e12, 1e12)
        self.listener = Listener(self.node, [("127.0.0.1", 0)], relay=[(listen, 0)], **how)
        self.listener.open()
        stack.callback(self.listener.close)
        port = self.listener.relay_addresses[0].port
        assert self.relay.port == port
        a, b = (stack.enter_context(client(host)) for host in hosts)
        for each in (a, b):
            each.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.a = End("a", a, Address(hosts[0], port))
        self.b = End("b", b, Address(hosts[1], port))

    async def bind(self) -> None:
        await self.a.bind(self.node)
        await self.b.bind(self.node)
        assert self.relay.bound == 2


@contextmanager
def relayed(
    hosts: tuple[str, str] = ("127.0.0.1", "127.0.0.1"), listen: str = "", **how: Any
) -> Iterator[Relayed]:
    with ExitStack() as stack:
        yield Relayed(stack, hosts, listen, **how)


def datagrams(mark: bytes = b"x") -> list[bytes]:
    return [mark * length for length in LENGTHS]


V4, V6 = "127.0.0.1", "::1"


@pytest.mark.parametrize(
    ("hosts", "listen"),
    [
        pytest.param((V4, V4), V4, id="one address"),
        pytest.param((V4, V4), "", id="wildcards"),
        pytest.param((V6, V6), V6, id="IPv6", marks=needs_ipv6),
        pytest.param((V4, V6), "", id="IPv4 and IPv6", marks=needs_ipv6),
    ],
)
@pytest.mark.parametrize("trace", [True, False], ids=["traced", "in batches"])
def test_every_datagram_arrives_as_it_was_sent(
    run: Run, hosts: tuple[str, str], listen: str, trace: bool
) -> None:
    async def main() -> None:
        with relayed(hosts, listen, trace=trace, observer=Watcher()) as pair:
            await pair.bind()
            for sender, receiver in ((pair.a, pair.b), (pair.b, pair.a)) * 2:
                sent = datagrams()
                sender.send(*sent)
                assert await receiver.receive(len(sent)) == sent
            assert pair.relay.total.datagrams == 4 * len(LENGTHS)
            assert pair.relay.total.octets == 4 * sum(LENGTHS)
            assert pair.listener.send_errors == {}

    run(main())


@linux_only
@pytest.mark.parametrize("hosts", [(V4, V4), pytest.param((V4, V6), marks=needs_ipv6)])
def test_segments_arrive_as_the_datagrams_that_they_are(run: Run, hosts: tuple[str, str]) -> None:
    async def main() -> None:
        with relayed(hosts) as pair:
            await pair.bind()
            sent = [bytes([number]) * 1200 for number in range(20)]
            for last in (b"", b"end", b"e" * 1200):
                pair.a.send_segments(*sent, last)
                expected = [*sent, last] if last else sent
                assert await pair.b.receive(len(expected)) == expected
            assert pair.relay.total.datagrams == 62

    run(main())


@linux_only
def test_flows_that_come_mixed_arrive_in_their_order(run: Run) -> None:
    """Of both ends and of strangers, in the same batches: the loop has no turn meanwhile."""

    async def main() -> None:
        with relayed() as pair, client() as stranger:
            await pair.bind()
            lengths = [100, 100, 60, 1200, 1200, 1200, 384, 0, 1]
            for number, length in enumerate(lengths * 10):
                for end in (pair.a, pair.b):
                    end.send(bytes([number]) * length)
                stranger.send(bytes(length), pair.a.relay)
            expected = [bytes([n]) * length for n, length in enumerate(lengths * 10)]
            assert await pair.a.receive(90) == expected
            assert await pair.b.receive(90) == expected
            assert pair.relay.strangers == 90
            assert pair.relay.total.datagrams == 180

    run(main())


def test_an_end_that_binds_elsewhere_is_relayed_to_there(run: Run) -> None:
    async def main() -> None:
        with relayed() as pair, client() as elsewhere:
            await pair.bind()
            pair.a.send(b"before")
            assert await pair.b.receive(1) == [b"before"]
            moved = End("b", elsewhere, pair.b.relay)
            moved.binder.counter = pair.b.binder.counter
            await moved.bind(pair.node)
            pair.a.send(b"after")
            assert await moved.receive(1) == [b"after"]
            moved.send(b"back")
            assert await pair.a.receive(1) == [b"back"]
            pair.b.send(b"from where it was")
            await pair.a.bind(pair.node)
            assert pair.relay.strangers == 1

    run(main())


@linux_only
def test_strangers_take_bounded_memory() -> None:
    from netpunch.net.batch import ADDRESSES_KEPT, system_name
    from netpunch.net.relay import OF_STRANGERS, RelayPaths, Routes

    relay = make_control().relay
    relay.serve(1)
    routes = Routes(RelayPaths(relay), 1, socket.AF_INET)
    batch, most = 64, 0
    for number in range(4 * ADDRESSES_KEPT):
        if number % batch == 0:
            routes.refresh()
        source = Address(f"198.51.{number >> 8}.{number & 255}", 1024)
        assert routes[system_name(socket.AF_INET, source)] is OF_STRANGERS
        most = max(most, len(routes))
    assert most <= ADDRESSES_KEPT + batch


@linux_only
@pytest.mark.parametrize("joined", [True, False])
def test_segments_that_the_system_refuses_arrive_one_by_one(
    run: Run, monkeypatch: pytest.MonkeyPatch, joined: bool
) -> None:
    from netpunch.net import segments
    from netpunch.net.batch import Message, send_messages

    refused: list[int] = []

    def send(descriptor: int, address: int, count: int) -> list[tuple[int, OSError]]:
        message = Message.from_address(address)
        if message.header.control_length:
            refused.append(count)
            return [(number, OSError(errno.EINVAL, "too long")) for number in range(count)]
        return send_messages(descriptor, address, count)

    async def main() -> None:
        with relayed() as pair:
            await pair.bind()
            monkeypatch.setattr(segments, "send_messages", send)
            sent = [bytes([number]) * 1200 for number in range(40)]
            for _ in range(2):
                for _ in range(3):
                    (pair.a.send_segments if joined else pair.a.send)(*sent)
                assert await pair.b.receive(3 * len(sent)) == 3 * sent
            assert len(refused) == 1, "then no longer tried"
            assert pair.listener.send_errors == {}

    run(main())


@linux_only
def test_a_bind_among_segments_is_taken(run: Run) -> None:
    async def main() -> None:
        with relayed() as pair:
            await pair.bind()
            pair.a.send_segments(bytes(384), pair.a.binder.message(), bytes(384))
            assert [len(data) for data in await pair.b.receive(2)] == [384, 384]
            (answer,) = await pair.a.receive(1)
            assert isinstance(read(answer), v2.Bound)

    run(main())


@pytest.mark.parametrize("trace", [True, False], ids=["traced", "in batches"])
def test_strangers_are_counted_and_not_answered(run: Run, trace: bool) -> None:
    async def main() -> None:
        with relayed(trace=trace, observer=Watcher()) as pair, client() as stranger:
            await pair.bind()
            for data in datagrams():
                stranger.send(data, pair.a.relay)
            pair.a.send(b"last")
            assert await pair.b.receive(1) == [b"last"]
            assert pair.relay.strangers == len(LENGTHS)
            assert pair.relay.total.datagrams == 1
            pair.b.send(b"last")
            assert await pair.a.receive(1) == [b"last"]

    run(main())


def test_what_is_above_the_rate_is_dropped_and_counted(run: Run) -> None:
    async def main() -> None:
        with relayed() as pair:
            await pair.bind()
            pair.relay.limit(8.0, 8.0)
            passed = (LARGEST + HEADERS) // (1000 + HEADERS)
            pair.a.send(*[bytes(1000)] * 100)
            assert len(await pair.b.receive(passed)) == passed
            await pair.a.bind(pair.node)
            assert pair.relay.total.over_rate == 100 - passed

    run(main())


def test_the_rate_counts_both_ways_in_one_batch(run: Run) -> None:
    """Datagrams in turn, too few of each end to bring them together."""

    async def main() -> None:
        with relayed() as pair:
            await pair.bind()
            pair.relay.limit(8.0, 1e12)
            pair.a.send(bytes(40_000))
            pair.b.send(b"back")
            pair.a.send(bytes(40_000))
            assert await pair.a.receive(1) == [b"back"]
            assert await pair.b.receive(1) == [bytes(40_000)]
            await pair.a.bind(pair.node)
            assert pair.relay.total.over_rate == 1
            assert pair.relay.total.datagrams == 2

    run(main())


@linux_only
def test_batches_grow_with_the_queue_and_nothing_is_lost(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from netpunch.net import batch, relay, segments
    from netpunch.net.batch import receive_messages

    batches: list[int] = []

    def receive(descriptor: int, address: int, most: int) -> int:
        batches.append(receive_messages(descriptor, address, most))
        return batches[-1]

    async def main() -> None:
        with relayed() as pair:
            for module in (batch, relay):
                monkeypatch.setattr(module, "TURN", 60.0)  # however slow the machine is
            await pair.bind()
            monkeypatch.setattr(segments, "receive_messages", receive)
            sent = [bytes([number & 255]) * (1 + number % 7) for number in range(150)]
            for data in sent:
                pair.a.send(data)
                pair.b.send(data)
            assert await pair.b.receive(len(sent)) == sent
            assert await pair.a.receive(len(sent)) == sent
            assert batches[:3] == [64, 128, 108]

    run(main())


@pytest.mark.parametrize("trace", [True, False], ids=["traced", "in batches"])
def test_nothing_passes_to_an_unbound_partner(run: Run, trace: bool) -> None:
    async def main() -> None:
        with relayed(trace=trace, observer=Watcher()) as pair:
            await pair.a.bind(pair.node)
            pair.a.send(*datagrams())
            await pair.a.bind(pair.node)
            assert pair.relay.total.no_partner == len(LENGTHS)

    run(main())


@pytest.mark.parametrize("trace", [True, False], ids=["traced", "in batches"])
def test_an_end_on_a_stream_is_relayed_to_one_on_udp(run: Run, trace: bool) -> None:
    async def main() -> None:
        at = TlsAt("127.0.0.1", 0, server_context())
        with relayed(trace=trace, observer=Watcher(), tls=at) as pair:
            assert pair.listener.tls is not None
            async with tls_peer(pair.listener.tls.local) as stream:
                a = Binder("a", b"attempta", stream.address)
                await stream.register(Voice("a", stream.address, a.attempt))
                stream.send(a.message())
                challenge = read(await stream.receive())
                assert isinstance(challenge, v2.Challenge)
                a.cookie = challenge.cookie
                stream.send(a.message())
                assert isinstance(read(await stream.receive()), v2.Bound)
                assert (await pair.b.bind(pair.node)).partner_bound == 1
                sent = [b"x" * length for length in (1, 100, 100, 100, 384, 1400, 9000)] * 3
                stream.send(*sent)
                assert await pair.b.receive(len(sent)) == sent
                pair.b.send(*sent)
                assert [await stream.receive() for _ in sent] == sent
            while pair.relay.bound == 2:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.001)
            pair.b.send(b"lost")
            assert (await pair.b.bind(pair.node)).partner_bound == 0

    run(main())


def test_a_port_of_the_relay_in_use_is_an_error_and_binds_nothing(run: Run) -> None:
    async def main() -> None:
        with client() as taken, client() as free:
            free.sock.close()
            node = ControlNode(make_control(), ClassicControl({}))
            listener = Listener(node, [free.address], relay=[taken.address])
            with pytest.raises(PortInUseError, match=f"{taken.address.port} is in use"):
                listener.open()
            assert port_is_free(free.address.port)

    run(main())
