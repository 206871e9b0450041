"""netpunch.net.observation: a real control, a gateway and silence, on loopback."""

from __future__ import annotations

import asyncio
import os
import ssl

import pytest

from netpunch.address import Address
from netpunch.core import observing
from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.core.observing import Answer, Observing, Question
from netpunch.core.portmap import inquiry
from netpunch.errors import NetworkNotReadyError
from netpunch.net import observation
from netpunch.net.listener import Listener, TlsAt
from netpunch.net.observation import ask, ask_over_tls, inquire, survey, surveyed
from netpunch.net.routes import Gateway
from netpunch.net.sockets import bind
from netpunch.net.tls_certificate import server_context
from netpunch.wire import portmap
from netpunch.wire.card import NatClass
from netpunch.wire.envelope import ControlChannel
from netpunch.wire.keys import control_key
from tests.net.conftest import Run
from tests.net.machines import client
from tests.net.nodes import PAIR, SECRET, control, spec

CHANNEL = ControlChannel(control_key(SECRET, PAIR), PAIR, "a")
SETTINGS = spec("a")
HERE = "127.0.0.1"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "RETRIES", (0.02, 0.02))
    monkeypatch.setattr(observing, "PATIENCE", 0.05)
    monkeypatch.setattr(inquiry, "GAPS", (0.02, 0.02))


def test_a_control_is_asked_from_a_fresh_port(run: Run) -> None:
    async def main() -> None:
        async with control() as address:
            reply = await ask(CHANNEL, address, SETTINGS)
            assert reply.answer is not None
            assert reply.answer.observed.host == HERE
            assert 0 < reply.answer.rtt < 1
            assert (reply.refused, reply.error) == (False, "")

    run(main())


def test_a_port_where_nothing_listens_is_told_from_silence(run: Run) -> None:
    async def main() -> None:
        with client() as mute:
            silent = mute.address
            reply = await ask(CHANNEL, silent, SETTINGS)
            assert (reply.answer, reply.refused) == (None, False)
        reply = await ask(CHANNEL, silent, SETTINGS)
        assert (reply.answer, reply.refused) == (None, True)

    run(main())


def test_a_place_without_a_route_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise OSError(101, "Network is unreachable")

    async def main() -> None:
        monkeypatch.setattr(observation, "connected", unreachable)
        reply = await ask(CHANNEL, Address("192.0.2.1", 1), SETTINGS)
        assert reply.error == "Network is unreachable"

    run(main())


def test_an_option_that_cannot_be_had_is_told(run: Run) -> None:
    async def main() -> None:
        reply = await ask(CHANNEL, Address(HERE, 1), SETTINGS._replace(interface="nothere"))
        assert "nothere" in reply.error
        with pytest.raises(NetworkNotReadyError):
            await survey(CHANNEL, [Address(HERE, 1)], SETTINGS._replace(interface="nothere"))

    run(main())


def test_a_control_is_asked_over_tls(run: Run) -> None:
    async def main() -> None:
        keys = {PAIR: control_key(SECRET, PAIR)}
        node = ControlNode(ControlV2(keys, random=os.urandom), ClassicControl({}))
        context: ssl.SSLContext = server_context()
        listener = Listener(node, [(HERE, 0)], relay=[(HERE, 0)], tls=TlsAt(HERE, 0, context))
        listener.open()
        try:
            assert listener.tls is not None
            answer = await ask_over_tls(CHANNEL, listener.tls.local, None, SETTINGS)
            assert answer is not None
            assert answer.relay_port
            assert node.registered == 0
        finally:
            listener.close()

    run(main())


def test_a_port_without_tls_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(observation, "STREAM_PATIENCE", 0.1)
        assert await ask_over_tls(CHANNEL, Address(HERE, 1), "vps.example.net", SETTINGS) is None

    run(main())


def test_a_survey_asks_every_reflector_from_every_socket(run: Run) -> None:
    async def main() -> None:
        async with control() as address:
            found = await survey(CHANNEL, [address], SETTINGS)
            assert len(found.seen) == observation.ASKING_SOCKETS
            assert found.preserves_ports
            assert found.looped_back is None  # loopback addresses are never pinged
            assert found.report.nat_class is NatClass.UNKNOWN  # one reflector does not tell

    run(main())


REFLECTORS = (Address("198.51.100.1", 10001), Address("198.51.100.1", 10002))
LOCAL = {0: Address("0.0.0.0", 5000), 1: Address("0.0.0.0", 5001)}


def answered(ports: dict[tuple[int, int], int]) -> Observing:
    """Socket and reflector (0, 1) to the outside port seen."""
    machine = Observing(CHANNEL, [], random=os.urandom, now=0.0, on_done=lambda: None)
    for (via, reflector), port in ports.items():
        seen = Answer(Address("203.0.113.5", port), 0.02, 0)
        machine.answers[Question(via, REFLECTORS[reflector])] = seen
    return machine


@pytest.mark.parametrize(
    ("ports", "nat", "preserves"),
    [
        ({(0, 0): 5000, (0, 1): 5000, (1, 0): 5001, (1, 1): 5001}, NatClass.EASY, True),
        ({(0, 0): 41, (0, 1): 41, (1, 0): 977, (1, 1): 977}, NatClass.EASY, False),
        ({(0, 0): 41, (0, 1): 42, (1, 0): 43, (1, 1): 44}, NatClass.HARD_STEP, False),
        ({(0, 0): 41, (0, 1): 9999, (1, 0): 777, (1, 1): 30000}, NatClass.HARD_RANDOM, False),
        ({(0, 0): 5000, (1, 0): 5001}, NatClass.UNKNOWN, True),
        ({}, NatClass.UNKNOWN, None),
    ],
)
def test_what_a_survey_says(
    ports: dict[tuple[int, int], int], nat: NatClass, preserves: bool | None
) -> None:
    found = surveyed(LOCAL, REFLECTORS, answered(ports), ["192.168.1.7"])
    assert (found.report.nat_class, found.preserves_ports) == (nat, preserves)


def test_reflectors_that_were_silent_are_named() -> None:
    found = surveyed(LOCAL, REFLECTORS, answered({(0, 0): 5000}), [])
    assert found.silent == (REFLECTORS[1],)


def test_a_gateway_is_asked_and_maps_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with client() as gateway:
            monkeypatch.setattr(observation, "SERVER_PORT", gateway.address.port)
            asking = asyncio.create_task(inquire(Gateway(HERE, HERE, "lo"), bind))
            requests = []
            for _ in range(2):
                data, source = await gateway.receive()
                requests.append(portmap.parse(data))
                gateway.send(ANSWERS[type(requests[-1])], source)
            offer = await asking
            assert (offer.pcp, offer.nat_pmp, offer.external) == (True, True, "203.0.113.5")

    run(main())


ANSWERS: dict[type, bytes] = {
    portmap.PcpAnnounce: portmap.pack(portmap.PcpAnnounced(0, 0, 9)),
    portmap.AddressRequest: portmap.pack(portmap.AddressResponse(0, 9, "203.0.113.5")),
}


def test_a_silent_gateway_offers_nothing(run: Run) -> None:
    async def main() -> None:
        offer = await inquire(Gateway("127.0.0.77", HERE, "lo"), bind)
        assert (offer.pcp, offer.nat_pmp) == (None, None)
        gone = Gateway("192.0.2.1", "192.0.2.77", "lo")
        assert await inquire(gone, bind) == observation.GatewayOffer(gone)

    run(main())
