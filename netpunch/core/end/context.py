"""What an end is and has over all its attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from netpunch.address import Address, is_loopback, is_private
from netpunch.core import timing
from netpunch.core.allowances import Strangers
from netpunch.core.end.candidates import (
    LOOPBACK,
    WILDCARDS,
    Candidate,
    best_hosts,
    host_candidates,
    partner_candidates,
    reflexive_target,
    with_translated,
)
from netpunch.core.end.lookups import Lookups
from netpunch.core.end.registration import Registration
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import Event, PathKind, Reason, Via, Waiting
from netpunch.core.machine import NEVER, Random
from netpunch.core.pacing import TokenBucket
from netpunch.core.settings import EndSettings
from netpunch.core.traversal.budget import PROBE_BURST, PROBE_RATE
from netpunch.core.traversal.nat import NatReport
from netpunch.wire.card import Card
from netpunch.wire.envelope import ControlChannel, PeerChannel
from netpunch.wire.keys import control_key, peer_key

Send = Callable[[bytes, Address, Via, int], None]
"""`send(data, destination, via, ttl)` queues a datagram; ttl 0 is the system's default."""


class Context:
    """See `End` for the parameters. `nat` is what has been learned of our NAT."""

    def __init__(
        self,
        settings: EndSettings,
        *,
        endpoints: ControlEndpoints,
        sockets: Mapping[Via, Address],
        host_addresses: Sequence[str],
        probe_bucket: TokenBucket | None,
        send: Send,
        emit: Callable[[Event], None],
        random: Random,
        now: float,
    ) -> None:
        self.settings = settings
        self.endpoints = endpoints
        self.lookups = Lookups(endpoints.names, emit, random, now)
        self.sockets = dict(sockets)
        self.host_addresses = tuple(host_addresses)
        self._conflict_told = -NEVER
        self._requests = 0
        self.seen_inside_by: set[Address] = set()
        """Controls of which SeenInside was told."""
        self._best_hosts = best_hosts(host_addresses)
        self.mapped: tuple[Address, ...] = ()
        """External addresses that our gateways map to us."""
        self.ping_bucket = TokenBucket(timing.PING_RATE, timing.PING_BURST)
        self.probe_bucket = probe_bucket or TokenBucket(PROBE_RATE, PROBE_BURST)
        self.strangers = Strangers(random)
        self.nat = NatReport()
        self.send = send
        self.emit = emit
        self.random = random
        pair, end = settings.pair, settings.end
        self.peer_key = peer_key(settings.secret, pair)
        self.peer = PeerChannel(self.peer_key, pair, end)
        self.control = ControlChannel(control_key(settings.secret, pair), pair, end)

    def new_request(self) -> int:
        """A number for a request to the driver that no other one has."""
        self._requests += 1
        return self._requests

    def tell_conflict(self, now: float) -> None:
        """Control says that another machine announces this end, too."""
        if now - self._conflict_told >= timing.CONFLICT_NOTICE:
            self._conflict_told = now
            self.emit(Waiting(Reason.ROLE_CONFLICT))

    @property
    def controls(self) -> tuple[Address, ...]:
        return self.endpoints.controls

    def other_family(self) -> list[tuple[Address, Via]]:
        """Controls' addresses of a family in which none is announced to, if we have a socket."""
        announced = {control.family for control in self.controls}
        others = (a for a in self.endpoints.other_family if a.family not in announced)
        vias = ((control, next(self.vias_for(control.family), None)) for control in others)
        return [(control, via) for control, via in vias if via is not None]

    @property
    def loopback(self) -> bool:
        """Whether a control is on loopback, so that the partner may be, too."""
        return any(is_loopback(control.host) for control in self.controls)

    def controls_found(self, endpoints: ControlEndpoints) -> None:
        """For all dialogues that begin from now on."""
        self.endpoints = endpoints
        self.lookups.names = endpoints.names

    def vias_for(self, family: int) -> Iterator[Via]:
        """The end's own sockets of a family."""
        return (via for via, local in self.sockets.items() if local.family == family)

    def registrations(self, now: float) -> list[Registration]:
        """New dialogues with all controls that there is a socket for."""
        vias = [(control, next(self.vias_for(control.family), None)) for control in self.controls]
        return [Registration(control, via, now) for control, via in vias if via is not None]

    def hosts(self) -> tuple[Address, ...]:
        """The host candidates that our card offers."""
        if not self.settings.offer_hosts:
            return ()
        return host_candidates(self.sockets, self._best_hosts, loopback=self.loopback)

    def is_own(self, address: Address) -> bool:
        """Whether one of our sockets has this address."""
        hosts = (*self.host_addresses, *LOOPBACK)
        is_local = any(
            address == local
            or (local.host in WILDCARDS and address.port == local.port and address.host in hosts)
            for local in self.sockets.values()
        )
        return is_local or address in self.mapped

    def candidates(self, card: Card, observed: Address) -> list[Candidate]:
        """Those of a partner's that are tried."""
        candidates = [
            candidate
            for candidate in partner_candidates(card, observed, loopback=self.loopback)
            if self.settings.try_observed or candidate.kind is not PathKind.OBSERVED
        ]
        nat64 = self.endpoints.nat64
        return candidates if nat64 is None else list(with_translated(nat64, candidates))

    def target(self, card: Card, observed: Address) -> Address | None:
        """Where tactics look for a partner."""
        target, nat64 = (
            reflexive_target(card, observed, loopback=self.loopback),
            self.endpoints.nat64,
        )
        if target is None or nat64 is None or target.family == 6 or is_private(target.host):
            return target
        return nat64.translated(target)
