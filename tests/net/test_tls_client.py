"""An end's streams to its controls, on loopback, with a machine that only records."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable

import pytest

from netpunch.address import Address
from netpunch.core.events import Event, Via
from netpunch.net import tls_client
from netpunch.net.driver import Driver
from netpunch.net.sockets import DEFAULT_OPTIONS, bind
from netpunch.net.tls_certificate import server_context
from netpunch.net.tls_client import ControlStreams, Place
from tests.net.conftest import Run
from tests.net.machines import EchoMachine, local_address
from tests.net.tls_peer import close

LOOPBACK = ("127.0.0.1", 0)


@pytest.fixture(scope="module")
def context() -> ssl.SSLContext:
    return server_context()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_client, "FIRST_PAUSE", 0.01)


class Recorder(EchoMachine):
    """Says hello to each control that it is connected to."""

    def __init__(self) -> None:
        super().__init__()
        self.connected: dict[Via, tuple[Address, Address]] = {}
        self.streams: list[Via] = []
        """Every one that there ever was."""
        self.news = asyncio.Event()

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        super().receive_datagram(data, source, now, via)
        self._transmits.clear()
        self.news.set()

    def control_connected(self, via: Via, control: Address, local: Address, now: float) -> None:
        self.connected[via] = (control, local)
        self.streams.append(via)
        self._send(b"hello", control, via)
        self.news.set()

    def control_disconnected(self, via: Via, now: float) -> None:
        del self.connected[via]
        self.news.set()


class Server:
    """A TLS server that records and answers what its clients say."""

    def __init__(self, context: ssl.SSLContext | None, *, answers: bool = True) -> None:
        self._context = context
        self._answers = answers
        self._tasks: set[asyncio.Task[None]] = set()
        self.heard: list[tuple[Address, bytes]] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.accepted = 0

    async def open(self, listening: socket.socket | None = None, port: int = 0) -> Address:
        listening = listening or socket.create_server(("127.0.0.1", port))
        self._server = await asyncio.start_server(self._serve, sock=listening, ssl=self._context)
        return local_address(self._server.sockets[0])

    async def close(self) -> None:
        self._server.close()
        for writer in self.writers:
            await close(writer)
        await asyncio.gather(*self._tasks, *_handshakes(), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        self.writers.append(writer)
        source = Address(*writer.get_extra_info("peername")[:2])
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                length = await reader.readexactly(2)
                data = await reader.readexactly(int.from_bytes(length, "big"))
                self.heard.append((source, data))
                if self._answers:
                    writer.write(length + data)


def _handshakes() -> list[asyncio.Task[None]]:
    """Those of asyncio's servers that are not over."""
    tasks = ((task, getattr(task.get_coro(), "__qualname__", "")) for task in asyncio.all_tasks())
    return [task for task, name in tasks if name.endswith("_accept_connection2")]


class Client:
    """Streams of a machine that has one UDP socket, too."""

    def __init__(self) -> None:
        self.machine = Recorder()
        self.events: list[Event] = []
        self.driver = Driver(self.machine, on_event=self.events.append)
        self.driver.open(dict(enumerate(bind(*LOOPBACK))))
        self.streams = ControlStreams(self.machine, self.driver, DEFAULT_OPTIONS)

    async def until(self, holds: Callable[[Recorder], object]) -> None:
        """Until something is true of the machine."""
        while not holds(self.machine):
            self.machine.news.clear()
            await self.machine.news.wait()


@contextlib.asynccontextmanager
async def client() -> AsyncIterator[Client]:
    one = Client()
    try:
        yield one
    finally:
        await one.streams.close()
        one.driver.close()


@contextlib.asynccontextmanager
async def server(
    context: ssl.SSLContext | None, *, answers: bool = True
) -> AsyncIterator[tuple[Server, Place]]:
    one = Server(context, answers=answers)
    try:
        yield one, (await one.open(), None)
    finally:
        await one.close()


def test_a_stream_carries_datagrams_both_ways_as_a_socket_of_its_own(
    run: Run, context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with server(context) as (control, place), client() as end:
            end.streams.keep([place])
            await end.until(lambda m: m.received)
            (via,) = end.machine.connected
            assert via != 0
            known, local = end.machine.connected[via]
            assert known == place[0]
            assert control.heard == [(local, b"hello")]
            assert end.machine.received == [(b"hello", place[0], via)]

    run(main())


def test_nothing_but_its_control_is_in_reach_of_a_stream(run: Run, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with server(context) as (control, place), client() as end:
            end.streams.keep([place])
            await end.until(lambda m: m.received)
            (via,) = end.machine.connected
            end.machine.send(b"to nobody", Address("127.0.0.1", 9), via)
            end.machine.send(b"to control", place[0], via)
            end.driver.pump()
            await end.until(lambda m: len(m.received) == 2)
            assert [data for _, data in control.heard] == [b"hello", b"to control"]

    run(main())


def test_a_broken_stream_is_made_again_with_another_number(
    run: Run, context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with server(context) as (control, place), client() as end:
            end.streams.keep([place])
            await end.until(lambda m: m.received)
            await close(control.writers[0])
            await end.until(lambda m: len(m.received) == 2)
            first, second = end.machine.streams
            assert list(end.machine.connected) == [second] != [first]

    run(main())


def test_a_handshake_that_takes_long_is_overtaken_by_another_connection(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when its SYN or a part of the handshake is lost; the slow connection is closed."""
    monkeypatch.setattr(tls_client, "ATTEMPT_INTERVAL", 0.05)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(LOOPBACK) as listening:
            listening.setblocking(False)
            async with client() as end:
                end.streams.keep([(local_address(listening), None)])
                slow, _ = await loop.sock_accept(listening)
                control = Server(context)
                await control.open(listening)
                await end.until(lambda m: m.received)
                with slow:
                    while await loop.sock_recv(slow, 4096):
                        pass  # to the end of what it sent
                assert len(end.machine.streams) == 1
            await control.close()

    run(main())


def test_one_connection_is_enough_where_the_handshake_is_quick(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_client, "ATTEMPT_INTERVAL", 5.0)

    async def main() -> None:
        async with server(context) as (control, place), client() as end:
            end.streams.keep([place])
            await end.until(lambda m: m.received)
            assert control.accepted == 1

    run(main())


def test_of_many_connections_none_stays_where_no_handshake_ends(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_client, "ATTEMPT_INTERVAL", 0.02)
    monkeypatch.setattr(tls_client, "CONNECT_WITHIN", 0.2)
    monkeypatch.setattr(tls_client, "FIRST_PAUSE", 30.0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(LOOPBACK) as listening:
            listening.setblocking(False)
            async with client() as end:
                end.streams.keep([(local_address(listening), None)])
                for _ in range(tls_client.ATTEMPTS):
                    silent, _ = await loop.sock_accept(listening)
                    with silent:
                        while await loop.sock_recv(silent, 4096):
                            pass
                assert not end.machine.streams

    run(main())


def test_a_control_that_comes_later_is_found(run: Run, context: ssl.SSLContext) -> None:
    async def main() -> None:
        with socket.create_server(LOOPBACK) as free:
            address = local_address(free)
        async with client() as end:
            end.streams.keep([(address, None)])
            await asyncio.sleep(0.05)
            assert not end.machine.streams
            late = Server(context)
            await late.open(port=address.port)
            await end.until(lambda m: m.received)
            await late.close()

    run(main())


def test_garbage_of_the_far_end_breaks_the_stream(run: Run, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with server(context) as (control, place), client() as end:
            end.streams.keep([place])
            await end.until(lambda m: m.received)
            control.writers[0].write(b"\xff\xff")
            await end.until(lambda m: len(m.streams) == 2)

    run(main())


def test_pauses_double_while_a_server_says_nothing(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a web server at that port does: it is not asked again and again."""
    monkeypatch.setattr(tls_client, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(tls_client, "FIRST_WORD_WITHIN", 0.02)

    async def main() -> None:
        async with server(context, answers=False) as (control, place), client() as end:
            end.streams.keep([place])
            await asyncio.sleep(1.0)
            assert 2 <= control.accepted <= 4
            assert len(end.machine.streams) <= 4

    run(main())


def test_a_name_that_tls_cannot_have_ends_nothing(run: Run, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with server(context) as (_, (address, _)), client() as end:
            end.streams.keep([(address, ".example.net")])
            await asyncio.sleep(0.05)
            assert not end.machine.streams
            end.streams.keep([(address, "example.net")])
            await end.until(lambda m: m.received)

    run(main())


def test_a_server_without_tls_is_no_control(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_client, "CONNECT_WITHIN", 0.05)

    async def main() -> None:
        async with server(None) as (control, place), client() as end:
            end.streams.keep([place])
            while control.accepted < 2:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
            assert end.machine.streams == []

    run(main())


def test_streams_that_are_no_longer_wanted_are_closed(run: Run, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with (
            server(context) as (_, one),
            server(context) as (_, other),
            client() as end,
        ):
            end.streams.keep([one, other])
            await end.until(lambda m: len(m.connected) == 2)
            end.streams.keep([other])
            await end.until(lambda m: len(m.connected) == 1)
            assert [control for control, _ in end.machine.connected.values()] == [other[0]]
            await end.streams.close()
            assert end.machine.connected == {}

    run(main())


def test_a_stream_from_an_address_that_is_gone_is_made_anew_at_once(
    run: Run, context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with server(context) as (_, place), client() as end:
            end.streams.keep([place])
            await end.until(lambda m: m.received)
            end.streams.network_changed(["127.0.0.1"])
            assert len(end.machine.streams) == 1
            end.streams.network_changed(["192.0.2.1"])
            await end.until(lambda m: len(m.received) == 2)
            assert len(end.machine.streams) == 2

    run(main())


def test_what_failed_is_tried_again_when_the_network_has_changed(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_client, "FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(tls_client, "CONNECT_WITHIN", 0.1)

    async def main() -> None:
        with socket.create_server(LOOPBACK) as free:
            address = local_address(free)
        async with client() as end:
            end.streams.keep([(address, None)])
            await asyncio.sleep(0.2)
            late = Server(context)
            await late.open(port=address.port)
            end.streams.network_changed(["127.0.0.1"])
            await end.until(lambda m: m.received)
            await late.close()

    run(main())


def test_a_driver_may_be_closed_before_the_streams(run: Run, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with server(context) as (_, place), client() as end:
            end.streams.keep([place])
            await end.until(lambda m: m.received)
            end.driver.close()
            await end.streams.close()

    run(main())


def test_the_name_of_a_control_is_told_to_its_server(run: Run, context: ssl.SSLContext) -> None:
    names: list[str | None] = []

    def seen(_tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        names.append(name)

    async def main() -> None:
        own = server_context()
        own.sni_callback = seen
        async with server(own) as (_, (address, _name)), client() as end:
            end.streams.keep([(address, "vps.example.net")])
            await end.until(lambda m: m.received)
            assert names == ["vps.example.net"]

    run(main())
