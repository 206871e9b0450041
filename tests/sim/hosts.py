"""A host of the virtual network: drives one core object exactly as a real driver would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from netpunch.address import Address
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import (
    CloseSocket,
    Event,
    Finished,
    LookupWanted,
    OpenSockets,
    TurnOver,
    TurnWanted,
    Via,
)
from netpunch.core.machine import NEVER, Machine, Transmit
from netpunch.net.turn_queue import TurnQueue
from tests.sim.network import (
    DEFAULT_TTL,
    PERFECT,
    Attachment,
    Datagram,
    Link,
    Network,
    Record,
    Segment,
)

WILDCARD = {4: "0.0.0.0", 6: "::"}
FIRST_EPHEMERAL_PORT = 32768
LOOKUP_TIME = 2.0
"""Seconds that a name server takes to answer."""
MOST_RINGS_AT_ONCE = 1000
"""So many calls of `handle_timer` at one instant are an endless loop."""

E = TypeVar("E", bound=Event)


class Recorder(NamedTuple):
    """An event and when the machine told it (network time)."""

    time: float
    event: Event


class Answer(NamedTuple):
    """What a machine sent at once because of a datagram."""

    question: Datagram
    transmits: list[Transmit]


class SimHost:
    """A host with one address per family, its sockets, and at most one running machine.

    `clock_offset` is what this host's clock is ahead of network time; machines see the host's.
    Sockets stay bound when a machine finishes: what then arrives is only recorded."""

    def __init__(
        self,
        network: Network,
        name: str,
        *,
        clock_offset: float = 0.0,
        probing: TurnQueue | None = None,
    ) -> None:
        self.network = network
        self.name = name
        self.clock_offset = clock_offset
        self.probing = probing or TurnQueue()
        """Shared by the hosts whose machines are to be of one process."""
        self.machine: Machine | None = None
        self.told: list[Recorder] = []
        self.answers: list[Answer] = []
        self.sockets: dict[Via, Address] = {}
        """Local addresses by via, as the machine is told: the wildcard and a port."""
        self.tap: Callable[[Via, Datagram], bool] | None = None
        """Sees arrivals before the machine; true means: not for the machine."""
        self.finished = False
        """Whether the machine told that it needs its sockets no longer."""
        self.on_event: Callable[[Event], None] | None = None
        self.look_up: Callable[[], ControlEndpoints] | None = None
        """What a name server says of the controls."""
        self._places: dict[int, tuple[str, Segment, Attachment]] = {}
        self._by_port: dict[tuple[int, int], Via] = {}
        self._last_via = -1
        self._next_port = FIRST_EPHEMERAL_PORT
        self._timer_set_for = NEVER
        self._incarnation = 0
        self._clock = network.now + clock_offset
        self._rings = 0
        self._last_ring = NEVER

    # Addresses and sockets

    def attach(
        self, segment: Segment, host: str, *, up: Link = PERFECT, down: Link = PERFECT
    ) -> None:
        """Gives the host its address of one family."""
        place = segment.attach(host, Attachment(self, up, down))
        self._places[Address(host, 0).family] = host, segment, place

    def host_address(self, family: int = 4) -> str:
        return self._places[family][0]

    @property
    def host_addresses(self) -> list[str]:
        return [host for host, _, _ in self._places.values()]

    def bind(self, port: int = 0, family: int = 4) -> Via:
        """Opens a socket on the wildcard of a family; port 0 takes the next free one."""
        if port == 0:
            port = self._free_port(family)
        assert (family, port) not in self._by_port, f"{self.name}: port {port} is in use"
        self._last_via += 1
        self._by_port[family, port] = self._last_via
        self.sockets[self._last_via] = Address(WILDCARD[family], port)
        return self._last_via

    def close(self, via: Via) -> None:
        local = self.sockets.pop(via)
        del self._by_port[local.family, local.port]

    def address_of(self, via: Via) -> Address:
        """The address that a datagram sent from `via` carries when it leaves the host."""
        local = self.sockets[via]
        return Address(self.host_address(local.family), local.port)

    def _free_port(self, family: int) -> int:
        while (family, self._next_port) in self._by_port:
            self._next_port += 1
        self._next_port += 1
        return self._next_port - 1

    # The machine

    def clock(self) -> float:
        """This host's time, which never runs backwards."""
        self._clock = max(self._clock, self.network.now + self.clock_offset)
        return self._clock

    def start(self, machine: Machine) -> None:
        """Runs a machine on this host's sockets from now on."""
        self.machine = machine
        self.finished = False
        self._incarnation += 1
        self._timer_set_for = NEVER
        self.probing.first_sockets[self] = len(self.sockets)
        self._drain()

    def ask(self, action: Callable[[Any, float], None]) -> None:
        """Calls a method of the machine that isn't part of its contract with the network, as
        `host.ask(lambda end, now: end.close(now))`."""
        action(self.machine, self.clock())
        self._drain()

    def stop(self) -> None:
        """A killed process: the machine is never called again, its sockets are closed."""
        self.machine = None
        for via in list(self.sockets):
            self.close(via)
        self._last_via = -1
        self._leave_probing()

    def _leave_probing(self) -> None:
        self.probing.over(self)
        self.probing.first_sockets.pop(self, None)

    def told_of(self, kind: type[E]) -> Iterator[tuple[float, E]]:
        """The events of one kind, with the network time at which they were told."""
        return ((time, event) for time, event in self.told if isinstance(event, kind))

    def first(self, kind: type[E]) -> tuple[float, E] | None:
        return next(self.told_of(kind), None)

    def receive(self, datagram: Datagram, segment: Segment) -> None:
        """From the network (the contract of a Node)."""
        self.network.received.append(Record(self.network.now, self.name, datagram))
        via = self._by_port.get((datagram.destination.family, datagram.destination.port))
        if via is None or (self.tap is not None and self.tap(via, datagram)):
            return
        if self.machine is not None:
            self.machine.receive_datagram(datagram.data, datagram.source, self.clock(), via)
            transmits = self._drain()
            if transmits:
                self.answers.append(Answer(datagram, transmits))

    def send(self, data: bytes, destination: Address, via: Via, ttl: int = DEFAULT_TTL) -> None:
        """Sends from a socket. Nothing from a closed one, nor to a family that the host lacks."""
        if destination.family not in self._places or via not in self.sockets:
            return
        host, segment, place = self._places[destination.family]
        datagram = Datagram(data, Address(host, self.sockets[via].port), destination, ttl)
        self.network.record_sent(Record(self.network.now, self.name, datagram))
        segment.carry(datagram, place)

    def _drain(self) -> list[Transmit]:
        """Carries out everything that the machine asks for, and re-arms its timer."""
        machine = self.machine
        assert machine is not None
        transmits = self._transmit(machine)
        while (event := machine.next_event()) is not None:
            self._take(machine, event)
            transmits += self._transmit(machine)  # before the next event closes their socket
        self._arm(machine)
        return transmits

    def _transmit(self, machine: Machine) -> list[Transmit]:
        transmits = machine.datagrams_to_send()
        for data, destination, via, ttl in transmits:
            self.send(data, destination, via, ttl or DEFAULT_TTL)
        return transmits

    def _take(self, machine: Machine, event: Event) -> None:
        match event:
            case OpenSockets(request, count, family):
                opened = {}
                for _ in range(count if family in self._places else 0):
                    via = self.bind(family=family)
                    opened[via] = self.sockets[via]
                machine.sockets_opened(request, opened, self.clock())
            case TurnWanted(turn, ready):
                if self.probing.want(self, self._grant_later, turn, ready):
                    self._grant_later()
            case TurnOver():
                self.probing.over(self)
            case LookupWanted():
                self.network.call_at(self.network.now + LOOKUP_TIME, self._tell, self._incarnation)
            case CloseSocket(via):
                self.close(via)
            case _:
                if isinstance(event, Finished):
                    self.finished = True
                    self._leave_probing()
                self.told.append(Recorder(self.network.now, event))
                if self.on_event is not None:
                    self.on_event(event)

    def _grant_later(self) -> None:
        self.network.call_at(self.network.now, self._grant)

    def _grant(self) -> None:
        if self.probing.has_turn(self):
            self.ask(lambda end, now: end.turn_granted(self.probing.sockets, now))

    def _tell(self, incarnation: int) -> None:
        """The machine that asked hears where its controls are."""
        assert self.look_up is not None
        found = self.look_up()
        if incarnation == self._incarnation and self.machine is not None:
            self.ask(lambda machine, now: machine.controls_found(found, now))

    def _arm(self, machine: Machine) -> None:
        due = machine.next_timer()
        if due < self._timer_set_for:
            self._timer_set_for = due
            self.network.call_at(due - self.clock_offset, self._timer, self._incarnation, due)

    def _timer(self, incarnation: int, set_for: float) -> None:
        """One alarm. One that a later alarm replaced, or of a dead machine, does nothing."""
        machine = self.machine
        if machine is None or incarnation != self._incarnation or set_for != self._timer_set_for:
            return
        self._timer_set_for = NEVER
        self._clock = max(self._clock, set_for)  # the offset's rounding must not ring too early
        if machine.next_timer() <= self.clock():
            self._count_ring()
            machine.handle_timer(self.clock())
        self._drain()

    def _count_ring(self) -> None:
        self._rings = self._rings + 1 if self.network.now == self._last_ring else 0
        self._last_ring = self.network.now
        if self._rings > MOST_RINGS_AT_ONCE:
            raise AssertionError(f"{self.name}: handle_timer does not move next_timer past now")
