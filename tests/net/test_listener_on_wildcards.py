from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest

from netpunch.address import Address
from netpunch.net import wildcard
from netpunch.net.driver import Driver
from netpunch.net.listener import open_listener
from netpunch.net.sockets import IP_PKTINFO, SocketOptions, asked_address, bind
from tests.net.conftest import Run, open_descriptors
from tests.net.machines import EchoMachine, client, has_ipv6, local_address, port_is_free

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the mechanism is Linux's")
needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")

BIND_IN_ANOTHER_PROCESS = """
import socket, sys
host, port, reuse = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
try:
    sock.bind((host, port))
except OSError as error:
    sys.exit(error.strerror)
"""


@contextlib.contextmanager
def listening(machine: EchoMachine, host: str = "") -> Iterator[tuple[Driver, int]]:
    """A listener on a fresh port, and that port."""
    sockets = bind(host, 0)
    port = local_address(sockets[0]).port
    driver = Driver(machine, on_event=print)
    try:
        open_listener(driver, dict(enumerate(sockets)))
        yield driver, port
    finally:
        driver.close()


def vias(machine: EchoMachine) -> list[int]:
    return [datagram.via for datagram in machine.received]


def test_a_wildcard_listener_answers_from_the_address_that_was_asked(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        with listening(machine) as (_, port), client("127.0.0.1") as peer:
            for host in ("127.0.0.2", "127.0.0.1", "127.0.0.3", "127.0.0.2"):
                asked = Address(host, port)
                assert await peer.ask(b"?", asked) == (b"?", asked)
                assert await peer.ask(b"!", asked) == (b"!", asked)
            first, second, third, again = vias(machine)[::2]
            assert len({first, second, third}) == 3
            assert again == first
            assert vias(machine)[1::2] == [first, second, third, again]

    run(main())


@needs_ipv6
def test_a_wildcard_listener_answers_from_the_asked_address_in_ipv6(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        with listening(machine) as (_, port), client("::1") as peer:
            asked = Address("::1", port)
            for _ in range(2):
                assert await peer.ask(b"?", asked) == (b"?", asked)
            first, second = vias(machine)
            assert first == second > 1

    run(main())


def test_later_datagrams_leave_from_the_address_that_was_asked(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        with listening(machine) as (driver, port), client() as peer:
            asked = Address("127.0.0.2", port)
            await peer.ask(b"?", asked)
            machine.send(b"pushed", peer.address, vias(machine)[0])
            driver.pump()
            assert await peer.receive() == (b"pushed", asked)

    run(main())


def test_datagrams_queued_before_the_new_socket_are_answered_from_it(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        sockets = bind("", 0)
        asked = Address("127.0.0.2", local_address(sockets[0]).port)
        driver = Driver(machine, on_event=print)
        with client() as peer:
            for _ in range(100):
                peer.send(b"?", asked)
            open_listener(driver, dict(enumerate(sockets)))
            # Datagrams that arrived before PKTINFO was enabled lack it; the others have it.
            assert await peer.ask(b"!", asked)
            for _ in range(100):
                await peer.receive()
            assert await peer.ask(b"!", asked) == (b"!", asked)
        driver.close()

    run(main())


@pytest.mark.parametrize("reuse", [0, 1])
def test_no_other_socket_can_share_the_wildcard_s_port(run: Run, reuse: int) -> None:
    async def main() -> None:
        with listening(EchoMachine()) as (_, port), client() as peer:
            await peer.ask(b"?", Address("127.0.0.2", port))
            for host in ("0.0.0.0", "127.0.0.1", "127.0.0.2"):
                command = [sys.executable, "-c", BIND_IN_ANOTHER_PROCESS, host, str(port)]
                other = await asyncio.create_subprocess_exec(
                    *command, str(reuse), stderr=subprocess.PIPE
                )
                _, complaint = await other.communicate()
                assert complaint.strip() == b"Address already in use"

    run(main())


def test_closing_a_wildcard_listener_frees_the_port_on_every_address(run: Run) -> None:
    async def main() -> None:
        before = open_descriptors()
        with client() as peer:
            with listening(EchoMachine()) as (_, port):
                await peer.ask(b"?", Address("127.0.0.2", port))
            assert port_is_free(port, "127.0.0.2")
            assert port_is_free(port, "0.0.0.0")
        assert open_descriptors() == before

    run(main())


def test_the_sockets_of_a_wildcard_are_bounded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wildcard, "MAX_ADDRESSES", 2)

    async def main() -> None:
        machine = EchoMachine()
        with listening(machine, "0.0.0.0") as (_, port), client() as peer:
            for last in (2, 3, 4, 5, 2):
                await peer.ask(b"?", Address(f"127.0.0.{last}", port))
            assert vias(machine) == [1, 2, 0, 0, 1]

    run(main())


def test_the_wildcard_answers_if_no_socket_can_be_bound(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def refuse(wildcard: socket.socket, host: str) -> socket.socket:
        calls.append(host)
        raise OSError("no")

    monkeypatch.setattr(wildcard, "_bind_beside", refuse)

    async def main() -> None:
        calls.clear()
        machine = EchoMachine()
        with listening(machine, "0.0.0.0") as (_, port), client() as peer:
            for _ in range(3):
                await peer.ask(b"?", Address("127.0.0.1", port))
            assert vias(machine) == [0, 0, 0]
            assert calls == ["127.0.0.1"]

    run(main())


def test_the_wildcard_answers_until_there_are_descriptors_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise ends that asked at that moment would get answers from a wrong address for ever."""
    bind_beside = wildcard._bind_beside
    refused: list[str] = []

    def refuse_twice(sock: socket.socket, host: str) -> socket.socket:
        if len(refused) < 2:
            refused.append(host)
            raise OSError(errno.EMFILE, "Too many open files")
        return bind_beside(sock, host)

    monkeypatch.setattr(wildcard, "_bind_beside", refuse_twice)

    async def main() -> None:
        refused.clear()
        machine = EchoMachine()
        with listening(machine, "0.0.0.0") as (_, port), client() as peer:
            for _ in range(4):
                await peer.ask(b"?", Address("127.0.0.1", port))
            assert vias(machine) == [0, 0, 1, 1]

    run(main())


def test_a_refused_bind_leaves_nothing_open() -> None:
    [sock] = bind("0.0.0.0", 0)
    before = open_descriptors()
    with pytest.raises(OSError, match="assign"):
        wildcard._bind_beside(sock, "203.0.113.1")
    assert open_descriptors() == before
    assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    sock.close()


def test_the_new_socket_has_the_wildcard_s_receive_buffer() -> None:
    [sock] = bind("0.0.0.0", 0, SocketOptions(receive_buffer=50_000))
    beside = wildcard._bind_beside(sock, "127.0.0.1")
    sizes = {s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for s in (sock, beside)}
    assert len(sizes) == 1
    sock.close()
    beside.close()


def test_broadcasts_are_answered_by_the_wildcard(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        with listening(machine, "0.0.0.0") as (_, port), client() as peer:
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            await peer.ask(b"?", Address("127.255.255.255", port))
            assert vias(machine) == [0]

    run(main())


def test_a_listener_on_one_address_is_a_plain_socket(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        with listening(machine, "127.0.0.1") as (_, port), client() as peer:
            await peer.ask(b"?", Address("127.0.0.1", port))
            assert vias(machine) == [0]

    run(main())


def test_other_systems_use_a_plain_wildcard_socket(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    async def main() -> None:
        machine = EchoMachine()
        with listening(machine, "0.0.0.0") as (_, port), client() as peer:
            await peer.ask(b"?", Address("127.0.0.1", port))
            assert vias(machine) == [0]

    run(main())


def ipv4_info(answer_from: str, destination: str) -> tuple[int, int, bytes]:
    hosts = socket.inet_aton(answer_from) + socket.inet_aton(destination)
    return socket.IPPROTO_IP, IP_PKTINFO, struct.pack("@i", 1) + hosts


def ipv6_info(destination: str) -> tuple[int, int, bytes]:
    host = socket.inet_pton(socket.AF_INET6, destination)
    return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, host + struct.pack("@I", 1)


@pytest.mark.parametrize(
    ("ancillary", "asked"),
    [
        ([], None),
        ([(socket.SOL_SOCKET, 2, b"else")], None),
        ([ipv4_info("192.0.2.1", "192.0.2.1")], "192.0.2.1"),
        ([ipv4_info("192.0.2.1", "192.0.2.255")], None),
        ([ipv4_info("192.0.2.1", "224.0.0.1")], None),
        ([ipv6_info("2001:db8::1")], "2001:db8::1"),
        ([ipv6_info("ff02::1")], None),
    ],
)
def test_the_asked_address_is_read_from_ancillary_data(
    ancillary: list[tuple[int, int, bytes]], asked: str | None
) -> None:
    assert asked_address(ancillary) == asked
