"""NATs and firewalls of the virtual network, in the words of RFC 4787.

A NAT stands between two segments, `outside` and its own `inside`; NATs nest by using another
one's `inside` as their `outside`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from netpunch.address import Address
from tests.sim.network import PERFECT, Attachment, Datagram, Link, Network, Segment

FIRST_PORT, LAST_PORT = 1024, 65535
"""NATs leave the system ports alone: 64,512 ports are to be had."""
PORTS = LAST_PORT - FIRST_PORT + 1


class By(Enum):
    """How much of the remote address a mapping or a filter depends on."""

    NOTHING = "endpoint-independent"
    ADDRESS = "address-dependent"
    ADDRESS_AND_PORT = "address-and-port-dependent"

    def scope(self, remote: Address) -> Address | str | None:
        """The part of `remote` that makes a difference."""
        if self is By.NOTHING:
            return None
        return remote.host if self is By.ADDRESS else remote


class Ports(Enum):
    """How a NAT chooses the external port of a new mapping."""

    PRESERVING = "preserving"
    """The local port if it is free. A port counts as free for every remote that the mapping
    tells apart, as with Linux: dependent mappings then share one external port."""
    STEPPING = "stepping"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class NatBehavior:
    """What kind of NAT. Times in seconds."""

    mapping: By = By.NOTHING
    filtering: By = By.ADDRESS_AND_PORT
    ports: Ports = Ports.PRESERVING
    step: int = 1
    """Of STEPPING: the distance of one external port to the next."""
    foreign: float = 0.0
    """Of STEPPING: allocations per second for other hosts behind the same NAT."""
    hairpin: bool = False
    timeout: float = 120.0
    """A mapping or permission lives so long after its last outbound datagram."""
    unsolicited_takes_port: float = 0.0
    """So long an unsolicited inbound datagram keeps its destination port from being mapped
    towards its source. Linux without an INPUT drop: 30 s (its unreplied conntrack entry)."""
    max_mappings: int | None = None
    only_to: frozenset[str] | None = None
    """Lets UDP out only to these hosts; the empty set blocks it all."""


FULL_CONE = NatBehavior(filtering=By.NOTHING)
RESTRICTED_CONE = NatBehavior(filtering=By.ADDRESS)
PORT_RESTRICTED_CONE = NatBehavior()
RANDOM_CONE = NatBehavior(ports=Ports.RANDOM)
LINUX = NatBehavior(mapping=By.ADDRESS_AND_PORT, unsolicited_takes_port=30.0)
HARD_STEP = NatBehavior(mapping=By.ADDRESS_AND_PORT, ports=Ports.STEPPING)
HARD_RANDOM = NatBehavior(mapping=By.ADDRESS_AND_PORT, ports=Ports.RANDOM)
ADDRESS_HARD_RANDOM = NatBehavior(mapping=By.ADDRESS, ports=Ports.RANDOM)
BLOCKS_UDP = NatBehavior(only_to=frozenset())

Scope = Address | str | None


@dataclass(eq=False, slots=True)
class _Mapping:
    """A local address and the external port that stands for it."""

    local: Address
    port: int
    inner_key: tuple[Address, Scope]
    outer_key: tuple[int, Scope]
    last_used: float = 0.0
    permitted: dict[Scope, float] = field(default_factory=dict)
    """Who may answer, and when it was last sent to."""


class Nat:
    """Translates between `inside` and `outside`, where its one address is `public`."""

    def __init__(
        self,
        behavior: NatBehavior,
        outside: Segment,
        public: str,
        *,
        up: Link = PERFECT,
        down: Link = PERFECT,
    ) -> None:
        self.behavior = behavior
        self.outside = outside
        self.public = public
        self.network: Network = outside.network
        self.down = False
        """Passes nothing, as while it reboots."""
        self.reboots = 0
        """How often it has forgotten its mappings."""
        self.inside = Segment(self.network, f"behind {public}")
        self._inner = Attachment(self)
        self.inside.set_gateway(4, self._inner)
        self.uplink = outside.attach(public, Attachment(self, up, down))
        self._by_inner: dict[tuple[Address, Scope], _Mapping] = {}
        self._by_outer: dict[tuple[int, Scope], _Mapping] = {}
        self._unsolicited: dict[tuple[int, Address], float] = {}
        self._next_port = self.network.random.randrange(PORTS)
        self._last_step = 0.0

    def receive(self, datagram: Datagram, segment: Segment) -> None:
        if datagram.ttl <= 1 or self.down:
            return  # a router looks at the TTL first: no mapping
        if segment is self.inside:
            self._from_inside(datagram)
        else:
            self._from_outside(datagram)

    def rebind(self, public: str | None = None) -> None:
        """Forgets every mapping, as a NAT that restarts; with another address if one is given."""
        self.reboots += 1
        self._by_inner.clear()
        self._by_outer.clear()
        self._unsolicited.clear()
        if public is not None:
            self.outside.attach(public, self.outside.detach(self.public))
            self.public = public

    def external_ports(self, local: Address) -> set[int]:
        """The external ports that stand for a local address now."""
        return {m.port for m in self._by_inner.values() if m.local == local and self._alive(m)}

    def _from_inside(self, datagram: Datagram) -> None:
        data, local, remote, ttl = datagram
        behavior = self.behavior
        if behavior.only_to is not None and remote.host not in behavior.only_to:
            return
        mapping = self._mapping(local, remote)
        if mapping is None:
            return
        now = self.network.now
        mapping.last_used = now
        mapping.permitted[behavior.filtering.scope(remote)] = now
        translated = Datagram(data, Address(self.public, mapping.port), remote, ttl - 1)
        if remote.host != self.public:
            self.outside.carry(translated, self.uplink)
        elif behavior.hairpin:
            self._from_outside(translated)

    def _from_outside(self, datagram: Datagram) -> None:
        data, remote, (_, port), ttl = datagram
        mapping = self._by_outer.get((port, self._outer_scope(remote)))
        if mapping is None or not self._alive(mapping):
            if self.behavior.unsolicited_takes_port:
                self._unsolicited[port, remote] = self.network.now
            return
        last_sent = mapping.permitted.get(self.behavior.filtering.scope(remote))
        if last_sent is not None and self._is_recent(last_sent, self.behavior.timeout):
            self.inside.carry(Datagram(data, remote, mapping.local, ttl - 1), self._inner)

    def _mapping(self, local: Address, remote: Address) -> _Mapping | None:
        key = local, self.behavior.mapping.scope(remote)
        mapping = self._by_inner.get(key)
        if mapping is not None and self._alive(mapping):
            return mapping
        if mapping is not None:
            self._forget(mapping)
        if self._is_full():
            return None
        port = self._allocate(local, remote)
        mapping = _Mapping(local, port, key, (port, self._outer_scope(remote)))
        self._by_inner[mapping.inner_key] = self._by_outer[mapping.outer_key] = mapping
        return mapping

    def _is_full(self) -> bool:
        limit = self.behavior.max_mappings
        if limit is None or len(self._by_inner) < limit:
            return False
        for expired in [m for m in self._by_inner.values() if not self._alive(m)]:
            self._forget(expired)
        return len(self._by_inner) >= limit

    def _allocate(self, local: Address, remote: Address) -> int:
        """A free external port for a new mapping."""
        port = local.port
        if self.behavior.ports is not Ports.PRESERVING:
            port = self._propose()
        while not self._is_free(port, remote):
            port = self._propose()
        return port

    def _propose(self) -> int:
        behavior, network = self.behavior, self.network
        if behavior.ports is not Ports.STEPPING:
            return network.random.randint(FIRST_PORT, LAST_PORT)
        others = int((network.now - self._last_step) * behavior.foreign)
        self._last_step = network.now
        self._next_port = (self._next_port + behavior.step * (1 + others)) % PORTS
        return FIRST_PORT + self._next_port

    def _is_free(self, port: int, remote: Address) -> bool:
        unsolicited = self._unsolicited.get((port, remote))
        if unsolicited is not None and self._is_recent(
            unsolicited, self.behavior.unsolicited_takes_port
        ):
            return False
        holder = self._by_outer.get((port, self._outer_scope(remote)))
        if holder is not None and not self._alive(holder):
            self._forget(holder)
            return True
        return holder is None

    def _outer_scope(self, remote: Address) -> Scope:
        shares_ports = self.behavior.ports is Ports.PRESERVING
        return self.behavior.mapping.scope(remote) if shares_ports else None

    def _alive(self, mapping: _Mapping) -> bool:
        return self._is_recent(mapping.last_used, self.behavior.timeout)

    def _is_recent(self, time: float, lifetime: float) -> bool:
        return self.network.now - time <= lifetime

    def _forget(self, mapping: _Mapping) -> None:
        self._by_inner.pop(mapping.inner_key, None)
        self._by_outer.pop(mapping.outer_key, None)


class Firewall:
    """Stateful, without translation, as in front of IPv6 hosts: lets in only answers.

    Hosts inside have outside addresses; `protect` announces one of them outside."""

    def __init__(
        self,
        outside: Segment,
        inside: Segment,
        *,
        filtering: By = By.ADDRESS_AND_PORT,
        timeout: float = 120.0,
        up: Link = PERFECT,
        down: Link = PERFECT,
    ) -> None:
        self.outside = outside
        self.inside = inside
        self.filtering = filtering
        self.timeout = timeout
        self._inner = Attachment(self)
        self._outer = Attachment(self, up, down)
        self._permitted: dict[tuple[Address, Scope], float] = {}
        inside.set_gateway(6, self._inner)

    def protect(self, host: str) -> None:
        """Routes an inside host's address from outside to this firewall."""
        self.outside.attach(host, self._outer)

    def receive(self, datagram: Datagram, segment: Segment) -> None:
        _, source, destination, _ = datagram
        now = self.outside.network.now
        if segment is self.inside:
            self._permitted[source, self.filtering.scope(destination)] = now
            self.outside.carry(datagram, self._outer)
            return
        permitted = self._permitted.get((destination, self.filtering.scope(source)))
        if permitted is not None and now - permitted <= self.timeout:
            self.inside.carry(datagram, self._inner)
