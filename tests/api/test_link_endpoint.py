"""netpunch.create_link_endpoint: what asyncio's own tests expect of a datagram transport.

Each test of the contract runs with a transport of `loop.create_datagram_endpoint`, too: it is what
asyncio does, not what we think that it does."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

import pytest

import netpunch
from netpunch.net.link_transport import LinkTransport
from tests.net.conftest import TIMEOUT, Run
from tests.net.machines import client
from tests.net.nodes import LOCAL, PAIR, SECRET, Watcher, control


class Recorder(asyncio.DatagramProtocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.received: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._arrival = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.told.append("made")
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append((data, addr))
        self._arrival.set()
        if data == b"raise":
            raise ValueError("mine")

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def pause_writing(self) -> None:
        self.told.append("paused")

    def resume_writing(self) -> None:
        self.told.append("resumed")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")
        self.lost.set_result(exc)

    async def hears(self, count: int) -> list[bytes]:
        while len(self.received) < count:
            self._arrival.clear()
            await self._arrival.wait()
        return [data for data, _ in self.received]


class FaultySocket(socket.socket):
    """Replaces another one. Sends fail with the error number `refusal`, if that is set, those of
    several datagrams with `refusal_of_bursts`. Both kinds are counted."""

    refusal = refusal_of_bursts = 0
    singles = bursts = 0

    def send(self, *arguments: Any) -> int:
        self._refuse()
        return super().send(*arguments)

    def sendto(self, *arguments: Any) -> int:
        self._refuse()
        self.singles += 1
        return super().sendto(*arguments)

    def sendmsg(self, *arguments: Any) -> int:
        self._refuse(self.refusal_of_bursts)
        self.bursts += 1
        return super().sendmsg(*arguments)

    def _refuse(self, refusal: int = 0) -> None:
        if refusal := refusal or self.refusal:
            raise OSError(refusal, os.strerror(refusal))


class Pair(NamedTuple):
    """Two connected transports and their protocols."""

    near: asyncio.DatagramTransport
    far: asyncio.DatagramTransport
    here: Recorder
    there: Recorder

    def faulty(self) -> FaultySocket:
        """The socket of the near one."""
        near: Any = self.near
        owner: Any = near._punch.endpoint if isinstance(near, LinkTransport) else near
        owner._sock = FaultySocket(fileno=owner._sock.detach())
        owner._sock.setblocking(False)
        faulty: FaultySocket = owner._sock
        if owner is not near:
            owner.put = faulty.sendto
            if hasattr(owner, "_outlet"):  # on Linux
                owner._outlet._sock = faulty
        return faulty


Subject = Callable[[], Any]


@asynccontextmanager
async def plain() -> AsyncIterator[Pair]:
    loop = asyncio.get_running_loop()
    with client() as one, client() as other:
        addresses = [one.address, other.address]  # free once these are closed
    (near, here), (far, there) = [
        await loop.create_datagram_endpoint(Recorder, local_addr=local, remote_addr=remote)
        for local, remote in (addresses, addresses[::-1])
    ]
    try:
        yield Pair(near, far, here, there)
    finally:
        await closed(near, far, here, there)


@asynccontextmanager
async def linked(**more: Any) -> AsyncIterator[Pair]:
    how: dict[str, Any] = {"pair": PAIR, "secret": SECRET, "local": LOCAL}
    async with control() as at:
        (near, here), (far, there) = await asyncio.gather(
            *(
                netpunch.create_link_endpoint(Recorder, end=end, control=str(at), **how | more)
                for end in "ab"
            )
        )
        try:
            yield Pair(near, far, here, there)
        finally:
            await closed(near, far, here, there)


async def closed(*pair: Any) -> None:
    near, far, here, there = pair
    near.close()
    far.close()
    await here.lost
    await there.lost


@asynccontextmanager
async def unsealed() -> AsyncIterator[Pair]:
    async with linked(sealed=False) as pair:
        yield pair


SUBJECTS = {"asyncio's": plain, "sealed": linked, "unsealed": unsealed}
contract = pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)


@pytest.fixture
def on_asyncio() -> Run:
    """For tests that look inside of asyncio's own transport."""

    def run(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(asyncio.wait_for(main, TIMEOUT))

    return run


@contract
def test_protocols_get_datagrams_with_the_partners_address(run: Run, subject: Subject) -> None:
    async def main() -> None:
        async with subject() as pair:
            assert pair.here.told == ["made"]
            assert pair.here.transport is pair.near
            pair.near.sendto(b"bytes")
            pair.near.sendto(bytearray(b"bytearray"), None)
            pair.near.sendto(memoryview(b"memoryview"))
            pair.near.sendto(memoryview(b"integers").cast("I"))
            sent = [b"bytes", b"bytearray", b"memoryview", b"integers"]
            assert await pair.there.hears(4) == sent
            source = pair.far.get_extra_info("peername")
            assert {addr for _, addr in pair.there.received} == {source}

    run(main())


@contract
def test_extra_info_tells_of_the_socket(run: Run, subject: Subject) -> None:
    async def main() -> None:
        async with subject() as pair:
            near, far = pair.near, pair.far
            assert near.get_extra_info("sockname") == far.get_extra_info("peername")
            assert near.get_extra_info("peername") == far.get_extra_info("sockname")
            sock = near.get_extra_info("socket")
            assert sock.getsockname() == near.get_extra_info("sockname")
            assert sock.type == socket.SOCK_DGRAM
            assert near.get_extra_info("nothing") is None
            assert near.get_extra_info("nothing", 1) == 1

    run(main())


@contract
def test_it_refuses_what_it_cannot_send(on_asyncio: Run, subject: Subject) -> None:
    async def main() -> None:
        async with subject() as pair:
            with pytest.raises(TypeError):
                pair.near.sendto("text")
            with pytest.raises(ValueError):
                pair.near.sendto(b"elsewhere", ("127.0.0.1", 9))
            with pytest.raises(ValueError):
                pair.near.sendto(b"elsewhere", 9)

    on_asyncio(main())


@contract
def test_an_error_of_the_system_goes_to_the_protocol(on_asyncio: Run, subject: Subject) -> None:
    async def main() -> None:
        async with subject() as pair:
            sock = pair.faulty()
            sock.refusal = errno.EPERM
            pair.near.sendto(b"lost")
            sock.refusal = 0
            pair.near.sendto(b"sent")
            assert await pair.there.hears(1) == [b"sent"]
            assert [getattr(each, "errno", None) for each in pair.here.errors] == [errno.EPERM]
            assert not pair.near.is_closing()

    on_asyncio(main())


@contract
def test_what_the_system_has_no_room_for_waits_and_pauses_the_protocol(
    on_asyncio: Run, subject: Subject
) -> None:
    async def main() -> None:
        async with subject() as pair:
            near, here = cast(Any, pair.near), pair.here
            # Newer versions of asyncio add 8 bytes for each that waits; some don't take them off.
            near.set_write_buffer_limits(high=50, low=30)
            sock = pair.faulty()
            sock.refusal = errno.EAGAIN
            data = bytearray(b"0123456789")
            near.sendto(data)
            data[:] = b"overwritten"[:10]
            near.sendto(b"second")
            assert here.told == ["made"]
            third = b"third" * 10
            near.sendto(third)
            assert here.told == ["made", "paused"]
            assert near.get_write_buffer_size() >= 66
            assert not pair.there.received
            sock.refusal = 0
            assert await pair.there.hears(3) == [b"0123456789", b"second", third]
            assert here.told == ["made", "paused", "resumed"]
            assert near.get_write_buffer_size() <= 24

    on_asyncio(main())


@contract
def test_write_buffer_limits(on_asyncio: Run, subject: Subject) -> None:
    async def main() -> None:
        async with subject() as pair:
            near = cast(Any, pair.near)
            assert near.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
            near.set_write_buffer_limits(low=100)
            assert near.get_write_buffer_limits() == (100, 400)
            near.set_write_buffer_limits(high=100)
            assert near.get_write_buffer_limits() == (25, 100)
            with pytest.raises(ValueError):
                near.set_write_buffer_limits(high=1, low=2)

    on_asyncio(main())


@contract
def test_closing_sends_what_waits_and_tells_the_protocol_once(
    on_asyncio: Run, subject: Subject
) -> None:
    async def main() -> None:
        async with subject() as pair:
            sock = pair.faulty()
            sock.refusal = errno.EAGAIN
            pair.near.sendto(b"waits")
            assert not pair.near.is_closing()
            pair.near.close()
            pair.near.close()
            assert pair.near.is_closing()
            sock.refusal = 0
            assert await pair.there.hears(1) == [b"waits"]
            assert await pair.here.lost is None
            assert pair.here.told.count("lost") == 1

    on_asyncio(main())


@contract
def test_aborting_loses_what_waits(on_asyncio: Run, subject: Subject) -> None:
    async def main() -> None:
        async with subject() as pair:
            pair.faulty().refusal = errno.EAGAIN
            pair.near.sendto(b"waits")
            pair.near.abort()
            assert pair.near.is_closing()
            assert await pair.here.lost is None
            assert not pair.there.received

    on_asyncio(main())


@contract
def test_a_protocol_that_raises_goes_on(run: Run, subject: Subject) -> None:
    async def main() -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, c: complaints.append(c))
        async with subject() as pair:
            pair.near.sendto(b"raise")
            pair.near.sendto(b"on")
            assert await pair.there.hears(2) == [b"raise", b"on"]
        assert [str(each["exception"]) for each in complaints] == ["mine"]

    run(main())


@contract
def test_the_protocol_can_be_replaced(on_asyncio: Run, subject: Subject) -> None:
    async def main() -> None:
        async with subject() as pair:
            assert pair.far.get_protocol() is pair.there
            other = Recorder()
            if isinstance(pair.far, LinkTransport):
                pair.far.set_protocol(other)
                pair.near.sendto(b"for the other")
                assert await other.hears(1) == [b"for the other"]
                pair.far.set_protocol(pair.there)
                with pytest.raises(TypeError, match=r"DatagramProtocol, got Protocol$"):
                    pair.far.set_protocol(asyncio.Protocol())
                assert pair.far.get_protocol() is pair.there
            else:
                pair.far.set_protocol(other)
                assert pair.far.get_protocol() is other
                pair.far.set_protocol(pair.there)

    on_asyncio(main())


# What links have beyond that.


def test_answers_may_name_the_partner(run: Run) -> None:
    """As those of protocols for several partners do. uvloop's own transport refuses that."""

    async def main() -> None:
        async with linked() as pair:
            pair.near.sendto(b"question")
            await pair.there.hears(1)
            ((_, source),) = pair.there.received
            pair.far.sendto(b"answer", source)
            assert await pair.here.hears(1) == [b"answer"]
            pair.near.close()
            pair.near.sendto(b"too late")

    run(main())


def test_the_end_of_the_partner_closes_the_transport(run: Run) -> None:
    async def main() -> None:
        async with linked() as pair:
            pair.near.close()
            assert await pair.there.lost is None
            assert pair.far.is_closing()

    run(main())


def test_a_program_that_closes_last_tells_its_partner_and_its_protocol(run: Run) -> None:
    """Its loop cancels what is left of closing before that begins."""
    protocols: list[Recorder] = []

    def make(at: str, end: str) -> Coroutine[Any, Any, tuple[Any, Recorder]]:
        return netpunch.create_link_endpoint(
            Recorder, pair=PAIR, end=end, secret=SECRET, control=at, local=LOCAL
        )

    async def leave(at: str) -> None:
        transport, protocol = await make(at, "a")
        protocols.append(protocol)
        transport.close()

    def in_another_loop(at: str) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(leave(at))

    async def main() -> None:
        async with control() as at:
            leaving = asyncio.create_task(asyncio.to_thread(in_another_loop, str(at)))
            _, protocol = await make(str(at), "b")
            assert await protocol.lost is None
            await leaving
        assert [each.told for each in protocols] == [["made", "lost"]]

    run(main())


def test_a_transport_that_is_left_open_is_told_of(run: Run) -> None:
    async def main() -> None:
        async with linked() as pair:
            near = cast(Any, pair.near)
            with pytest.warns(ResourceWarning, match=r"unclosed transport <LinkTransport 127\."):
                near.__del__()  # as it will be called in the end: until then the loop has it
        near.__del__()  # pytest makes errors of warnings

    run(main())


def test_a_link_that_falls_silent_is_lost_with_an_error(run: Run) -> None:
    async def main() -> None:
        async with linked(keepalive=0.1, hold_for=0.3) as pair:
            pair.near.abort()
            error = await pair.there.lost
            assert isinstance(error, netpunch.LinkClosedError)
            assert error.reason == "silent"

    run(main())


def test_the_path_is_told(run: Run) -> None:
    async def main() -> None:
        async with linked() as pair:
            assert pair.near.get_extra_info("path") == "host"
            assert pair.near.get_extra_info("loss") == 0.0
            assert pair.near.get_extra_info("rtt") > 0

    run(main())


def test_a_program_that_does_not_pause_is_bounded(on_asyncio: Run) -> None:
    async def main() -> None:
        async with linked() as pair:
            sock = pair.faulty()
            sock.refusal = errno.EAGAIN
            for _ in range(100):
                pair.near.sendto(bytes(60_000))
            assert cast(Any, pair.near).get_write_buffer_size() <= 4 << 20
            pair.near.abort()

    on_asyncio(main())


def _raise() -> Recorder:
    raise ValueError("mine")


@pytest.mark.parametrize(
    ("factory", "kind", "said"),
    [
        (_raise, ValueError, "mine"),
        (asyncio.Protocol, netpunch.UsageError, "it returned Protocol, which has no datagram_rece"),
    ],
    ids=["raises", "another kind"],
)
def test_a_factory_that_fails_leaves_nothing_open(
    run: Run, factory: Any, kind: type[Exception], said: str
) -> None:
    async def main() -> None:
        watcher = Watcher()
        async with control(observer=watcher) as at:
            ends = [
                netpunch.create_link_endpoint(
                    factory, pair=PAIR, end=end, secret=SECRET, control=str(at), local=LOCAL
                )
                for end in "ab"
            ]
            for result in await asyncio.gather(*ends, return_exceptions=True):
                assert isinstance(result, kind)
                assert said in str(result)

    run(main())


# Bursts.


def burst(count: int, length: int = 1000) -> list[bytes]:
    return [b"%d" % number + bytes(length) for number in range(10, 10 + count)]


linked_subjects = pytest.mark.parametrize("subject", [linked, unsealed], ids=["sealed", "unsealed"])
linux = pytest.mark.skipif(sys.platform != "linux", reason="others send each datagram alone")


@contract
def test_a_lone_datagram_leaves_at_once(run: Run, subject: Subject) -> None:
    async def main() -> None:
        async with subject() as pair:
            far = pair.far.get_extra_info("socket")
            pair.near.sendto(b"alone")
            assert select.select([far.fileno()], [], [], TIMEOUT)[0], "before the loop has a turn"
            assert await pair.there.hears(1) == [b"alone"]

    run(main())


@linux
@linked_subjects
def test_a_burst_leaves_in_few_messages_and_is_counted(run: Run, subject: Subject) -> None:
    async def main() -> None:
        async with subject() as pair:
            sock, sent = pair.faulty(), burst(50)
            for each in sent:
                pair.near.sendto(each)
            assert await pair.there.hears(50) == sent
            assert sock.singles + sock.bursts < 10, "the first one, and some that came too late"
            figures = cast(Any, pair.near).figures
            assert (figures.sent_datagrams, figures.sent_bytes) == (50, 50 * 1002)
            assert cast(Any, pair.near).get_write_buffer_size() == 0

    run(main())


@contract
def test_bursts_of_any_lengths_arrive_in_order(run: Run, subject: Subject) -> None:
    async def main() -> None:
        async with subject() as pair:
            lengths = [1200, 1200, 1200, 3, 0, 0, 7, 1200, 2000, 2000, 5, 5, 5, 1] * 8
            if subject is plain:
                lengths = [each for each in lengths if each]  # before 3.13 asyncio sends none of 0
            sent = [bytearray(os.urandom(length)) for length in lengths]
            expected = list(map(bytes, sent))
            for each in sent:
                pair.near.sendto(each)
                each[:] = bytes(len(each))
            assert (await pair.there.hears(len(expected)))[: len(expected)] == expected

    run(main())


@linux
@linked_subjects
@pytest.mark.parametrize("refusal", [errno.EIO, errno.EMSGSIZE, errno.EINVAL])
def test_where_bursts_cannot_leave_together_each_leaves_alone(
    run: Run, subject: Subject, refusal: int
) -> None:
    async def main() -> None:
        async with subject() as pair:
            sock, sent = pair.faulty(), burst(30)
            sock.refusal_of_bursts = refusal
            for each in sent:
                pair.near.sendto(each)
            assert await pair.there.hears(30) == sent
            assert sock.bursts == 0
            assert not pair.here.errors

    run(main())


@linked_subjects
def test_a_burst_for_which_there_is_no_room_waits_and_pauses_the_protocol(
    run: Run, subject: Subject
) -> None:
    async def main() -> None:
        async with subject() as pair:
            sock, sent = pair.faulty(), burst(200)
            pair.near.sendto(sent[0])
            sock.refusal = errno.EAGAIN
            for each in sent[1:]:
                pair.near.sendto(each)
            assert "paused" in pair.here.told
            sock.refusal = 0
            assert await pair.there.hears(200) == sent
            assert pair.here.told == ["made", "paused", "resumed"]

    run(main())


@linux
@linked_subjects
def test_a_burst_that_the_system_refuses_is_an_error_for_the_protocol(
    run: Run, subject: Subject
) -> None:
    async def main() -> None:
        async with subject() as pair:
            sock = pair.faulty()
            sock.refusal_of_bursts = errno.EPERM
            for each in burst(20):
                pair.near.sendto(each)
            await asyncio.sleep(0)
            sock.refusal_of_bursts = 0
            pair.near.sendto(b"on")
            while pair.there.received[-1:] != [(b"on", pair.far.get_extra_info("peername"))]:
                await pair.there.hears(len(pair.there.received) + 1)
            assert {getattr(each, "errno", None) for each in pair.here.errors} == {errno.EPERM}
            assert "made" in pair.here.told
            assert "paused" not in pair.here.told

    run(main())


@linux
@linked_subjects
def test_a_protocol_may_answer_an_error_within_a_burst(run: Run, subject: Subject) -> None:
    async def main() -> None:
        async with subject() as pair:
            sock, sent, more = pair.faulty(), burst(150), burst(150, 10)

            def error_received(error: Exception) -> None:
                sock.refusal_of_bursts = 0
                for each in more:
                    pair.near.sendto(each)
                pair.near.close()

            cast(Any, pair.here).error_received = error_received
            sock.refusal_of_bursts = errno.EPERM
            for each in sent:
                pair.near.sendto(each)
            await pair.here.lost
            await pair.there.lost
            got = await pair.there.hears(1)
            assert got[-150:] == more
            assert len(set(got)) == len(got), "none comes twice"

    run(main())


@contract
@pytest.mark.parametrize("end", ["close", "abort"])
def test_what_was_sent_before_the_transport_is_closed_has_left(
    on_asyncio: Run, subject: Subject, end: str
) -> None:
    async def main() -> None:
        async with subject() as pair:
            sent = burst(20)
            for each in sent:
                pair.near.sendto(each)
            getattr(pair.near, end)()
            assert await pair.there.hears(20) == sent

    on_asyncio(main())
