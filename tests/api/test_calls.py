"""netpunch.punch on real sockets, and the control that it needs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest

import netpunch
from netpunch import Address, Link
from netpunch.core.events import Event, Introduced, Linked, Registered, Waiting
from netpunch.errors import (
    ControlUnreachableError,
    NetpunchError,
    NotLinkedError,
    PortInUseError,
)
from netpunch.net.driver import Datagram
from tests.net.conftest import Run, open_descriptors
from tests.net.machines import client, has_ipv6, port_is_free
from tests.net.nodes import CLASSIC_SECRET, LOCAL, PAIR, SECRET, Watcher, control

CANCELLATIONS = 20
"""Cancellations of each test, each at another moment."""
LONGEST_LINK = 0.02
"""Seconds that an undisturbed link on loopback mostly takes at most."""
PROTOCOLS: dict[str, Mapping[str, Any]] = {
    "v2": {"pair": PAIR, "secret": SECRET},
    "classic": {"protocol": "classic", "secret": CLASSIC_SECRET},
}
by_protocol = pytest.mark.parametrize("how", PROTOCOLS.values(), ids=PROTOCOLS)


async def link(asked: object, how: Mapping[str, Any], ends: str = "ab", **more: Any) -> list[Link]:
    """Both ends, as two programs would."""
    punches = (
        netpunch.punch(end=end, control=str(asked), **{"local": LOCAL, **how, **more})
        for end in ends
    )
    return await asyncio.gather(*punches)


def same_path(one: Link, other: Link) -> bool:
    return (one.local, one.remote) == (other.remote, other.local)


@by_protocol
def test_two_calls_of_punch_link(run: Run, how: Mapping[str, Any]) -> None:
    async def main() -> None:
        async with control() as address:
            a, b = await link(address, how)
        assert same_path(a, b)
        assert (a.path, a.session_key) == (b.path, b.session_key)
        assert all(each.duration > 0 and (each.rtt is None or each.rtt > 0) for each in (a, b))
        assert all(port_is_free(each.local.port, each.local.host) for each in (a, b))

    run(main())


def test_session_keys_are_equal_on_both_ends_and_new_for_every_link(run: Run) -> None:
    async def main() -> None:
        async with control() as address:
            first, second = [await link(address, PROTOCOLS["v2"]) for _ in range(2)]
        keys = [each.session_key for each in (*first, *second)]
        assert keys[0] == keys[1] != keys[2] == keys[3]
        assert keys[0] is not None
        assert len(keys[0]) == 32
        assert repr(keys[0]) not in repr(first[0])

    run(main())


def test_one_control_serves_both_protocols_at_once(run: Run) -> None:
    async def main() -> None:
        async with control() as address:
            pairs = await asyncio.gather(
                link(address, PROTOCOLS["v2"]),
                link(address, PROTOCOLS["classic"], "ab"),
                link(address, PROTOCOLS["classic"], "zy"),
            )
        assert all(same_path(*ends) for ends in pairs)

    run(main())


@pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")
@by_protocol
def test_two_calls_of_punch_link_over_ipv6(run: Run, how: Mapping[str, Any]) -> None:
    async def main() -> None:
        async with control("[::1]:0") as address:
            a, b = await link(address, how, local="[::1]:0")
        assert same_path(a, b)
        assert a.local.host == "::1"

    run(main())


@by_protocol
def test_a_control_on_a_wildcard_answers_from_the_address_that_was_asked(
    run: Run, how: Mapping[str, Any]
) -> None:
    async def main() -> None:
        async with control(":0") as address:
            a, b = await link(Address("127.0.0.2", address.port), how)
        assert same_path(a, b)

    run(main())


def test_punch_links_by_the_one_control_of_several_that_is_up(run: Run) -> None:
    async def main() -> None:
        async with control() as address:
            with client() as silent:
                controls = [str(silent.address), str(address)]
                punches = (
                    netpunch.punch(pair=PAIR, end=end, secret=SECRET, control=controls, local=LOCAL)
                    for end in "ab"
                )
                a, b = await asyncio.gather(*punches)
        assert same_path(a, b)

    run(main())


def test_observers_of_punch_and_start_control_see_datagrams_and_events(run: Run) -> None:
    async def main() -> None:
        at_control, at_end = Watcher(), Watcher()
        async with control(observer=at_control) as address:
            ends = [
                netpunch.punch(
                    pair=PAIR,
                    end=end,
                    secret=SECRET,
                    control=str(address),
                    local=LOCAL,
                    observer=observer,
                )
                for end, observer in (("a", at_end), ("b", None))
            ]
            a, _ = await asyncio.gather(*ends)
        assert (await at_end.wait_for(Linked)).remote == a.remote
        assert any(isinstance(event, Introduced | Waiting) for event in at_end.events)
        registered = {event.end for event in at_control.events if isinstance(event, Registered)}
        assert registered == {"a", "b"}
        first = at_end.datagrams[0]
        assert (first.sent, first.local, first.remote) == (True, a.local, address)
        assert "ANNOUNCE" in first.text
        assert any(not seen.sent and seen.data == first.data for seen in at_control.datagrams)

    run(main())


def test_an_observer_that_raises_does_not_disturb_the_link(run: Run) -> None:
    def observer(seen: Datagram | Event) -> None:
        raise ValueError("mine")

    async def main() -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, c: complaints.append(c))
        async with control(observer=observer) as address:
            assert same_path(*await link(address, PROTOCOLS["v2"], observer=observer))
        assert all(str(each["exception"]) == "mine" for each in complaints)
        assert complaints

    run(main())


def test_punch_raises_port_in_use_for_a_taken_local_port(run: Run) -> None:
    async def main() -> None:
        with client() as taken, pytest.raises(PortInUseError):
            await link("127.0.0.1:9", PROTOCOLS["v2"], "a", local=str(taken.address))

    run(main())


def test_punch_raises_control_unreachable_if_control_is_silent(run: Run) -> None:
    async def main() -> None:
        with (
            client() as silent,
            pytest.raises(ControlUnreachableError, match="no answer") as caught,
        ):
            await link(silent.address, PROTOCOLS["v2"], "a", deadline=0.05)
        assert caught.value.reason == "secret_rejected_or_silent"

    run(main())


def test_punch_raises_control_unreachable_for_a_name_that_does_not_resolve(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ControlUnreachableError, match=r"nowhere\.invalid") as caught:
            await link("nowhere.invalid:9", PROTOCOLS["v2"], "a", deadline=0.05)
        assert caught.value.reason == "no_control"

    run(main())


def test_punch_raises_not_linked_if_the_partner_does_not_come(run: Run) -> None:
    async def main() -> None:
        async with control() as address:
            with pytest.raises(NotLinkedError, match="the partner") as caught:
                await link(address, PROTOCOLS["v2"], "a", deadline=0.2)
        assert caught.value.reason == "partner_absent"

    run(main())


@pytest.mark.parametrize(
    ("how", "slots", "rounds"),
    [
        (PROTOCOLS["v2"], ["ab"], CANCELLATIONS),
        # At once, for each ends its link in peace, and that takes a second.
        (PROTOCOLS["classic"], ["ab", "cd", "ef", "gh", "ij", "kl", "mn", "op", "qr", "st"], 2),
    ],
    ids=PROTOCOLS,
)
def test_punch_cancelled_at_any_moment_leaves_nothing_open(
    run: Run, how: Mapping[str, Any], slots: list[str], rounds: int
) -> None:
    """No tasks, no descriptors; and the next link succeeds."""
    moments = random.Random(2)

    async def cancelled(address: Address, ends: str) -> None:
        """One end is cancelled at some moment, the other at another."""
        tasks = [asyncio.create_task(link(address, how, end)) for end in ends]
        for task in tasks:
            await asyncio.sleep(moments.uniform(0, LONGEST_LINK))
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, list | asyncio.CancelledError | NetpunchError), result

    async def main() -> None:
        async with control() as address:
            await cancelled(address, "ab")
            tasks, descriptors = asyncio.all_tasks(), open_descriptors()
            for _ in range(rounds):
                await asyncio.gather(*(cancelled(address, ends) for ends in slots))
                assert asyncio.all_tasks() == tasks
            assert open_descriptors() == descriptors
            assert same_path(*await link(address, how))

    run(main())


def test_a_control_that_is_left_at_any_moment_leaves_nothing_open(run: Run) -> None:
    moments = random.Random(3)

    async def main() -> None:
        for _ in range(CANCELLATIONS):
            async with control() as address:
                ends = [asyncio.create_task(link(address, PROTOCOLS["v2"], end)) for end in "ab"]
                await asyncio.sleep(moments.uniform(0, LONGEST_LINK))
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    run(main())
