"""What a forger of source addresses can make a whole pair send to others.

Two ends, one to three controls, no NAT, every datagram 20 ms under way. Controls that relay do so
at a port of their own; ends that are not `direct` reach each other only by way of them. The
attacker has recorded sessions of the pair, hears all that is said now, and sends any of it again,
to anybody, from any source. A victim is an address that is nobody's of the pair.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from netpunch.address import Address
from netpunch.core.control.control import ControlV2
from netpunch.core.end.end import End
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import CloseSocket, Event, OpenSockets, TurnWanted, Via
from netpunch.core.machine import NEVER, Machine
from netpunch.core.settings import EndSettings
from netpunch.core.traversal.budget import OPEN_PORTS
from netpunch.wire.envelope import END_B, EndName
from netpunch.wire.keys import control_key
from netpunch.wire.v2 import Kind

PAIR, SECRET = "home-office", bytes(range(32))
HOMES: dict[EndName, Address] = {
    "a": Address("203.0.113.1", 5000),
    "b": Address("203.0.113.2", 6000),
}
FORMER: dict[EndName, Address] = {
    "a": Address("203.0.113.101", 5000),
    "b": Address("203.0.113.102", 6000),
}
"""Where the ends were when earlier sessions were recorded: somebody else is there now."""
DELAY = 0.02
RELAY_PORT = 10003
RELAY_VIA = 1
TO_CONTROL = {Kind.ANNOUNCE, Kind.LEAVE, Kind.OBSERVE, Kind.BIND}
BY_CONTROL = {
    *(Kind.WAITING, Kind.INTRODUCE, Kind.KNOCK, Kind.CHALLENGE, Kind.OBSERVED, Kind.BOUND),
}


def control_address(number: int) -> Address:
    return Address(f"192.0.2.{1 + number}", 10001)


def relay_of(control: Address) -> Address:
    return control._replace(port=RELAY_PORT)


@dataclass
class Sent:
    """What somebody of the pair sent to a victim."""

    time: float
    length: int
    kind: int
    by_relay: bool = False


@dataclass
class Pair:
    """All of it on one clock; the same seed gives the same run."""

    seed: object
    controls: int = 1
    homes: dict[EndName, Address] = field(default_factory=lambda: HOMES)
    relays: bool = False
    direct: bool = True
    now: float = 1000.0
    recorded: list[bytes] = field(default_factory=list)
    """All that was ever said, each once."""
    to_victims: dict[str, list[Sent]] = field(default_factory=lambda: defaultdict(list))
    """By host: a forger chooses ports as he likes."""
    events: dict[Address, list[Event]] = field(default_factory=lambda: defaultdict(list))
    on_send: Callable[[bytes, Address, Address], None] = lambda *_: None

    def __post_init__(self) -> None:
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self._machines: dict[Address, Machine] = {}
        self._rings: dict[Address, float] = {}
        self._boots = count()
        self._known: set[bytes] = set()
        for number in range(self.controls):
            self.restart_control(number)

    # Who is there.

    def restart_control(self, number: int) -> None:
        random = Random(f"{self.seed} control {next(self._boots)}").randbytes
        machine = ControlV2({PAIR: control_key(SECRET, PAIR)}, random=random)
        if self.relays:
            machine.relay.serve(RELAY_VIA)
            machine.relay.port = RELAY_PORT
        self._put(control_address(number), machine)

    def start(self, end: EndName, **settings: Any) -> End:
        at = self.homes[end]
        machine = End(
            EndSettings(PAIR, end, SECRET, **{"deadline": None, **settings}),
            endpoints=ControlEndpoints(tuple(map(control_address, range(self.controls)))),
            sockets={0: Address("0.0.0.0", at.port)},
            host_addresses=(at.host,),
            random=Random(f"{self.seed} {end} {next(self._boots)}").randbytes,
            now=self.now,
        )
        self._put(at, machine)
        return machine

    def kill(self, end: EndName) -> None:
        del self._machines[self.homes[end]]

    def _put(self, at: Address, machine: Machine) -> None:
        self._machines[at] = machine
        self._rings[at] = NEVER
        self._serve(at)

    # Time.

    def call_at(self, time: float, callback: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._queue, (time, next(self._order), callback, arguments))

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self._queue and self._queue[0][0] <= until:
            time, _, callback, arguments = heapq.heappop(self._queue)
            self.now = max(self.now, time)
            callback(*arguments)
        self.now = until

    # Datagrams.

    def deliver(self, data: bytes, source: Address, target: Address) -> None:
        at, via = self._place(target)
        machine = self._machines.get(at)
        if machine is not None:
            machine.receive_datagram(data, source, self.now, via)
            self._serve(at)

    def _place(self, target: Address) -> tuple[Address, Via]:
        """Whose machine is reached there, and by which of its sockets."""
        if self.relays and target.port == RELAY_PORT:
            return target._replace(port=control_address(0).port), RELAY_VIA
        return target, 0

    def _serve(self, at: Address) -> None:
        machine, homes = self._machines[at], self.homes.values()
        while True:
            for transmit in machine.datagrams_to_send():
                source = relay_of(at) if at not in homes and transmit.via == RELAY_VIA else at
                self._send(transmit.data, source, transmit.destination)
            event = machine.next_event()
            if event is None:
                break
            self._take(machine, at, event)
        due = machine.next_timer()
        if due < self._rings[at]:
            self._rings[at] = due
            self.call_at(max(due, self.now), self._ring, at, machine, due)

    def _take(self, machine: Machine, at: Address, event: Event) -> None:
        if isinstance(event, OpenSockets):
            # From one socket only: victims count the same.
            machine.sockets_opened(event.request, {}, self.now)
        elif isinstance(event, TurnWanted):
            machine.turn_granted(OPEN_PORTS, self.now)
        elif not isinstance(event, CloseSocket):
            self.events[at].append(event)

    def _send(self, data: bytes, source: Address, destination: Address) -> None:
        if data not in self._known:
            self._known.add(data)
            self.recorded.append(data)
        self.on_send(data, source, destination)
        homes = self.homes.values()
        if not self.direct and source in homes and destination in homes:
            return
        if self._place(destination)[0] in self._machines:
            self.call_at(self.now + DELAY, self.deliver, data, source, destination)
        elif destination.host not in self._hosts():
            kind, by_relay = data[1] & ~END_B, source.port == RELAY_PORT
            self.to_victims[destination.host].append(Sent(self.now, len(data), kind, by_relay))

    def _hosts(self) -> set[str]:
        controls = (control_address(number).host for number in range(self.controls))
        return {*(at.host for at in self.homes.values()), *controls}

    def _ring(self, at: Address, machine: Machine, due: float) -> None:
        if self._machines.get(at) is not machine or self._rings[at] != due:
            return
        self._rings[at] = NEVER
        if machine.next_timer() <= self.now:
            machine.handle_timer(self.now)
        self._serve(at)

    # The attacker.

    def targets(self, data: bytes) -> list[Address]:
        """Who takes this kind of datagram."""
        kind, of_b = data[1] & ~END_B, bool(data[1] & END_B)
        if kind in TO_CONTROL:
            controls = [control_address(number) for number in range(self.controls)]
            return [relay_of(each) for each in controls] if kind == Kind.BIND else controls
        if kind in BY_CONTROL:
            return [self.homes["b" if of_b else "a"]]
        return [self.homes["a" if of_b else "b"]]

    def forged_source(self, data: bytes, victim: Address, random: Random) -> Address:
        """The victim's, but what control says counts from control's address only."""
        if data[1] & ~END_B in BY_CONTROL:
            control = control_address(random.randrange(self.controls))
            return random.choice([control, relay_of(control)]) if self.relays else control
        return victim


def relayed_session(seed: object, controls: int = 1) -> list[bytes]:
    """The same, held for some seconds, of ends that only a relay links."""
    pair = Pair(f"session {seed}", controls, homes=FORMER, relays=True, direct=False)
    random = Random(str(seed))
    pair.start("b", holds=True)
    pair.run(random.uniform(0.0, 1.0))
    pair.start("a", holds=True)
    pair.run(random.uniform(5.0, 40.0))
    assert Kind.BOUND in {data[1] & ~END_B for data in pair.recorded}
    return pair.recorded


def session(seed: object, controls: int = 1) -> list[bytes]:
    """All datagrams of a link, in order: the ends announce, meet, link and leave; recorded when
    they were elsewhere."""
    pair = Pair(f"session {seed}", controls, homes=FORMER)
    pair.start("b")
    pair.run(Random(str(seed)).uniform(0.0, 1.0))
    pair.start("a")
    pair.run(5.0)
    assert not pair._machines[FORMER["a"]].next_timer() < NEVER
    return pair.recorded


def excess(pair: Pair, replayed: Sequence[int]) -> Iterator[str]:
    """How the pair sent more to some victim than it may; `replayed` are the lengths of all
    datagrams that were replayed."""
    for host, sent in pair.to_victims.items():
        datagrams, octets = len(sent), sum(each.length for each in sent)
        if datagrams > 3 * len(replayed) or octets > 3 * sum(replayed):
            yield (
                f"{host} gets {datagrams} datagrams, {octets} bytes for {len(replayed)} of "
                f"{sum(replayed)} bytes"
            )


def most_in(sent: Sequence[Sent], seconds: float) -> int:
    """The most datagrams in any stretch of so many seconds."""
    times = [each.time for each in sent]
    most, first = 0, 0
    for number, time in enumerate(times):
        while times[first] <= time - seconds:
            first += 1
        most = max(most, number - first + 1)
    return most
