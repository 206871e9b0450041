"""Finding controls: the first lookups, later ones, and the choice of reflectors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from netpunch.address import Address
from netpunch.core.endpoints import NO_NAMES, ControlEndpoints, Names
from netpunch.core.nat64 import DISCOVERY_HOSTS, DISCOVERY_NAME, WELL_KNOWN, learned
from netpunch.core.settings import ControlAt
from netpunch.errors import ControlUnreachableError
from netpunch.net import controls as controls_module
from netpunch.net.controls import Controls, reflectors
from netpunch.net.driver import Driver
from tests.net.conftest import Run
from tests.net.machines import EchoMachine
from tests.net.names import NameServer

BOTH = {4, 6}
VPS, SPARE = ControlAt("vps.example.net", 10001, 10002), ControlAt("spare.example.net", 10001)
LITERAL, THIRD_AT = ControlAt("192.0.2.1", 10001), ControlAt("192.0.2.3", 10001)


def at(host: str) -> Address:
    return Address(host, 10001)


ONE, OTHER, THIRD, IPV6 = map(at, ("192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"))
LOOPBACK = at("127.0.0.1")


def second(control: Address) -> Address:
    return Address(control.host, 10002)


class Follower(EchoMachine):
    """An end, and its driver: both only record what they are told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[ControlEndpoints] = []
        self.pumped = 0
        self._was_told = asyncio.Event()

    def controls_found(self, endpoints: ControlEndpoints, now: float) -> None:
        self.told.append(endpoints)
        self._was_told.set()

    async def wait_until_told(self) -> None:
        """Waits until anything was reported since the last time."""
        await self._was_told.wait()
        self._was_told.clear()

    def pump(self) -> None:
        self.pumped += 1


async def again(controls: Controls, *silent: Address) -> list[ControlEndpoints]:
    """What the end learns from one more lookup."""
    follower = Follower()
    controls.follow(follower, cast(Driver, follower))
    controls.find_again(silent)
    await asyncio.wait(controls._lookups.values())
    assert follower.pumped == len(follower.told)
    return follower.told


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    return NameServer(monkeypatch)


def test_an_end_announces_to_all_addresses_of_one_family_ipv4_if_possible(
    run: Run, names: NameServer
) -> None:
    async def main() -> None:
        names.know(VPS.host, IPV6, ONE, OTHER)
        names.know(SPARE.host, IPV6)
        found = await Controls([VPS, SPARE], BOTH).find()
        assert found.controls == (ONE, OTHER, IPV6)
        assert found.reflectors == ((ONE, second(ONE)), (OTHER, second(OTHER)))
        assert found.names == Names(frozenset((ONE, OTHER, IPV6)))

    run(main())


def test_a_change_of_addresses_in_the_other_family_is_reported(run: Run, names: NameServer) -> None:
    """There an end asks for its observed address without announcing itself."""

    async def main() -> None:
        names.know(VPS.host, IPV6, ONE)
        names.know(SPARE.host, OTHER)
        controls = Controls([VPS, SPARE], BOTH)
        assert (await controls.find()).other_family == (IPV6,)
        names.know(SPARE.host, OTHER, at("2001:db8::2"))
        (told,) = await again(controls)
        assert told.other_family == (IPV6, at("2001:db8::2"))
        assert (await Controls([VPS], {4}).find()).other_family == ()

    run(main())


MANY = [at(f"192.0.2.{number}") for number in (100, 20, 3, 40, 5, 6)]


@pytest.mark.parametrize(
    ("controls", "expected"),
    [(1, ["3", "5", "6", "20"]), (2, ["3", "5", "6", "20"]), (3, ["3", "5"]), (9, ["3"])],
)
def test_all_ends_choose_the_same_of_many_addresses(
    run: Run, names: NameServer, controls: int, expected: list[str]
) -> None:
    """Resolvers return them in any order. There are eight in all, or one for each name."""
    others = [ControlAt(f"198.51.100.{number}", 10001) for number in range(1, controls)]

    async def main() -> None:
        for order in (MANY, MANY[::-1], MANY[3:] + MANY[:3]):
            names.know(VPS.host, *order)
            found = await Controls([VPS, *others], BOTH).find()
            assert found.controls[: -len(others) or None] == tuple(
                at(f"192.0.2.{number}") for number in expected
            )

    run(main())


def test_a_control_given_by_address_is_not_looked_up_again(run: Run, names: NameServer) -> None:
    async def main() -> None:
        assert (await Controls([LITERAL], BOTH).find()).names == NO_NAMES
        assert names.asked == []

    run(main())


def test_a_name_that_does_not_resolve_is_looked_up_on_the_next_request(
    run: Run, names: NameServer
) -> None:
    async def main() -> None:
        names.know(SPARE.host, OTHER)
        problems: list[str] = []
        controls = Controls([VPS, SPARE], BOTH, problems.append)
        found = await controls.find()
        assert (found.controls, found.names.unresolved) == ((OTHER,), True)
        assert await again(controls) == []
        assert ["vps.example.net" in text for text in problems] == [True]
        names.know(VPS.host, ONE)
        [found] = await again(controls)
        assert (found.controls, found.names.unresolved) == ((ONE, OTHER), False)
        assert len(problems) == 1, "told once"
        await controls.close()

    run(main())


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundredth of a second instead of one."""
    monkeypatch.setattr(controls_module, "FIRST_RETRY", 0.01)


@pytest.mark.usefixtures("quick_retries")
def test_a_name_beside_one_that_resolves_is_looked_up_until_it_does(
    run: Run, names: NameServer
) -> None:
    """Without a request: at boot its servers may be late."""

    async def main() -> None:
        names.know(SPARE.host, OTHER)
        controls, follower = Controls([VPS, SPARE], BOTH), Follower()
        await controls.find()
        controls.follow(follower, cast(Driver, follower))
        await names.wait_for_questions(5)
        assert set(names.asked[2:]) == {VPS.host}
        names.know(VPS.host, ONE)
        await follower.wait_until_told()
        assert [each.controls for each in follower.told] == [(ONE, OTHER)]
        assert controls._retries == {}
        await controls.close()

    run(main())


@pytest.mark.usefixtures("quick_retries")
def test_without_any_control_names_are_looked_up_until_one_resolves(
    run: Run, names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controls_module, "REMINDERS", (0.02, 0.04))

    async def main() -> None:
        told: asyncio.Queue[str] = asyncio.Queue()
        controls = Controls([VPS, SPARE], BOTH)
        finding = asyncio.create_task(controls.find(on_waiting=told.put_nowait))
        for _ in range(5):  # each at once
            text = await told.get()
            assert VPS.host in text
            assert SPARE.host in text
            assert text.endswith("s so far")
        assert not finding.done()
        names.know(SPARE.host, OTHER)
        assert (await finding).controls == (OTHER,)
        await controls.close()

    run(main())


def test_pauses_between_lookups_grow_with_the_time_spent(
    run: Run, names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are a second at first, later a tenth of the time spent, and half a minute at most."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        controls = Controls([VPS], BOTH)
        finding = asyncio.create_task(controls.find())
        pauses = []
        for waited in (0.0, 5.0, 100.0, 3600.0):
            controls._began = loop.time() - waited
            controls.find_again(())
            await asyncio.wait(controls._lookups.values())
            pauses.append(controls._retries[VPS].when() - loop.time())
        assert pauses == pytest.approx([1.0, 1.0, 10.0, 30.0], abs=0.2)
        finding.cancel()
        await asyncio.wait([finding])
        await controls.close()

    run(main())


@pytest.mark.usefixtures("quick_retries")
def test_find_raises_at_the_deadline(run: Run, names: NameServer) -> None:
    async def main() -> None:
        controls = Controls([VPS, SPARE], BOTH)
        with pytest.raises(ControlUnreachableError, match=r"vps\..*; .*spare\."):
            await controls.find(deadline=0.05)
        assert len(names.asked) > 2
        await controls.close()

    run(main())


def test_silent_name_servers_are_reported(
    run: Run, names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controls_module, "FIRST_NOTICE", 0.01)

    async def main() -> None:
        told: asyncio.Queue[str] = asyncio.Queue()
        names.hold(VPS.host)
        controls = Controls([VPS], BOTH)
        finding = asyncio.create_task(controls.find(on_waiting=told.put_nowait))
        assert "no name server has answered for 'vps.example.net' yet" in await told.get()
        finding.cancel()
        await asyncio.wait([finding])
        await controls.close()

    run(main())


def test_find_raises_at_once_if_no_address_is_of_the_end_s_family(
    run: Run, names: NameServer
) -> None:
    """There is nothing to wait for without a translator."""

    async def main() -> None:
        names.unrouted = {4}
        names.know(DISCOVERY_NAME, *map(at, DISCOVERY_HOSTS))
        with pytest.raises(ControlUnreachableError, match="no address of the local address"):
            await Controls([LITERAL], {6}).find()

    run(main())


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that waited for GRACE would run into the timeout."""
    monkeypatch.setattr(controls_module, "GRACE", 1000.0)


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer is enough."""
    monkeypatch.setattr(controls_module, "GRACE", 0.0)


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("first", [SPARE, ControlAt("192.0.2.2", 10001)], ids=["name", "literal"])
def test_a_lookup_that_hangs_does_not_delay_find(
    run: Run, names: NameServer, first: ControlAt
) -> None:
    """Its addresses are added once it resolves."""

    async def main() -> None:
        names.know(VPS.host, ONE)
        names.know(SPARE.host, OTHER)
        names.hold(VPS.host)
        controls, follower = Controls([VPS, first], BOTH), Follower()
        found = await controls.find()
        controls.follow(follower, cast(Driver, follower))
        assert (found.controls, found.names.unresolved) == ((OTHER,), True)
        names.release()
        await follower.wait_until_told()
        assert [each.controls for each in follower.told] == [(ONE, OTHER)]
        assert follower.told[0].reflectors == ((ONE, second(ONE)),)
        assert not follower.told[0].names.unresolved
        assert follower.pumped == 1
        await controls.close()

    run(main())


@pytest.mark.usefixtures("impatience")
def test_a_lookup_that_fails_late_is_reported(run: Run, names: NameServer) -> None:
    async def main() -> None:
        told: asyncio.Queue[str] = asyncio.Queue()
        names.know(SPARE.host, OTHER)
        names.hold(VPS.host)
        controls = Controls([VPS, SPARE], BOTH, told.put_nowait)
        await controls.find()
        assert told.empty()
        names.release()
        assert VPS.host in await told.get()
        assert VPS in controls._retries
        await controls.close()

    run(main())


@pytest.mark.usefixtures("patience")
def test_find_waits_a_moment_for_other_names(run: Run, names: NameServer) -> None:
    async def main() -> None:
        names.know(VPS.host, ONE)
        names.hold(VPS.host)
        finding = asyncio.create_task(Controls([VPS, LITERAL, THIRD_AT], BOTH).find())
        await names.wait_for_questions(1)
        assert not finding.done()
        names.know(VPS.host, OTHER)
        names.release()
        assert (await finding).controls == (OTHER, ONE, THIRD)

    run(main())


@pytest.mark.usefixtures("impatience")
def test_find_waits_for_all_names_while_none_resolves(run: Run, names: NameServer) -> None:
    """A lookup that fails at once is no answer."""

    async def main() -> None:
        names.know(VPS.host, ONE)
        names.hold(VPS.host)
        controls = Controls([SPARE, VPS], BOTH)
        finding = asyncio.create_task(controls.find())
        await names.wait_for_questions(2)
        assert not finding.done()
        names.release()
        assert (await finding).controls == (ONE,)
        await controls.close()

    run(main())


@pytest.mark.usefixtures("impatience")
def test_a_lookup_that_hangs_does_not_delay_other_lookups(run: Run, names: NameServer) -> None:
    async def main() -> None:
        names.know(SPARE.host, OTHER)
        names.hold(VPS.host)
        controls, follower = Controls([VPS, SPARE], BOTH), Follower()
        await controls.find()
        controls.follow(follower, cast(Driver, follower))
        names.know(SPARE.host, THIRD)
        controls.find_again([OTHER])
        await follower.wait_until_told()
        assert [each.controls for each in follower.told] == [(THIRD,)]
        assert names.asked == [VPS.host, SPARE.host, SPARE.host]
        await controls.close()

    run(main())


async def chosen(names: NameServer, later: Sequence[Address], *silent: Address) -> list[Address]:
    """Which addresses an end chooses for a control at ONE once its name resolves to others."""
    names.know(VPS.host, ONE)
    controls = Controls([VPS], BOTH)
    await controls.find()
    names.know(VPS.host, *later)
    told = await again(controls, *silent)
    return list(told[0].controls) if told else [ONE]


FIVE = [at(f"192.0.2.{number}") for number in range(1, 6)]


@pytest.mark.parametrize(
    ("later", "silent", "expected"),
    [
        ([OTHER], [ONE], [OTHER]),
        ([OTHER], [], [OTHER]),  # it answers, but its name has moved
        ([OTHER, ONE], [], [ONE, OTHER]),  # in any order
        ([ONE, OTHER], [ONE], [OTHER, ONE]),
        ([ONE], [ONE], [ONE]),
        (FIVE, [], FIVE[:4]),
        (FIVE[::-1], [ONE], FIVE[1:]),  # a silent one is dropped
        ([ONE, IPV6], [ONE], [ONE]),  # IPv6 does not stand in for silent IPv4
        ([IPV6], [ONE], [IPV6]),
        ([IPV6], [], [ONE]),  # a partial answer
        ([IPV6, OTHER], [], [OTHER]),
        ([], [ONE], [ONE]),  # a failed lookup
    ],
)
def test_an_end_follows_a_control_that_moves(
    run: Run,
    names: NameServer,
    later: list[Address],
    silent: list[Address],
    expected: list[Address],
) -> None:
    async def main() -> None:
        assert await chosen(names, later, *silent) == expected

    run(main())


def test_an_end_follows_a_control_within_its_own_families_only(run: Run, names: NameServer) -> None:
    async def main() -> None:
        names.know(VPS.host, ONE)
        controls = Controls([VPS], {4})
        await controls.find()
        names.know(VPS.host, IPV6)
        assert await again(controls, ONE) == []

    run(main())


def test_a_name_is_looked_up_once_at_a_time(run: Run, names: NameServer) -> None:
    async def main() -> None:
        names.know(VPS.host, ONE)
        controls = Controls([VPS], BOTH)
        await controls.find()
        follower = Follower()
        controls.follow(follower, cast(Driver, follower))
        names.hold()
        for _ in range(3):
            controls.find_again([ONE])
        await names.wait_for_questions(2)
        names.know(VPS.host, OTHER)
        names.release()
        await follower.wait_until_told()
        assert len(names.asked) == 2
        assert [each.controls for each in follower.told] == [(OTHER,)]

    run(main())


def test_closing_controls_ends_a_lookup(run: Run, names: NameServer) -> None:
    """`run` finds tasks that are left."""

    async def main() -> None:
        names.know(VPS.host, ONE)
        controls = Controls([VPS], BOTH)
        await controls.close()
        await controls.find()
        follower = Follower()
        controls.follow(follower, cast(Driver, follower))
        names.hold()
        controls.find_again([ONE])
        await names.wait_for_questions(2)
        await controls.close()
        await controls.close()
        assert follower.told == []

    run(main())


# Hosts without a route of one family; NAT64.

NAT64_ONE, NAT64_OTHER = at("64:ff9b::c000:201"), at("64:ff9b::c000:202")
TRANSLATOR = at("2001:db8:64::c000:aa")  # its DNS64's answer for ipv4only.arpa
AT_TRANSLATOR = at("2001:db8:64::c000:201")


def test_find_chooses_the_family_that_has_a_route(run: Run, names: NameServer) -> None:
    async def main() -> None:
        names.know(VPS.host, ONE, IPV6)
        names.unrouted = {4}
        controls = Controls([VPS], BOTH)
        assert (await controls.find()).controls == (IPV6,)
        await controls.close()

    run(main())


def test_find_chooses_ipv4_while_there_is_no_route(
    run: Run, names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at boot. Routes are checked again with each lookup. No translator is looked for."""
    monkeypatch.setattr(controls_module, "FIRST_RETRY", 0.01)

    async def main() -> None:
        names.know(VPS.host, ONE, IPV6)
        names.unrouted = {4, 6}
        controls, follower = Controls([VPS], BOTH), Follower()
        assert (await controls.find()).controls == (ONE,)
        controls.follow(follower, cast(Driver, follower))
        await names.wait_for_questions(3)
        assert set(names.asked) == {VPS.host}
        names.unrouted = {4}
        await follower.wait_until_told()
        assert follower.told[0].controls == (IPV6,)
        await controls.close()

    run(main())


def test_a_nat64_is_recognized_by_a_translated_name(run: Run, names: NameServer) -> None:
    async def main() -> None:
        names.know(VPS.host, ONE, NAT64_ONE)
        names.unrouted = {4}
        found = await Controls([VPS], BOTH).find()
        assert (found.controls, found.nat64) == ((NAT64_ONE,), WELL_KNOWN)
        assert found.reflectors == ((NAT64_ONE, second(NAT64_ONE)),)
        assert names.asked == [VPS.host]

    run(main())


@pytest.mark.parametrize("families", [BOTH, {6}], ids=["both", "ipv6"])
def test_a_control_given_by_ipv4_address_is_reached_by_nat64(
    run: Run, names: NameServer, families: set[int]
) -> None:
    async def main() -> None:
        names.know(DISCOVERY_NAME, *map(at, DISCOVERY_HOSTS), TRANSLATOR)
        names.unrouted = {4}
        found = await Controls([LITERAL], families).find()
        assert found.controls == (AT_TRANSLATOR,)
        assert found.nat64 == learned([TRANSLATOR])

    run(main())


def test_a_nat64_that_is_discovered_late_is_used(
    run: Run, names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controls_module, "FIRST_RETRY", 0.01)

    async def main() -> None:
        names.unrouted = {4}
        controls, follower = Controls([LITERAL], BOTH), Follower()
        assert (await controls.find()).controls == (ONE,)
        controls.follow(follower, cast(Driver, follower))
        names.know(DISCOVERY_NAME, TRANSLATOR)
        while not follower.told or follower.told[-1].controls == (ONE,):
            await follower.wait_until_told()
        assert follower.told[-1].controls == (AT_TRANSLATOR,)
        await controls.close()

    run(main())


def test_a_nat64_beside_a_control_with_ipv6_is_reported_later(run: Run, names: NameServer) -> None:
    """Partners may have IPv4 only. The discovery delays nothing."""

    async def main() -> None:
        names.know(VPS.host, IPV6)
        names.know(DISCOVERY_NAME, TRANSLATOR)
        names.hold(DISCOVERY_NAME)
        names.unrouted = {4}
        controls, follower = Controls([VPS], BOTH), Follower()
        found = await controls.find()
        controls.follow(follower, cast(Driver, follower))
        assert (found.controls, found.nat64) == ((IPV6,), None)
        names.release()
        await follower.wait_until_told()
        assert follower.told[0].nat64 == learned([TRANSLATOR])
        await controls.close()

    run(main())


def test_a_host_with_ipv4_does_not_look_for_a_nat64(run: Run, names: NameServer) -> None:
    async def main() -> None:
        names.know(VPS.host, IPV6)
        controls = Controls([VPS], BOTH)
        found = await controls.find()
        await again(controls)
        assert found.nat64 is None
        assert set(names.asked) == {VPS.host}

    run(main())


def test_an_end_leaves_ipv4_when_its_route_is_gone(run: Run, names: NameServer) -> None:
    async def main() -> None:
        names.know(VPS.host, ONE, IPV6)
        controls = Controls([VPS], BOTH)
        await controls.find()
        names.unrouted = {4}
        assert (await again(controls))[0].controls == (IPV6,)
        await controls.close()

    run(main())


def test_reflectors_are_both_ports_of_each_control_that_has_two() -> None:
    found = {ONE: 10002, OTHER: None, THIRD: 10002}
    assert reflectors(found) == [(ONE, second(ONE)), (THIRD, second(THIRD))]


def test_reflectors_are_any_two_controls_if_none_has_two_ports() -> None:
    found = dict.fromkeys([ONE, OTHER, THIRD])
    assert reflectors(found) == [(ONE, OTHER), (ONE, THIRD), (OTHER, THIRD)]
    assert reflectors({ONE: None}) == []


def test_reflectors_are_of_one_family() -> None:
    assert reflectors({ONE: 10002, IPV6: 10002}) == [(ONE, second(ONE))]
    assert reflectors({IPV6: 10002, ONE: 10002}) == [(IPV6, second(IPV6))]
    assert reflectors(dict.fromkeys([ONE, IPV6, OTHER])) == [(ONE, OTHER)]
    assert reflectors(dict.fromkeys([ONE, IPV6])) == []


def test_there_are_no_reflectors_on_loopback() -> None:
    assert reflectors({LOOPBACK: 10002, ONE: 10002}) == [(ONE, second(ONE))]
    assert reflectors({LOOPBACK: 10002}) == []


def test_reflectors_in_the_own_network_come_last() -> None:
    """It is behind the same NAT and can't observe it."""
    inside = at("192.168.1.20")
    found = {inside: 10002, ONE: 10002}
    assert reflectors(found) == [(ONE, second(ONE)), (inside, second(inside))]
