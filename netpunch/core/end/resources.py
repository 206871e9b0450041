"""What all attempts of an end share: settings, keys, sockets, budgets, and what it has learned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

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
from netpunch.core.end.channels import Channels, channels_of
from netpunch.core.end.lookups import Lookups
from netpunch.core.end.registration import Registration
from netpunch.core.end.relays import Relays
from netpunch.core.end.streams import Streams
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import CloseSocket, Event, PathKind, Reason, Via, Waiting
from netpunch.core.machine import NEVER, Random
from netpunch.core.pacing import TokenBucket
from netpunch.core.settings import EndSettings
from netpunch.core.traversal.budget import PROBE_BURST, PROBE_RATE
from netpunch.core.traversal.nat import NatReport
from netpunch.wire.card import NONCE_LENGTH, Card
from netpunch.wire.drop import Drop
from netpunch.wire.keys import pair_tag
from netpunch.wire.v2 import Message, Observe

Send = Callable[[bytes, Address, Via, int], None]
"""`send(data, destination, via, ttl)` queues a datagram; ttl 0 is the system's default."""


class Resources:
    """See `End` for the parameters; `send` and `emit` are the machine's."""

    def __init__(
        self,
        settings: EndSettings,
        *,
        endpoints: ControlEndpoints,
        sockets: Mapping[Via, Address],
        host_addresses: Sequence[str] = (),
        probe_bucket: TokenBucket | None = None,
        send: Send,
        emit: Callable[[Event], None],
        random: Random,
        now: float,
    ) -> None:
        self.settings = settings
        self.endpoints = endpoints
        self.lookups = Lookups(endpoints.names, emit, random, now)
        self.sockets = dict(sockets)
        """The first sockets, one per family; those of the traversal are not among them."""
        self.host_addresses = tuple(host_addresses)
        self._held: dict[Via, Address] = {}
        """The sockets of a held link, the one in use first; they stay open."""
        self.external: dict[PathKind, tuple[Address, ...]] = {}
        """Addresses at which we are reached, as the driver says."""
        self.ping_bucket = TokenBucket(timing.PING_RATE, timing.PING_BURST)
        self.probe_bucket = probe_bucket or TokenBucket(PROBE_RATE, PROBE_BURST)
        self.strangers = Strangers(random)
        self.streams = Streams(emit, usable=settings.carries)
        self.relays = Relays(self.streams.controls, _relay_port(settings))
        self.nat = NatReport()
        self.fresh_port_patience = timing.FRESH_PORT_AFTER
        self.send = send
        self.emit = emit
        self.random = random
        self.channels = channels_of(settings)
        """One for each key."""
        self.spoken_at: dict[str, Channels] = {}
        """Which of them controls answer, by host; empty with a single key."""
        self.seen_inside_by: set[Address] = set()
        """Controls about which SeenInside was emitted."""
        self.observed_by: dict[Address, Address] = {}
        """Where each control saw this end last, as long as it announces from the same socket."""
        self._best_hosts = best_hosts(host_addresses)
        self._conflict_reported = -NEVER
        self._requests = 0

    def new_request(self) -> int:
        """A number for a request to the driver, never used before."""
        self._requests += 1
        return self._requests

    def report_conflict(self, now: float) -> None:
        """Control says that another machine announces this end, too."""
        if now - self._conflict_reported >= timing.CONFLICT_NOTICE:
            self._conflict_reported = now
            self.emit(Waiting(Reason.ROLE_CONFLICT))

    def observe(self, via: Via, control: Address, echo: bytes) -> None:
        """Asks a control's port where it sees socket `via`."""
        self.say_to_control(Observe(echo), control, via)

    # Keys.

    def rekey(self, secrets: Sequence[bytes], known: tuple[Channels, ...]) -> None:
        """The end has these keys from now on; `known` are the channels that are in use."""
        self.settings = self.settings.with_secrets(secrets)
        self.channels = channels_of(self.settings, known)
        self.spoken_at.clear()

    def channels_at(self, control: Address) -> Channels:
        """Those of the key that this control answers, as far as is known."""
        return self.spoken_at.get(control.host, self.channels[0])

    def answered(self, control: Address, channels: Channels) -> None:
        """A control has this key."""
        if len(self.channels) > 1:
            self.spoken_at[control.host] = channels

    def say_to_control(self, message: Message, control: Address, via: Via) -> None:
        """Under a key that the control answers."""
        seal = self.channels_at(control).control.to_control.seal
        self.send(seal(message, self.random(NONCE_LENGTH)), control, via, 0)

    def open_of_control(self, data: bytes) -> Message | Drop:
        """A control's message, under whichever key."""
        message: Message | Drop = Drop.BAD_MAC
        for channels in self.channels:
            message = channels.control.from_control.open(data)
            if message is not Drop.BAD_MAC:
                break
        return message

    # Where the controls are.

    @property
    def loopback(self) -> bool:
        """Whether a control is on loopback, so that the partner may be, too."""
        return any(is_loopback(control.host) for control in self.endpoints.controls)

    def controls_found(self, endpoints: ControlEndpoints) -> None:
        """Applies to all registrations that begin from now on."""
        self.endpoints = endpoints
        self.lookups.names = endpoints.names

    def registrations(self, now: float) -> list[Registration]:
        """New ones with all controls that there is a socket for, and over all streams that are
        announced on, under each key."""
        vias = self._with_vias(self.endpoints.controls)
        streams = self.streams.announced_on.items()
        return [
            *(Registration(to, via, each, now) for to, via in vias for each in self.channels),
            *(
                Registration(to, via, each, now, over_stream=True)
                for via, to in streams
                for each in self.channels
            ),
        ]

    def other_family(self) -> list[tuple[Address, Via]]:
        """Controls' addresses of a family in which none is announced to, if we have a socket."""
        announced = {control.family for control in self.endpoints.controls}
        return self._with_vias(
            each for each in self.endpoints.other_family if each.family not in announced
        )

    def _with_vias(self, controls: Iterable[Address]) -> list[tuple[Address, Via]]:
        vias = ((control, next(self.vias_for(control.family), None)) for control in controls)
        return [(control, via) for control, via in vias if via is not None]

    # Sockets and candidates.

    def vias_for(self, family: int) -> Iterator[Via]:
        """The first sockets of a family."""
        return (via for via, local in self.sockets.items() if local.family == family)

    def replace_socket(self, via: Via, local: Address) -> None:
        """Socket `via` takes the place of the first one of its family, which is closed unless a
        link is held on it."""
        if via in self.sockets:
            return
        for old in list(self.vias_for(local.family)):
            del self.sockets[old]
            if old not in self._held:
                self.emit(CloseSocket(old))
        self.sockets[via] = local
        self.observed_by.clear()  # through most NATs another socket is seen elsewhere

    @property
    def open_sockets(self) -> dict[Via, Address]:
        """The first ones and those of a held link: what is sent to these still arrives when a fresh
        port has taken the place of one."""
        return self._held | self.sockets

    def hold(self, sockets: Mapping[Via, Address]) -> None:
        """A link is held on these sockets, in the first place on the first, which later attempts
        begin from. Those that it was held on before are closed."""
        former, self._held = self._held, dict(sockets)
        closing = [via for via in former if via not in self._held and via not in self.sockets]
        self.restore_sockets()
        for via in closing:
            self.emit(CloseSocket(via))

    def restore_sockets(self) -> None:
        """The held link's own socket is the first one of its family again."""
        for via, local in list(self._held.items())[:1]:
            self.replace_socket(via, local)

    def network_changed(self, host_addresses: Sequence[str], now: float) -> None:
        """This host has these addresses now; its NAT may be another one."""
        self.lookups.network_changed(now)
        self.host_addresses = tuple(host_addresses)
        self._best_hosts = best_hosts(host_addresses)
        self.nat = NatReport()

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
        return is_local or any(address in addresses for addresses in self.external.values())

    def candidates(self, card: Card, observed: Address) -> list[Candidate]:
        """The partner's candidates that are tried."""
        nat64 = self.endpoints.nat64
        candidates = (
            each
            for each in partner_candidates(card, observed, loopback=self.loopback)
            if self.settings.try_observed or each.kind is not PathKind.OBSERVED
        )
        return list(candidates if nat64 is None else with_translated(nat64, candidates))

    def target(self, card: Card, observed: Address) -> Address | None:
        """Where traversal strategies aim: at the partner's server-reflexive address."""
        target = reflexive_target(card, observed, loopback=self.loopback)
        nat64 = self.endpoints.nat64
        if target is None or nat64 is None or target.family == 6 or is_private(target.host):
            return target
        return nat64.translated(target)


def _relay_port(settings: EndSettings) -> int:
    """Which of a relay's ports to try first: pairs that share a port of their host begin at
    different ones."""
    return int.from_bytes(pair_tag(settings.pair)) if settings.share else 0
