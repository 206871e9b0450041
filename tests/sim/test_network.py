from __future__ import annotations

import pytest

from netpunch.address import Address
from netpunch.core.events import Finished, Via
from netpunch.core.machine import NEVER, Machine
from tests.sim.hosts import SimHost
from tests.sim.network import INTERNET_HOPS, Link, Network

LEFT, RIGHT = Address("192.0.2.1", 5000), Address("192.0.2.2", 5000)


class Echo(Machine):
    """Sends every datagram back, and remembers when it came."""

    def __init__(self) -> None:
        super().__init__()
        self.arrivals: list[tuple[float, bytes]] = []

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        self.arrivals.append((now, data))
        self._send(data, source, via)

    def handle_timer(self, now: float) -> None:
        raise AssertionError("never asked for one")

    def next_timer(self) -> float:
        return NEVER

    def describe(self, data: bytes) -> str:
        return ""


class Ticker(Echo):
    """Sends `count` numbered datagrams, `interval` apart, then says that it has finished."""

    def __init__(self, count: int, interval: float, now: float) -> None:
        super().__init__()
        self._left = count
        self._interval = interval
        self._next = now

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        self.arrivals.append((now, data))

    def handle_timer(self, now: float) -> None:
        assert now >= self._next
        self._left -= 1
        self._send(b"%d" % self._left, RIGHT, 0)
        self._next = self._next + self._interval if self._left else NEVER
        if not self._left:
            self._emit(Finished())

    def next_timer(self) -> float:
        return self._next


class Stuck(Echo):
    """Asks for a timer that never moves on."""

    def handle_timer(self, now: float) -> None: ...

    def next_timer(self) -> float:
        return 1.0


def two_hosts(network: Network, up: Link, *, offset: float = 0.0) -> tuple[SimHost, SimHost]:
    left, right = SimHost(network, "left", clock_offset=offset), SimHost(network, "right")
    for host, address in ((left, LEFT), (right, RIGHT)):
        host.attach(network.internet, address.host, up=up)
        host.bind(address.port)
    return left, right


def exchange(seed: int, up: Link, count: int = 200) -> tuple[list[bytes], list[bytes]]:
    """What right and left received when left sends `count` datagrams that right echoes."""
    network = Network(seed)
    left, right = two_hosts(network, up)
    ticker, echo = Ticker(count, 0.01, 0.0), Echo()
    right.start(echo)
    left.start(ticker)
    network.run_until(10.0)
    return [data for _, data in echo.arrivals], [data for _, data in ticker.arrivals]


def test_a_datagram_takes_the_delay_of_both_links() -> None:
    network = Network(1)
    left, right = two_hosts(network, Link(delay=0.05))
    ticker = Ticker(1, 1.0, 2.0)
    right.start(Echo())
    left.start(ticker)
    network.run_until(5.0)
    assert [time for time, _ in ticker.arrivals] == pytest.approx([2.1])


def test_a_perfect_link_keeps_every_datagram_in_order() -> None:
    there, back = exchange(1, Link(delay=0.05))
    assert there == back == [b"%d" % n for n in reversed(range(200))]


def test_loss_takes_its_share_and_no_more() -> None:
    there, back = exchange(1, Link(loss=0.2))
    assert 140 <= len(there) <= 180
    assert 0.7 * len(there) <= len(back) <= 0.9 * len(there)


def test_duplication_doubles_its_share() -> None:
    there, _ = exchange(1, Link(duplicate=0.25))
    assert len(set(there)) == 200
    assert 230 <= len(there) <= 270


def test_jitter_reorders_and_loses_nothing() -> None:
    there, _ = exchange(1, Link(delay=0.05, jitter=0.05))
    in_order = [b"%d" % n for n in reversed(range(200))]
    assert there != in_order
    assert sorted(there) == sorted(in_order)


def test_the_same_seed_replays_the_same_run() -> None:
    rough = Link(delay=0.05, jitter=0.05, loss=0.2, duplicate=0.1)
    assert exchange(7, rough) == exchange(7, rough)
    assert exchange(7, rough) != exchange(8, rough)


def test_a_faultless_phase_loses_nothing() -> None:
    network = Network(1)
    left, right = two_hosts(network, Link(loss=1.0))
    echo = Echo()
    right.start(echo)
    left.send(b"lost", RIGHT, 0)
    network.faultless = True
    left.send(b"kept", RIGHT, 0)
    network.run_until(1.0)
    assert [data for _, data in echo.arrivals] == [b"kept"]


@pytest.mark.parametrize("offset", [0.1, 1e9 / 3, -1e9 / 7])
def test_a_machine_sees_its_hosts_clock(offset: float) -> None:
    network = Network(1)
    left, right = two_hosts(network, Link(), offset=offset)
    right.start(Echo())
    ticker = Ticker(5, 0.3, left.clock() + 1.0)
    left.start(ticker)
    network.run_until(10.0)
    assert len(ticker.arrivals) == 5
    assert ticker.arrivals[0][0] == pytest.approx(offset + 1.0)


def test_events_are_told_with_network_time() -> None:
    network = Network(1)
    left, _ = two_hosts(network, Link(), offset=1000.0)
    left.start(Ticker(3, 0.5, left.clock()))
    network.run_until(10.0)
    assert left.finished
    assert [time for time, _ in left.told_of(Finished)] == pytest.approx([1.0])
    assert len(left.told) == 1


def test_a_killed_machine_is_never_called_again() -> None:
    network = Network(1)
    left, right = two_hosts(network, Link(delay=0.05))
    echo = Echo()
    right.start(echo)
    left.start(Ticker(100, 0.1, 0.0))
    network.call_at(1.0, right.stop)
    network.call_at(2.0, left.stop)
    network.run_until(20.0)
    assert len(echo.arrivals) == 10
    assert sum(record.host == "left" for record in network.sent) == 20
    assert sum(record.host == "right" for record in network.received) == 20


def test_a_restarted_host_forgets_the_alarms_of_its_predecessor() -> None:
    network = Network(1)
    left, _ = two_hosts(network, Link())
    left.start(Ticker(10, 1.0, 5.0))
    left.stop()
    assert left.bind(5000) == 0
    left.start(Ticker(2, 1.0, 0.0))
    network.run_until(20.0)
    assert [time for time, _ in left.told_of(Finished)] == [1.0]


def test_a_timer_that_does_not_move_on_is_noticed() -> None:
    network = Network(1)
    left, _ = two_hosts(network, Link())
    left.start(Stuck())
    with pytest.raises(AssertionError, match="does not move next_timer"):
        network.run_until(2.0)


def test_injected_datagrams_come_from_wherever_they_say() -> None:
    network = Network(1)
    _, right = two_hosts(network, Link())
    right.start(Echo())
    ghost = Address("203.0.113.9", 9)
    network.inject(b"boo", ghost, RIGHT)
    network.run_until(1.0)
    assert [stray.datagram[:3] for stray in network.strays] == [(b"boo", RIGHT, ghost)]


@pytest.mark.parametrize("ttl", [INTERNET_HOPS, INTERNET_HOPS + 1])
def test_a_datagram_dies_when_it_has_no_hops_left(ttl: int) -> None:
    network = Network(1)
    left, right = two_hosts(network, Link())
    echo = Echo()
    right.start(echo)
    left.send(b"tired", RIGHT, 0, ttl)
    network.run_until(1.0)
    assert len(echo.arrivals) == ttl - INTERNET_HOPS


def test_a_host_can_send_to_itself() -> None:
    network = Network(1)
    left, _ = two_hosts(network, Link(delay=0.05))
    echo = Echo()
    left.start(echo)
    left.send(b"me", LEFT, 0)
    network.run_until(0.1)
    assert len(echo.arrivals) == 2


def test_what_is_sent_because_of_a_datagram_is_on_record() -> None:
    network = Network(1)
    left, right = two_hosts(network, Link())
    right.start(Echo())
    left.send(b"hello", RIGHT, 0)
    network.run_until(1.0)
    (answer,) = right.answers
    assert answer.question.data == b"hello"
    assert [t.destination for t in answer.transmits] == [LEFT]
