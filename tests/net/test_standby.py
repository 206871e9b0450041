from __future__ import annotations

import asyncio

import pytest

from netpunch.address import Address
from netpunch.core.events import Expired, Introduced, PartnerReturned, Registered
from netpunch.errors import ControlUnreachableError
from netpunch.net import controls, standby
from netpunch.net.end import FAREWELL
from netpunch.net.punch import Punch
from netpunch.net.standby import StandbyWatch
from tests.net.conftest import Run
from tests.net.machines import client, port_is_free
from tests.net.nodes import Watcher, control, spec

QUIET = 0.3
"""Seconds in which a return that must not be reported would have been, several times."""


def test_standby_ends_when_the_partner_punches(run: Run) -> None:
    async def main() -> None:
        registered, seen = Watcher(), Watcher()
        async with control(observer=registered) as address:
            watch = StandbyWatch(spec("a", address), seen)
            returned = asyncio.ensure_future(watch.returned())
            place = (await registered.wait_for(Registered)).address
            assert not port_is_free(place.port, place.host)
            partner = Punch(spec("b", address), partner_sees := Watcher())
            await partner.open()
            await returned
            await watch.close()
            assert port_is_free(place.port, place.host)
            await partner.close()
            assert not [event for event in partner_sees.events if isinstance(event, Introduced)]
            destinations = {each.remote for each in seen.datagrams if each.sent}
            assert destinations == {address}, "nothing was sent to the partner"
            assert PartnerReturned() not in seen.events, "events are the caller's to tell"

    run(main())


def test_an_end_links_after_its_standby(run: Run) -> None:
    """Leaves standby and punches anew, as a node does."""

    async def main() -> None:
        registered = Watcher()
        async with control(observer=registered) as address:
            watch = StandbyWatch(spec("a", address), trace=False)
            returned = asyncio.ensure_future(watch.returned())
            await registered.wait_for(Registered)
            partner = Punch(spec("b", address))
            await partner.open()
            await returned
            await watch.close()
            again = Punch(spec("a", address))
            await again.open()
            links = await asyncio.gather(again.linked(), partner.linked())
            assert (links[0].local, links[0].remote) == (links[1].remote, links[1].local)
            await asyncio.gather(again.close(), partner.close())

    run(main())


def test_two_ends_on_standby_do_not_wake_each_other(run: Run) -> None:
    async def main() -> None:
        async with control() as address:
            watches = [StandbyWatch(spec(end, address)) for end in "ab"]
            waiting = [asyncio.ensure_future(watch.returned()) for watch in watches]
            done, pending = await asyncio.wait(waiting, timeout=QUIET)
            assert not done
            for task in pending:
                task.cancel()
            await asyncio.wait(waiting)
            for watch in watches:
                await watch.close()

    run(main())


def test_closing_standby_tells_control_and_may_be_repeated(run: Run) -> None:
    async def main() -> None:
        watcher = Watcher()
        async with control(observer=watcher) as address:
            watch = StandbyWatch(spec("a", address))
            returned = asyncio.ensure_future(watch.returned())
            place = (await watcher.wait_for(Registered)).address
            returned.cancel()
            await asyncio.wait([returned])
            for _ in range(2):
                await watch.close()
                assert port_is_free(place.port, place.host)
            expired = await watcher.wait_for(Expired)
            assert (expired.end, expired.left) == ("a", True)

    run(main())


def test_standby_may_be_closed_before_it_waits(run: Run) -> None:
    async def main() -> None:
        await StandbyWatch(spec("a", Address("127.0.0.1", 9))).close()

    run(main())


def test_closing_standby_does_not_wait_for_a_silent_control(run: Run) -> None:
    async def main() -> None:
        with client() as silent:
            watch = StandbyWatch(spec("a", silent.address))
            returned = asyncio.ensure_future(watch.returned())
            await silent.receive()
            returned.cancel()
            await asyncio.wait([returned])
            async with asyncio.timeout(FAREWELL):
                await watch.close()

    run(main())


def test_standby_shows_datagrams_only_with_trace(run: Run) -> None:
    async def main() -> None:
        registered, seen = Watcher(), Watcher()
        async with control(observer=registered) as address:
            watch = StandbyWatch(spec("a", address), seen, trace=False)
            returned = asyncio.ensure_future(watch.returned())
            await registered.wait_for(Registered)
            returned.cancel()
            await asyncio.wait([returned])
            await watch.close()
        assert (seen.datagrams, seen.events) == ([], [])

    run(main())


def test_standby_retries_a_name_that_does_not_resolve(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link itself works, so that is no failure."""
    monkeypatch.setattr(standby, "RETRY", 0.01)

    async def main() -> None:
        answers: list[Address | None] = [None, None]

        async def resolve(host: str, port: int) -> list[Address]:
            answer = answers.pop(0)
            if answer is None:
                raise ControlUnreachableError("cannot resolve")
            return [answer]

        monkeypatch.setattr(controls, "resolve", resolve)
        async with control() as address:
            answers.append(address)
            named = spec("a", Address("vps.example.net", address.port))
            watch = StandbyWatch(named)
            partner = Punch(spec("b", address))
            returned = asyncio.ensure_future(watch.returned())
            while answers:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)
            answers.append(address)  # for the partner
            await partner.open()
            await returned
            await watch.close()
            await partner.close()

    run(main())


def test_standby_stops_during_a_lookup(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` counts the sockets that are left."""

    async def main() -> None:
        asked = asyncio.Event()

        async def resolve(host: str, port: int) -> list[Address]:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(controls, "resolve", resolve)
        watch = StandbyWatch(spec("a", Address("vps.example.net", 1)))
        returned = asyncio.ensure_future(watch.returned())
        await asked.wait()
        returned.cancel()
        await asyncio.wait([returned])
        await watch.close()

    run(main())


def test_standby_announces_to_every_control(run: Run) -> None:
    """The partner may reach only one of them."""

    async def main() -> None:
        watchers = Watcher(), Watcher()
        async with control(observer=watchers[0]) as one, control(observer=watchers[1]) as other:
            watch = StandbyWatch(spec("a", one, other))
            returned = asyncio.ensure_future(watch.returned())
            for watcher in watchers:
                assert (await watcher.wait_for(Registered)).end == "a"
            partner = Punch(spec("b", other))
            await partner.open()
            await returned
            await watch.close()
            await partner.close()

    run(main())
