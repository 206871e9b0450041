"""What the driver's side does when a held link moves, with a machine that does as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from netpunch.address import Address
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import FollowRoutes, Linked, Moved, MoveReason, PathKind, Via
from netpunch.core.machine import LinkFigures, Machine
from netpunch.net import punch
from netpunch.net.held_path import HeldPath
from netpunch.net.interfaces import host_addresses
from netpunch.net.punch import Punch
from netpunch.net.routes import Route
from netpunch.net.sockets import DEFAULT_OPTIONS, SocketOptions
from netpunch.net.watch import NetworkWatch, network_watch
from tests.net.conftest import Run
from tests.net.machines import Client, EchoMachine, client
from tests.net.nodes import Watcher, spec

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="pinning is Linux's")


class Holding(EchoMachine):
    """Records what it is told about the network."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Sequence[str], bool, bool]] = []
        self.how: LinkFigures | None = None

    def network_changed(
        self, host_addresses: Sequence[str], now: float, *, gone: bool = False, woke: bool = False
    ) -> None:
        self.told.append((host_addresses, gone, woke))
        self.send(b"changed", self.received[-1].source)

    @property
    def figures(self) -> LinkFigures | None:
        return self.how


class Pins:
    """A driver that pins."""

    def __init__(self) -> None:
        self.pinned: list[tuple[Via, Address, str, str]] = []

    def pin(self, via: Via, destination: Address, host: str, interface: str) -> None:
        self.pinned.append((via, destination, host, interface))

    def unpin(self, via: Via) -> None:
        self.pinned.clear()


class Scripted(Punch):
    """An end whose machine does as the test says."""

    def __init__(self, observer: Watcher | None = None, local: str = "0.0.0.0") -> None:
        settings = spec("a", Address("127.0.0.1", 9), holds=True, local=(local, 0))
        super().__init__(settings, observer)
        self.machine = Holding()

    def _make_machine(self, endpoints: ControlEndpoints, sockets: Mapping[Via, Address]) -> Machine:
        self.local = sockets[0]
        return self.machine

    def pump(self) -> None:
        assert self._driver is not None
        self._driver.pump()

    def link(self, remote: Address) -> None:
        self.machine.emit(Linked(0, self.local, remote, PathKind.HOST, 0.01, 0.1))
        self.pump()

    def move(self, remote: Address, previous: Address) -> Moved:
        silent = MoveReason.SILENT
        moved = Moved(0, self.local, remote, PathKind.HOST, 0.01, silent, previous, 0.2)
        self.machine.emit(moved)
        self.pump()
        return moved

    async def source_seen_by(self, partner: Client) -> str:
        self.machine.send(b"here", partner.address)
        self.pump()
        data, source = await partner.receive()
        assert data == b"here"
        return source.host


@contextlib.asynccontextmanager
async def scripted(
    observer: Watcher | None = None, local: str = "0.0.0.0"
) -> AsyncIterator[Scripted]:
    one = Scripted(observer, local)
    await one.open()
    try:
        yield one
    finally:
        one._finished.set()
        await one.close()


@linux_only
def test_each_path_is_pinned_to_the_address_it_was_agreed_with(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        seen = Watcher()
        async with scripted(seen) as end:
            with client("127.0.0.1") as old, client("127.0.0.1") as new:
                pin_to(monkeypatch, "127.0.0.2")
                end.link(old.address)
                assert await end.source_seen_by(old) == "127.0.0.2"
                pin_to(monkeypatch, "127.0.0.3")
                end.move(new.address, old.address)
                assert await end.source_seen_by(new) == "127.0.0.3"
                assert await end.source_seen_by(old) == "127.0.0.1"

                end.machine.emit(FollowRoutes())
                end.pump()
                assert await end.source_seen_by(new) == "127.0.0.1"
                assert not any(isinstance(each, FollowRoutes) for each in seen.events)

    run(main())


@linux_only
def test_another_agreement_on_the_same_path_keeps_the_address(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay knows the end by it, whatever the system would choose by now."""

    async def main() -> None:
        async with scripted() as end:
            with client("127.0.0.1") as relay:
                pin_to(monkeypatch, "127.0.0.2")
                end.link(relay.address)
                pin_to(monkeypatch, "127.0.0.3")
                end.move(relay.address, relay.address)
                assert await end.source_seen_by(relay) == "127.0.0.2"

    run(main())


@linux_only
@pytest.mark.parametrize("unpinned", [False, True])
def test_a_source_that_this_host_no_longer_has_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, unpinned: bool
) -> None:
    """The machine may have doubted it already."""

    async def main() -> None:
        async with scripted() as end:
            with client() as partner:
                await make_known(end, partner)
                pin_to(monkeypatch, "192.0.2.7")
                end.link(partner.address)
                if unpinned:
                    end.machine.emit(FollowRoutes())
                    end.pump()
                for hosts in (["192.0.2.7"], ["192.0.2.8"], []):
                    have(monkeypatch, *hosts)
                    end.network_changed(woke=not hosts)
                    data, _ = await partner.receive()
                    assert data == b"changed", "it pumps"
                hosts_told = host_addresses()
                assert end.machine.told == [
                    (hosts_told, False, False),
                    (hosts_told, True, False),
                    (hosts_told, False, True),
                ]

    run(main())


def test_loopback_is_never_gone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 127.0.0.0/8 the system lists one address only."""

    async def main() -> None:
        async with scripted(local="127.0.0.2") as end:
            with client() as partner:
                await make_known(end, partner)
                end.link(partner.address)
                have(monkeypatch, "127.0.0.1")
                end.network_changed()
                assert [gone for _, gone, _ in end.machine.told] == [False]

    run(main())


def test_where_nothing_tells_routes_the_source_is_still_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("netpunch.net.held_path.route_to", lambda *_, **__: None)
    monkeypatch.setattr("netpunch.net.held_path.source_towards", lambda *_: "192.0.2.7")
    path = HeldPath(None, DEFAULT_OPTIONS)  # type: ignore[arg-type] # nothing is pinned
    local, remote = Address("0.0.0.0", 5000), Address("192.0.2.1", 9)
    path.agreed(Linked(0, local, remote, PathKind.HOST, 0.01, 0.1))
    assert path.is_gone({"192.0.2.8"})
    assert not path.is_gone({"192.0.2.7"})


def test_a_path_on_a_shared_port_goes_where_the_program_s_datagrams_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the system's routes: a path that only netpunch could use would be of no use."""
    route = Route("eth0", "192.0.2.7", "192.0.2.1")
    monkeypatch.setattr("netpunch.net.held_path.route_to", lambda *_, **__: route)
    monkeypatch.setattr("netpunch.net.held_path.source_towards", lambda *_: "192.0.2.7")
    path = HeldPath(None, DEFAULT_OPTIONS, pins=False)  # type: ignore[arg-type] # nothing is pinned
    local, remote = Address("0.0.0.0", 51820), Address("198.51.100.1", 9)
    path.agreed(Linked(0, local, remote, PathKind.OBSERVED, 0.01, 0.1))
    assert path.is_gone({"192.0.2.8"})
    assert not path.is_gone({"192.0.2.7"})


def test_a_bound_address_is_the_source() -> None:
    path = HeldPath(None, DEFAULT_OPTIONS)  # type: ignore[arg-type] # nothing is pinned
    local, remote = Address("192.0.2.7", 5000), Address("192.0.2.1", 9)
    path.agreed(Linked(0, local, remote, PathKind.HOST, 0.01, 0.1))
    assert path.is_gone({"192.0.2.8"})
    assert not path.is_gone({"192.0.2.7"})


@pytest.mark.parametrize(
    ("later", "gone"),
    [
        (Route("eth0", "192.0.2.7", "192.0.2.254"), False),
        (Route("eth0", "192.0.2.7"), True),
        (Route("wlan0", "192.0.2.7", "192.0.2.1"), True),
        (None, True),
    ],
    ids=["another router", "no router", "another interface", "no way"],
)
def test_a_path_whose_interface_leads_nowhere_is_gone(
    monkeypatch: pytest.MonkeyPatch, later: Route | None, gone: bool
) -> None:
    """Though its address is still there."""
    asked: list[str] = []
    routes = iter([Route("eth0", "192.0.2.7", "192.0.2.1"), later])

    def route_to(*_: Address, port: int, options: SocketOptions, source: str = "") -> Route | None:
        asked.append(options.interface)
        return next(routes)

    monkeypatch.setattr("netpunch.net.held_path.route_to", route_to)
    driver = Pins()
    path = HeldPath(driver, DEFAULT_OPTIONS)  # type: ignore[arg-type] # only pins
    local, remote = Address("0.0.0.0", 5000), Address("198.51.100.1", 9)
    path.agreed(Linked(3, local, remote, PathKind.OBSERVED, 0.01, 0.1))
    assert driver.pinned == [(3, remote, "192.0.2.7", "eth0")]
    assert path.is_gone({"192.0.2.7"}) is gone
    assert asked == ["", "eth0"]
    path.follow_routes()
    assert not driver.pinned
    assert not path.is_gone({"192.0.2.7"}), "the way is the system's choice now"


def test_an_end_that_waits_for_long_hears_of_changes_too(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(punch, "FOLLOW_AFTER", 0.01)
    followed = asyncio.Event()
    follow = NetworkWatch.follow

    def note(self: NetworkWatch, *arguments: Any) -> None:
        follow(self, *arguments)
        followed.set()

    monkeypatch.setattr(NetworkWatch, "follow", note)

    async def main() -> None:
        async with scripted() as end:
            with client() as partner:
                await make_known(end, partner)
                await followed.wait()
                network_watch()._tell(woke=True)
                data, _ = await partner.receive()
                assert data == b"changed"
                assert [woke for *_, woke in end.machine.told] == [True]
        assert not network_watch()._followers

    run(main())


def test_an_end_that_links_soon_and_hands_over_watches_nothing(run: Run) -> None:
    async def main() -> None:
        async with scripted() as end:
            end._settings = end._settings._replace(holds=False)
            with client() as partner:
                end.link(partner.address)
                assert not network_watch()._followers

    run(main())


def test_figures_are_the_machine_s(run: Run) -> None:
    async def main() -> None:
        async with scripted() as end:
            assert end.figures is None
            end.machine.how = LinkFigures(PathKind.RELAY, 0.1, 0.01, 0.05, 3.0, 2)
            assert end.figures is end.machine.how
        assert Punch(spec("a", Address("127.0.0.1", 9))).figures is None

    run(main())


def test_a_closed_attempt_takes_no_change(run: Run) -> None:
    async def main() -> None:
        async with scripted() as end:
            pass
        end.network_changed()
        assert end.machine.told == []

    run(main())


def pin_to(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """The system's choice becomes `host`."""
    monkeypatch.setattr("netpunch.net.held_path.route_to", lambda *_, **__: Route("lo", host))


def have(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """This host has these addresses."""
    monkeypatch.setattr(NetworkWatch, "hosts", frozenset(hosts))


async def make_known(end: Scripted, partner: Client) -> None:
    """The machine can answer the partner."""
    host = "127.0.0.1" if end.local.host == "0.0.0.0" else end.local.host
    address = end.local._replace(host=host)
    assert await partner.ask(b"hello", address) == (b"hello", address)
