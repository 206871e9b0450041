"""Mappings at a fake gateway on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from netpunch.address import Address
from netpunch.core.events import Event, Mapped, MappingLost, Unmapped
from netpunch.errors import NetworkNotReadyError
from netpunch.net import port_mapping as port_mapping_module
from netpunch.net.driver import Datagram, clock
from netpunch.net.port_mapping import RELEASE_TIMEOUT, PortMapping
from netpunch.net.routes import Gateway
from netpunch.net.sockets import bind
from netpunch.wire import portmap
from netpunch.wire.drop import Drop
from netpunch.wire.portmap import (
    AddressRequest,
    AddressResponse,
    PcpRequest,
    PcpResponse,
)
from netpunch.wire.portmap import (
    PortRequest as NatPmpRequest,
)
from netpunch.wire.portmap import (
    PortResponse as NatPmpResponse,
)
from tests.net.conftest import Run
from tests.net.machines import has_ipv6, local_address

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")

WAN = "203.0.113.9"
WAN6 = "2001:db8::5"
LIFETIME = 3600
SOON = 5.0
"""Seconds: nothing on loopback takes so long, even on a busy machine."""


class FakeGateway:
    """Answers in PCP, or only in NAT-PMP, or not at all, and records the requests."""

    def __init__(
        self,
        *,
        pcp: bool = True,
        silent: bool = False,
        host: str = "127.0.0.1",
        sock: socket.socket | None = None,
        wan: str = WAN,
    ) -> None:
        self.wan = wan
        self.sock = sock if sock is not None else bind(host, 0)[0]
        self.address = Address(host, local_address(self.sock).port)
        self.pcp = pcp
        self.silent = silent
        self.requests: list[portmap.Message | Drop] = []
        self._asked = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.sock, self._answer)

    @property
    def gateway(self) -> Gateway:
        return Gateway(self.address.host, self.address.host, "lo")

    async def asked(self, times: int) -> None:
        """Waits until so many requests have arrived."""
        async with asyncio.timeout(SOON):
            while len(self.requests) < times:
                self._asked.clear()
                await self._asked.wait()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.sock)
        self.sock.close()

    def _answer(self) -> None:
        data, source = self.sock.recvfrom(2048)
        request = portmap.parse(data)
        self.requests.append(request)
        self._asked.set()
        if not self.silent:
            self.sock.sendto(self._response(request), source)

    def _response(self, request: portmap.Message | Drop) -> bytes:
        match request:
            case PcpRequest() if not self.pcp:
                return bytes.fromhex("00 81 0001 00000001")
            case PcpRequest(lifetime, client, nonce, protocol, port, suggested_port, _):
                wan = WAN6 if ":" in client else self.wan
                return portmap.pack(
                    PcpResponse(0, lifetime, 1, nonce, protocol, port, suggested_port, wan)
                )
            case AddressRequest():
                return portmap.pack(AddressResponse(0, 1, WAN))
            case NatPmpRequest(port, suggested_port, lifetime):
                return portmap.pack(NatPmpResponse(0, 1, port, suggested_port, lifetime))
            case _:
                raise AssertionError(request)


class Changes(list[tuple[Address, ...]]):
    """The calls of `on_change`."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def note(self, externals: tuple[Address, ...]) -> None:
        self.append(externals)
        self._changed.set()

    async def next(self) -> None:
        async with asyncio.timeout(SOON):
            await self._changed.wait()
        self._changed.clear()


@contextlib.contextmanager
def default_gateways(
    monkeypatch: pytest.MonkeyPatch, *fakes: FakeGateway, others: tuple[Gateway, ...] = ()
) -> Iterator[None]:
    """Replaces the host's gateways by these."""
    gateways = [*others, *(fake.gateway for fake in fakes)]
    monkeypatch.setattr(port_mapping_module, "default_gateways", lambda _: gateways)
    if fakes:
        monkeypatch.setattr(port_mapping_module, "SERVER_PORT", fakes[0].address.port)
    try:
        yield
    finally:
        for fake in fakes:
            fake.close()


@pytest.mark.parametrize("pcp", [True, False])
@pytest.mark.parametrize("local", [Address("0.0.0.0", 5000), Address("127.0.0.1", 5000)])
def test_a_port_is_mapped_and_released(
    run: Run, monkeypatch: pytest.MonkeyPatch, pcp: bool, local: Address
) -> None:
    async def main() -> None:
        fake, changes = FakeGateway(pcp=pcp), Changes()
        with default_gateways(monkeypatch, fake):
            mapping = PortMapping(changes.note)
            mapping.open([local])
            assert not mapping.externals
            await changes.next()
            assert mapping.externals == (Address(WAN, 5000),)
            await mapping.close()
            assert not mapping.externals
            assert changes == [(Address(WAN, 5000),)]
            first, *_, last = fake.requests
            assert isinstance(first, PcpRequest)
            assert first.client == "127.0.0.1"
            assert isinstance(last, PcpRequest if pcp else NatPmpRequest)
            assert last.internal_port == 5000
            assert last.lifetime == 0
            await mapping.close()

    run(main())


def test_only_what_a_gateway_forwards_to_is_mapped(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        fake, changes = FakeGateway(), Changes()
        with default_gateways(monkeypatch, fake):
            mapping = PortMapping(changes.note)
            mapping.open([Address("::", 5000), Address("127.0.0.9", 5001), Address("::1", 5002)])
            mapping.open([Address("0.0.0.0", 5003)])
            await changes.next()
            assert mapping.externals == (Address(WAN, 5003),)
            assert len(fake.requests) == 1
            await mapping.close()

    run(main())


@needs_ipv6
def test_each_family_has_a_mapping_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        sockets = bind("", 0)  # SERVER_PORT is the same for both
        fakes = [
            FakeGateway(host=host, sock=sock)
            for host, sock in zip(("127.0.0.1", "::1"), sockets, strict=True)
        ]
        changes = Changes()
        with default_gateways(monkeypatch, *fakes):
            mapping = PortMapping(changes.note)
            mapping.open([Address("0.0.0.0", 5000), Address("::", 5000)])
            while len(mapping.externals) < 2:
                await changes.next()
            assert mapping.externals == (Address(WAN, 5000), Address(WAN6, 5000))
            await mapping.close()
            assert [len(fake.requests) for fake in fakes] == [2, 2]

    run(main())


def test_without_a_gateway_nothing_happens(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with default_gateways(monkeypatch):
            changes = Changes()
            mapping = PortMapping(changes.note)
            mapping.open([Address("0.0.0.0", 5000)])
            await mapping.close()
            assert changes == []

    run(main())


def test_a_gateway_that_this_host_has_left_is_passed_over(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        gone = Gateway("192.0.2.1", "192.0.2.2", "eth0")

        def fail(host: str, port: int) -> list[socket.socket]:
            raise NetworkNotReadyError(f"{host} is no address of this host")

        with default_gateways(monkeypatch, others=(gone,)):
            mapping = PortMapping(Changes().note, bind=fail)
            mapping.open([Address("0.0.0.0", 5000)])
            assert mapping.externals == ()
            await mapping.close()

    run(main())


def test_a_silent_gateway_delays_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        fake = FakeGateway(silent=True)
        with default_gateways(monkeypatch, fake):
            mapping = PortMapping(Changes().note)
            mapping.open([Address("0.0.0.0", 5000)])
            await fake.asked(1)
            began = clock()
            await mapping.close()
            assert clock() - began < 0.5  # waiting for a release would take 0.7 s
            await fake.asked(2)
            request = fake.requests[-1]
            assert isinstance(request, PcpRequest)
            assert request.lifetime == 0

    run(main())


def test_a_gateway_that_falls_silent_gets_three_releases(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        fake, changes = FakeGateway(), Changes()
        with default_gateways(monkeypatch, fake):
            mapping = PortMapping(changes.note)
            mapping.open([Address("0.0.0.0", 5000)])
            await changes.next()
            fake.silent = True
            began = clock()
            await mapping.close()
            assert 0.5 < clock() - began < RELEASE_TIMEOUT + SOON
            assert len(fake.requests) == 4  # one to map, three to release

    run(main())


def test_releasing_a_mapping_has_a_time_limit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_mapping_module, "RELEASE_TIMEOUT", 0.01)

    async def main() -> None:
        fake, changes = FakeGateway(), Changes()
        with default_gateways(monkeypatch, fake):
            mapping = PortMapping(changes.note)
            mapping.open([Address("0.0.0.0", 5000)])
            await changes.next()
            fake.silent = True
            await mapping.close()
            assert mapping.externals == ()

    run(main())


def test_a_mapping_may_be_left_to_expire(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        fake, changes = FakeGateway(), Changes()
        with default_gateways(monkeypatch, fake):
            mapping = PortMapping(changes.note)
            mapping.open([Address("0.0.0.0", 5000)])
            await changes.next()
            await mapping.close(release=False)
            assert mapping.externals == ()
            assert len(fake.requests) == 1

    run(main())


@pytest.mark.parametrize(
    ("secrets", "same"),
    [((b"one", b"one"), True), ((b"one", b"other"), False), ((None, None), False)],
)
def test_the_same_secret_takes_over_a_mapping(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    secrets: tuple[bytes | None, bytes | None],
    same: bool,
) -> None:
    async def main() -> None:
        fake, changes = FakeGateway(), Changes()
        with default_gateways(monkeypatch, fake):
            for secret in secrets:
                mapping = PortMapping(changes.note, secret=secret)
                mapping.open([Address("0.0.0.0", 5000)])
                await changes.next()
                await mapping.close(release=False)
        nonces = [each.nonce for each in fake.requests if isinstance(each, PcpRequest)]
        assert len(nonces) == 2
        assert (nonces[0] == nonces[1]) is same

    run(main())


def test_each_port_has_a_nonce_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        fake, changes = FakeGateway(), Changes()
        with default_gateways(monkeypatch, fake):
            mapping = PortMapping(changes.note, secret=b"secret")
            mapping.open([Address("0.0.0.0", 5000), Address("0.0.0.0", 5001)])
            await fake.asked(2)
            await mapping.close(release=False)
        nonces = {each.nonce for each in fake.requests if isinstance(each, PcpRequest)}
        assert len(nonces) == 2
        assert {len(nonce) for nonce in nonces} == {12}

    run(main())


def test_the_gateway_of_another_network_is_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is left gets a release, in case that it can still be reached."""

    async def main() -> None:
        old, changes = FakeGateway(), Changes()
        port = old.address.port
        new = FakeGateway(host="127.0.0.2", sock=bind("127.0.0.2", port)[0], wan="203.0.113.10")
        with default_gateways(monkeypatch, old):
            mapping = PortMapping(changes.note)
            mapping.open([Address("0.0.0.0", 5000)])
            await changes.next()
            with default_gateways(monkeypatch, new):
                mapping.network_changed()
                assert changes.pop() == ()
                while not mapping.externals:
                    await changes.next()
                assert mapping.externals == (Address("203.0.113.10", 5000),)
                await old.asked(2)
                released = old.requests[-1]
                assert isinstance(released, PcpRequest)
                assert released.lifetime == 0
                await mapping.close()
            assert len(new.requests) == 2

    run(main())


def test_a_gateway_at_the_same_address_is_asked_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netpunch.core.portmap.pcp.SHORTEST_RENEWAL", 0.01)

    async def main() -> None:
        fake, changes = FakeGateway(), Changes()
        with default_gateways(monkeypatch, fake):
            mapping = PortMapping(changes.note)
            mapping.open([Address("0.0.0.0", 5000)])
            await changes.next()
            fake.wan = "203.0.113.10"
            mapping.network_changed()
            await changes.next()
            assert changes == [(Address(WAN, 5000),), (Address(fake.wan, 5000),)]
            await mapping.close()

    run(main())


def test_a_cancelled_release_leaves_nothing_open(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        fake, changes = FakeGateway(), Changes()
        with default_gateways(monkeypatch, fake):
            mapping = PortMapping(changes.note)
            mapping.open([Address("0.0.0.0", 5000)])
            await changes.next()
            fake.silent = True
            closing = asyncio.create_task(mapping.close())
            await fake.asked(2)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing

    run(main())  # `run` counts descriptors


def test_a_lost_mapping_is_reported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        fake, changes = FakeGateway(), Changes()
        with default_gateways(monkeypatch, fake):
            mapping = PortMapping(changes.note)
            mapping.open([Address("0.0.0.0", 5000)])
            await changes.next()
            [request] = mapping._requests
            request._take_event(MappingLost("it did not renew the mapping"))
            assert mapping.externals == ()
            request._take_event(MappingLost("again"))
            request._take_event(Mapped(Address(WAN, 6000), LIFETIME))
            request._take_event(Mapped(Address(WAN, 6000), LIFETIME / 2))
            assert changes == [(Address(WAN, 5000),), (), (Address(WAN, 6000),)]
            await mapping.close()

    run(main())


def test_an_observer_of_a_mapping_sees_datagrams_and_events(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        fake, changes = FakeGateway(), Changes()
        seen: list[Datagram | Event] = []
        with default_gateways(monkeypatch, fake):
            mapping = PortMapping(changes.note, seen.append)
            mapping.open([Address("0.0.0.0", 5000)])
            await changes.next()
            await mapping.close()
        events = [each for each in seen if not isinstance(each, Datagram)]
        assert events == [Mapped(Address(WAN, 5000), LIFETIME), Unmapped()]
        words = [each.text.split()[0] for each in seen if isinstance(each, Datagram)]
        assert words == ["PcpRequest", "PcpResponse"] * 2

    run(main())
