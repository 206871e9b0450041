"""What an end knows of relays, from one attempt to the next."""

from __future__ import annotations

from netpunch.address import Address
from netpunch.core.end.relays import MOST_NAMED, Relays
from netpunch.core.events import Via
from tests.core.v2_pair import CONTROL, VIA

RELAY = Address(CONTROL.host, 10003)
STREAM: Via = 7
FAR_END = Address(CONTROL.host, 443)


def test_a_control_has_the_relay_that_it_told_of_last() -> None:
    relays = Relays({})
    assert relays.of(CONTROL, VIA) is None
    relays.told(CONTROL, RELAY)
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
