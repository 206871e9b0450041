"""The virtual network itself: hosts that move and sleep, NATs that reboot, streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from netpunch.address import Address
from netpunch.core.events import FollowRoutes, Linked, PathKind, StreamsWanted, Via
from netpunch.core.machine import NEVER, Machine
from netpunch.net.tls_client import FIRST_PAUSE
from netpunch.net.tls_stream import SILENT_LOSS
from tests.sim.hosts import NOTICED_WITHIN, WOKE_WITHIN, SimHost
from tests.sim.nat import BLOCKS_UDP, PORT_RESTRICTED_CONE, Nat
from tests.sim.network import Link, Network
from tests.sim.scenarios import TLS_PORT

FAR = Address("192.0.2.9", 7)
LONG = 30.0


class Notebook(Machine):
    """Writes down how it is called, and sends and emits what a test puts into it."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: list[tuple[bytes, Address, Via]] = []
        self.changes: list[tuple[float, Sequence[str], Mapping[str, bool]]] = []
        self.unreachable: list[Address] = []
        self.streams: list[Via] = []
        self.ring_at = NEVER
        self.rang: list[float] = []

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        self.arrived.append((data, source, via))

    def next_timer(self) -> float:
        return self.ring_at

    def handle_timer(self, now: float) -> None:
        self.rang.append(now)
        self.ring_at = NEVER

    def describe(self, data: bytes) -> str:
        return repr(data)

    def network_changed(self, host_addresses: Sequence[str], now: float, **how: bool) -> None:
        self.changes.append((now, tuple(host_addresses), how))

    def no_route(self, via: Via, remote: Address) -> None:
        self.unreachable.append(remote)

    def control_connected(self, via: Via, control: Address, local: Address, now: float) -> None:
        self.streams.append(via)

    def control_disconnected(self, via: Via, now: float) -> None:
        self.streams.remove(via)

    def do(self, event: Any) -> None:
        self._emit(event)

    def say(self, data: bytes, destination: Address, via: Via) -> None:
        self._send(data, destination, via)


def host(network: Network, address: str = "203.0.113.1") -> tuple[SimHost, Notebook]:
    found = SimHost(network, address)
    found.attach(network.internet, address)
    found.bind(5000)
    machine = Notebook()
    found.start(machine)
    return found, machine


def say(sender: SimHost, data: bytes, destination: Address = FAR, via: Via = 0) -> None:
    sender.ask(lambda machine, _: machine.say(data, destination, via))


def linked(holder: SimHost, remote: Address = FAR) -> None:
    event = Linked(0, Address("0.0.0.0", 5000), remote, PathKind.OBSERVED, None, 1.0)
    holder.ask(lambda machine, _: machine.do(event))


def sources(network: Network) -> list[Address]:
    return [record.datagram.source for record in network.sent]


def test_a_host_sends_from_its_latest_address_unless_a_link_holds_an_older_one() -> None:
    network = Network(1)
    mover, machine = host(network)
    linked(mover)
    mover.attach(network.internet, "203.0.113.7")
    say(mover, b"on the link")
    say(mover, b"elsewhere", Address("192.0.2.8", 7))
    mover.ask(lambda _, __: machine.do(FollowRoutes()))
    say(mover, b"on the link, as the system chooses")
    assert [each.host for each in sources(network)] == [
        "203.0.113.1",
        "203.0.113.7",
        "203.0.113.7",
    ]


def test_what_is_sent_from_an_old_address_may_leave_by_the_new_network() -> None:
    """Where it gets lost: the provider there knows no such source."""
    network = Network(1)
    mover, _ = host(network)
    _, received = host(network, "192.0.2.9")
    nat = Nat(PORT_RESTRICTED_CONE, network.internet, "198.51.100.1")
    linked(mover, Address("192.0.2.9", 5000))
    mover.attach(nat.inside, "10.0.0.2")
    say(mover, b"by the old network", Address("192.0.2.9", 5000))
    mover.source_routing = False
    say(mover, b"by the new one", Address("192.0.2.9", 5000))
    network.run_until(1.0)
    assert [data for data, source, _ in received.arrived if source.host == "203.0.113.1"] == [
        b"by the old network"
    ]


def test_a_host_without_an_address_has_no_route_and_hears_nothing() -> None:
    network = Network(1)
    mover, machine = host(network)
    other, _ = host(network, "192.0.2.9")
    say(other, b"under way", Address("203.0.113.1", 5000))
    mover.detach("203.0.113.1")
    mover.tell_network_changed()
    say(mover, b"nowhere to go")
    network.run_until(1.0)
    assert not machine.arrived
    assert machine.unreachable == [FAR]
    assert [change[1] for change in machine.changes] == [()]


def test_a_machine_hears_whether_the_address_of_its_link_has_gone() -> None:
    network = Network(1)
    mover, machine = host(network)
    linked(mover)
    mover.attach(network.internet, "203.0.113.7")
    mover.tell_network_changed()
    network.run_until(NOTICED_WITHIN)
    mover.detach("203.0.113.1")
    mover.tell_network_changed()
    network.run_until(2 * NOTICED_WITHIN)
    assert [change[2]["gone"] for change in machine.changes] == [False, True]


def test_a_host_that_sleeps_misses_everything_and_its_clock_stands_still() -> None:
    network = Network(1)
    sleeper, machine = host(network)
    other, _ = host(network, "192.0.2.9")
    machine.ring_at = sleeper.clock() + 5.0
    sleeper.ask(lambda *_: None)
    network.run_until(3.0)
    sleeper.suspend()
    say(other, b"asleep", Address("203.0.113.1", 5000))
    network.run_until(3.0 + LONG)
    sleeper.wake()
    say(other, b"awake", Address("203.0.113.1", 5000))
    network.run_until(3.0 + LONG + 1.9)
    assert not machine.rang
    assert [data for data, *_ in machine.arrived] == [b"awake"]
    ((woke_at, _, how),) = machine.changes
    assert how["woke"]
    assert woke_at <= 3.0 + WOKE_WITHIN + 0.001
    network.run_until(3.0 + LONG + 2.1)
    assert len(machine.rang) == 1


def test_a_process_that_is_killed_hears_nothing_of_what_was_on_its_way_to_it() -> None:
    network = Network(1)
    mover, old = host(network)
    mover.tell_network_changed()
    mover.stop()
    mover.bind(5000)
    new = Notebook()
    mover.start(new)
    network.run_until(1.0)
    assert not old.changes
    assert not new.changes


def test_a_cut_lets_nothing_pass_in_its_direction() -> None:
    network = Network(1)
    one, first = host(network)
    other, second = host(network, "192.0.2.9")
    network.internet.cuts.add((one, other))
    say(one, b"there", Address("192.0.2.9", 5000))
    say(other, b"back", Address("203.0.113.1", 5000))
    network.run_until(1.0)
    assert not second.arrived
    assert [data for data, *_ in first.arrived] == [b"back"]


class Tls:
    """An end behind a NAT without UDP, and a control."""

    def __init__(self, *, loss: float = 0.0) -> None:
        self.network = network = Network(1)
        self.control, self.server = host(network, "192.0.2.1")
        self.listen()
        self.nat = Nat(BLOCKS_UDP, network.internet, "203.0.113.1", up=Link(0.02, loss=loss))
        self.end = SimHost(network, "end")
        self.end.attach(self.nat.inside, "10.0.0.2")
        self.end.tls_ports = lambda: [Address("192.0.2.1", TLS_PORT)]
        self.machine = Notebook()
        self.end.start(self.machine)
        self.want(True)

    def listen(self) -> None:
        self.via = self.control.listen(TLS_PORT)

    def want(self, wanted: bool) -> None:
        self.end.ask(lambda machine, _: machine.do(StreamsWanted(wanted)))

    def run(self, seconds: float) -> None:
        self.network.run_until(self.network.now + seconds)

    def say(self, data: bytes) -> None:
        say(self.end, data, Address("192.0.2.1", TLS_PORT), self.machine.streams[0])


def test_a_stream_carries_everything_in_order_both_ways_whatever_is_lost() -> None:
    tls = Tls(loss=0.3)
    tls.run(1.0)
    sent = [bytes([number]) for number in range(50)]
    for data in sent:
        tls.say(data)
    tls.run(LONG)
    assert [data for data, *_ in tls.server.arrived] == sent
    _, peer, via = tls.server.arrived[0]
    assert peer.host == "203.0.113.1"
    assert via == tls.via
    say(tls.control, b"answer", peer, via)
    tls.run(1.0)
    assert tls.machine.arrived == [
        (b"answer", Address("192.0.2.1", TLS_PORT), tls.machine.streams[0])
    ]


def test_a_stream_that_is_cut_off_ends_after_a_while_and_is_made_anew() -> None:
    tls = Tls()
    tls.run(1.0)
    (first,) = tls.machine.streams
    tls.nat.rebind("203.0.113.9")
    tls.say(b"in vain")
    tls.run(SILENT_LOSS + 2 * FIRST_PAUSE)
    assert tls.machine.streams
    assert tls.machine.streams != [first]
    tls.say(b"again")
    tls.run(1.0)
    assert [(data, peer.host) for data, peer, _ in tls.server.arrived] == [
        (b"again", "203.0.113.9")
    ]


def test_an_end_gives_up_a_stream_by_itself_though_control_has_before_in_vain() -> None:
    tls = Tls()
    tls.run(1.0)
    tls.say(b"hello")
    tls.run(0.1)
    _, peer, via = tls.server.arrived[0]
    (first,) = tls.machine.streams
    tls.nat.rebind()
    say(tls.control, b"in vain", peer, via)
    tls.run(0.5)
    tls.say(b"in vain, too")
    tls.run(SILENT_LOSS + 2 * FIRST_PAUSE)
    assert tls.machine.streams
    assert tls.machine.streams != [first]


def test_a_control_that_restarts_ends_its_streams() -> None:
    tls = Tls()
    tls.run(1.0)
    tls.control.stop()
    tls.run(0.5)
    assert not tls.machine.streams
    tls.listen()
    tls.control.start(tls.server)
    tls.run(LONG)
    assert tls.machine.streams


def test_streams_end_when_they_are_not_wanted_any_more() -> None:
    tls = Tls()
    tls.run(1.0)
    tls.want(False)
    tls.run(LONG)
    assert not tls.machine.streams


def test_a_stream_outlasts_a_short_sleep() -> None:
    tls = Tls()
    tls.run(1.0)
    (via,) = tls.machine.streams
    tls.end.suspend()
    tls.run(5.0)
    tls.end.wake()
    tls.say(b"awake")
    tls.run(1.0)
    assert tls.machine.streams == [via]
    assert [data for data, *_ in tls.server.arrived] == [b"awake"]
