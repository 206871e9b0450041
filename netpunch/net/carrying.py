"""The socket of a held link whose programs' datagrams go from socket to socket in bulk. Linux only.

The machine sees only what has the first byte and a length of netpunch's own datagrams, whoever sent
it. Of the partner's other ones it learns how many there were. Those of strangers are dropped, if
possible by a filter in the kernel: they take no room in the queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from netpunch.address import Address
from netpunch.core.events import Via
from netpunch.core.machine import Flow, Machine
from netpunch.net.batch import system_name
from netpunch.net.bulk import ALONE, Inlet, Outlet
from netpunch.net.datagrams import Datagrams, one, pieces, separate
from netpunch.net.driver import MAX_PAYLOAD, Driver, Endpoint, clock
from netpunch.net.lone import OWN, from_partner
from netpunch.net.packet_filter import all_of, attach, none_of_ours
from netpunch.net.program import Program
from netpunch.net.segments import Received, join_on_arrival
from netpunch.wire.envelope import VERSION, Buffer

NOBODY: Mapping[Address, Flow] = MappingProxyType({})


class CarryingEndpoint(Endpoint):
    """`program` gets what the partner's program has sent. What a sealed link carries is sealed and
    opened here."""

    __slots__ = (
        *("_family", "_inlet", "_loop", "_machine", "_names", "_on_refused", "_outlet"),
        *("_partners", "_program"),
    )

    def __init__(
        self,
        machine: Machine,
        program: Program,
        driver: Driver,
        via: Via,
        sock: socket.socket,
        *,
        joins: bool = True,
        alone: int = ALONE,
        on_refused: Callable[[int], None] | None = None,
    ) -> None:
        """`joins` and `alone` are as for Inlet; `on_refused` is told how many of the program's
        datagrams the system did not take, of those that `send_payloads` had."""
        super().__init__(driver, via, sock)
        self._machine = machine
        self._program = program
        self._family = int(sock.family)
        self._partners: Mapping[Address, Flow] = {}
        self._names: dict[bytes, Flow] = {}
        """The same by addresses in the system's form."""
        self._inlet = Inlet(sock, joins=joins, alone=alone)
        self._on_refused = on_refused
        self._outlet = Outlet(sock, self._send_one, self._refused)
        self._know(machine.partners.get(via, NOBODY))

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.add_reader(self._sock, self._read_one)

    def surrender(self, loop: asyncio.AbstractEventLoop, remote: Address) -> socket.socket | None:
        """Its next owner gets single datagrams, and none of netpunch's."""
        with contextlib.suppress(OSError):
            attach(self._sock, none_of_ours())
        join_on_arrival(self._sock, on=False)
        return super().surrender(loop, remote)

    def _read_one(self) -> bool:
        """One that came alone, or as many as have arrived."""
        inlet = self._inlet
        if not inlet.alone:
            return self._read_many()
        inlet.alone -= 1
        try:
            data, raw = inlet.receive_one(MAX_PAYLOAD)
        except OSError as error:
            return self._ended(error)
        self._take_one(data, raw)
        return True

    def _read_many(self) -> bool:
        try:
            received = self._inlet.receive()
        except OSError as error:
            return self._ended(error)
        self._follow_partners()
        self._take(received)
        self._inlet.done(received)
        return True

    def _ended(self, error: OSError) -> bool:
        """There is no datagram."""
        self._count(error)
        self._driver.pump()
        return False

    def _take_one(self, data: bytes, raw: Any) -> None:
        """One from an address as Python has it. The next ones from there take fewer steps, if that
        is the partner's."""
        self._follow_partners()
        source = self._address_of(raw)
        flow = self._partners.get(source)
        if len(data) in OWN and data[0] == VERSION:
            self._show((data,), source)
            self._driver.arm()
        elif flow is None:
            self._machine.strangers_dropped(1)
        else:
            self._expect(raw, flow)
            self._pass_on(one(data), flow)

    def _expect(self, raw: Any, flow: Flow) -> None:
        read = from_partner(
            *(self._inlet, self._machine, flow, raw, self._program),
            *(self._take_one, self._read_many, self._ended),
        )
        self._loop.add_reader(self._sock, read)

    def send_payloads(self, payloads: Datagrams, destination: Address, /) -> bool:
        pinned = self._source if destination == self._pinned else ()
        if (sealing := self._machine.sealing) is None:
            self._outlet.send(payloads, destination, pinned)
        else:
            for some in payloads.by_part:  # so few that they are still in the cache
                self._outlet.send(separate(sealing.seal(some.each)), destination, pinned)
        return True

    def _follow_partners(self) -> None:
        partners = self._machine.partners.get(self.via, NOBODY)
        if partners is not self._partners:
            self._know(partners)

    def _know(self, partners: Mapping[Address, Flow]) -> None:
        """From now on, these are the partner's addresses. Strangers are kept out of the queue by
        the kernel; without that, they are dropped here."""
        self._partners = partners
        self._outlet.new_path()
        self._names = {system_name(self._family, at): flow for at, flow in partners.items()}
        with contextlib.suppress(OSError):  # for want of memory, or by a sandbox
            attach(self._sock, all_of(partners, self._machine.tag))

    def _take(self, received: Received) -> None:
        flows, step = self._names, self._inlet.name_length
        names, lengths, cuts = received
        count = len(lengths)
        flow = flows.get(names[:step])
        if flow is not None and names == names[:step] * count and not _any_own(received):
            self._carry(received, 0, count, flow)
            return
        strangers = 0
        shown = False
        first, flow = 0, None  # the partner's messages from there on wait to be carried
        for number, (length, cut) in enumerate(zip(lengths, cuts, strict=True)):
            name = names[number * step : (number + 1) * step]
            own = self._may_be_own(received, number) if _has_own_length(length, cut) else False
            of = None if own else flows.get(name)
            if of is not flow:
                if flow is not None:
                    self._carry(received, first, number, flow)
                first, flow = number, of
            if own:
                shown = True
                message = self._inlet.datagrams(received, number, number + 1)
                self._show(message.each, self._inlet.address(name))
            elif of is None:
                strangers += pieces(length, cut)
        if flow is not None:
            self._carry(received, first, count, flow)
        if shown:  # once, whatever a stranger sends: it takes as long as all else
            self._driver.arm()
        if strangers:
            self._machine.strangers_dropped(strangers)

    def _may_be_own(self, received: Received, number: int) -> bool:
        """Whether one of a message's datagrams has the first byte and a length of netpunch's."""
        each = self._inlet.datagrams(received, number, number + 1).each
        return any(len(one) in OWN and one[0] == VERSION for one in each)

    def _carry(self, received: Received, first: int, end: int, flow: Flow) -> None:
        payloads = self._inlet.datagrams(received, first, end)
        if self._machine.sealing is None:
            self._pass_on(payloads, flow)
        else:
            for some in payloads.by_part:  # as above
                self._pass_on(some, flow)

    def _pass_on(self, payloads: Datagrams, flow: Flow) -> None:
        if (sealing := self._machine.sealing) is not None:
            payloads = separate(sealing.open(payloads.each))
        if payloads.lengths:
            flow.payloads_received(payloads.total, sum(payloads.lengths))
            self._program.deliver(payloads)

    def _show(self, datagrams: Iterable[Buffer], source: Address) -> None:
        """To the machine, which gives back what is the program's after all. The timer is to be set
        then."""
        for each in datagrams:
            self._driver.take(bytes(each), source, clock(), self.via)
            self._driver.drain()

    def _send_one(self, data: Buffer, destination: Address) -> None:
        try:
            self.put(data, destination)
        except OSError as error:
            self._refused(error, destination, 1)

    def _refused(self, error: OSError, destination: Address, count: int) -> None:
        self._driver.refused(error, self.via, destination, count)
        if self._on_refused is not None:
            self._on_refused(count)


def _has_own_length(length: int, cut: int) -> bool:
    """Whether a datagram of a message may have a length of netpunch's."""
    if not cut:
        return length in OWN
    return cut in OWN or length % cut in OWN


def _any_own(received: Received) -> bool:
    _, lengths, cuts = received
    if any(cuts):
        return any(map(_has_own_length, lengths, cuts))
    return not OWN.isdisjoint(lengths)
