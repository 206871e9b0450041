"""What an end knows of relays, from one attempt to the next."""

from __future__ import annotations

from netpunch.address import Address
from netpunch.core.end.relays import MOST_NAMED, RelayAt, Relays
from netpunch.core.events import Via
from tests.core.v2_pair import CONTROL, VIA

RELAY = Address(CONTROL.host, 10003)
STREAM: Via = 7
FAR_END = Address(CONTROL.host, 443)


def test_a_control_has_the_relay_that_it_told_of_last() -> None:
    relays = Relays({})
    assert relays.of(CONTROL, VIA) is None
    relays.told(CONTROL, RelayAt(*RELAY))
    assert relays.of(CONTROL, VIA) == RELAY
    assert relays.is_relay(VIA, RELAY)
    relays.told(CONTROL, None)
    assert relays.of(CONTROL, VIA) is None
    assert not relays.is_relay(VIA, RELAY)


def test_a_stream_has_its_relay_at_its_far_end() -> None:
    relays = Relays({STREAM: FAR_END})
    assert relays.of(FAR_END, STREAM) == FAR_END
    assert relays.is_relay(STREAM, FAR_END)
    assert not relays.is_relay(VIA, FAR_END)


def test_partners_name_a_bounded_number() -> None:
    relays = Relays({})
    named = [Address(CONTROL.host, port) for port in range(1, 100)]
    for address in named:
        relays.named(address)
    assert [relays.is_relay(VIA, address) for address in named].count(True) == MOST_NAMED


def test_each_socket_goes_through_the_ports_of_a_relay() -> None:
    relays = Relays({}, first=10)
    relays.told(CONTROL, RelayAt(*RELAY, ports=4))
    ports = []
    for _ in range(5):
        at = relays.of(CONTROL, VIA)
        assert at is not None
        assert at.host == RELAY.host
        ports.append(at.port - RELAY.port)
        relays.skip(CONTROL, VIA)
    assert ports == [2, 3, 0, 1, 2]
    assert relays.of(CONTROL, VIA + 1) == RELAY._replace(port=RELAY.port + 2)


def test_every_port_of_a_relay_is_its_own() -> None:
    relays = Relays({})
    relays.told(CONTROL, RelayAt(*RELAY, ports=4))
    own = [RELAY._replace(port=RELAY.port + number) for number in range(-1, 5)]
    assert [relays.is_relay(VIA, each) for each in own] == [False, True, True, True, True, False]
    assert not relays.is_relay(VIA, Address("192.0.2.99", RELAY.port))
