"""A host of the virtual network: drives one core object exactly as a real driver would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeVar

from netpunch.address import Address
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import (
    CloseSocket,
    Event,
    Finished,
    FollowRoutes,
    Linked,
    LookupWanted,
    Moved,
    OpenSockets,
    Payload,
    StreamsWanted,
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
from tests.sim.streams import Listener, StreamKeeper

WILDCARD = {4: "0.0.0.0", 6: "::"}
FIRST_EPHEMERAL_PORT = 32768
LOOKUP_TIME = 2.0
"""Seconds that a name server takes to answer."""
MOST_RINGS_AT_ONCE = 1000
"""So many calls of `handle_timer` at one instant are an endless loop."""

NOTICED_WITHIN = 0.02
"""Seconds until a process hears from the system that the host's addresses or routes changed."""
WOKE_WITHIN = 0.25
"""Seconds until it notices that the host was suspended."""

ROUNDING = 1e-6
"""Seconds by which a clock's offset may falsify an alarm."""

E = TypeVar("E", bound=Event)


class Recorder(NamedTuple):
    """An event and when the machine told it (network time)."""

    time: float
    event: Event


class Answer(NamedTuple):
    """What a machine sent at once because of a datagram."""

    question: Datagram
    transmits: list[Transmit]


class Place(NamedTuple):
    """An address of a host, and the segment in which it has it."""

    host: str
    segment: Segment
    attachment: Attachment


class SimHost:
    """A host with its addresses and sockets, and at most one running machine.

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
        self.on_kill: Callable[[], None] | None = None
        self.on_payload: Callable[[bytes], None] | None = None
        """Takes what programs send on a held link; without it, that is told like any event."""
        self.look_up: Callable[[], ControlEndpoints] | None = None
        """What a name server says of the controls."""
        self.source_routing = True
        """Whether a datagram leaves by the segment of its source address, or all leave by that of
        the latest one (the default route), whatever their source."""
        self.tls_ports: Callable[[], list[Address]] = list
        """Where the controls take streams."""
        self.listener: Listener | None = None
        """Of a control: takes streams."""
        self._listener_via: Via = -1
        self._keeper: StreamKeeper | None = None
        self._places: dict[str, Place] = {}
        self._usual: dict[int, str] = {}
        """The address of each family from which the system sends by itself: the latest one."""
        self._pins: dict[Via, tuple[Address, str]] = {}
        """Sockets that send to an address from this one of the host's, as long as it has it."""
        self._held_from = ""
        """The address with which the held path was agreed."""
        self._asleep_since: float | None = None
        self._at_waking: list[Callable[[], None]] = []
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
        """Gives the host an address, from which the system sends from now on."""
        attachment = segment.attach(host, Attachment(self, up, down))
        self._places[host] = Place(host, segment, attachment)
        self._usual[Address(host, 0).family] = host

    def detach(self, host: str) -> None:
        """Takes an address away."""
        place = self._places.pop(host)
        place.segment.detach(host)
        family = Address(host, 0).family
        if self._usual[family] == host:
            del self._usual[family]
            for other in self._places:
                if Address(other, 0).family == family:
                    self._usual[family] = other

    def host_address(self, family: int = 4) -> str:
        return self._usual[family]

    @property
    def host_addresses(self) -> list[str]:
        return list(self._places)

    def place(self, family: int = 4) -> Place | None:
        """From where the system sends now."""
        host = self._usual.get(family)
        return None if host is None else self._places[host]

    def bind(self, port: int = 0, family: int = 4) -> Via:
        """Opens a socket on the wildcard of a family; port 0 takes the next free one."""
        if port == 0:
            port = self._free_port(family)
        assert (family, port) not in self._by_port, f"{self.name}: port {port} is in use"
        self._by_port[family, port] = via = self.new_via()
        self.sockets[via] = Address(WILDCARD[family], port)
        return via

    def listen(self, port: int) -> Via:
        """Takes streams there: one socket of the machine, whose sources are TCP peers."""
        self._listener_via = via = self.new_via()
        self.listener = Listener(port, lambda data, peer: self.take(data, peer, via))
        return via

    def new_via(self) -> Via:
        self._last_via += 1
        return self._last_via

    def close(self, via: Via) -> None:
        self._pins.pop(via, None)
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
        """This host's time, which never runs backwards, and stands still in a suspend."""
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
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None
        if self.listener is not None:
            self.listener.close()
            self.listener = None
        for via in list(self.sockets):
            self.close(via)
        self._last_via = -1
        self._held_from = ""
        self._leave_probing()
        if self.on_kill is not None:
            self.on_kill()

    def _leave_probing(self) -> None:
        self.probing.over(self)
        self.probing.first_sockets.pop(self, None)

    def tell_network_changed(self) -> None:
        """The system tells the process, a little later, that addresses or routes have changed."""
        self._later(NOTICED_WITHIN, self._network_changed)

    def suspend(self) -> None:
        """Nothing is received, sent or rung until `wake`; the host's clock stands still."""
        self.clock()
        self._asleep_since = self.network.now

    def wake(self) -> None:
        assert self._asleep_since is not None
        self.clock_offset -= self.network.now - self._asleep_since
        self._asleep_since = None
        waiting, self._at_waking = self._at_waking, []
        for callback in waiting:
            callback()
        if self.machine is not None:
            self._timer_set_for = NEVER
            self._drain()
        self._later(WOKE_WITHIN, lambda: self._network_changed(woke=True))

    @property
    def asleep(self) -> bool:
        return self._asleep_since is not None

    def when_awake(self, callback: Callable[[], None]) -> None:
        """Calls back now, or at the end of the suspend."""
        if self.asleep:
            self._at_waking.append(callback)
        else:
            callback()

    def _later(self, most: float, callback: Callable[[], None]) -> None:
        """For this process, within `most` seconds; not in a suspend, but after it."""
        incarnation = self._incarnation

        def call() -> None:
            if self.asleep:
                self.when_awake(call)
            elif self.machine is not None and incarnation == self._incarnation:
                callback()

        self.network.call_at(self.network.now + self.network.random.uniform(0.0, most), call)

    def _network_changed(self, *, woke: bool = False) -> None:
        gone = self._held_from != "" and self._held_from not in self._places
        hosts = self.host_addresses
        self.ask(lambda end, now: end.network_changed(hosts, now, gone=gone, woke=woke))

    def told_of(self, kind: type[E]) -> Iterator[tuple[float, E]]:
        """The events of one kind, with the network time at which they were told."""
        return ((time, event) for time, event in self.told if isinstance(event, kind))

    def first(self, kind: type[E]) -> tuple[float, E] | None:
        return next(self.told_of(kind), None)

    def receive(self, datagram: Datagram, segment: Segment) -> None:
        """From the network (the contract of a Node)."""
        if self.asleep or datagram.destination.host not in self._places:
            return
        self.network.received.append(Record(self.network.now, self.name, datagram))
        via = self._by_port.get((datagram.destination.family, datagram.destination.port))
        if via is not None:
            self._receive(datagram, via)

    def take(self, data: bytes, source: Address, via: Via) -> None:
        """From a stream."""
        self._receive(Datagram(data, source, Address("", 0)), via)

    def connected(self, via: Via, control: Address, host: str) -> None:
        """A stream to a control works, from this address of the host."""
        local = Address(host, FIRST_EPHEMERAL_PORT)
        self.ask(lambda end, now: end.control_connected(via, control, local, now))

    def disconnected(self, via: Via) -> None:
        self.ask(lambda end, now: end.control_disconnected(via, now))

    def _receive(self, datagram: Datagram, via: Via) -> None:
        if self.tap is not None and self.tap(via, datagram):
            return
        if self.machine is not None:
            self.machine.receive_datagram(datagram.data, datagram.source, self.clock(), via)
            transmits = self._drain()
            if transmits:
                self.answers.append(Answer(datagram, transmits))

    def send(self, data: bytes, destination: Address, via: Via, ttl: int = DEFAULT_TTL) -> bool:
        """Sends from a socket. Nothing from a closed one; returns False if the host has no address
        of that family."""
        if via not in self.sockets:
            self._send_on_stream(data, destination, via)
            return True
        usual = self._usual.get(destination.family)
        if usual is None:
            return False
        pinned_to, pinned = self._pins.get(via, (None, ""))
        source = pinned if destination == pinned_to and pinned in self._places else usual
        datagram = Datagram(data, Address(source, self.sockets[via].port), destination, ttl)
        self.network.record_sent(Record(self.network.now, self.name, datagram))
        place = self._places[source if self.source_routing else usual]
        strange = place.segment is not self._places[source].segment
        if not (strange and place.segment is self.network.internet):  # providers drop such a source
            place.segment.carry(datagram, place.attachment)
        return True

    def _send_on_stream(self, data: bytes, destination: Address, via: Via) -> None:
        now, name = self.network.now, self.name
        if self.listener is not None and via == self._listener_via:
            source = Address("", self.listener.port)
            self.network.record_sent(Record(now, name, Datagram(data, source, destination)))
            self.listener.send(data, destination)
        elif self._keeper is not None and via in self._keeper.streams:
            source = Address("", 0)
            self.network.record_sent(Record(now, name, Datagram(data, source, destination)))
            self._keeper.streams[via].send(data, to_server=True)

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
            if not self.send(data, destination, via, ttl or DEFAULT_TTL):
                machine.no_route(via, destination)
        return transmits

    def _take(self, machine: Machine, event: Event) -> None:
        match event:
            case OpenSockets(request, count, family):
                opened = {}
                for _ in range(count if family in self._usual else 0):
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
            case Payload(data) if self.on_payload is not None:
                self.on_payload(data)
            case StreamsWanted(wanted):
                self._keep_streams(wanted=wanted)
            case FollowRoutes():
                self._pins.clear()
            case _:
                if isinstance(event, Linked | Moved):
                    self._pin(event)
                if isinstance(event, Finished):
                    self.finished = True
                    self._leave_probing()
                self.told.append(Recorder(self.network.now, event))
                if self.on_event is not None:
                    self.on_event(event)

    def _keep_streams(self, *, wanted: bool) -> None:
        if wanted:
            self._keeper = self._keeper or StreamKeeper(self)
            self._keeper.keep(self.tls_ports())
        elif self._keeper is not None:
            keeper, self._keeper = self._keeper, None
            vias = list(keeper.streams)
            keeper.close()
            for via in vias:
                self._later(0.0, partial(self.disconnected, via))

    def _pin(self, link: Linked | Moved) -> None:
        """The link goes on from the address that it was made with, whichever one the system would
        choose later."""
        if self._pins.get(link.via, (None, ""))[0] == link.remote:
            return
        self._held_from = self._usual.get(link.remote.family, "")
        self._pins = {link.via: (link.remote, self._held_from)} if self._held_from else {}

    def _grant_later(self) -> None:
        self.network.call_at(self.network.now, self._grant)

    def _grant(self) -> None:
        if self.asleep:
            self.when_awake(self._grant)
        elif self.probing.has_turn(self):
            self.ask(lambda end, now: end.turn_granted(self.probing.sockets, now))

    def _tell(self, incarnation: int) -> None:
        """The machine that asked hears where its controls are."""
        assert self.look_up is not None
        if self.asleep:
            self.when_awake(lambda: self._tell(incarnation))
            return
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
        if self.asleep or set_for > self.clock() + ROUNDING:
            return  # waking sets another
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
