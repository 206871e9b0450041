"""Where the world sees a control's network, and what is reported of ends inside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from os import urandom
from typing import Any

import pytest

from netpunch.address import Address
from netpunch.config.document.problems import Position
from netpunch.config.model import ControlConfig
from netpunch.config.values import HostPort
from netpunch.core.control.control import ControlV2
from netpunch.core.events import Registered
from netpunch.errors import ControlUnreachableError
from netpunch.net import own_hosts
from netpunch.net.routes import Gateway
from netpunch.node.control_network import MOST_REPORTED, ControlNetwork
from tests.node.children import Run, on_both_loops
from tests.node.recorder import Recorder

pytestmark = on_both_loops

INSIDE, OUTSIDE = Address("192.168.1.10", 5000), Address("203.0.113.1", 6000)
GATEWAY = Address("192.168.1.1", 40000)
Names = dict[str, list[str]]


class Bench:
    """A network, the machine that it informs, and what was reported."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.machine = ControlV2({}, random=urandom)
        self.network = ControlNetwork("vps", self.machine, self.recorder.services)

    async def learn(self, address: str, *public: str) -> None:
        place = HostPort(address, 1)
        control = ControlConfig("vps", None, place, (place,), (), 60.0, Position(1, 1), public)
        self.network.learn(control)
        for _ in range(3):
            await asyncio.sleep(0)

    def sees(self, *addresses: Address) -> None:
        for address in addresses:
            self.network.registered(Registered("p", "a", address))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """What a resolver knows."""
    known: Names = {}

    async def resolve(host: str, port: int) -> list[Address]:
        if host not in known:
            raise ControlUnreachableError("no")
        return [Address(each, port) for each in known[host]]

    monkeypatch.setattr(own_hosts, "resolve", resolve)
    return known


@pytest.fixture(autouse=True)
def gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    gateways = [Gateway(GATEWAY.host, "192.168.1.20", "eth0")]
    monkeypatch.setattr("netpunch.net.routes.default_gateways", lambda: gateways)


def trial(run: Run[Any], test: Callable[[Bench], Any]) -> None:
    async def main() -> None:
        bench = Bench()
        await test(bench)
        await bench.network.stop()

    run(main())


class TestWhereTheWorldSeesIt:
    @pytest.mark.parametrize(
        ("given", "public", "own_hosts"),
        [
            ("vps", (), {4: "192.0.2.1", 6: "2001:db8::1"}),
            ("vps", ("home",), {4: "198.51.100.7"}),
            ("vps", ("home", "six"), {4: "198.51.100.7", 6: "2001:db8::7"}),
            ("debian", (), {}),
            ("split", (), {}),
            ("unknown", (), {}),
        ],
    )
    def test_a_control_is_seen_where_its_name_or_public_resolves_to_a_public_address(
        self,
        run: Run[Any],
        names: Names,
        given: str,
        public: tuple[str, ...],
        own_hosts: dict[int, str],
    ) -> None:
        names |= {
            "vps": ["192.0.2.1", "192.0.2.2", "2001:db8::1"],
            "home": ["198.51.100.7"],
            "six": ["2001:db8::7"],
            "debian": ["127.0.1.1", "::1"],
            "split": ["192.168.1.20"],
        }

        async def test(bench: Bench) -> None:
            await bench.learn(given, *public)
            assert bench.machine.own_hosts == own_hosts

        trial(run, test)

    def test_a_controls_name_is_looked_up_again_and_known_addresses_outlive_failures(
        self, run: Run[Any], names: Names, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(own_hosts, "REVIEW", 0.0)
        monkeypatch.setattr(own_hosts, "RETRY", 0.0)

        async def test(bench: Bench) -> None:
            async def after_review() -> dict[int, str]:
                for _ in range(20):
                    await asyncio.sleep(0)
                return dict(bench.machine.own_hosts)

            await bench.learn("home")
            assert await after_review() == {}
            names["home"] = ["198.51.100.7"]
            assert await after_review() == {4: "198.51.100.7"}
            names.clear()
            assert await after_review() == {4: "198.51.100.7"}
            names["home"] = ["198.51.100.8"]
            assert await after_review() == {4: "198.51.100.8"}

        trial(run, test)


class TestEndsInside:
    def test_an_end_inside_is_reported_with_the_public_address_that_partners_are_given(
        self, run: Run[Any], names: Names
    ) -> None:
        names["home"] = ["198.51.100.7"]

        async def test(bench: Bench) -> None:
            await bench.learn("home")
            bench.sees(INSIDE, INSIDE._replace(port=7), OUTSIDE)
            (record,) = bench.recorder.of("control.end_inside")
            assert record["raddr"] == "192.168.1.10:5000"
            assert (record["public"], record["from_gateway"]) == ("198.51.100.7", False)
            (line,) = bench.recorder.said
            assert line.startswith("control vps: p a at 192.168.1.10:5000 is in this control's")
            assert "198.51.100.7" in line

        trial(run, test)

    @pytest.mark.parametrize("order", [(INSIDE, OUTSIDE), (OUTSIDE, INSIDE)])
    def test_an_unknown_public_address_is_warned_of_once_an_end_is_elsewhere(
        self, run: Run[Any], names: Names, order: tuple[Address, Address]
    ) -> None:
        async def test(bench: Bench) -> None:
            await bench.learn("unknown")
            bench.sees(*order)
            (line,) = bench.recorder.said
            assert line.startswith("warning: control vps: p a at 192.168.1.10:5000")
            assert "set `public`" in line

        trial(run, test)

    def test_a_control_of_private_networks_reports_no_end_inside(
        self, run: Run[Any], names: Names
    ) -> None:
        names["split"] = ["192.168.1.20"]

        async def test(bench: Bench) -> None:
            await bench.learn("split")
            bench.sees(INSIDE, Address("10.0.0.1", 1), Address("127.0.0.1", 1))
            assert bench.recorder.records == []
            assert bench.recorder.said == []

        trial(run, test)

    def test_an_end_behind_the_hosts_own_gateway_is_warned_of(
        self, run: Run[Any], names: Names
    ) -> None:
        names["vps"] = ["198.51.100.10"]

        async def test(bench: Bench) -> None:
            bench.sees(GATEWAY)
            assert bench.recorder.said == [], "it does not know yet where the world sees it"
            await bench.learn("vps")
            (line,) = bench.recorder.said
            assert line.startswith("warning: control vps: p a comes from 192.168.1.1:40000")
            assert "container" in line
            assert bench.recorder.of("control.end_inside")[0]["from_gateway"] is True

        trial(run, test)

    def test_of_a_large_network_only_some_ends_are_reported(
        self, run: Run[Any], names: Names
    ) -> None:
        async def test(bench: Bench) -> None:
            await bench.learn("unknown")
            bench.sees(*(Address(f"192.168.2.{n}", 1) for n in range(100)), OUTSIDE)
            bench.sees(*(Address(f"192.168.3.{n}", 1) for n in range(100)))
            assert len(bench.recorder.said) == MOST_REPORTED

        trial(run, test)
