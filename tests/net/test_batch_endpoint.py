"""A control's socket answers single datagrams one by one, and many in batches."""

from __future__ import annotations

import contextlib
import errno
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("batches are Linux's", allow_module_level=True)

from netpunch.address import Address
from netpunch.core.events import Event, Via
from netpunch.net import batch
from netpunch.net.batch import SIZE, BatchEndpoint
from netpunch.net.driver import FEW, Datagram, Driver
from netpunch.net.sockets import SocketOptions, bind
from tests.net.conftest import Run
from tests.net.machines import EchoMachine, client, has_ipv6, local_address

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")
HOSTS = ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)]
MANY = 3 * SIZE


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the system was asked to receive or send a batch."""
    counted: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., int]:
        call: Callable[..., int] = getattr(batch, name)

        def counted_call(*arguments: Any) -> int:
            counted[name] += 1
            return call(*arguments)

        return counted_call

    for name in ("_RECEIVE", "_SEND"):
        monkeypatch.setattr(batch, name, counting(name))
    return counted


def ignore(event: Event) -> None:
    """Does nothing."""


@contextlib.contextmanager
def driven(
    machine: EchoMachine, *hosts: str, observer: Callable[[Datagram], None] | None = None
) -> Iterator[tuple[Driver, list[Address]]]:
    """A driver of the machine with a socket on each of `hosts`, and their addresses."""
    options = SocketOptions(receive_buffer=1 << 20)
    sockets = {via: bind(host, 0, options)[0] for via, host in enumerate(hosts)}
    driver = Driver(machine, on_event=ignore, observer=observer)
    try:
        driver.open(sockets, endpoint=BatchEndpoint)
        yield driver, [local_address(sock) for sock in sockets.values()]
    finally:
        driver.close()


@pytest.mark.parametrize("host", HOSTS)
def test_single_datagrams_are_answered_one_by_one(run: Run, calls: Counter[str], host: str) -> None:
    async def main() -> None:
        with driven(EchoMachine(), host) as (_, [address]), client(host) as peer:
            for _ in range(10):
                assert await peer.ask(b"hello", address) == (b"hello", address)

    run(main())
    assert not calls["_SEND"]


@pytest.mark.parametrize("host", HOSTS)
def test_many_datagrams_are_answered_in_batches(run: Run, calls: Counter[str], host: str) -> None:
    async def main() -> None:
        machine = EchoMachine()
        with (
            driven(machine, host) as (driver, [address]),
            client(host) as one,
            client(host) as other,
        ):
            for number in range(0, MANY, 2):
                one.send(b"%d" % number, address)
                other.send(b"%d" % (number + 1), address)
            for number in range(0, MANY, 2):
                assert await one.receive() == (b"%d" % number, address)
                assert await other.receive() == (b"%d" % (number + 1), address)
            assert len(machine.received) == MANY
            assert not driver.send_errors

    run(main())
    assert 0 < calls["_RECEIVE"] <= MANY // SIZE + 1
    assert 0 < calls["_SEND"] <= MANY // SIZE + 1


def test_a_batch_is_checked_for_at_intervals_only(
    run: Run, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with driven(EchoMachine(), "127.0.0.1") as (_, [address]), client() as peer:
            for _ in range(MANY):
                peer.send(b"crowd", address)
            for _ in range(MANY):
                await peer.receive()
            await peer.ask(b"the first alone", address)
            calls.clear()
            for _ in range(10):
                assert await peer.ask(b"alone", address) == (b"alone", address)

    monkeypatch.setattr(batch, "CHECK_INTERVAL", 1e6)
    run(main())
    assert not calls


def test_a_refused_batch_is_counted(run: Run, calls: Counter[str]) -> None:
    async def main() -> None:
        machine = EchoMachine()
        with driven(machine, "127.0.0.1") as (driver, _), client() as peer:
            for _ in range(FEW):
                machine.send(b"to nobody", Address("127.0.0.1", 0))
                machine.send(b"to somebody", peer.address)
            driver.pump()
            for _ in range(FEW):
                assert (await peer.receive())[0] == b"to somebody"
            assert driver.send_errors == {errno.errorcode[errno.EINVAL]: FEW}

    run(main())
    assert calls["_SEND"]


@pytest.mark.parametrize("ttl", [0, 3])
def test_datagrams_of_several_sockets_or_hop_limits_leave_one_by_one(
    run: Run, calls: Counter[str], ttl: int
) -> None:
    """Such as datagrams that leave from two sockets, or with a lower hop limit."""

    async def main() -> None:
        machine = EchoMachine()
        with driven(machine, "127.0.0.1", "127.0.0.1") as (driver, addresses), client() as peer:
            vias: list[Via] = [0, 0] if ttl else [0, 1]
            for _ in range(FEW):
                for via in vias:
                    machine._send(b"!", peer.address, via, ttl)
            driver.pump()
            sources = {(await peer.receive())[1] for _ in range(2 * FEW)}
            assert sources == ({addresses[0]} if ttl else set(addresses))

    run(main())
    assert not calls


def test_an_observer_sees_each_datagram_of_a_batch(run: Run) -> None:
    async def main() -> None:
        seen: list[Datagram] = []
        with (
            driven(EchoMachine(), "127.0.0.1", observer=seen.append) as (_, [address]),
            client() as peer,
        ):
            for _ in range(MANY):
                peer.send(b"!", address)
            for _ in range(MANY):
                await peer.receive()
        assert Counter(datagram.sent for datagram in seen) == {True: MANY, False: MANY}

    run(main())
