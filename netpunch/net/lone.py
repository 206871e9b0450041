"""Readers of the two sockets of a forwarding link, for datagrams that come alone. Linux only.

One that comes alone may be all that a program waits for. The process has just been woken for it and
finds cold caches, so that each function, object and attribute that it needs takes ten times as long
as usual. Here all of them are variables of one function, which is made anew when one changes; what
is unusual in any way goes the usual one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from netpunch.address import Address
from netpunch.core.machine import NEVER, Flow, Machine
from netpunch.net.bulk import Inlet
from netpunch.net.driver import MAX_PAYLOAD, clock
from netpunch.net.program import Program
from netpunch.wire.envelope import CONTROL_DATAGRAM, PEER_DATAGRAM, VERSION, Buffer

OWN = {PEER_DATAGRAM, CONTROL_DATAGRAM}
"""Lengths in bytes of netpunch's own datagrams."""

Reader = Callable[[], object]
"""The loop calls it when datagrams have arrived."""
Usual = Callable[[bytes, Any], object]
"""Takes a datagram that came alone, and its source as Python has it."""


class Way(NamedTuple):
    """How a program's datagrams leave on a held link, as long as `machine` has the same `partners`:
    these are replaced whenever its path is."""

    machine: Machine
    flow: Flow
    put: Callable[[Buffer, Address], object]
    """As that of an `Endpoint`."""
    remote: Address
    refused: Callable[[Buffer, OSError], object]
    """Gets one that the system did not take."""
    arm: Callable[[], None]
    """Sets the timer: what the machine was told may have made it earlier."""


def from_program(
    inlet: Inlet,
    way: Way,
    longest: int,
    on_source: Callable[[Any], object],
    usual: Usual,
    read_many: Reader,
) -> Reader:
    """Of a program's socket. `on_source` is told where datagrams come from whenever that changes.
    One of more than `longest` bytes is unusual."""
    machine, flow, put, remote, refused, arm = way
    receive, partners, traffic = inlet.receive_one, machine.partners, flow.traffic
    seal = None if machine.sealing is None else machine.sealing.seal_one
    source: Any = None
    left = inlet.alone

    def read() -> None:
        nonlocal left, source
        if not left:
            read_many()
            left = inlet.alone
            return
        try:
            data, raw = receive(MAX_PAYLOAD)
        except OSError:  # nothing left, or an ICMP error about an earlier datagram
            return
        if raw != source:
            source = raw
            on_source(raw)
        if len(data) > longest or machine.partners is not partners:
            usual(data, raw)
            return
        try:
            put(data if seal is None else seal(data), remote)
        except OSError as error:
            refused(data, error)
            return
        traffic.sent += 1
        traffic.sent_bytes += len(data)
        if flow.unheard_since == NEVER:
            now = flow.unheard_since = clock()
            if flow.silence_at == NEVER and flow.begin_unheard(now):
                arm()
        left -= 1
        if not left:
            left = inlet.still_alone()

    return read


def from_partner(
    inlet: Inlet,
    machine: Machine,
    flow: Flow,
    source: Any,
    program: Program,
    usual: Usual,
    read_many: Reader,
    ended: Callable[[OSError], object],
) -> Reader:
    """Of the link's socket. What comes from elsewhere than `source`, the partner's address of
    `flow`, is unusual; so is what may be netpunch's own. `ended` is told why there was nothing."""
    receive, partners, traffic = inlet.receive_one, machine.partners, flow.traffic
    unseal = None if machine.sealing is None else machine.sealing.open_one
    left = inlet.alone

    def read() -> None:
        nonlocal left
        if not left:
            read_many()
            left = inlet.alone
            return
        try:
            data, raw = receive(MAX_PAYLOAD)
        except OSError as error:
            ended(error)
            return
        if (
            raw != source
            or (len(data) in OWN and data[0] == VERSION)
            or machine.partners is not partners
        ):
            usual(data, raw)
            return
        left -= 1
        payload = data if unseal is None else unseal(data)
        if payload is None:
            return
        traffic.received += 1
        traffic.received_bytes += len(payload)
        flow.unheard_since = NEVER
        try:
            program.receive(payload, program.peer)
        except Exception as error:
            program.not_received(error)
        if not left:
            left = inlet.still_alone()

    return read
