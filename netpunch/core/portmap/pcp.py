"""Keeps one UDP port mapped at one gateway: by PCP (RFC 6887), else by NAT-PMP (RFC 6886).

One request is out at a time. A mapping is lost only when its lease has run out: until then a
renewal that fails is tried again, each time after half of what is left. Both protocols are plain
text within the own network. Against others, only the gateway's address is heard, PCP echoes a
nonce, and no answer is believed that wasn't asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, IntEnum, StrEnum
from hmac import compare_digest

from netpunch.address import Address, is_pingable
from netpunch.core.events import Mapped, MappingEvent, MappingLost, Unmapped, Via
from netpunch.core.machine import NEVER, Machine, Random
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
"""When a gateway maps nothing: MRT, the longest interval of RFC 6887 section 8.1.1."""
SHORTEST_RETRY = 30.0
"""RFC 6887 section 7.4: how long a short-lived error lasts."""
TRIES = 3
ASKING_GAP = 0.25
"""Between the first two tries; then it doubles. NAT-PMP's first gaps: within 1.75 s the gateway,
one hop away, has answered or will not. PCP's 3 s are longer than a punch takes. Silence from both
costs 3.5 s and six datagrams."""
RELEASING_GAP = 0.1
"""The process wants to end: 0.7 s."""
JITTER = 0.1
"""Both ways, of every interval (RFC 6887 section 8.1.1)."""

VIA: Via = 0
"""The only socket."""
ANY_HOST = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - no preference for an external address


class State(Enum):
    """Where the client is with its gateway."""

    ASKING_PCP = "asking pcp"
    ASKING_ADDRESS = "asking address"
    """By NAT-PMP, which gives the external address and the port separately."""
    ASKING_PORT = "asking port"
    """By NAT-PMP."""
    MAPPED = "mapped"
    """Until the next renewal."""
    WAITING = "waiting"
    """The gateway maps nothing: until the next try."""
    RELEASING = "releasing"
    RELEASED = "released"


class Cause(StrEnum):
    """What changes the state."""

    GRANT = "grant"
    NO_PCP = "no PCP"
    """PCP's version is refused, or it stays unanswered: old gateways may ignore it."""
    ADDRESS = "address"
    """The answer to the first of NAT-PMP's two requests."""
    FAILURE = "failure"
    """Refused, or not answered, and no mapping is left."""
    RENEWAL_FAILURE = "failed renewal"
    """Likewise, but the mapping still holds."""
    PCP_DUE = "PCP is due"
    NAT_PMP_DUE = "NAT-PMP is due"
    """To renew what it mapped. It reports a new external address only when asked."""
    EXPIRY = "expiry"
    CLOSE = "close"
    DONE = "done"
    """The release was answered or given up, or nothing is to be released."""


TRANSITIONS: dict[tuple[State, Cause], State] = {
    (State.ASKING_PCP, Cause.GRANT): State.MAPPED,
    (State.ASKING_PCP, Cause.NO_PCP): State.ASKING_ADDRESS,
    (State.ASKING_PCP, Cause.FAILURE): State.WAITING,
    (State.ASKING_PCP, Cause.RENEWAL_FAILURE): State.MAPPED,
    (State.ASKING_PCP, Cause.CLOSE): State.RELEASING,
    (State.ASKING_ADDRESS, Cause.ADDRESS): State.ASKING_PORT,
    (State.ASKING_ADDRESS, Cause.GRANT): State.MAPPED,
    (State.ASKING_ADDRESS, Cause.FAILURE): State.WAITING,
    (State.ASKING_ADDRESS, Cause.RENEWAL_FAILURE): State.MAPPED,
    (State.ASKING_ADDRESS, Cause.CLOSE): State.RELEASING,
    (State.ASKING_PORT, Cause.GRANT): State.MAPPED,
    (State.ASKING_PORT, Cause.FAILURE): State.WAITING,
    (State.ASKING_PORT, Cause.RENEWAL_FAILURE): State.MAPPED,
    (State.ASKING_PORT, Cause.CLOSE): State.RELEASING,
    (State.MAPPED, Cause.GRANT): State.MAPPED,
    (State.MAPPED, Cause.RENEWAL_FAILURE): State.MAPPED,
    (State.MAPPED, Cause.PCP_DUE): State.ASKING_PCP,
    (State.MAPPED, Cause.NAT_PMP_DUE): State.ASKING_ADDRESS,
    (State.MAPPED, Cause.EXPIRY): State.WAITING,
    (State.MAPPED, Cause.CLOSE): State.RELEASING,
    (State.WAITING, Cause.GRANT): State.MAPPED,
    (State.WAITING, Cause.FAILURE): State.WAITING,
    (State.WAITING, Cause.PCP_DUE): State.ASKING_PCP,
    (State.WAITING, Cause.CLOSE): State.RELEASING,
    (State.RELEASING, Cause.DONE): State.RELEASED,
}
"""A grant also comes late, from a slow gateway, or unasked (RFC 6887 section 14.2)."""


class Protocol(Enum):
    """By what a mapping was made."""

    PCP = "PCP"
    NAT_PMP = "NAT-PMP"


class _Exchange:
    """One request, repeated until it is answered or given up."""

    def __init__(self, data: bytes, gap: float, now: float) -> None:
        self.data = data
        self.gap = gap
        self.next_at = now
        self.left = TRIES


class EpochClock:
    """The epoch of a gateway, which is how long it has known its mappings (RFC 6887 section 8.5):
    shows whether it has lost them."""

    TOLERANCE = 2
    """Seconds that an epoch may be off: it is sent in whole ones, and answers take their time."""
    MOST_REORDERED = 1
    """Seconds that it may go back: answers can overtake each other."""
    DRIFT = 1 / 16
    """Part of the time between two answers by which the clocks of both sides may drift apart."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None

    def restarted(self, epoch: int, now: float) -> bool:
        """Whether the gateway restarted between its last answer and this one, which gives its
        epoch in seconds."""
        last, self._last = self._last, (epoch, now)
        if last is None:
            return False
        theirs, ours = epoch - last[0], now - last[1]
        lags = theirs + self.TOLERANCE < ours * (1 - self.DRIFT)
        leads = ours + self.TOLERANCE < theirs * (1 - self.DRIFT)
        return theirs < -self.MOST_REORDERED or lags or leads


class PortMapper(Machine):
    """The sans-I/O client of one gateway; see `core.machine` for the contract.

    `gateway` is its address with the port it listens on, `client` the own IP as the gateway
    sees it: where requests are sent from (on socket 0) and where `internal_port` is to be
    reached. IPv6 has PCP only; a mapping there is a hole in the gateway's firewall. `nonce`, 12
    bytes, is what a mapping that already exists was made with: only its maker may renew it.

    Events: `Mapped` and `MappingLost`, each once until something changes, and `Unmapped` after
    `close()`."""

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
        self.state = State.ASKING_PCP
        self._gateway = gateway
        self._client = client
        self._port = internal_port
        self._random = random
        self._lifetime = lifetime
        self._nonce = random(portmap.NONCE_LENGTH) if nonce is None else nonce
        self._any_host = ANY_HOST[Address(client, internal_port).family]
        self._suggested = Address(self._any_host, internal_port)
        """The last external address or, at first, the same port: it is a candidate anyway."""
        self._external_host = ""
        """The answer to the first of NAT-PMP's two requests."""
        self._mapping: Address | None = None
        self._may_be_mapped_by: Protocol | None = None
        """By which protocol the gateway may hold a mapping, that is how to release it."""
        self._expires = NEVER
        self._next_try = NEVER
        self._asked_at = -NEVER
        """When the latest request went out for the first time."""
        self._exchange: _Exchange | None = None
        self._heard = False
        """Whether the gateway ever answered."""
        self._epoch = EpochClock()
        self._last_event: MappingEvent | None = None
        self._begin(now)

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
            self._expire(now)
        if self._next_try <= now:
            self._enter(Cause.NAT_PMP_DUE if self._renews_by_nat_pmp() else Cause.PCP_DUE, now)

    def describe(self, data: bytes) -> str:
        return portmap.describe(data)

    def network_changed(
        self,
        host_addresses: Sequence[str],  # noqa: ARG002 - its own one is still there
        now: float,
        *,
        gone: bool = False,  # noqa: ARG002
        woke: bool = False,  # noqa: ARG002
    ) -> None:
        """Another gateway may have the same address, or this one may have forgotten us: asks it,
        though not more often than a mapping is renewed."""
        if self.state in (State.MAPPED, State.WAITING):
            self._next_try = min(self._next_try, max(now, self._asked_at + SHORTEST_RENEWAL))
        elif self._exchange is not None and self.state is not State.RELEASING:
            self._exchange.left = TRIES

    def close(self, now: float) -> None:
        """Releases the mapping; emits `Unmapped` once that is answered or given up. May be
        repeated."""
        if (self.state, Cause.CLOSE) not in TRANSITIONS:
            return
        self._expires = self._next_try = NEVER
        self._enter(Cause.CLOSE, now)
        if self._exchange is None or not self._heard:
            # Most likely nothing there speaks PCP: the request is sent, but not waited for.
            self._enter(Cause.DONE, now)

    # States.

    def _enter(self, cause: Cause, now: float) -> None:
        """Changes the state; nothing else does. The request of the old state ends with it."""
        self.state = TRANSITIONS[self.state, cause]
        self._begin(now)
        if self.state is State.RELEASED:
            self._report(Unmapped())

    def _begin(self, now: float) -> None:
        if self.state is State.ASKING_PCP:
            self._may_be_mapped_by = Protocol.PCP
        elif self.state is State.ASKING_PORT:
            self._may_be_mapped_by = Protocol.NAT_PMP
        self._exchange = None
        request = self._request()
        if request is not None:
            self._next_try = NEVER
            gap = RELEASING_GAP if self.state is State.RELEASING else ASKING_GAP
            self._exchange = _Exchange(portmap.pack(request), gap, now)
            self._asked_at = now
            self._repeat(self._exchange, now)

    def _request(self) -> portmap.Request | None:
        match self.state, self._may_be_mapped_by:
            case State.ASKING_PCP, _:
                return self._pcp_request(self._lifetime, self._suggested)
            case State.ASKING_ADDRESS, _:
                return portmap.AddressRequest()
            case State.ASKING_PORT, _:
                return portmap.PortRequest(self._port, self._suggested.port, self._lifetime)
            case State.RELEASING, Protocol.PCP:
                return self._pcp_request(0, Address(self._any_host, 0))
            case State.RELEASING, Protocol.NAT_PMP:
                return portmap.PortRequest(self._port, 0, 0)
            case _:
                return None

    def _pcp_request(self, lifetime: int, suggested: Address) -> portmap.PcpRequest:
        host, port = suggested
        return portmap.PcpRequest(
            lifetime, self._client, self._nonce, portmap.UDP, self._port, port, host
        )

    def _repeat(self, exchange: _Exchange, now: float) -> None:
        if exchange.left == 0:
            self._give_up(now)
            return
        self._send(exchange.data, self._gateway, VIA)
        exchange.left -= 1
        exchange.next_at = now + self._jittered(exchange.gap)
        exchange.gap *= 2

    # What arrives.

    def _take(self, message: portmap.Message, now: float) -> None:
        match message:
            case portmap.PcpResponse():
                self._take_pcp(message, now)
            case portmap.AddressResponse() if self.state is State.ASKING_ADDRESS:
                self._take_address(message, now)
            case portmap.PortResponse() if self.state is State.ASKING_PORT or (
                self.state is State.RELEASING and self._may_be_mapped_by is Protocol.NAT_PMP
            ):
                self._take_port(message, now)
            case portmap.VersionRefused() if self.state is State.ASKING_PCP:
                self._take_refusal_of_version(now)
            case _:
                self._drop(Drop.UNEXPECTED)

    def _take_pcp(self, response: portmap.PcpResponse, now: float) -> None:
        same_flow = (response.protocol, response.internal_port) == (portmap.UDP, self._port)
        if not same_flow or not compare_digest(response.nonce, self._nonce):
            self._drop(Drop.WRONG_ATTEMPT)
            return
        restarted = self._note_epoch(response.epoch, now)
        failed = response.result != PcpResult.SUCCESS
        granted = not failed and response.lifetime > 0
        match self.state:
            case State.ASKING_PCP if failed:
                self._refused("PCP", PcpResult, response.result, response.lifetime, now)
            case State.ASKING_PCP | State.ASKING_ADDRESS | State.ASKING_PORT if granted:
                self._grant_pcp(response, now)
            case State.MAPPED | State.WAITING if granted and not self._renews_by_nat_pmp():
                if restarted:
                    self._enter(Cause.PCP_DUE, now)  # it may have lost what it reports
                else:
                    self._grant_pcp(response, now)
            case State.RELEASING if not granted and self._may_be_mapped_by is Protocol.PCP:
                self._enter(Cause.DONE, now)
            case _:
                self._drop(Drop.STALE)

    def _grant_pcp(self, response: portmap.PcpResponse, now: float) -> None:
        external = Address(response.external_host, response.external_port)
        self._grant(external, response.lifetime, Protocol.PCP, now)

    def _take_address(self, response: portmap.AddressResponse, now: float) -> None:
        self._note_epoch(response.epoch, now)
        if response.result != NatPmpResult.SUCCESS:
            self._refused("NAT-PMP", NatPmpResult, response.result, 0, now)
            return
        self._external_host = response.host
        self._enter(Cause.ADDRESS, now)

    def _take_port(self, response: portmap.PortResponse, now: float) -> None:
        failed = response.result != NatPmpResult.SUCCESS
        if not failed and response.internal_port != self._port:
            self._drop(Drop.WRONG_ATTEMPT)
            return
        self._note_epoch(response.epoch, now)
        granted = not failed and response.lifetime > 0
        match self.state:
            case State.RELEASING if not granted:
                self._enter(Cause.DONE, now)
            case State.ASKING_PORT if failed:
                self._refused("NAT-PMP", NatPmpResult, response.result, 0, now)
            case State.ASKING_PORT if granted:
                external = Address(self._external_host, response.external_port)
                self._grant(external, response.lifetime, Protocol.NAT_PMP, now)
            case _:
                self._drop(Drop.STALE)

    def _take_refusal_of_version(self, now: float) -> None:
        self._heard = True
        self._may_be_mapped_by = None
        if self._knows_nat_pmp():
            self._enter(Cause.NO_PCP, now)
        else:
            self._fail("it does not speak this version of PCP", RETRY_AFTER, now)

    def _renews_by_nat_pmp(self) -> bool:
        return self._mapping is not None and self._may_be_mapped_by is Protocol.NAT_PMP

    def _note_epoch(self, epoch: int, now: float) -> bool:
        """Whether the gateway has restarted since its last answer."""
        self._heard = True
        return self._epoch.restarted(epoch, now)

    # What comes of it.

    def _grant(self, external: Address, lifetime: int, by: Protocol, now: float) -> None:
        if not is_pingable(external, loopback=False):
            self._drop(Drop.HOSTILE_ADDRESS)
            detail = f"it reports the external address {external}: it has no uplink, most likely"
            self._fail(detail, RETRY_AFTER, now)
            return
        self._enter(Cause.GRANT, now)
        lasts = float(min(max(lifetime, SHORTEST_LIFETIME), LONGEST_LIFETIME))
        self._mapping = self._suggested = external
        self._may_be_mapped_by = by
        self._expires = now + lasts
        self._next_try = now + lasts * (1 / 2 + RENEWAL_SPREAD * self._chance())
        self._report(Mapped(external, lasts))

    def _refused(
        self, protocol: str, results: type[IntEnum], result: int, retry_after: int, now: float
    ) -> None:
        wait = min(max(retry_after or RETRY_AFTER, SHORTEST_RETRY), LONGEST_LIFETIME)
        self._fail(f"{protocol} {portmap.result_name(results, result)}", wait, now)

    def _give_up(self, now: float) -> None:
        """No answer to any of the tries."""
        if self.state is State.RELEASING:
            self._enter(Cause.DONE, now)
        elif self.state is State.ASKING_PCP and self._mapping is None and self._knows_nat_pmp():
            self._enter(Cause.NO_PCP, now)
        else:
            self._fail("it answers neither PCP nor NAT-PMP", RETRY_AFTER, now)

    def _fail(self, detail: str, retry_after: float, now: float) -> None:
        """This try came to nothing."""
        if self._mapping is None:
            self._enter(Cause.FAILURE, now)
            self._may_be_mapped_by = None
            self._next_try = now + self._jittered(retry_after)
            self._lose(detail)
        else:
            self._enter(Cause.RENEWAL_FAILURE, now)
            self._next_try = now + max((self._expires - now) / 2, SHORTEST_RENEWAL)

    def _expire(self, now: float) -> None:
        """The next try begins with PCP: another gateway may be there by now."""
        self._mapping = None
        self._expires = NEVER
        if self.state is State.MAPPED:
            self._enter(Cause.EXPIRY, now)
        self._lose("it did not renew the mapping")

    def _lose(self, detail: str) -> None:
        self._report(MappingLost(f"the gateway {self._gateway.host} maps no port: {detail}"))

    def _report(self, event: MappingEvent) -> None:
        if event != self._last_event:
            self._last_event = event
            self._emit(event)

    def _knows_nat_pmp(self) -> bool:
        """NAT-PMP is for IPv4."""
        return self._gateway.family == 4

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 - JITTER + 2 * JITTER * self._chance())

    def _chance(self) -> float:
        """Evenly in [0, 1)."""
        return self._random(1)[0] / 256
