from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import pytest

from netpunch.address import Address
from netpunch.errors import ConfigurationError, PortInUseError, UnresolvedError
from netpunch.net import forward as forward_module
from netpunch.net.datagrams import separate
from netpunch.net.forward import (
    DATAGRAMS_PER_WAKEUP,
    LONGEST_SEALED,
    MAX_UNFRAGMENTED,
    Forwarder,
)
from tests.net.conftest import Run
from tests.net.forwarding import Partner, forwarding, held
from tests.net.machines import client, has_ipv6, port_is_free
from tests.net.nodes import control

BIG = 60_000
"""Bytes: more than any link carries, less than UDP allows."""
BURST = 3 * DATAGRAMS_PER_WAKEUP


async def until(condition: Callable[[], bool]) -> None:
    """The forwarder warns of nothing that it only counts."""
    while not condition():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.001)


def test_a_spare_port_is_taken_where_somebody_has_the_first(run: Run) -> None:
    async def main() -> None:
        with client() as free:
            port = free.address.port
        with client() as somebody, client() as another:
            taken, ports = somebody.address, (another.address.port, port)
            told: list[str] = []
            with pytest.raises(PortInUseError):
                await Forwarder(taken, None, spare_ports=ports[:1]).open()
            forwarder = Forwarder(taken, None, told.append, spare_ports=ports)
            await forwarder.open()
            assert forwarder.local == Address(taken.host, ports[1])
            forwarder.close()
        [warning] = told
        assert f"{taken.port}" in warning
        assert warning.endswith(f"; listening on 127.0.0.1:{ports[1]} instead (forward.listen)")

    run(main())


@pytest.mark.parametrize(("host", "local"), [("0.0.0.0", "127.0.0.1"), ("::", "::1")])
def test_a_program_reaches_a_forwarder_on_all_addresses_by_loopback(
    run: Run, host: str, local: str
) -> None:
    async def main() -> None:
        async with forwarding(host=host) as (forwarder, address):
            assert forwarder.local == Address(local, address.port)

    run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not tell")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_forward_warns_if_no_program_listens(
    run: Run, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(forward_module, "CHECK_INTERVAL", 0.0)

    async def main() -> None:
        with client(host) as finder, client(host) as gone:
            address, closed = finder.address, gone.address
        told: list[str] = []
        partner = Partner()
        forwarder = Forwarder(address, closed, told.append)
        await forwarder.open()
        forwarder.attach(partner)
        try:
            for _ in range(3):
                forwarder.deliver(separate([b"into the void"]))
                await until(lambda: forwarder._checking is None)
            with client(host) as other:
                forwarder.deliver(separate([b"still nobody"]))
                other.send(b"hello", address)
                assert await partner.hears() == [b"hello"], "errors do not make it deaf"
        finally:
            forwarder.close()
        assert forwarder.drops.total() == 4
        assert told == [
            f"no program listens at {closed} (forward.to): what the partner sends is lost; "
            "start the program, or correct its port"
        ]

    run(main())


def test_forward_delivers_to_where_the_program_last_sent_from(run: Run) -> None:
    async def main() -> None:
        with client() as first, client() as second:
            async with forwarding() as (forwarder, address):
                partner = Partner()
                forwarder.attach(partner)
                for program in (first, second):
                    program.send(b"from here", address)
                    await partner.hears()
                    forwarder.deliver(separate([b"hello"]))
                    assert await program.receive() == (b"hello", address)
                assert forwarder.drops.total() == 0

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_forward_delivers_to_a_given_address(run: Run, host: str) -> None:
    """Even to a program that only listens, and whoever else sends."""

    async def main() -> None:
        with client(host) as program, client(host) as other:
            async with forwarding(program.address, host) as (forwarder, address):
                partner = Partner()
                forwarder.attach(partner)
                other.send(b"from elsewhere", address)
                assert await partner.hears() == [b"from elsewhere"]
                forwarder.deliver(separate([b"hello"]))
                assert await program.receive() == (b"hello", address)

    run(main())


@pytest.mark.parametrize(
    ("listen", "to", "host"),
    [("127.0.0.1", "localhost", "127.0.0.1"), ("", "127.0.0.1", "127.0.0.1"), ("", "::1", "::1")],
)
def test_the_program_is_reached_in_the_family_of_the_local_port(
    run: Run, listen: str, to: str, host: str
) -> None:
    """Names are resolved to it; a wildcard has both."""
    if ":" in host and not has_ipv6():
        pytest.skip("this host has no IPv6")

    async def main() -> None:
        with client(host) as program, client(host) as free:
            port = free.address.port
            free.sock.close()
            forwarder = Forwarder((listen, port), (to, program.address.port))
            await forwarder.open()
            forwarder.deliver(separate([b"hello"]))
            assert await program.receive() == (b"hello", Address(host, port))
            assert not forwarder.drops
            forwarder.close()

    run(main())


def test_a_program_in_the_other_family_is_refused(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(UnresolvedError, match=r"::1 has no IPv4 address.*127\.0\.0\.1"):
            await Forwarder(("127.0.0.1", 0), ("::1", 7000)).open()

    run(main())


@pytest.mark.parametrize("size", [0, 1, 1280, BIG])
def test_forward_relays_datagrams_of_any_size(run: Run, size: int) -> None:
    async def main() -> None:
        data = bytes(index % 251 for index in range(size))
        with client() as program:
            async with forwarding() as (forwarder, address):
                partner = Partner()
                forwarder.attach(partner)
                program.send(data, address)
                assert await partner.hears() == [data]
                forwarder.deliver(separate([data]))
                assert await program.receive() == (data, address)

    run(main())


def test_forward_relays_a_burst_in_order(run: Run) -> None:
    async def main() -> None:
        burst = [b"%d" % number for number in range(BURST)]
        with client() as program:
            async with forwarding() as (forwarder, address):
                partner = Partner()
                forwarder.attach(partner)
                for data in burst:
                    program.send(data, address)
                assert await partner.hears(BURST) == burst

    run(main())


def test_forward_counts_datagrams_without_a_link_or_a_program(run: Run) -> None:
    async def main() -> None:
        with client() as program:
            async with forwarding() as (forwarder, address):
                forwarder.deliver(separate([b"to a program that has not spoken yet"]))
                assert forwarder.drops.total() == 1
                program.send(b"before the link", address)
                await until(lambda: forwarder.drops.total() == 2)
                partner = Partner()
                forwarder.attach(partner)
                program.send(b"over the link", address)
                assert await partner.hears() == [b"over the link"]
                forwarder.detach()
                program.send(b"after the link", address)
                await until(lambda: forwarder.drops.total() == 3)
            forwarder.deliver(separate([b"to a closed port"]))
            assert forwarder.drops.total() == 4

    run(main())


def test_forward_counts_datagrams_that_cannot_be_sent(run: Run) -> None:
    """The datagram is longer than UDP allows."""

    async def main() -> None:
        with client() as program:
            async with forwarding(program.address) as (forwarder, _):
                forwarder.deliver(separate([bytes(65_536)]))
                assert forwarder.drops.total() == 1
                forwarder.deliver(separate([b"hello"]))
                assert (await program.receive())[0] == b"hello"

    run(main())


def test_forward_goes_on_with_a_restarted_program(run: Run) -> None:
    """The system reports that no program listens; that must not stop later datagrams."""

    async def main() -> None:
        with client() as program:
            to = program.address
        async with forwarding(to) as (forwarder, address):
            partner = Partner()
            forwarder.attach(partner)
            forwarder.deliver(separate([b"to nobody"]))
            await asyncio.sleep(0)
            with client() as other:
                other.send(b"hello", address)
                other.send(b"hello again", address)
                assert await partner.hears(2) == [b"hello", b"hello again"]

    run(main())


def test_forward_raises_if_its_port_is_in_use(run: Run) -> None:
    async def main() -> None:
        with client() as owner:
            forwarder = Forwarder(owner.address, None)
            with pytest.raises(PortInUseError, match=str(owner.address.port)):
                await forwarder.open()
            forwarder.close()
        await forwarder.open()  # it is free now
        forwarder.close()

    run(main())


def test_forward_raises_if_its_address_is_not_there(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ConfigurationError):
            await Forwarder(("localhost.", 0), None).open()

    run(main())


def test_opening_and_closing_a_forwarder_may_be_repeated(run: Run) -> None:
    async def main() -> None:
        async with forwarding() as (forwarder, address):
            await forwarder.open()
            assert not port_is_free(address.port, address.host)
            for _ in range(2):
                forwarder.close()
                assert port_is_free(address.port, address.host)
            await forwarder.open()
            assert not port_is_free(address.port, address.host)

    run(main())


def test_forward_relays_over_a_held_link(run: Run) -> None:
    """From one end's program to the other's and back, in sizes of netpunch's own datagrams, too."""

    async def main() -> None:
        async with control() as address, forwarding() as (near, entrance):
            with client() as program, client() as server:
                async with forwarding(server.address) as (far, exit_):
                    ends = [await held("a", address, near), await held("b", address, far)]
                    await asyncio.gather(*(end.linked() for end in ends))
                    near.attach(ends[0])
                    far.attach(ends[1])
                    for size in (0, 1, 128, 384, 1280, BIG):
                        program.send(bytes(size), entrance)
                        assert await server.receive() == (bytes(size), exit_)
                        server.send(b"r" * size, exit_)
                        assert await program.receive() == (b"r" * size, entrance)
                    await asyncio.gather(*(end.close() for end in ends))
                    assert near.drops.total() == far.drops.total() == 0
                    ends[0].send_payload(b"too late")  # no error, no datagram

    run(main())


def test_forward_warns_of_long_datagrams_once(run: Run) -> None:
    async def main() -> None:
        with client() as program:
            listen = program.address._replace(host="127.0.0.2")
            warnings: list[str] = []
            forwarder = Forwarder(listen, None, warnings.append)
            await forwarder.open()
            partner = Partner()
            forwarder.attach(partner)
            program.send(bytes(MAX_UNFRAGMENTED), listen)
            await partner.hears()
            assert warnings == []
            for size in (MAX_UNFRAGMENTED + 1, BIG):
                program.send(bytes(size), listen)
                await partner.hears()
            [warning] = warnings
            assert "a datagram of 1473 bytes" in warning
            assert "`MTU = 1420`" in warning
            forwarder.close()

    run(main())


def test_forward_warns_of_datagrams_that_are_too_long_once_sealed(run: Run) -> None:
    async def main() -> None:
        with client() as program:
            listen = program.address._replace(host="127.0.0.2")
            warnings: list[str] = []
            forwarder = Forwarder(listen, None, warnings.append, sealed=True)
            await forwarder.open()
            partner = Partner()
            forwarder.attach(partner)
            program.send(bytes(LONGEST_SEALED), listen)
            await partner.hears()
            assert warnings == []
            program.send(bytes(LONGEST_SEALED + 1), listen)
            await partner.hears()
            [warning] = warnings
            assert "a datagram of 1447 bytes, 1473 once sealed" in warning
            assert "send 1446 at most" in warning
            forwarder.close()

    run(main())
