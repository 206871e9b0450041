"""Raw sockets beside a program's own: what their filter lets through, what they send. The filter is
run by an interpreter on datagrams of all kinds, and by the kernel on real ones."""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from netpunch.address import Address
from netpunch.errors import ConfigurationError, NetpunchError, PermissionsError
from netpunch.net import packet_filter, raw_socket
from netpunch.net.packet_filter import WHOLE, Instruction
from netpunch.net.raw_socket import RawSocket, filter_program, udp_checksum
from netpunch.net.sockets import DEFAULT_OPTIONS
from netpunch.wire.envelope import may_be_ours

FAMILIES = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}
WILDCARDS = {"127.0.0.1": "0.0.0.0", "::1": "::"}
PORT = 51820
LENGTHS = (0, 1, 7, 8, 127, 128, 129, 148, 383, 384, 385, 1280)
DATAGRAMS = 10_000
TIMEOUT = 5.0

needs_raw_sockets = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="needs Linux and CAP_NET_RAW"
)


def interpret(program: tuple[Instruction, ...], packet: bytes) -> int:
    """How many bytes of the packet the program lets through: the few instructions of bpf(4) that
    filters here have. Reading beyond the packet ends the program with 0."""
    a = x = at = 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        match code:
            case packet_filter.SET_X:
                x = value
            case packet_filter.SET_X_TO_IP_HEADER_LENGTH if value < len(packet):
                x = (packet[value] & 0x0F) * 4
            case packet_filter.LOAD_HALF_AT_X if x + value + 2 <= len(packet):
                (a,) = struct.unpack_from("!H", packet, x + value)
            case packet_filter.LOAD_BYTE_AT_X if x + value < len(packet):
                a = packet[x + value]
            case packet_filter.JUMP_IF_EQUAL:
                at += if_true if a == value else if_false
            case packet_filter.RETURN:
                return value
            case _:
                return 0


def packet(family: int, port: int, payload: bytes, options: int = 0) -> bytes:
    """As the filter sees it; `options`: words in the IPv4 header."""
    udp = struct.pack("!HHHH", 4000, port, 8 + len(payload), 0) + payload
    if family == socket.AF_INET6:
        return udp
    return bytes((0x45 + options,)) + bytes(19 + 4 * options) + udp


@pytest.mark.parametrize("family", FAMILIES.values())
def test_the_filter_lets_exactly_our_datagrams_to_our_port_through(family: int) -> None:
    program = filter_program(family, PORT)
    rng = random.Random(7)
    passed = 0
    for _ in range(DATAGRAMS):
        length = rng.choice(LENGTHS)
        payload = bytes((rng.choice((0x01, 0x02, 0x03, 0x04, 0xF2, rng.randrange(256))),))
        payload = (payload + rng.randbytes(length))[:length]
        port = rng.choice((PORT, PORT, PORT + 1, rng.randrange(65536)))
        expected = port == PORT and may_be_ours(payload)
        options = rng.randrange(11)
        assert interpret(program, packet(family, port, payload, options)) == expected * WHOLE
        passed += expected
    assert passed > DATAGRAMS / 100


@pytest.mark.parametrize("family", FAMILIES.values())
def test_the_filter_survives_what_is_cut_off(family: int) -> None:
    whole = packet(family, PORT, b"\xf2" * 128)
    assert interpret(filter_program(family, PORT), whole) == WHOLE
    start = len(whole) - 128
    for length in range(start + 1):
        assert interpret(filter_program(family, PORT), whole[:length]) == 0


def test_the_checksum_is_that_of_rfc_768() -> None:
    """A sum of all 16-bit words that includes the checksum is all ones."""
    rng = random.Random(7)
    for length in (0, 1, 2, 127, 128, 384):
        datagram = struct.pack("!HHHH", 4000, PORT, 8 + length, 0) + rng.randbytes(length)
        checksum = udp_checksum("192.0.2.1", "198.51.100.7", datagram)
        pseudo = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.7")
        covered = pseudo + struct.pack("!HH", 17, len(datagram)) + datagram + bytes(length % 2)
        total = sum(struct.unpack(f"!{len(covered) // 2}H", covered)) + checksum
        while total > 0xFFFF:
            total = (total & 0xFFFF) + (total >> 16)
        assert total == 0xFFFF


def test_a_checksum_of_zero_is_sent_as_all_ones() -> None:
    """Zero means that there is none."""
    words = range(0xFFFF)
    checksums = {udp_checksum("0.0.0.0", "0.0.0.0", struct.pack("!H", word)) for word in words}
    assert checksums == set(range(1, 0x10000))


def owner(cleanup: ExitStack, host: str) -> socket.socket:
    """A program's socket, at a free port of all addresses."""
    family = FAMILIES[host]
    sock = cleanup.enter_context(socket.socket(family, socket.SOCK_DGRAM))
    sock.bind((WILDCARDS[host], 0))
    sock.settimeout(TIMEOUT)
    return sock


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as cleanup:
        yield cleanup


def raw(cleanup: ExitStack, host: str, port: int) -> RawSocket:
    sock = RawSocket(host, port, DEFAULT_OPTIONS)
    cleanup.callback(sock.close)
    return sock


def received(sock: RawSocket) -> list[tuple[bytes, Address]]:
    """All that is there. On loopback that is all that was sent."""
    found = []
    while True:
        try:
            found.append(sock.receive())
        except BlockingIOError:
            return found


@needs_raw_sockets
@pytest.mark.parametrize("host", FAMILIES)
@pytest.mark.parametrize("is_wildcard", [True, False])
def test_a_raw_socket_receives_only_ours_and_takes_nothing_from_the_program(
    cleanup: ExitStack, host: str, is_wildcard: bool
) -> None:
    program, partner = owner(cleanup, host), owner(cleanup, host)
    port = program.getsockname()[1]
    shared = raw(cleanup, WILDCARDS[host] if is_wildcard else host, port)
    payloads = [bytes((first,)) * length for first in (1, 4, 0xF2) for length in LENGTHS]
    for payload in payloads:
        partner.sendto(payload, (host, port))
        assert program.recv(2048) == payload
    expected = [payload for payload in payloads if may_be_ours(payload)]
    source = Address(host, partner.getsockname()[1])
    assert received(shared) == [(payload, source) for payload in expected]


@needs_raw_sockets
@pytest.mark.parametrize("host", FAMILIES)
@pytest.mark.parametrize("is_wildcard", [True, False])
@pytest.mark.parametrize("ttl", [0, 4])
def test_a_raw_socket_sends_from_the_program_s_port(
    cleanup: ExitStack, host: str, is_wildcard: bool, ttl: int
) -> None:
    """The kernel verifies the checksum: a wrong one would not arrive."""
    program, partner = owner(cleanup, host), owner(cleanup, host)
    port = program.getsockname()[1]
    shared = raw(cleanup, WILDCARDS[host] if is_wildcard else host, port)
    for payload in (b"\xf2" * 128, b"\xf2" + random.Random(7).randbytes(383)):
        shared.send(payload, Address(host, partner.getsockname()[1]), ttl)
        data, source = partner.recvfrom(2048)
        assert (data, source[:2]) == (payload, (host, port))


@needs_raw_sockets
def test_ipv4_does_without_a_checksum_when_the_system_tells_no_source(
    cleanup: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, partner = owner(cleanup, "127.0.0.1"), owner(cleanup, "127.0.0.1")
    shared = raw(cleanup, "0.0.0.0", program.getsockname()[1])
    monkeypatch.setattr(raw_socket, "source_towards", lambda *_: "")
    shared.send(b"\xf2" * 128, Address("127.0.0.1", partner.getsockname()[1]))
    assert partner.recv(2048) == b"\xf2" * 128


@needs_raw_sockets
@pytest.mark.parametrize("host", FAMILIES)
def test_what_came_before_the_filter_is_never_read(
    cleanup: ExitStack, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel queues all UDP datagrams of the host for a raw socket without a filter."""
    program, partner = owner(cleanup, host), owner(cleanup, host)
    port = program.getsockname()[1]
    opened = raw_socket._open

    def open_late(family: int) -> socket.socket:
        sock = opened(family)
        for _ in range(50):
            partner.sendto(b"secret of another program", (host, port))
        return sock

    monkeypatch.setattr(raw_socket, "_open", open_late)
    assert received(raw(cleanup, host, port)) == []


def test_without_the_privilege_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> socket.socket:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(PermissionsError, match=r"AmbientCapabilities=CAP_NET_RAW.*setcap"):
        RawSocket("0.0.0.0", PORT, DEFAULT_OPTIONS)


def test_a_host_without_ipv6_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(NetpunchError, match=r"not have the address ::1 now"):
        RawSocket("::1", PORT, DEFAULT_OPTIONS)


def test_other_systems_are_told_to_use_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfigurationError, match=r"Linux only.*forward"):
        RawSocket("0.0.0.0", PORT, DEFAULT_OPTIONS)
