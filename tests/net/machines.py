"""Tiny machines, and a plain socket to talk to them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from netpunch.address import Address
from netpunch.core.events import Event, OpenSockets, Via
from netpunch.core.machine import NEVER, Machine


class Received(NamedTuple):
    data: bytes
    source: Address
    via: Via


class EchoMachine(Machine):
    """Sends every datagram back, and records what happens to it."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Received] = []
        self.opened: dict[Via, Address] = {}
        self.unreachable: list[tuple[Via, Address]] = []

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        self.received.append(Received(data, source, via))
        self._send(data, source, via)

    def next_timer(self) -> float:
        return NEVER

    def handle_timer(self, now: float) -> None:
        raise AssertionError("no timer was asked for")

    def describe(self, data: bytes) -> str:
        return f"echo {data!r}"

    def sockets_opened(self, request: int, opened: Mapping[Via, Address], now: float) -> None:
        self.opened.update(opened)

    def no_route(self, via: Via, remote: Address) -> None:
        self.unreachable.append((via, remote))

    # Called by tests.

    def send(self, data: bytes, destination: Address, via: Via = 0) -> None:
        self._send(data, destination, via)

    def emit(self, event: Event) -> None:
        self._emit(event)

    def ask_for_sockets(self, count: int, family: int = 4) -> None:
        self._emit(OpenSockets(1, count, family))


class TimerMachine(EchoMachine):
    """Has timers at given times, and records when each was due and when it rang."""

    def __init__(self, *due: float) -> None:
        super().__init__()
        self.due = list(due)
        self.rung: list[tuple[float, float]] = []
        self.done = asyncio.Event()

    def next_timer(self) -> float:
        return self.due[0] if self.due else NEVER

    def handle_timer(self, now: float) -> None:
        self.rung.append((self.due.pop(0), now))
        if not self.due:
            self.done.set()


class Client:
    """A plain UDP socket, independent of the code under test."""

    def __init__(self, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.sock.setblocking(False)
        self.address = Address(*self.sock.getsockname()[:2])

    def send(self, data: bytes, destination: Address) -> None:
        self.sock.sendto(data, destination)

    async def receive(self) -> tuple[bytes, Address]:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self.sock, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self.sock)
        data, source = self.sock.recvfrom(65536)
        return data, Address(*source[:2])

    async def ask(self, data: bytes, destination: Address) -> tuple[bytes, Address]:
        self.send(data, destination)
        return await self.receive()


@contextlib.contextmanager
def client(host: str = "127.0.0.1") -> Iterator[Client]:
    one = Client(host)
    try:
        yield one
    finally:
        one.sock.close()


def local_address(sock: socket.socket) -> Address:
    return Address(*sock.getsockname()[:2])


def port_is_free(port: int, host: str = "0.0.0.0") -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((host, port))
        except OSError:
            return False
    return True


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True
