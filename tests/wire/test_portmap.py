"""The codec of PCP and NAT-PMP: bytes as the RFCs draw them, and what makes no message."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.address import canonical_host
from netpunch.wire import portmap
from netpunch.wire.drop import Drop
from netpunch.wire.portmap import (
    AddressRequest,
    AddressResponse,
    NatPmpResult,
    PcpRequest,
    PcpResponse,
    PcpResult,
    PortRequest,
    PortResponse,
    VersionRefused,
    describe,
    pack,
    parse,
    result_name,
)

NONCE = bytes.fromhex("000102030405060708090a0b")

# By hand from RFC 6887 sections 7.1, 7.2 and 11.1, and RFC 6886 sections 3.2 and 3.3.
PCP_REQUEST = (
    "02 01 0000 00000e10 00000000000000000000ffffc0a80117"  # version, MAP, lifetime, client
    "000102030405060708090a0b 11 000000 1388 1389 00000000000000000000ffff00000000"
)
PCP_RESPONSE = (
    "02 81 00 00 00000e10 0000abcd 000000000000000000000000"  # ..., result, lifetime, epoch
    "000102030405060708090a0b 11 000000 1388 1389 00000000000000000000ffffcb007109"
)
PCP_RESPONSE_IPV6 = (
    "02 81 00 08 0000001e 0000abcd 000000000000000000000000"
    "000102030405060708090a0b 11 000000 1388 1388 20010db8000000000000000000000009"
)
GOLDEN = [
    (PCP_REQUEST, PcpRequest(3600, "192.168.1.23", NONCE, 17, 5000, 5001, "0.0.0.0")),
    (PCP_RESPONSE, PcpResponse(0, 3600, 0xABCD, NONCE, 17, 5000, 5001, "203.0.113.9")),
    (PCP_RESPONSE_IPV6, PcpResponse(8, 30, 0xABCD, NONCE, 17, 5000, 5000, "2001:db8::9")),
    ("00 00", AddressRequest()),
    ("00 80 0000 0000abcd cb007109", AddressResponse(0, 0xABCD, "203.0.113.9")),
    ("00 01 0000 1388 1389 00000e10", PortRequest(5000, 5001, 3600)),
    ("00 81 0000 0000abcd 1388 1389 00000e10", PortResponse(0, 0xABCD, 5000, 5001, 3600)),
    ("00 81 0002 0000abcd 0000 0000 00000000", PortResponse(2, 0xABCD, 0, 0, 0)),
]

BYTES = st.integers(0, 0xFF)
PORTS = st.integers(0, 0xFFFF)
SECONDS = st.integers(0, 0xFFFFFFFF)
HOSTS = st.ip_addresses().map(str).map(canonical_host)
NONCES = st.binary(min_size=12, max_size=12)
NAT_PMP_SUCCESS = st.just(NatPmpResult.SUCCESS.value)

MESSAGES = st.one_of(
    st.builds(PcpRequest, SECONDS, HOSTS, NONCES, BYTES, PORTS, PORTS, HOSTS),
    st.builds(PcpResponse, BYTES, SECONDS, SECONDS, NONCES, BYTES, PORTS, PORTS, HOSTS),
    st.builds(AddressRequest),
    st.builds(AddressResponse, NAT_PMP_SUCCESS, SECONDS, st.ip_addresses(v=4).map(str)),
    st.builds(PortRequest, PORTS, PORTS, SECONDS),
    st.builds(PortResponse, NAT_PMP_SUCCESS, SECONDS, PORTS, PORTS, SECONDS),
)
Packable = portmap.Request | portmap.Response


@pytest.mark.parametrize(("datagram", "message"), GOLDEN)
def test_packed_messages_equal_the_bytes_of_the_rfcs(datagram: str, message: Packable) -> None:
    assert pack(message) == bytes.fromhex(datagram)
    assert parse(bytes.fromhex(datagram)) == message


@given(MESSAGES)
def test_parsing_a_packed_message_gives_the_message(message: Packable) -> None:
    parsed = parse(pack(message))
    assert type(parsed) is type(message)
    assert parsed == message


@given(MESSAGES, st.data())
def test_truncated_port_mapping_message_is_malformed(
    message: Packable, data: st.DataObject
) -> None:
    datagram = pack(message)
    cut = datagram[: data.draw(st.integers(0, len(datagram) - 1))]
    assert parse(cut) is Drop.MALFORMED


@given(MESSAGES, st.binary(max_size=64))
def test_bytes_after_a_port_mapping_message_are_ignored(message: Packable, more: bytes) -> None:
    padded = more.ljust(-(-len(more) // 4) * 4, b"\0")  # PCP's options: a multiple of 4
    assert parse(pack(message) + padded) == message


@given(st.binary(max_size=1200))
def test_parsing_any_bytes_as_port_mapping_raises_nothing(data: bytes) -> None:
    assert isinstance(parse(data), tuple | Drop)
    assert describe(data)


HEADERS = st.sampled_from([bytes([0, 128]), bytes([0, 129]), bytes([2, 129]), bytes([2, 1])])


@given(HEADERS, st.binary(max_size=80))
def test_parsing_any_bytes_after_a_true_header_raises_nothing(header: bytes, body: bytes) -> None:
    parsed = parse(header + body)
    if isinstance(parsed, PcpRequest | PcpResponse | AddressResponse):
        hosts = [value for value in parsed if isinstance(value, str)]
        assert [str(ipaddress.ip_address(host)) for host in hosts] == hosts


@pytest.mark.parametrize(
    "datagram",
    [
        "",
        "02",
        "02 01",
        PCP_RESPONSE + "00",  # no multiple of 4
        PCP_RESPONSE + "00" * (portmap.MAX_PCP_LENGTH - 56),
        "02 82" + PCP_RESPONSE[5:],  # PEER
        "01 81" + PCP_RESPONSE[5:],  # the version of PCP's drafts
        "00 82 0000 0000abcd 1388 1389 00000e10",  # NAT-PMP for TCP
        "00 81 0002 0000ab",  # too short even for a failure
        "00 81 0000 0000abcd",  # a success without its fields
        "00 80 0000 0000abcd",
    ],
)
def test_bytes_of_no_port_mapping_message_are_malformed(datagram: str) -> None:
    assert parse(bytes.fromhex(datagram)) is Drop.MALFORMED


@pytest.mark.parametrize(
    ("datagram", "message"),
    [
        ("00 80 0003 0000abcd", AddressResponse(3, 0xABCD, "0.0.0.0")),
        ("00 81 0004 0000abcd", PortResponse(4, 0xABCD, 0, 0, 0)),
        ("00 81 0004 0000abcd 1388", PortResponse(4, 0xABCD, 5000, 0, 0)),
    ],
)
def test_nat_pmp_failure_may_end_after_its_epoch(datagram: str, message: portmap.Message) -> None:
    assert parse(bytes.fromhex(datagram)) == message


@pytest.mark.parametrize(
    ("datagram", "version"),
    [
        ("00 81 0001 0000abcd", 0),  # NAT-PMP, asked in PCP
        ("01 81 00 01 00000000 0000abcd 000000000000000000000000", 1),
        ("03 80 00 01 00000000 0000abcd 000000000000000000000000", 3),
    ],
)
def test_refusal_of_a_version_is_parsed_in_any_format(datagram: str, version: int) -> None:
    assert parse(bytes.fromhex(datagram)) == VersionRefused(version)


@pytest.mark.parametrize(
    "datagram",
    [
        "00 81 0001 0000ab",  # too short
        "01 01 00 01 00000000 0000abcd 000000000000000000000000",  # a request
    ],
)
def test_other_result_is_no_refusal_of_a_version(datagram: str) -> None:
    assert parse(bytes.fromhex(datagram)) is Drop.MALFORMED


def test_refusal_in_our_own_version_needs_the_nonce() -> None:
    refusal = PcpResponse(PcpResult.UNSUPP_VERSION, 0, 1, NONCE, 17, 5000, 0, "::")
    assert parse(pack(refusal)) == refusal
    assert parse(pack(refusal)[:24]) is Drop.MALFORMED


def test_ipv4_mapped_external_address_is_parsed_as_ipv4() -> None:
    parsed = parse(bytes.fromhex(PCP_RESPONSE))
    assert isinstance(parsed, PcpResponse)
    assert parsed.external_host == "203.0.113.9"


def test_result_codes_have_the_names_of_the_rfcs() -> None:
    assert result_name(PcpResult, 12) == "ADDRESS_MISMATCH"
    assert result_name(NatPmpResult, 4) == "OUT_OF_RESOURCES"
    assert result_name(NatPmpResult, 12) == "result 12"


def test_port_mapping_datagrams_are_described() -> None:
    words = describe(bytes.fromhex(PCP_REQUEST))
    assert words.startswith("PcpRequest lifetime=3600 client=192.168.1.23 nonce=000102030405")
    assert describe(b"\0\0") == "AddressRequest"
    assert describe(b"?") == "1 bytes: malformed"


def test_an_announcement_of_pcp_is_a_header_and_maps_nothing() -> None:
    request = portmap.PcpAnnounce(0, "192.168.1.7")
    data = bytes.fromhex("02 00 0000 00000000 00000000000000000000ffffc0a80107")  # RFC 6887, 7.1
    assert portmap.pack(request) == data
    assert parse(data) == request
    answer = bytes.fromhex("02 80 00 00 00000000 0000abcd 000000000000000000000000")  # 7.2
    assert parse(answer) == portmap.PcpAnnounced(0, 0, 0xABCD)
