"""Asks a gateway whether it maps ports, without having one mapped: for `netpunch doctor`."""

from __future__ import annotations

from collections.abc import Callable

from netpunch.address import Address
from netpunch.core.events import Via
from netpunch.core.machine import NEVER, Machine
from netpunch.wire import portmap
from netpunch.wire.drop import Drop
from netpunch.wire.portmap import NatPmpResult, PcpResult

GAPS = (0.25, 0.5, 0.75)
"""Seconds after each of the three times that it is asked: a gateway is one hop away."""

NO_PCP = {PcpResult.UNSUPP_VERSION, PcpResult.NOT_AUTHORIZED}
"""Results that say that it has no PCP for us; any other one is PCP's own."""


class GatewayInquiry(Machine):
    """PCP's ANNOUNCE, which changes nothing (RFC 6887 section 14.1), and NAT-PMP's question for
    the external address, from `client`, the own address as the gateway knows it, on socket 0."""

    def __init__(
        self, gateway: Address, client: str, *, now: float, on_done: Callable[[], None]
    ) -> None:
        super().__init__()
        self.pcp: bool | None = None
        """Whether it speaks PCP to us; None: it did not answer."""
        self.nat_pmp: bool | None = None
        """The same of NAT-PMP."""
        self.external = ""
        """Its external address by NAT-PMP; empty if it has not told."""
        self._gateway = gateway
        self._client = client
        self._on_done: Callable[[], None] | None = on_done
        self._times = 0
        self._next = now

    def next_timer(self) -> float:
        return self._next

    def handle_timer(self, now: float) -> None:
        if now < self._next:
            return
        if self._times == len(GAPS):
            self._finish()
            return
        self._next = now + GAPS[self._times]
        self._times += 1
        if self.pcp is None:
            self._send(portmap.pack(portmap.PcpAnnounce(0, self._client)), self._gateway, 0)
        if self.nat_pmp is None and self._gateway.family == 4:
            self._send(portmap.pack(portmap.AddressRequest()), self._gateway, 0)

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        del now, via
        message = portmap.parse(data) if source == self._gateway else Drop.UNEXPECTED_SOURCE
        match message:
            case portmap.PcpAnnounced():
                self.pcp = message.result not in NO_PCP
            case portmap.VersionRefused():
                self.pcp = False
            case portmap.AddressResponse():
                self.nat_pmp = message.result == NatPmpResult.SUCCESS
                self.external = message.host if self.nat_pmp else ""
            case _:
                self._drop(message if isinstance(message, Drop) else Drop.UNEXPECTED)
        if self.pcp is not None and (self.nat_pmp is not None or self._gateway.family == 6):
            self._finish()

    def describe(self, data: bytes) -> str:
        return portmap.describe(data)

    def _finish(self) -> None:
        self._next = NEVER
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done()
