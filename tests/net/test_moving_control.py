"""A control's name moves to another address while ends wait, hold a link, or are on standby."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.classic import end as classic_end
from netpunch.core.end import lookups
from netpunch.core.end.end import End
from netpunch.core.events import Linked, LookupWanted, Lost, Moved, Registered, Waiting
from netpunch.core.settings import ControlAt, EndSettings
from netpunch.net import interfaces
from netpunch.net.punch import Punch
from netpunch.net.standby import StandbyWatch
from tests.net.conftest import Run
from tests.net.names import NameServer
from tests.net.nodes import CLASSIC_SECRET, Watcher, control, spec

SOON = 0.05
"""Seconds, instead of the usual 15 to 60."""
NAME = "vps.example.net"
CLASSIC = {"protocol": "classic", "secret": CLASSIC_SECRET}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    monkeypatch.setattr(timing, "WAITING_INTERVAL", SOON)
    for module in (lookups, classic_end):
        monkeypatch.setattr(module, "LOOKUP_INTERVAL", SOON)
    monkeypatch.setattr(lookups, "SILENCE", SOON)
    return NameServer(monkeypatch)


def named(end: str, port: int, **more: Any) -> EndSettings:
    """An end that finds its control by name."""
    return spec(end, Address(NAME, port), **more)


def asking(end: str, *controls: ControlAt, **more: Any) -> EndSettings:
    return spec(end, **more)._replace(controls=controls)


def elsewhere(port: int) -> str:
    """An address for another control with the same port: a name's port stays the same."""
    return f"127.0.0.2:{port}"


@pytest.mark.parametrize("protocol", ["v2", "classic"])
def test_an_end_that_waits_is_linked_at_the_new_place(
    run: Run, names: NameServer, protocol: str
) -> None:
    async def main() -> None:
        ends = [CLASSIC | {"slot": end} if protocol == "classic" else {} for end in "ab"]
        old, new = Watcher(), Watcher()
        async with control(observer=old) as address:
            names.know(NAME, address)
            a = Punch(named("a", address.port, **ends[0]))
            await a.open()
            await old.wait_for(Registered)
        async with control(elsewhere(address.port), observer=new) as moved:
            names.know(NAME, moved)
            await new.wait_for(Registered)
            b = Punch(named("b", address.port, **ends[1]))
            await b.open()
            links = await asyncio.gather(a.linked(), b.linked())
            assert (links[0].local, links[0].remote) == (links[1].remote, links[1].local)
            await asyncio.gather(a.close(), b.close())

    run(main())


def test_a_held_link_hears_of_its_partner_s_return_at_the_new_place(
    run: Run, names: NameServer
) -> None:
    async def main() -> None:
        new = Watcher()
        async with control() as address:
            names.know(NAME, address)
            a, b = (Punch(named(end, address.port, holds=True)) for end in "ab")
            await asyncio.gather(a.open(), b.open())
            await asyncio.gather(a.linked(), b.linked())
        async with control(elsewhere(address.port), observer=new) as moved:
            names.know(NAME, moved)
            await new.wait_for(Registered, end="a")
            assert b._driver is not None
            b._driver.close()  # as if it were killed
            again = Punch(named("b", address.port, holds=True))
            await again.open()
            assert isinstance(await a.news(), Moved)
            await asyncio.gather(*(each.close() for each in (a, b, again)))

    run(main())


@pytest.fixture
def reviewed_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "REVIEW", SOON)


@pytest.mark.usefixtures("reviewed_soon")
@pytest.mark.parametrize("protocol", ["v2", "classic"])
def test_an_end_that_waits_moves_while_the_old_control_still_answers(
    run: Run, names: NameServer, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setattr(lookups, "SILENCE", 1000.0)

    async def main() -> None:
        ends = [CLASSIC | {"slot": end} if protocol == "classic" else {} for end in "ab"]
        old, new = Watcher(), Watcher()
        async with control(observer=old) as address:
            names.know(NAME, address)
            a = Punch(named("a", address.port, **ends[0]))
            await a.open()
            await old.wait_for(Registered)
            async with control(elsewhere(address.port), observer=new) as moved:
                names.know(NAME, moved)
                await new.wait_for(Registered)
                b = Punch(spec("b", moved, **ends[1]))
                await b.open()
                links = await asyncio.gather(a.linked(), b.linked())
                assert (links[0].local, links[0].remote) == (links[1].remote, links[1].local)
                await asyncio.gather(a.close(), b.close())

    run(main())


@pytest.mark.usefixtures("reviewed_soon")
def test_a_held_link_follows_its_control_undisturbed(
    run: Run, names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "SILENCE", 1000.0)

    async def main() -> None:
        new, seen = Watcher(), Watcher()
        async with control() as address:
            names.know(NAME, address)
            a, b = (Punch(named(end, address.port, holds=True), seen) for end in "ab")
            await asyncio.gather(a.open(), b.open())
            await asyncio.gather(a.linked(), b.linked())
            async with control(elsewhere(address.port), observer=new) as moved:
                names.know(NAME, moved)
                for end in "ab":
                    await new.wait_for(Registered, end=end)
                assert not [event for event in seen.events if isinstance(event, Lost)]
                assert len([event for event in seen.events if isinstance(event, Linked)]) == 2
                await asyncio.gather(a.close(), b.close())

    run(main())


@pytest.mark.usefixtures("reviewed_soon")
def test_another_address_of_a_control_does_not_disturb_the_others(
    run: Run, names: NameServer
) -> None:
    async def main() -> None:
        old, new = Watcher(), Watcher()
        async with (
            control(observer=old) as address,
            control(elsewhere(address.port), observer=new) as other,
        ):
            names.know(NAME, address)
            a = Punch(named("a", address.port))
            await a.open()
            await old.wait_for(Registered)
            names.know(NAME, other, address)
            await new.wait_for(Registered)
            await names.wait_for_questions(len(names.asked) + 3)
            await a.close()
            for each in (old, new):
                assert len([event for event in each.events if isinstance(event, Registered)]) == 1

    run(main())


@pytest.mark.parametrize("protocol", ["v2", "classic"])
def test_ends_whose_resolvers_order_differently_meet(
    run: Run, names: NameServer, protocol: str
) -> None:
    """Two independent controls behind one name."""

    async def main() -> None:
        ends = [CLASSIC | {"slot": end} if protocol == "classic" else {} for end in "ab"]
        first = Watcher()
        async with (
            control(observer=first) as address,
            control(elsewhere(address.port)) as other,
        ):
            names.know(NAME, address, other)
            a = Punch(named("a", address.port, **ends[0]))
            await a.open()
            await first.wait_for(Registered)
            names.know(NAME, other, address)
            b = Punch(named("b", address.port, **ends[1]))
            await b.open()
            links = await asyncio.gather(a.linked(), b.linked())
            assert (links[0].local, links[0].remote) == (links[1].remote, links[1].local)
            await asyncio.gather(a.close(), b.close())

    run(main())


def test_an_end_on_standby_hears_of_its_partner_s_return_at_the_new_place(
    run: Run, names: NameServer
) -> None:
    async def main() -> None:
        old, new = Watcher(), Watcher()
        async with control(observer=old) as address:
            names.know(NAME, address)
            watch = StandbyWatch(named("a", address.port))
            returned = asyncio.ensure_future(watch.returned())
            await old.wait_for(Registered)
        async with control(elsewhere(address.port), observer=new) as moved:
            names.know(NAME, moved)
            await new.wait_for(Registered)
            b = Punch(named("b", address.port))
            await b.open()
            await returned
            await asyncio.gather(watch.close(), b.close())

    run(main())


def test_ends_link_by_a_name_that_did_not_resolve_at_first(run: Run, names: NameServer) -> None:
    """One control was found, so the end waits there; its partner reaches only the other one."""

    async def main() -> None:
        first, second = Watcher(), Watcher()
        async with control(observer=first) as one, control(observer=second) as other:
            both = (ControlAt(one.host, one.port), ControlAt(NAME, other.port))
            waiting = Watcher()
            told: asyncio.Queue[str] = asyncio.Queue()
            a = Punch(asking("a", *both), waiting, on_unresolved=told.put_nowait)
            await a.open()
            assert NAME in await told.get()
            await waiting.wait_for(Waiting)
            names.know(NAME, other)
            await second.wait_for(Registered)
            b = Punch(spec("b", other))
            await b.open()
            await asyncio.gather(a.linked(), b.linked())
            await asyncio.gather(a.close(), b.close())
            assert not [event for event in waiting.events if isinstance(event, LookupWanted)]

    run(main())


@pytest.mark.parametrize("protocol", ["v2", "classic"])
def test_ends_link_while_another_lookup_hangs(run: Run, names: NameServer, protocol: str) -> None:
    async def main() -> None:
        names.hold(NAME)
        async with control() as address:
            both = (ControlAt(NAME, 9), ControlAt(address.host, address.port))
            more = {end: CLASSIC | {"slot": end} if protocol == "classic" else {} for end in "ab"}
            a, b = (Punch(asking(end, *both, **settings)) for end, settings in more.items())
            await asyncio.gather(a.open(), b.open())
            links = await asyncio.gather(a.linked(), b.linked())
            assert (links[0].local, links[0].remote) == (links[1].remote, links[1].local)
            await asyncio.gather(a.close(), b.close())

    run(main())


def test_a_control_whose_name_resolves_late_introduces_the_ends(
    run: Run, names: NameServer
) -> None:
    """The partner reaches only the late control."""

    async def main() -> None:
        names.hold(NAME)
        first, second = Watcher(), Watcher()
        async with control(observer=first) as one, control(observer=second) as other:
            names.know(NAME, other)
            both = (ControlAt(one.host, one.port), ControlAt(NAME, other.port))
            a = Punch(asking("a", *both))
            await a.open()
            await first.wait_for(Registered)
            names.release()
            await second.wait_for(Registered)
            b = Punch(spec("b", other))
            await b.open()
            await asyncio.gather(a.linked(), b.linked())
            await asyncio.gather(a.close(), b.close())

    run(main())


def test_an_end_on_standby_starts_while_a_lookup_hangs(run: Run, names: NameServer) -> None:
    async def main() -> None:
        names.hold(NAME)
        registered = Watcher()
        async with control(observer=registered) as address:
            both = (ControlAt(NAME, 9), ControlAt(address.host, address.port))
            watch = StandbyWatch(asking("a", *both))
            returned = asyncio.ensure_future(watch.returned())
            await registered.wait_for(Registered)
            b = Punch(spec("b", address))
            await b.open()
            await returned
            await asyncio.gather(watch.close(), b.close())

    run(main())


def test_host_candidates_are_known_if_a_late_control_is_not_on_loopback(
    run: Run, names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interfaces, "host_addresses", lambda: ["192.0.2.9"])

    async def main() -> None:
        names.hold(NAME)
        async with control() as address:
            both = (ControlAt(NAME, 9), ControlAt(address.host, address.port))
            a = Punch(asking("a", *both, local=("", 0)))
            await a.open()
            assert isinstance(a._machine, End)
            assert "192.0.2.9" in {host.host for host in a._machine._resources.hosts()}
            await a.close()

    run(main())


def test_an_end_closes_while_a_name_is_looked_up_again(run: Run, names: NameServer) -> None:
    """`run` finds tasks that are left."""

    async def main() -> None:
        names.know(NAME, Address("127.0.0.1", 9))
        punch, watch = Punch(named("a", 9)), StandbyWatch(named("b", 9))
        await punch.open()
        returned = asyncio.ensure_future(watch.returned())
        await names.wait_for_questions(2)
        names.hold()
        asked = len(names.asked)
        await names.wait_for_questions(asked + 2)
        returned.cancel()
        await asyncio.wait([returned])
        await asyncio.gather(punch.close(), watch.close())

    run(main())
