"""Whole networks: a control on the internet, and the two ends of a pair wherever they may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from netpunch.address import Address
from netpunch.core.control.relay import Relay
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import Failed, Linked, Moved
from tests.sim.hosts import Place, SimHost
from tests.sim.machines import V2, EndName, Protocol, endpoints
from tests.sim.nat import Firewall, Nat, NatBehavior
from tests.sim.network import Link, Network, Segment

CONTROL_PORT, OBSERVE_PORT, RELAY_PORT = 10001, 10002, 10003
TLS_PORT = 443
CONTROL_HOSTS = {4: "192.0.2.{}", 6: "2001:db8::{}"}
CONTROL = {f: Address(host.format(1), CONTROL_PORT) for f, host in CONTROL_HOSTS.items()}
"""Where the first control is reached."""
LOCAL_PORT = 5000
DEADLINE = 20.0
AFTERMATH = 10.0
"""After the deadline: whatever an end still says, it must have said by then."""
NUMBERS: dict[EndName, int] = {"a": 1, "b": 2}
PROGRAM = b"the program that has taken over the port"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a network looks like. Seconds and probabilities.

    `nat_a`, `nat_b`: the NATs in front of an end, from its host outwards; none means a public
    address. `shared`: NATs outside of both of those, from the ends outwards: with empty `nat_a`
    and `nat_b` both ends are in one LAN. `private_a`, `private_b`: the host's address behind its
    NATs. `families`: those that the ends have; control is reached by the first. IPv6 addresses
    are behind a stateful firewall. `skew`: b starts so much later than a (or earlier). Delay,
    jitter, loss and duplication are those of each way through the internet, into which a node's
    own delay counts; `delay_controls` are those of the controls that are elsewhere than `delay`
    says. `named`: the ends know controls by name. `settings` are those of the machines of both
    ends."""

    protocol: Protocol = field(default_factory=V2)
    nat_a: tuple[NatBehavior, ...] = ()
    nat_b: tuple[NatBehavior, ...] = ()
    shared: tuple[NatBehavior, ...] = ()
    private_a: str = "10.0.1.2"
    private_b: str = "10.0.2.2"
    families: tuple[int, ...] = (4,)
    controls: int = 1
    named: bool = False
    skew: float = 0.0
    delay: float = 0.02
    delay_a: float | None = None
    delay_b: float | None = None
    delay_controls: tuple[float, ...] = ()
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    lan_delay: float = 0.0002
    deadline: float | None = DEADLINE
    relay: bool = False
    tls: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    settings_a: dict[str, Any] = field(default_factory=dict)
    settings_b: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Side:
    """One end of the pair: its host, and the NATs in front of it from there outwards."""

    name: EndName
    host: SimHost
    nats: list[Nat]
    settings: dict[str, Any]
    started_at: list[float] = field(default_factory=list)
    uplinks: int = 0
    """How many it has had besides the first one."""

    @property
    def links(self) -> list[Linked | Moved]:
        """All links told and all their moves, over all restarts."""
        return [event for _, event in self.host.told if isinstance(event, Linked | Moved)]

    @property
    def link(self) -> Linked | Moved | None:
        """The last one told: where the link is now."""
        return self.links[-1] if self.links else None

    @property
    def linked_at(self) -> float | None:
        """When the first link was told."""
        first = self.host.first(Linked)
        return first[0] if first else None

    @property
    def failure(self) -> Failed | None:
        first = self.host.first(Failed)
        return first[1] if first else None

    @property
    def ended(self) -> bool:
        """Whether the machine needs its sockets no longer."""
        return self.host.finished


class Scenario:
    """A network that is ready to run, of one seed and setup."""

    def __init__(self, seed: int, setup: Setup) -> None:
        self.seed = seed
        self.setup = setup
        self.network = Network(seed)
        self.controls = [self._control(number) for number in range(1, 1 + setup.controls)]
        """Those, too, that are no more."""
        self.control = self.controls[0]
        self.control_addresses = [
            Address(control.host_address(setup.families[0]), CONTROL_PORT)
            for control in self.controls
        ]
        internet = self.network.internet
        outside, self.shared = self._nest(internet, setup.shared, "198.51.100.1", setup.delay)
        self.a = self._side("a", outside, setup.nat_a, setup.private_a, setup.delay_a)
        self.b = self._side("b", outside, setup.nat_b, setup.private_b, setup.delay_b)
        self.sides = (self.a, self.b)
        self._machines = 0

    # Building

    def _host(self, name: str) -> SimHost:
        """Clocks of hosts have nothing to do with each other."""
        return SimHost(self.network, name, clock_offset=self.network.random.uniform(0, 1e6))

    def _control(self, number: int) -> SimHost:
        control = self._host("control" if number == 1 else f"control {number}")
        delays = dict(enumerate(self.setup.delay_controls, start=1))
        for host in CONTROL_HOSTS.values():
            up = self._link(delays.get(number, self.setup.delay))
            control.attach(self.network.internet, host.format(number), up=up)
        return control

    def _link(self, delay: float) -> Link:
        setup = self.setup
        return Link(delay, setup.jitter, setup.loss, setup.duplicate)

    def _up(self, segment: Segment, delay: float) -> Link:
        """The way into a segment: all of the internet's faults, or only a LAN's delay."""
        return self._link(delay) if segment.name == "internet" else Link(self.setup.lan_delay)

    def _nest(
        self, outside: Segment, behaviors: tuple[NatBehavior, ...], public: str, delay: float
    ) -> tuple[Segment, list[Nat]]:
        """NATs below `outside`: the innermost segment, and the NATs from there outwards."""
        nats: list[Nat] = []
        for level, behavior in enumerate(reversed(behaviors)):
            address = f"100.64.{level}.1" if level else public
            nats.insert(0, Nat(behavior, outside, address, up=self._up(outside, delay)))
            outside = nats[0].inside
        return outside, nats

    def _side(
        self,
        name: EndName,
        outside: Segment,
        behaviors: tuple[NatBehavior, ...],
        private: str,
        delay: float | None,
    ) -> Side:
        setup, number = self.setup, NUMBERS[name]
        delay = setup.delay if delay is None else delay
        public = f"203.0.113.{number}" if outside.name == "internet" else f"10.9.0.{number}"
        host = self._host(name)
        host.look_up = self.look_up
        if setup.tls:
            host.tls_ports = self.tls_ports
        segment, nats = self._nest(outside, behaviors, public, delay)
        if 4 in setup.families:
            host.attach(segment, private if behaviors else public, up=self._up(segment, delay))
        if 6 in setup.families:
            self._attach_ipv6(host, f"2001:db8:{number}::2", delay)
        own = setup.settings_a if name == "a" else setup.settings_b
        return Side(name, host, nats, {**setup.settings, **own})

    def _attach_ipv6(self, host: SimHost, address: str, delay: float) -> None:
        lan = Segment(self.network, f"lan of {address}")
        firewall = Firewall(self.network.internet, lan, up=self._link(delay))
        firewall.protect(address)
        host.attach(lan, address, up=Link(self.setup.lan_delay))

    # Changes

    def another_public(self, side: Side) -> str:
        """A public address that nobody had before."""
        side.uplinks += 1
        return f"198.18.{100 * NUMBERS[side.name] + side.uplinks // 250}.{1 + side.uplinks % 250}"

    def another_uplink(self, side: Side, behaviors: tuple[NatBehavior, ...]) -> str:
        """The side's host gets an address behind other NATs (none: a public one), from which the
        system sends from now on. Returns that address; those that the host had are still there."""
        public, delay = self.another_public(side), self.setup.delay
        segment, side.nats = self._nest(self.network.internet, behaviors, public, delay)
        private = self._private(side) if behaviors else public
        side.host.attach(segment, private, up=self._up(segment, delay))
        return private

    def another_address(self, side: Side, beside: Place) -> str:
        """The same in the segment of an address that the host has, or had."""
        public = self.another_public(side)
        host = public if beside.segment is self.network.internet else self._private(side)
        side.host.attach(beside.segment, host, up=beside.attachment.up)
        return host

    def _private(self, side: Side) -> str:
        """Other than all that the side had before."""
        return f"10.{100 * NUMBERS[side.name] + side.uplinks // 250}.{side.uplinks % 250}.2"

    def at_the_internet(self, side: Side) -> Nat | SimHost:
        """Who speaks for the side there."""
        return side.nats[-1] if side.nats else side.host

    # Running

    def start(self) -> Scenario:
        """The controls at once; the ends as `skew` says."""
        for control in self.controls:
            self.start_control(control)
        skew = self.setup.skew
        self.network.call_at(max(0.0, -skew), self.start_end, self.a)
        self.network.call_at(max(0.0, skew), self.start_end, self.b)
        return self

    def start_control(self, control: SimHost | None = None) -> None:
        """A new process, which knows nothing of an earlier one; by default the first control."""
        control = control or self.control
        for family in CONTROL_HOSTS:
            for port in (CONTROL_PORT, OBSERVE_PORT):
                control.bind(port, family)
        relay = Relay()
        if self.setup.relay:
            relay.port = RELAY_PORT
            for family in CONTROL_HOSTS:
                relay.serve(control.bind(RELAY_PORT, family))
        if self.setup.tls:
            relay.serve(control.listen(TLS_PORT))
        random = self.randbytes(control.name)
        control.start(self.setup.protocol.control(random, relay=relay))

    def start_end(self, side: Side, *, controls: Sequence[Address] = ()) -> None:
        """A new process on the side's host. `controls`: where it takes them to be at first."""
        side.started_at.append(self.network.now)
        for family in self.setup.families:
            side.host.bind(LOCAL_PORT, family)
        machine = self.setup.protocol.end(
            side.name,
            side.host,
            list(controls or self.control_addresses),
            named=self.setup.named,
            random=self.randbytes(side.name),
            **{"deadline": self.setup.deadline, **side.settings},
        )
        side.host.start(machine)

    def restart_end(self, side: Side) -> None:
        """Kills the side's process, and starts another in its place."""
        side.host.stop()
        self.start_end(side)

    def restart_control(self, control: SimHost | None = None) -> None:
        (control or self.control).stop()
        self.start_control(control)

    def move_control(self, *, old_one_stays: bool = False) -> None:
        """The first control goes on as a new process on another host; name servers know it at
        once."""
        if not old_one_stays:
            self.control.stop()
        self.control = self._control(len(self.controls) + 1)
        self.controls.append(self.control)
        here = self.control.host_address(self.setup.families[0])
        self.control_addresses[0] = Address(here, CONTROL_PORT)
        self.start_control()

    def look_up(self) -> ControlEndpoints:
        """What name servers say."""
        return endpoints(self.control_addresses, named=self.setup.named)

    def tls_ports(self) -> list[Address]:
        """Where the ends look for streams."""
        return [Address(control.host, TLS_PORT) for control in self.control_addresses]

    def randbytes(self, name: str) -> Callable[[int], bytes]:
        """Randomness for a machine, other than any other's."""
        self._machines += 1
        return Random(f"{self.seed}/{name}/{self._machines}").randbytes

    def run(self, seconds: float) -> None:
        self.network.run_until(self.network.now + seconds)

    def run_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether it came true within so many seconds."""
        return condition() or self.network.run_until(self.network.now + seconds, condition)

    def run_until_linked(self, seconds: float) -> bool:
        return self.run_until(lambda: self.linked, seconds)

    def run_to_the_end(self) -> Scenario:
        """Until both ends need their sockets no longer, at most until well after the deadline."""
        longest = abs(self.setup.skew) + (self.setup.deadline or 0.0) + AFTERMATH
        self.run_until(lambda: self.a.ended and self.b.ended, longest)
        return self

    @property
    def linked(self) -> bool:
        return self.a.linked_at is not None and self.b.linked_at is not None

    @property
    def link_time(self) -> float:
        """Seconds from the later end's start until both ends were linked."""
        assert self.a.linked_at is not None
        assert self.b.linked_at is not None
        later = max(self.a.started_at[0], self.b.started_at[0])
        return max(self.a.linked_at, self.b.linked_at) - later

    def begin_programs_when_finished(self, count: int = 40, interval: float = 0.05) -> None:
        """From `Finished` on a side's program sends on the path, as a VPN does."""
        for side in self.sides:
            side.host.on_event = lambda _, side=side: self._run_program(side, count, interval)

    def _run_program(self, side: Side, count: int, interval: float) -> None:
        if side.link is None or not side.ended:
            return
        for n in range(count):
            send = (PROGRAM, side.link.remote, side.link.via)
            self.network.call_at(self.network.now + n * interval, side.host.send, *send)
