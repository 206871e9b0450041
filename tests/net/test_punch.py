from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Awaitable, Callable

import pytest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.end import End
from netpunch.core.events import (
    Expired,
    Linked,
    Lost,
    Moved,
    MoveReason,
    Reason,
    Registered,
    Turn,
    TurnOver,
    TurnWanted,
    Waiting,
)
from netpunch.core.settings import ControlAt, EndSettings
from netpunch.errors import ControlUnreachableError, NotLinkedError, PortInUseError, ResourcesError
from netpunch.net.driver import clock
from netpunch.net.end import FAREWELL
from netpunch.net.punch import Punch
from netpunch.net.sockets import SocketOptions, bind
from netpunch.net.turn_queue import TurnQueue
from tests.net.conftest import TIMEOUT, Run
from tests.net.faulty import FaultySocket, descriptors_left
from tests.net.machines import client, port_is_free
from tests.net.names import NameServer
from tests.net.nodes import CLASSIC_SECRET, Watcher, control, moves, spec

KEEPALIVE = 0.02
HOLD_FOR = 0.2
LINGER = 1.2
"""Seconds that a classic end lingers for its partner."""

Lookup = Callable[[str, int], Awaitable[list[Address]]]


async def both(*specs: EndSettings) -> list[Punch]:
    """Ends that are linked."""
    attempts = [Punch(each) for each in specs]
    for attempt in attempts:
        await attempt.open()
    await asyncio.gather(*(attempt.linked() for attempt in attempts))
    return attempts


def test_punch_links_from_open_to_released(run: Run) -> None:
    async def main() -> None:
        async with control() as address:
            a, b = await both(spec("a", address), spec("b", address))
            links = [await a.linked(), await b.linked()]
            assert (links[0].local, links[0].remote) == (links[1].remote, links[1].local)
            await asyncio.gather(a.released(), b.released())
            assert all(port_is_free(link.local.port, link.local.host) for link in links)
            for attempt in (a, b, a):
                await attempt.close()

    run(main())


def test_closing_an_end_tells_control_that_it_leaves(run: Run) -> None:
    """No end is introduced to it any more, and its port is free."""

    async def main() -> None:
        watcher = Watcher()
        async with control(observer=watcher) as address:
            attempt = Punch(spec("a", address))
            await attempt.open()
            registered = await watcher.wait_for(Registered)
            await attempt.close()
            assert port_is_free(registered.address.port)
            expired = await watcher.wait_for(Expired)
            assert (expired.end, expired.left) == ("a", True)

    run(main())


def test_an_end_may_be_closed_before_it_was_opened(run: Run) -> None:
    async def main() -> None:
        await Punch(spec("a", Address("127.0.0.1", 9))).close()

    run(main())


def test_closing_an_end_does_not_wait_for_a_silent_control(run: Run) -> None:
    async def main() -> None:
        with client() as silent:
            attempt = Punch(spec("a", silent.address))
            await attempt.open()
            begun = time.monotonic()
            await attempt.close()
            assert time.monotonic() - begun < FAREWELL

    run(main())


def test_closing_an_end_waits_a_limited_time_for_the_partner(run: Run) -> None:
    """A classic end lingers longer than that."""

    async def main() -> None:
        async with control() as address:
            a, b = await both(
                *(
                    spec(end, address, protocol="classic", slot=end, secret=CLASSIC_SECRET)
                    for end in "ab"
                )
            )
            begun = time.monotonic()
            await a.close()
            assert time.monotonic() - begun < LINGER
            await b.close()

    run(main())


def test_closing_a_held_link_ends_it_at_the_partner(run: Run) -> None:
    async def main() -> None:
        async with control() as address:
            a, b = await both(*(spec(end, address, holds=True) for end in "ab"))
            held = (await a.linked()).local
            assert not port_is_free(held.port, held.host)
            waiting = asyncio.ensure_future(a.news())
            await a.close()
            assert await waiting is None
            assert port_is_free(held.port, held.host)
            await b.close()

    run(main())


def test_a_held_link_that_falls_silent_is_lost(run: Run) -> None:
    async def main() -> None:
        async with control() as address:
            a, b = await both(
                *(
                    spec(end, address, holds=True, keepalive=KEEPALIVE, hold_for=HOLD_FOR)
                    for end in "ab"
                )
            )
            assert b._driver is not None
            b._driver.close()
            assert isinstance(await a.news(), Lost)
            for attempt in (a, b):
                await attempt.close()

    run(main())


def test_a_held_link_moves_to_a_partner_that_was_restarted(run: Run) -> None:
    async def main() -> None:
        async with control() as address:
            a, b = await both(*(spec(end, address, holds=True) for end in "ab"))
            assert b._driver is not None
            b._driver.close()
            again = Punch(spec("b", address, holds=True))
            await again.open()
            moved = await a.news()
            assert isinstance(moved, Moved)
            assert moved.reason is MoveReason.PARTNER_ASKED
            assert moved.session_key == (await again.linked()).session_key
            for attempt in (a, b, again):
                await attempt.close()

    run(main())


def test_news_of_a_held_link_are_its_latest_move_and_its_end(run: Run) -> None:
    """Whoever is busy during several moves hears of the last one only; the observer, of all."""

    async def main() -> None:
        watcher = Watcher()
        async with control() as address:
            a = Punch(spec("a", address, holds=True), watcher)
            await a.open()
            [b] = await both(spec("b", address, holds=True))
            waiting = asyncio.ensure_future(a.news())
            await asyncio.sleep(0)
            first = await moves(a, Address("127.0.0.1", 1))
            assert await waiting == first
            later = [await moves(a, Address("127.0.0.1", port)) for port in (2, 3)]
            assert await a.news() == later[-1]
            assert [each for each in watcher.events if isinstance(each, Moved)] == [first, *later]
            await moves(a, Address("127.0.0.1", 4))
            await b.close()
            await watcher.wait_for(Lost)
            for _ in range(2):
                assert isinstance(await a.news(), Lost), "where a link went that is gone is no news"
            await a.close()

    run(main())


def test_a_moved_link_is_sent_from_the_address_that_was_agreed_then(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins: list[tuple[int, Address, str]] = []
    monkeypatch.setattr("netpunch.net.driver.Driver.pin", lambda _, *pin: pins.append(pin[:3]))

    async def main() -> None:
        async with control() as address:
            a, b = await both(*(spec(end, address, holds=True, local=("", 0)) for end in "ab"))
            pins.clear()
            with client("127.0.0.3") as elsewhere:
                move = await moves(a, elsewhere.address)
                assert pins == [(move.via, elsewhere.address, "127.0.0.1")]
            await a.close()
            await b.close()

    run(main())


def test_ends_fail_if_only_one_of_them_holds(run: Run) -> None:
    async def main() -> None:
        async with control() as address:
            attempts = [Punch(spec("a", address, holds=True)), Punch(spec("b", address))]
            for attempt in attempts:
                await attempt.open()
            for attempt in attempts:
                with pytest.raises(NotLinkedError) as caught:
                    await attempt.linked()
                assert caught.value.reason == Reason.PARTNER_MODE
                assert attempt.failure is not None
                assert attempt.failure.reason is Reason.PARTNER_MODE
                await attempt.close()

    run(main())


def test_a_deadline_may_count_from_the_introduction(run: Run) -> None:
    """An end may wait for its partner without a limit."""

    async def main() -> None:
        patient = {"deadline": 0.1, "deadline_from_start": False}
        watcher = Watcher()
        async with control() as address:
            a = Punch(spec("a", address, **patient), watcher)
            await a.open()
            await watcher.wait_for(Waiting)
            await asyncio.sleep(0.2)
            b = Punch(spec("b", address))
            await b.open()
            await asyncio.gather(a.linked(), b.linked())
            for attempt in (a, b):
                await attempt.close()

    run(main())


def test_the_port_is_bound_before_control_hears_of_it(run: Run) -> None:
    async def main() -> None:
        watcher = Watcher()
        async with control(observer=watcher) as address:
            with client() as taken, pytest.raises(PortInUseError):
                await Punch(spec("a", address, local=tuple(taken.address))).open()
        assert watcher.datagrams == []

    run(main())


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENETUNREACH])
def test_an_end_that_may_not_send_reports_the_refusal(
    run: Run, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Both while it waits and when it fails: otherwise control would seem to be silent."""
    monkeypatch.setattr(timing, "SILENCE_NOTICE", 0.05)
    monkeypatch.setattr("netpunch.net.sockets.bind", refusing(number))
    name = errno.errorcode[number]

    async def main() -> None:
        watcher = Watcher()
        async with control() as address:
            attempt = Punch(spec("a", address, deadline=0.3), watcher)
            await attempt.open()
            waiting = await watcher.wait_for(Waiting, reason=Reason.SECRET_REJECTED_OR_SILENT)
            assert f" x {name})" in waiting.detail
            with pytest.raises(ControlUnreachableError, match=rf"refuses to send \(\d+ x {name}\)"):
                await attempt.linked()
            assert attempt.failure is not None
            assert name in attempt.failure.detail
            await attempt.close()

    run(main())


def refusing(number: int) -> Callable[[str, int, SocketOptions], list[socket.socket]]:
    """bind(), but the sockets never send."""

    def bind_refusing(host: str, port: int, options: SocketOptions) -> list[socket.socket]:
        sockets = [FaultySocket(each) for each in bind(host, port, options)]
        for each in sockets:
            each.refusal = number
        return list(sockets)

    return bind_refusing


def test_an_end_without_descriptors_reports_what_to_do(run: Run) -> None:
    async def main() -> None:
        attempt = Punch(spec("a", Address("127.0.0.1", 9)))
        with descriptors_left(0), pytest.raises(ResourcesError, match="LimitNOFILE="):
            await attempt.open()
        await attempt.close()

    run(main())


def looked_up(monkeypatch: pytest.MonkeyPatch, lookup: Lookup) -> None:
    monkeypatch.setattr("netpunch.net.controls.resolve", lookup)


def test_the_names_of_controls_are_looked_up_in_parallel(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not resolve is reported, but stops nothing while another one does."""

    async def main() -> None:
        both_asked = asyncio.Barrier(2)

        async def lookup(host: str, port: int) -> list[Address]:
            await both_asked.wait()
            if host == "bad":
                raise ControlUnreachableError("cannot resolve 'bad'")
            return [Address("::1", port), Address("127.0.0.1", port)]

        looked_up(monkeypatch, lookup)
        async with control() as address:
            controls = (ControlAt("bad", 9), ControlAt("good", address.port))
            told: asyncio.Queue[str] = asyncio.Queue()
            spec = EndSettings("p", "a", bytes(32), controls=controls, local=("127.0.0.1", 0))
            attempt = Punch(spec, on_unresolved=told.put_nowait)
            await attempt.open()
            assert await told.get() == "cannot resolve 'bad'"
            await attempt.close()

    run(main())


def test_an_end_fails_if_no_control_has_an_address_of_its_family(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lookup(host: str, port: int) -> list[Address]:
        return [Address("2001:db8::1", port)]

    async def main() -> None:
        attempt = Punch(spec("a", Address("vps", 9), deadline=0.05))
        with pytest.raises(ControlUnreachableError, match="vps has no address of the local"):
            await attempt.open()
        await attempt.close()

    looked_up(monkeypatch, lookup)
    run(main())


def test_an_end_cancelled_during_a_lookup_leaves_nothing_open(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def lookup(host: str, port: int) -> list[Address]:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError("nobody answers")

        looked_up(monkeypatch, lookup)
        attempt = Punch(spec("a", Address("vps", 9)))
        opening = asyncio.create_task(attempt.open())
        await asked.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await attempt.close()

    run(main())


def test_ends_of_a_process_take_turns_at_spraying(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        granted: list[Punch] = []
        monkeypatch.setattr(Punch, "_grant_turn", lambda self: granted.append(self))
        turns, watcher = TurnQueue(), Watcher()
        with client() as silent:
            first, second = (Punch(spec(end, silent.address), watcher, turns=turns) for end in "ab")
            await first.open()
            await second.open()
            first._take_event(TurnWanted(Turn.SPRAY))
            second._take_event(TurnWanted(Turn.SPRAY))
            await asyncio.sleep(0)
            assert granted == [first]
            first._take_event(TurnOver())
            await asyncio.sleep(0)
            assert granted == [first, second]
            await first.close()
            await second.close()
        assert turns.want(object(), lambda: None), "an end that is closed gives its turn back"

    run(main())


def test_an_end_shows_datagrams_only_with_trace(run: Run) -> None:
    async def main() -> None:
        watcher = Watcher()
        async with control() as address:
            a, b = Punch(spec("a", address), watcher, trace=False), Punch(spec("b", address))
            await a.open()
            await b.open()
            await asyncio.gather(a.linked(), b.linked())
            assert await watcher.wait_for(Linked)  # it may be pinged before it is introduced
            assert watcher.datagrams == []
            for attempt in (a, b):
                await attempt.close()

    run(main())


def test_an_end_waits_for_a_name_that_resolves_late(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at boot. The deadline includes the time that this takes."""
    monkeypatch.setattr("netpunch.net.controls.FIRST_RETRY", 0.01)
    names = NameServer(monkeypatch)

    async def main() -> None:
        async with control() as address:
            watcher = Watcher()
            a = Punch(spec("a", Address("vps", address.port), deadline=TIMEOUT), watcher)
            opening = asyncio.create_task(a.open())
            waiting = await watcher.wait_for(Waiting, reason=Reason.NO_CONTROL)
            assert "cannot resolve 'vps'" in waiting.detail
            names.know("vps", address)
            await opening
            assert isinstance(a._machine, End)
            assert a._machine._punching._deadline.is_over(clock() + TIMEOUT)
            b = Punch(spec("b", address))
            await b.open()
            await asyncio.gather(a.linked(), b.linked())
            await asyncio.gather(a.close(), b.close())

    run(main())


def test_an_end_without_a_deadline_waits_for_a_name_for_ever(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `mode: keep`: the deadline counts from the partner's presence."""
    monkeypatch.setattr("netpunch.net.controls.FIRST_RETRY", 0.01)
    names = NameServer(monkeypatch)

    async def main() -> None:
        late = spec("a", Address("vps", 9), deadline=0.05, deadline_from_start=False)
        attempt = Punch(late)
        opening = asyncio.create_task(attempt.open())
        began = clock()
        await names.wait_for_questions(10)
        assert clock() - began > 0.05
        assert not opening.done()
        opening.cancel()
        await asyncio.wait([opening])
        await attempt.close()

    run(main())
