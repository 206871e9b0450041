"""The socket of a held link whose program is in this process. Linux only."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from netpunch.address import Address
from netpunch.core.events import Via
from netpunch.core.machine import NEVER, Machine
from netpunch.net.carrying import NOBODY, OWN, CarryingEndpoint
from netpunch.net.datagrams import separate
from netpunch.net.driver import MAX_PAYLOAD, Driver
from netpunch.net.program import Program
from netpunch.wire.envelope import VERSION, Buffer
from netpunch.wire.sealed import OVERHEAD

ALONE = 64
"""Datagrams to receive one by one between two checks whether many wait. Such a check takes as long
as receiving a datagram, and what has waited is received as fast as it is sent for so long."""


class ProgramHere(Program, Protocol):
    """Gets each by a call of `receive`, as if it came from `peer`; is told what that raises."""

    peer: Address
    receive: Callable[[bytes, Address], object]

    def complain(self, function: str, error: Exception) -> None: ...


class LinkEndpoint(CarryingEndpoint):
    """As its program gets each datagram by itself, it receives those that come alone in as few
    steps as can be: all that a program waits for may be one of them, and finds cold caches."""

    __slots__ = ("_here",)

    def __init__(
        self,
        machine: Machine,
        program: ProgramHere,
        driver: Driver,
        via: Via,
        sock: socket.socket,
    ) -> None:
        super().__init__(machine, program, driver, via, sock, joins=False, alone=ALONE)
        self._here = program

    def joinable(self, payloads: Sequence[Buffer], /) -> int:
        more = 0 if self._machine.sealing is None else OVERHEAD
        return self._outlet.joinable([len(each) + more for each in payloads])

    def put_together(self, payloads: Sequence[Buffer], destination: Address, /) -> bool:
        sealing = self._machine.sealing
        datagrams = separate(payloads if sealing is None else sealing.seal(payloads))
        pinned = self._source if destination == self._pinned else ()
        return self._outlet.put_together(datagrams, destination, pinned)

    def _read_one(self) -> bool:
        inlet, machine = self._inlet, self._machine
        if not inlet.alone:
            return super()._read_one()
        inlet.alone -= 1
        try:
            data, raw = self._sock.recvfrom(MAX_PAYLOAD)
        except OSError as error:
            return self._ended(error)
        partners = machine.partners.get(self.via, NOBODY)
        flow = partners.get(raw)
        if (
            flow is None
            or partners is not self._partners
            or (len(data) in OWN and data[0] == VERSION)
        ):
            self._take_one(data, raw)
            return True
        payload = data if machine.sealing is None else machine.sealing.open_one(data)
        if payload is not None:
            traffic = flow.traffic
            traffic.received += 1
            traffic.received_bytes += len(payload)
            flow.unheard_since = NEVER
            here = self._here
            try:
                here.receive(payload, here.peer)
            except Exception as error:
                here.complain("datagram_received", error)
        return True
