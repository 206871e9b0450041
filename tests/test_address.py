"""Addresses as values, and which of them netpunch may send to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.address import (
    Address,
    canonical_host,
    is_loopback,
    is_pingable,
    is_private,
    parse_address,
)
from tests.wire.v2_strategies import addresses


@given(addresses)
def test_an_address_reads_as_it_is_written(address: Address) -> None:
    assert parse_address(str(address)) == address


@given(addresses)
def test_an_address_is_the_plain_pair_that_sockets_give(address: Address) -> None:
    pair = (address.host, address.port)
    assert address == pair
    assert hash(address) == hash(pair)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1:5000", Address("192.0.2.1", 5000)),
        ("192.0.2.1:0", Address("192.0.2.1", 0)),
        ("[2001:db8::1]:65535", Address("2001:db8::1", 65535)),
        ("[2001:DB8:0:0::1]:1", Address("2001:db8::1", 1)),
        ("[fe80::1%eth0]:1", Address("fe80::1", 1)),
        ("[::ffff:192.0.2.1]:1", Address("192.0.2.1", 1)),
    ],
)
def test_a_parsed_address_is_canonical(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "192.0.2.1",
        "192.0.2.1:",
        "192.0.2.1:65536",
        "192.0.2.1:-1",
        "192.0.2.1:+1",
        "192.0.2.1: 1",
        "192.0.2.1:\u0661",
        "192.0.2.1:\u00b2",
        "[192.0.2.1]:1",
        "2001:db8::1:5000",
        "[2001:db8::1]",
        "[2001:db8::1:5000",
        "host.example:5000",
        ":5000",
        "[]:5000",
        "192.0.2.01:5000",
        "192.0.2:5000",
    ],
)
def test_other_texts_are_not_addresses(text: str) -> None:
    with pytest.raises(ValueError):
        parse_address(text)


@given(st.text(max_size=40))
def test_parsing_an_address_raises_only_value_error(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "host"),
    [("::FFFF:127.0.0.1", "127.0.0.1"), ("2001:0db8::0", "2001:db8::"), ("fe80::1%1", "fe80::1")],
)
def test_a_host_has_one_form(text: str, host: str) -> None:
    assert canonical_host(text) == host


def test_the_family_of_an_address_is_4_or_6() -> None:
    assert Address("192.0.2.1", 1).family == 4
    assert Address("::1", 1).family == 6


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("128.0.0.1", False),
        ("::2", False),
    ],
)
def test_loopback_addresses_are_recognized(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


HOSTILE = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.1.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "fe80::1",
    "febf::1",
    "ff02::1",
]


@pytest.mark.parametrize("loopback", [True, False])
@pytest.mark.parametrize("host", HOSTILE)
def test_hostile_addresses_are_never_pinged(host: str, loopback: bool) -> None:
    assert not is_pingable(Address(host, 5000), loopback=loopback)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1"])
def test_loopback_is_pinged_only_where_control_is_on_it(host: str) -> None:
    assert is_pingable(Address(host, 5000), loopback=True)
    assert not is_pingable(Address(host, 5000), loopback=False)


@pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1", "100.64.0.1", "2001:db8::1", "fd00::1"])
def test_other_addresses_are_pinged_but_never_port_0(host: str) -> None:
    assert is_pingable(Address(host, 1), loopback=False)
    assert is_pingable(Address(host, 65535), loopback=False)
    assert not is_pingable(Address(host, 0), loopback=True)


@given(st.ip_addresses(v=4))
def test_an_ipv4_mapped_form_does_not_hide_a_hostile_address(ip: ipaddress.IPv4Address) -> None:
    mapped = parse_address(f"[::ffff:{ip}]:5000")
    plain = parse_address(f"{ip}:5000")
    assert is_pingable(mapped, loopback=False) is is_pingable(plain, loopback=False)


PRIVATE = ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"]
PRIVATE += ["100.64.0.0/10", "::1/128", "fc00::/7", "fe80::/10"]


@pytest.mark.parametrize("network", [ipaddress.ip_network(each) for each in PRIVATE], ids=str)
def test_private_addresses_are_recognized_and_their_neighbours_are_not(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> None:
    first, last = network.network_address, network.broadcast_address
    assert is_private(str(first))
    assert is_private(str(last))
    assert not is_private(str(last + 1))
    assert not is_private(str(first - 1))


@pytest.mark.parametrize("host", ["192.0.2.1", "198.51.100.1", "2001:db8::1", "fc::1", "fe8::1"])
def test_public_addresses_are_not_private(host: str) -> None:
    assert not is_private(host)
