"""Keeps one UDP port mapped at one gateway: by PCP (RFC 6887), else by NAT-PMP (RFC 6886).

    asks PCP ── granted ──────────────────> mapped ── at half of the lease ──> asks again
       └─ version refused, or silence ──> asks NAT-PMP: its address, then the port
    refused, or silence from both ────────> waits ── much later ─────────────> asks PCP
    close() ──────────────────────────────> releases what may be mapped ─────> done

One request is out at a time. A mapping is lost only when its lease has run out: until then a
renewal that fails is tried again, each time after half of what is left. Both protocols are
plain text within the own network; what protects against others is that only the gateway's
address is heard, that PCP echoes a nonce, and that no answer is believed which wasn't asked for.
"""

from __future__ import annotations

from enum import Enum, IntEnum, auto
from hmac import compare_digest
from typing import NamedTuple

from netpunch.address import Address, is_pingable
from netpunch.core.events import Mapped, MappingEvent, MappingLost, Unmapped, Via
from netpunch.core.machine import NEVER, Machine, Random
from netpunch.core.portmap.epoch import EpochClock
from netpunch.wire import portmap
from netpunch.wire.drop import Drop
from netpunch.wire.portmap import NatPmpResult, PcpResult

# Times in seconds.
LIFETIME = 3600
"""Asked for. RFC 6886 recommends 7200; with half of it a gateway that has restarted is noticed
sooner, and what a killed process leaves behind is gone sooner."""
SHORTEST_LIFETIME = 30
"""A gateway that grants less is not asked more often than if it had granted this."""
LONGEST_LIFETIME = 86400
"""RFC 6887 section 15: a gateway that grants more is believed so much."""
SHORTEST_RENEWAL = 4.0
"""RFC 6887 section 11.2.1: renewals come no closer than this, however little is left."""
RENEWAL_SPREAD = 1 / 8
"""Of the lease: clients that were mapped together don't renew together (same section)."""
RETRY_AFTER = 1024.0
"""When a gateway has nothing for us: MRT, the longest interval of RFC 6887 section 8.1.1."""
SHORTEST_RETRY = 30.0
"""RFC 6887 section 7.4: how long a short-lived error lasts."""
JITTER = 0.1
"""Both ways, of every interval (RFC 6887 section 8.1.1)."""

VIA: Via = 0
"""The only socket."""
ANY_HOST = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - no preference for an external address


class _Ask(Enum):
    """What a request asks for."""

    PCP = auto()
    PCP_RELEASE = auto()
    ADDRESS = auto()
    PORT = auto()
    PORT_RELEASE = auto()


_UNDO = {_Ask.PCP: _Ask.PCP_RELEASE, _Ask.PORT: _Ask.PORT_RELEASE}
"""How to release what a request may have mapped."""
_RENEW = {_Ask.PCP: _Ask.PCP, _Ask.PORT: _Ask.ADDRESS}
"""What a renewal begins with: NAT-PMP tells of a new external address only when asked."""


class _Patience(NamedTuple):
    """How often a request is sent, and the first gap, which doubles."""

    tries: int
    gap: float


_ASKING = _Patience(3, 0.25)
"""NAT-PMP's first gaps: within 1.75 s the gateway, one hop away, has answered or will not. PCP's
3 s are longer than a punch takes. Silence from both costs 3.5 s and six datagrams."""
_RELEASING = _Patience(3, 0.1)
"""Someone waits for the end: 0.7 s."""
_PATIENCE = {_Ask.PCP_RELEASE: _RELEASING, _Ask.PORT_RELEASE: _RELEASING}


class _Exchange:
    """One request, repeated until it is answered or given up."""

    def __init__(self, ask: _Ask, data: bytes, now: float) -> None:
        self.ask = ask
        self.data = data
        self.next_at = now
        self.left, self.gap = _PATIENCE.get(ask, _ASKING)


class PortMapper(Machine):
    """The sans-I/O client of one gateway; see `core.machine` for the contract.

    `gateway` is its address with the port it listens on, `client` the own IP as the gateway
    sees it: where requests are sent from (on socket 0) and where `internal_port` is to be
    reached. IPv6 has PCP only; a mapping there is a hole in the gateway's firewall. `nonce`, 12
    bytes, is what a mapping that already exists was made with: only its maker may renew it.

    Events: `Mapped` and `MappingLost`, each told once until something changes, and `Unmapped`
    after `close()`."""

    def __init__(
        self,
        gateway: Address,
        *,
        client: str,
        internal_port: int,
        random: Random,
        now: float,
        lifetime: int = LIFETIME,
        nonce: bytes | None = None,
    ) -> None:
        super().__init__()
        self._gateway = gateway
        self._client = client
        self._port = internal_port
        self._random = random
        self._lifetime = lifetime
        self._nonce = random(portmap.NONCE_LENGTH) if nonce is None else nonce
        self._any_host = ANY_HOST[Address(client, internal_port).family]
        self._suggested = Address(self._any_host, internal_port)
        """What we had last or, at first, the same port: it is a candidate anyway."""
        self._external_host = ""
        """The answer to the first of NAT-PMP's two questions."""
        self._mapping: Address | None = None
        self._expires = NEVER
        self._first_ask = _Ask.PCP
        """What the next try begins with."""
        self._next_try = NEVER
        self._exchange: _Exchange | None = None
        self._undo: _Ask | None = None
        """What is left to do at the gateway when this ends."""
        self._heard = False
        """Whether the gateway ever answered."""
        self._epoch = EpochClock()
        self._told: MappingEvent | None = None
        self._closed = False
        self._begin(_Ask.PCP, now)

    # The contract.

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:  # noqa: ARG002 - the only socket
        message = portmap.parse(data)
        if isinstance(message, Drop):
            self._drop(message)
        elif source != self._gateway:
            self._drop(Drop.UNEXPECTED_SOURCE)
        else:
            self._take(message, now)

    def next_timer(self) -> float:
        repeat = self._exchange.next_at if self._exchange is not None else NEVER
        return min(repeat, self._expires, self._next_try)

    def handle_timer(self, now: float) -> None:
        if self._exchange is not None and self._exchange.next_at <= now:
            self._repeat(self._exchange, now)
        if self._expires <= now:
            self._expire()
        if self._next_try <= now:
            self._begin(self._first_ask, now)

    def describe(self, data: bytes) -> str:
        return portmap.describe(data)

    def close(self, now: float) -> None:
        """Releases the mapping; emits `Unmapped` once that is answered or given up. May be
        repeated."""
        if self._closed:
            return
        self._closed = True
        self._expires = self._next_try = NEVER
        if self._undo is None:
            self._finish()
            return
        self._begin(self._undo, now)
        if not self._heard:  # most likely nobody is there: say it, but don't wait
            self._finish()

    # What is sent.

    def _begin(self, ask: _Ask, now: float) -> None:
        self._next_try = NEVER
        self._undo = _UNDO.get(ask, self._undo)
        self._exchange = _Exchange(ask, portmap.pack(self._request(ask)), now)
        self._repeat(self._exchange, now)

    def _request(self, ask: _Ask) -> portmap.Request:
        match ask:
            case _Ask.PCP:
                return self._pcp_request(self._lifetime, self._suggested)
            case _Ask.PCP_RELEASE:
                return self._pcp_request(0, Address(self._any_host, 0))
            case _Ask.ADDRESS:
                return portmap.AddressRequest()
            case _Ask.PORT:
                return portmap.PortRequest(self._port, self._suggested.port, self._lifetime)
            case _:  # PORT_RELEASE
                return portmap.PortRequest(self._port, 0, 0)

    def _pcp_request(self, lifetime: int, suggested: Address) -> portmap.PcpRequest:
        return portmap.PcpRequest(
            lifetime,
            self._client,
            self._nonce,
            portmap.UDP,
            self._port,
            suggested.port,
            suggested.host,
        )

    def _repeat(self, exchange: _Exchange, now: float) -> None:
        if exchange.left == 0:
            self._give_up(exchange.ask, now)
            return
        self._send(exchange.data, self._gateway, VIA)
        exchange.left -= 1
        exchange.next_at = now + self._jittered(exchange.gap)
        exchange.gap *= 2

    # What arrives.

    def _take(self, message: portmap.Message, now: float) -> None:
        ask = self._exchange.ask if self._exchange is not None else None
        match message:
            case portmap.PcpResponse():
                self._take_pcp(message, ask, now)
            case portmap.AddressResponse() if ask is _Ask.ADDRESS:
                self._take_address(message, now)
            case portmap.PortResponse() if ask in {_Ask.PORT, _Ask.PORT_RELEASE}:
                self._take_port(message, ask, now)
            case portmap.VersionRefused() if ask is _Ask.PCP:
                self._take_refusal_of_version(now)
            case _:
                self._drop(Drop.UNEXPECTED)

    def _take_pcp(self, response: portmap.PcpResponse, ask: _Ask | None, now: float) -> None:
        same_flow = (response.protocol, response.internal_port) == (portmap.UDP, self._port)
        if not same_flow or not compare_digest(response.nonce, self._nonce):
            self._drop(Drop.WRONG_ATTEMPT)
            return
        restarted = self._note_epoch(response.epoch, now)
        failed = response.result != PcpResult.SUCCESS
        granted = not failed and response.lifetime > 0
        match ask:
            case _Ask.PCP_RELEASE if not granted:
                self._finish()
            case _Ask.PCP if failed:
                self._refused("PCP", PcpResult, response.result, response.lifetime, now)
            case _Ask.PCP | _Ask.ADDRESS | _Ask.PORT if granted:  # a slow gateway's late answer
                self._grant_pcp(response, now)
            case None if granted and self._is_news():
                if restarted:
                    self._begin(_Ask.PCP, now)  # it may have lost what it tells of
                else:
                    self._grant_pcp(response, now)
            case _:
                self._drop(Drop.STALE)

    def _is_news(self) -> bool:
        """Whether the gateway may tell of a mapping unasked: RFC 6887 section 14.2."""
        return self._first_ask is _Ask.PCP and not self._closed

    def _grant_pcp(self, response: portmap.PcpResponse, now: float) -> None:
        external = Address(response.external_host, response.external_port)
        self._grant(external, response.lifetime, _Ask.PCP, now)

    def _take_address(self, response: portmap.AddressResponse, now: float) -> None:
        self._note_epoch(response.epoch, now)
        if response.result != NatPmpResult.SUCCESS:
            self._refused("NAT-PMP", NatPmpResult, response.result, 0, now)
            return
        self._external_host = response.host
        self._begin(_Ask.PORT, now)

    def _take_port(self, response: portmap.PortResponse, ask: _Ask | None, now: float) -> None:
        failed = response.result != NatPmpResult.SUCCESS
        if not failed and response.internal_port != self._port:
            self._drop(Drop.WRONG_ATTEMPT)
            return
        self._note_epoch(response.epoch, now)
        granted = not failed and response.lifetime > 0
        match ask:
            case _Ask.PORT_RELEASE if not granted:
                self._finish()
            case _Ask.PORT if failed:
                self._refused("NAT-PMP", NatPmpResult, response.result, 0, now)
            case _Ask.PORT if granted:
                external = Address(self._external_host, response.external_port)
                self._grant(external, response.lifetime, _Ask.PORT, now)
            case _:
                self._drop(Drop.STALE)

    def _take_refusal_of_version(self, now: float) -> None:
        self._heard = True
        self._undo = None
        if self._knows_nat_pmp():
            self._begin(_Ask.ADDRESS, now)
        else:
            self._fail("it does not speak PCP as we do", RETRY_AFTER, now)

    def _note_epoch(self, epoch: int, now: float) -> bool:
        """Whether the gateway has restarted since it was last heard."""
        self._heard = True
        return self._epoch.restarted(epoch, now)

    # What comes of it.

    def _grant(self, external: Address, lifetime: int, asked: _Ask, now: float) -> None:
        if not is_pingable(external, loopback=False):
            self._drop(Drop.HOSTILE_ADDRESS)
            detail = f"it tells the external address {external}, as one does without an uplink"
            self._fail(detail, RETRY_AFTER, now)
            return
        lasts = float(min(max(lifetime, SHORTEST_LIFETIME), LONGEST_LIFETIME))
        self._exchange = None
        self._mapping = self._suggested = external
        self._first_ask, self._undo = _RENEW[asked], _UNDO[asked]
        self._expires = now + lasts
        self._next_try = now + lasts * (1 / 2 + RENEWAL_SPREAD * self._chance())
        self._tell(Mapped(external, lasts))

    def _refused(
        self, protocol: str, results: type[IntEnum], result: int, retry_after: int, now: float
    ) -> None:
        wait = min(max(retry_after or RETRY_AFTER, SHORTEST_RETRY), LONGEST_LIFETIME)
        self._fail(f"{protocol} {portmap.result_name(results, result)}", wait, now)

    def _give_up(self, ask: _Ask, now: float) -> None:
        """No answer to any of the tries."""
        if ask in _UNDO.values():
            self._finish()
        elif ask is _Ask.PCP and self._mapping is None and self._knows_nat_pmp():
            self._begin(_Ask.ADDRESS, now)  # old gateways may ignore versions they don't know
        else:
            self._fail("it answers neither PCP nor NAT-PMP", RETRY_AFTER, now)

    def _fail(self, detail: str, retry_after: float, now: float) -> None:
        """This try came to nothing."""
        self._exchange = None
        if self._mapping is None:
            self._undo = None
            self._next_try = now + self._jittered(retry_after)
            self._lose(detail)
        else:
            self._next_try = now + max((self._expires - now) / 2, SHORTEST_RENEWAL)

    def _expire(self) -> None:
        self._mapping = None
        self._expires = NEVER
        self._first_ask = _Ask.PCP  # whoever is there now may speak another protocol
        self._lose("it did not renew the mapping")

    def _lose(self, detail: str) -> None:
        self._tell(MappingLost(f"the gateway {self._gateway.host} maps no port: {detail}"))

    def _finish(self) -> None:
        self._exchange = None
        self._tell(Unmapped())

    def _tell(self, event: MappingEvent) -> None:
        if event != self._told:
            self._told = event
            self._emit(event)

    def _knows_nat_pmp(self) -> bool:
        """NAT-PMP is for IPv4."""
        return self._gateway.family == 4

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 - JITTER + 2 * JITTER * self._chance())

    def _chance(self) -> float:
        """Evenly in [0, 1)."""
        return self._random(1)[0] / 256
