"""Held links between real sockets, on which programs' datagrams pass in bulk."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import sys
from collections.abc import AsyncIterator
from random import Random
from typing import Any, NamedTuple

import pytest

if sys.platform != "linux":
    pytest.skip("recvmmsg(2) and segments are Linux's", allow_module_level=True)

from netpunch.address import Address
from netpunch.core.machine import LinkFigures
from netpunch.net import carrying
from netpunch.net.bulk import ALONE, Inlet
from netpunch.net.carrying import CarryingEndpoint
from netpunch.net.driver import Observer
from netpunch.net.forward import Forwarder
from netpunch.net.punch import Punch
from netpunch.net.segments import UDP_SEGMENT, Received
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import CONTROL_DATAGRAM, PEER_DATAGRAM, VERSION, Buffer
from netpunch.wire.v2 import Kind
from tests.net.conftest import Run
from tests.net.forwarding import forwarding, held
from tests.net.machines import Client, client, has_ipv6
from tests.net.nodes import Watcher, control

LENGTHS = [1, 60, 60, PEER_DATAGRAM, CONTROL_DATAGRAM, 1200, 1200, 1200, 1472, 9000]
RECEIVE_BUFFER = 4 << 20


class Side(NamedTuple):
    """A program, and the end that carries its datagrams."""

    program: Client
    entrance: Address
    forwarder: Forwarder
    punch: Punch

    @property
    def figures(self) -> LinkFigures:
        figures = self.punch.figures
        assert figures is not None
        return figures

    @property
    def endpoint(self) -> CarryingEndpoint:
        assert self.punch._machine is not None
        assert self.punch._driver is not None
        assert self.punch._machine.path is not None
        endpoint = self.punch._driver.endpoints[self.punch._machine.path[0]]
        assert isinstance(endpoint, CarryingEndpoint)
        return endpoint


@contextlib.asynccontextmanager
async def linked(
    *, observer: Observer | None = None, host: str = "127.0.0.1", local: str = "", **settings: Any
) -> AsyncIterator[tuple[Side, Side]]:
    """Links at `host`; the ends are bound to `local`, by default the same."""
    async with contextlib.AsyncExitStack() as stack:
        at = await stack.enter_async_context(control(str(Address(host, 0))))
        sides = []
        for end in ("a", "b"):
            program = stack.enter_context(client())
            program.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            forwarder, entrance = await stack.enter_async_context(forwarding(program.address))
            settings["local"] = (local or host, 0)
            punch = await held(end, at, forwarder, observer=observer, **settings)
            stack.push_async_callback(punch.close)
            sides.append(Side(program, entrance, forwarder, punch))
        await asyncio.gather(*(side.punch.linked() for side in sides))
        for side in sides:
            side.forwarder.attach(side.punch)
        yield sides[0], sides[1]


def send(program: Client, payloads: list[bytes], destination: Address) -> None:
    """In one message: all but the last are equally long."""
    if len(payloads) == 1:
        program.sock.sendto(payloads[0], destination)
        return
    cut = (socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("@H", len(payloads[0])))
    program.sock.sendmsg(payloads, [cut], 0, destination)


def messages(random: Random, count: int) -> list[list[bytes]]:
    """Single datagrams and messages of many; some look like netpunch's own, but aren't."""
    made = []
    for _ in range(count):
        length, number = random.choice(LENGTHS), random.choice([1, 1, 1, 2, 7, 40])
        if length * number > 60_000:
            number = 1
        lengths = [length] * number
        if number > 1 and random.random() < 0.3:
            lengths[-1] = random.choice([each for each in LENGTHS if each <= length])
        payloads = [random.randbytes(each) for each in lengths]
        if random.random() < 0.2:
            payloads[-1] = bytes((VERSION,)) + payloads[-1][1:]
        made.append(payloads)
    return made


@pytest.mark.parametrize("local", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_any_address_of_either_family_carries_all(run: Run, local: str) -> None:
    """On a wildcard the path is pinned to the address that it was agreed with."""
    if ":" in local and not has_ipv6():
        pytest.skip("this host has no IPv6")
    random = Random(local)
    host = "::1" if ":" in local else "127.0.0.1"

    async def main() -> None:
        async with linked(host=host, local=local) as (a, b):
            assert (a.endpoint._pinned is not None) == (local in ("0.0.0.0", "::"))
            for one, other in ((a, b), (b, a)):
                sent = []
                for payloads in messages(random, 20):
                    send(one.program, payloads, one.entrance)
                    sent += payloads
                assert [(await other.program.receive())[0] for _ in sent] == sent

    run(main())


def test_while_somebody_observes_the_datagrams_each_is_shown(run: Run) -> None:
    random, watcher = Random("observed"), Watcher()

    async def main() -> None:
        async with linked(observer=watcher) as (a, b):
            sent = []
            for payloads in messages(random, 10):
                send(a.program, payloads, a.entrance)
                sent += payloads
            assert [(await b.program.receive())[0] for _ in sent] == sent
        assert [each.data for each in watcher.datagrams if each.data in sent and each.sent] == sent

    run(main())


class Refusing:
    """Of a socket: it takes no segments."""

    def __init__(self, error: int) -> None:
        self._error = error
        self.asked = 0

    def sendmsg(self, *_: object) -> int:
        self.asked += 1
        raise OSError(self._error, "refused")


@pytest.mark.parametrize("refusal", [None, errno.EIO, errno.EINVAL, errno.EOPNOTSUPP])
def test_all_that_programs_say_arrives_in_order(run: Run, refusal: int | None) -> None:
    """Both ways, whether or not the system can cut messages into segments."""
    random = Random(f"carried {refusal}")

    async def main() -> None:
        async with linked() as (a, b):
            refusing = []
            for outlet in (a.endpoint._outlet, b.forwarder._outlet):
                assert outlet is not None
                if refusal is not None:
                    refusing.append(Refusing(refusal))
                    outlet._sock = refusing[-1]  # type: ignore[assignment]
            for one, other in ((a, b), (b, a), (a, b)):
                sent = []
                for payloads in messages(random, 30):
                    send(one.program, payloads, one.entrance)
                    sent += payloads
                assert [(await other.program.receive())[0] for _ in sent] == sent
            assert a.figures.sent_datagrams == b.figures.received_datagrams
            assert a.figures.sent_bytes == b.figures.received_bytes
            assert b.figures.sent_datagrams == a.figures.received_datagrams
            assert a.forwarder.drops.total() == b.forwarder.drops.total() == 0
            for each in refusing:
                assert each.asked <= (len(LENGTHS) if refusal == errno.EINVAL else 1)

    run(main())


@pytest.mark.parametrize("filtered", [True, False])
def test_strangers_reach_no_program_and_are_counted(
    run: Run, monkeypatch: pytest.MonkeyPatch, filtered: bool
) -> None:
    """Whether or not they look like netpunch, between the partner's datagrams: by the kernel if it
    filters, else by the machine."""
    if not filtered:
        monkeypatch.setattr(carrying, "all_of", lambda *_: [])  # as the system takes none

    async def main() -> None:
        async with linked() as (a, b):
            assert b.punch._machine is not None
            before = b.punch._machine.drops
            of_another_pair, of_this = (
                (bytes((VERSION, Kind.PING)) + tag).ljust(PEER_DATAGRAM, b"x")
                for tag in (bytes(8), b.punch._machine.tag)
            )
            with client() as one, client() as other:
                for number in range(20):
                    one.send(b"hello", b.endpoint.local)
                    a.program.send(b"%d" % number, a.entrance)
                    send(other, [bytes(700), bytes(700), bytes(10)], b.endpoint.local)
                    one.send(of_another_pair, b.endpoint.local)
                    one.send(of_this, b.endpoint.local)
                    assert (await b.program.receive())[0] == b"%d" % number
                a.program.send(b"last", a.entrance)
                assert (await b.program.receive())[0] == b"last"
            dropped = b.punch._machine.drops - before
            assert dropped[Drop.MALFORMED] == (0 if filtered else 20 * 4)
            # A message of three counts once, or thrice while the system joins no datagrams.
            assert b.endpoint.queue_drops in (range(20 * 3, 20 * 5 + 1) if filtered else (0,))
            assert dropped[Drop.UNKNOWN_PAIR] == (0 if filtered else 20)
            assert dropped[Drop.BAD_MAC] == 20
            assert b.figures.received_datagrams == 21

    run(main())


def test_a_sealed_link_carries_what_the_programs_send(run: Run) -> None:
    random = Random("sealed")

    async def main() -> None:
        async with linked(sealed=True) as (a, b):
            for side, other in ((a, b), (b, a)):
                sent = []
                for payloads in messages(random, 20):
                    send(side.program, payloads, side.entrance)
                    sent += payloads
                assert [(await other.program.receive())[0] for _ in sent] == sent
                assert other.figures.received_datagrams == len(sent)
                assert other.figures.received_bytes == sum(map(len, sent))
                assert side.figures.sent_bytes == sum(map(len, sent))

    run(main())


def test_nothing_else_that_comes_from_the_partners_address_passes_a_sealed_link(run: Run) -> None:
    """The attacker has the partner's own socket, as if he forged its address."""
    random = Random("forged")

    async def main() -> None:
        async with linked(sealed=True) as (a, b):
            assert a.punch._machine is not None
            assert b.punch._machine is not None
            assert b.punch._machine.path is not None
            _, attacked, _ = b.punch._machine.path
            before = a.punch._machine.drops.total()
            attacks = 0
            for payloads in messages(random, 40):
                for forged in payloads:
                    b.endpoint._sock.sendto(forged, attacked)
                    attacks += 1
                while a.punch._machine.drops.total() < before + attacks:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            assert a.punch._machine.sealing is not None
            assert b.punch._machine.sealing is not None
            recorded = b.punch._machine.sealing.seal([b"honest"] * 10)
            own = a.punch._machine.sealing.seal([b"reflected"] * 10)
            for data in (*own, *recorded, *recorded, *own, *recorded):
                b.endpoint._sock.sendto(data, attacked)
            assert [(await a.program.receive())[0] for _ in recorded] == [b"honest"] * 10
            send(b.program, [b"the next one"], b.entrance)
            assert (await a.program.receive())[0] == b"the next one"
            assert a.figures.received_datagrams == 11
            assert sum(a.figures.drops.values()) == attacks + 40
            assert a.figures.drops[Drop.STALE] == 20

    run(main())


async def talk(a: Side, b: Side, count: int) -> None:
    """So many questions, one after the other."""
    for number in range(count):
        send(a.program, [b"%d?" % number], a.entrance)
        assert (await b.program.receive())[0] == b"%d?" % number
        send(b.program, [b"%d!" % number], b.entrance)
        assert (await a.program.receive())[0] == b"%d!" % number


@pytest.mark.parametrize("sealed", [False, True])
def test_each_datagram_that_comes_alone_is_counted(run: Run, sealed: bool) -> None:
    count = 3 * ALONE

    async def main() -> None:
        async with linked(sealed=sealed) as (a, b):
            await talk(a, b, count)
            octets = sum(len(b"%d?" % number) for number in range(count))
            for side in (a, b):
                figures = side.figures
                assert (figures.sent_datagrams, figures.sent_bytes) == (count, octets)
                assert (figures.received_datagrams, figures.received_bytes) == (count, octets)

    run(main())


def test_while_datagrams_come_alone_no_batch_is_received(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its many steps would delay one of them."""
    batches, receive = 0, Inlet.receive

    def counted(inlet: Inlet) -> Received:
        nonlocal batches
        batches += 1
        return receive(inlet)

    monkeypatch.setattr(Inlet, "receive", counted)

    async def main() -> None:
        async with linked() as (a, b):
            await talk(a, b, 3 * ALONE)
            before = batches
            await talk(a, b, 3 * ALONE)
            assert batches == before > 0
            send(a.program, [bytes(100)] * 3 * ALONE, a.entrance)
            for _ in range(3 * ALONE):
                await b.program.receive()
            assert batches > before

    run(main())


def test_a_lone_datagram_neither_leaves_nor_enters_once_the_path_is_gone(run: Run) -> None:
    """Whatever was prepared for the last one."""

    async def main() -> None:
        async with linked() as (a, b):
            await talk(a, b, ALONE)
            machine = a.punch._machine
            assert machine is not None
            machine.path, machine.partners = None, {}
            send(a.program, [b"without a path"], a.entrance)
            send(b.program, [b"from a stranger"], b.entrance)
            while machine.drops[Drop.MALFORMED] < 1:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)
            assert a.figures.sent_datagrams == a.figures.received_datagrams == ALONE

    run(main())


def test_what_comes_alone_is_answered_to_the_program_that_spoke_last(run: Run) -> None:
    async def main() -> None:
        async with linked() as (a, b):
            a.forwarder._to = None
            with client() as other:
                for number in range(ALONE):
                    for program in (a.program, other):
                        program.send(b"%d?" % number, a.entrance)
                        assert (await b.program.receive())[0] == b"%d?" % number
                        b.program.send(b"%d!" % number, b.entrance)
                        assert (await program.receive())[0] == b"%d!" % number

    run(main())


def test_what_a_program_sends_too_soon_after_a_link_ended_is_counted(run: Run) -> None:
    async def main() -> None:
        async with linked() as (a, _):
            a.forwarder.detach()
            send(a.program, [bytes(100)] * 5, a.entrance)
            while a.forwarder.drops != {"no_link": 5}:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)

    run(main())


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EPERM])
def test_a_lone_datagram_that_the_system_refuses_is_counted_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    async def main() -> None:
        async with linked() as (a, b):
            assert a.punch._driver is not None
            errors, sent = a.punch._driver.send_errors, 0
            send_now = a.endpoint.put

            def refuse(data: Buffer, destination: Address) -> None:
                if len(data) == 1:
                    raise OSError(number, "refused")
                send_now(data, destination)

            monkeypatch.setattr(CarryingEndpoint, "put", lambda _, *what: refuse(*what))
            while sent < 3:
                send(a.program, [b"x"], a.entrance)
                sent += 1
                while errors.total() < sent:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.001)
            send(a.program, [b"the next one"], a.entrance)
            assert (await b.program.receive())[0] == b"the next one"
            assert errors == {errno.errorcode[number]: sent}
            assert a.forwarder.drops == {"refused": sent}

    run(main())
