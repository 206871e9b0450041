from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from netpunch.address import Address
from netpunch.core.events import CloseSocket, Event, Finished, Introduced, Via
from netpunch.core.machine import NEVER
from netpunch.errors import PortInUseError
from netpunch.net import driver as driver_module
from netpunch.net.driver import DATAGRAMS_PER_WAKEUP, Datagram, Driver, Endpoint, clock
from netpunch.net.sockets import Bind, bind
from tests.net.conftest import Run, count_descriptors, open_descriptors
from tests.net.faulty import FaultySocket, by_name, descriptors_left
from tests.net.machines import (
    Client,
    EchoMachine,
    TimerMachine,
    client,
    has_ipv6,
    local_address,
    port_is_free,
)

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="pinning is Linux's")
needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")
HOSTS = ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)]
SOMEBODY = Address("192.0.2.1", 5000)

ExceptionContexts = list[dict[str, Any]]


def ignore(event: Event) -> None:
    """For machines whose events don't matter."""


@contextlib.contextmanager
def driven(
    machine: EchoMachine,
    *,
    host: str = "127.0.0.1",
    on_event: Callable[[Event], None] = ignore,
    fresh: Bind = bind,
    observer: Callable[[Datagram], None] | None = None,
) -> Iterator[tuple[Driver, Address]]:
    """A driver of the machine with one socket, and that socket's address; `fresh` makes others."""
    [sock] = bind(host, 0)
    driver = Driver(machine, on_event=on_event, bind=fresh, observer=observer)
    try:
        driver.open({0: sock})
        yield driver, local_address(sock)
    finally:
        driver.close()


@contextlib.contextmanager
def exceptions_caught() -> Iterator[ExceptionContexts]:
    """What the loop's exception handler gets."""
    contexts: ExceptionContexts = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: contexts.append(context))
    yield contexts
    loop.set_exception_handler(None)


@pytest.mark.parametrize("host", HOSTS)
def test_the_driver_passes_datagrams_to_the_machine_and_sends_its_answers(
    run: Run, host: str
) -> None:
    async def main() -> None:
        machine = EchoMachine()
        with driven(machine, host=host) as (_, address), client(host) as peer:
            assert await peer.ask(b"hello", address) == (b"hello", address)
            assert machine.received == [(b"hello", peer.address, 0)]
            assert machine.received[0].source.host == host

    run(main())


def test_the_driver_reads_empty_and_cut_off_datagrams(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        with driven(machine) as (_, address), client() as peer:
            peer.send(b"", address)
            assert await peer.receive() == (b"", address)
            peer.send(b"x" * 10_000, address)
            data, _ = await peer.receive()
            assert len(data) == driver_module.MAX_DATAGRAM

    run(main())


def test_the_source_of_a_link_local_datagram_has_no_scope() -> None:
    assert driver_module._ipv6_address(("fe80::1%eth0", 5000, 7, 2)) == Address("fe80::1", 5000)


def test_the_machine_learns_the_number_of_the_socket_of_a_datagram(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        sockets = {3: bind("127.0.0.1", 0)[0], 5: bind("127.0.0.1", 0)[0]}
        addresses = {via: local_address(sock) for via, sock in sockets.items()}
        driver = Driver(machine, on_event=ignore)
        driver.open(sockets)
        with client() as peer:
            for via, address in addresses.items():
                assert await peer.ask(b"?", address) == (b"?", address)
                assert machine.received[-1].via == via
        driver.close()

    run(main())


def test_opening_a_driver_sends_the_first_datagrams_of_the_machine(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        with client() as peer:
            machine.send(b"first", peer.address)
            with driven(machine) as (driver, address):
                assert await peer.receive() == (b"first", address)
                machine.send(b"later", peer.address)
                driver.pump()
                assert await peer.receive() == (b"later", address)

    run(main())


def test_a_flood_is_answered_completely(run: Run) -> None:
    count, window = 10_000, 50

    async def main() -> None:
        machine = EchoMachine()
        with driven(machine) as (driver, address), client() as peer:
            for start in range(0, count, window):
                for number in range(start, start + window):
                    peer.send(b"%d" % number, address)
                for number in range(start, start + window):
                    data, _ = await peer.receive()
                    assert data == b"%d" % number
            assert len(machine.received) == count
            assert not driver.send_errors

    run(main())


def test_a_flood_on_one_socket_does_not_starve_the_others(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        [sock] = bind("127.0.0.1", 0)
        with client() as peer:
            for _ in range(DATAGRAMS_PER_WAKEUP + 10):
                peer.send(b"!", local_address(sock))
            loop = asyncio.get_running_loop()
            seen_by_others: list[int] = []

            def observe(datagram: Datagram) -> None:
                if not machine.received:
                    loop.call_soon(lambda: seen_by_others.append(len(machine.received)))

            driver = Driver(machine, on_event=ignore, observer=observe)
            driver.open({0: sock})
            for _ in range(DATAGRAMS_PER_WAKEUP + 10):
                await peer.receive()
            assert seen_by_others == [DATAGRAMS_PER_WAKEUP]
            driver.close()

    run(main())


# Time.


def test_timers_ring_in_order_and_never_early(run: Run) -> None:
    async def main() -> None:
        now = clock()
        due = [now - 1.0, now + 0.0101, now + 0.0102, now + 0.0307]
        machine = TimerMachine(*due)
        with driven(machine):
            await machine.done.wait()
        assert [wanted for wanted, _ in machine.rung] == due
        assert all(rung >= wanted for wanted, rung in machine.rung)

    run(main())


def test_a_timer_that_moved_to_earlier_rings_then(run: Run) -> None:
    async def main() -> None:
        machine = TimerMachine(clock() + 3600)
        with driven(machine) as (driver, _):
            machine.due[0] = clock() + 0.01
            driver.pump()
            await machine.done.wait()

    run(main())


def test_a_timer_that_moved_to_later_does_not_ring_before(run: Run) -> None:
    async def main() -> None:
        machine = TimerMachine(clock() + 0.005)
        with driven(machine) as (driver, _):
            machine.due[0] = later = clock() + 0.03
            driver.pump()
            await machine.done.wait()
        assert [(wanted, rung >= later) for wanted, rung in machine.rung] == [(later, True)]

    run(main())


def test_a_timer_that_is_no_longer_needed_does_not_ring(run: Run) -> None:
    async def main() -> None:
        machine = TimerMachine(clock() + 0.005)
        with driven(machine) as (driver, _):
            machine.due.clear()
            driver.pump()
            await asyncio.sleep(0.02)  # nothing happens that could be awaited
        assert machine.rung == []

    run(main())


# Sockets that the machine asks for.


def test_the_driver_opens_sockets_on_fresh_ports(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        with driven(machine) as (driver, address), client() as peer:
            machine.ask_for_sockets(3)
            driver.pump()
            assert list(machine.opened) == [1, 2, 3]
            ports = {local.port for local in machine.opened.values()} | {address.port}
            assert len(ports) == 4
            for via, local in machine.opened.items():
                assert local.host == "127.0.0.1"
                assert await peer.ask(b"?", local) == (b"?", local)
                assert machine.received[-1].via == via

    run(main())


@needs_ipv6
def test_the_driver_opens_sockets_of_the_requested_family(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        driver = Driver(machine, on_event=ignore)
        driver.open(dict(enumerate(bind("", 0))))
        machine.ask_for_sockets(2, 6)
        machine.ask_for_sockets(1, 4)
        driver.pump()
        assert [local.host for local in machine.opened.values()] == ["::", "::", "0.0.0.0"]
        driver.close()

    run(main())


def test_the_answer_to_new_sockets_is_sent_at_once(run: Run) -> None:
    class Greeter(EchoMachine):
        def sockets_opened(self, request: int, opened: Mapping[Via, Address], now: float) -> None:
            super().sockets_opened(request, opened, now)
            for via in opened:
                self.send(b"new", peer.address, via)

    with client() as peer:

        async def main() -> None:
            machine = Greeter()
            machine.ask_for_sockets(1)
            with driven(machine):
                assert await peer.receive() == (b"new", machine.opened[1])

        run(main())


@linux_only
def test_datagrams_to_a_pinned_destination_leave_from_the_pinned_address(run: Run) -> None:
    """As long as this host has that address; other destinations get the system's choice."""

    async def main() -> None:
        machine = EchoMachine()
        with (
            driven(machine, host="0.0.0.0") as (driver, address),
            client() as partner,
            client() as other,
        ):
            driver.pin(0, partner.address, "127.0.0.2")
            here = address._replace(host="127.0.0.1")
            for peer in (partner, other):
                machine.send(b"hello", peer.address)
            driver.pump()
            assert await partner.receive() == (b"hello", here._replace(host="127.0.0.2"))
            assert await other.receive() == (b"hello", here)

            driver.pin(0, partner.address, "127.0.0.2", "lo")
            machine.send(b"by it", partner.address)
            driver.pump()
            assert await partner.receive() == (b"by it", here._replace(host="127.0.0.2"))
            with pytest.raises(OSError):
                driver.pin(0, partner.address, "127.0.0.2", "none such")

            driver.pin(0, partner.address, "192.0.2.1")
            machine.send(b"gone", partner.address)
            driver.pump()
            assert await partner.receive() == (b"gone", here)
            assert not driver.send_errors

    run(main())


@linux_only
@needs_ipv6
def test_datagrams_leave_from_another_address_once_the_pinned_one_is_gone(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        with driven(machine, host="::") as (driver, address), client("::1") as partner:
            for host in ("::1", "2001:db8::1"):
                driver.pin(0, partner.address, host)
                machine.send(b"hello", partner.address)
                driver.pump()
                assert await partner.receive() == (b"hello", address._replace(host="::1"))
            assert not driver.send_errors

    run(main())


@linux_only
def test_datagrams_leave_by_any_interface_once_the_pinned_one_is_gone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        machine = EchoMachine()
        with driven(machine, host="0.0.0.0") as (driver, address), client() as partner:
            with pytest.raises(OSError, match="interface"):
                driver.pin(0, partner.address, "127.0.0.1", "gone0")
            for index in (socket.if_nametoindex("lo"), 1 << 20):
                monkeypatch.setattr(socket, "if_nametoindex", lambda _, index=index: index)
                driver.pin(0, partner.address, "127.0.0.1", "gone0")
                machine.send(b"hello", partner.address)
                driver.pump()
                data, source = await partner.receive()
                assert (data, source.port) == (b"hello", address.port)
            driver.unpin(0)
            driver.unpin(7)
            assert not driver.send_errors

    run(main())


def test_the_machine_gets_fewer_sockets_if_the_system_has_none_left(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        budget = iter(range(2))

        def limited_bind(host: str, port: int) -> list[socket.socket]:
            if next(budget, None) is None:
                raise PortInUseError("no free port left")
            return bind(host, port)

        with driven(machine, fresh=limited_bind) as (driver, address), client() as peer:
            machine.ask_for_sockets(5)
            driver.pump()
            assert list(machine.opened) == [1, 2]
            assert await peer.ask(b"?", address) == (b"?", address)

    run(main())


def test_the_driver_closes_a_socket_after_its_last_datagram(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        with driven(machine) as (driver, _), client() as peer:
            machine.ask_for_sockets(1)
            driver.pump()
            machine.send(b"bye", peer.address, 1)
            machine.emit(CloseSocket(1))
            machine.emit(CloseSocket(1))
            driver.pump()
            assert port_is_free(machine.opened[1].port, "127.0.0.1")
            assert await peer.receive() == (b"bye", machine.opened[1])
            machine.send(b"nothing", peer.address, 1)
            driver.pump()
            assert not driver.send_errors

    run(main())


def test_a_machine_may_close_the_socket_it_is_being_fed_from(run: Run) -> None:
    class Closer(EchoMachine):
        def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
            super().receive_datagram(data, source, now, via)
            self.emit(CloseSocket(via))
            self.emit(Finished())

    async def main() -> None:
        machine = Closer()
        finished = asyncio.Event()
        [sock] = bind("127.0.0.1", 0)
        with client() as peer:
            peer.send(b"one", local_address(sock))
            peer.send(b"never read", local_address(sock))
            driver = Driver(machine, on_event=lambda _: finished.set())
            driver.open({0: sock})
            await finished.wait()
            assert [datagram.data for datagram in machine.received] == [b"one"]
            assert not driver.send_errors
            driver.close()

    run(main())


# Errors.


def test_refused_datagrams_are_counted_by_errno(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        observed: list[Datagram] = []
        with driven(machine, observer=observed.append) as (driver, _), client() as peer:
            machine.send(b"x" * 70_000, peer.address)
            machine.send(b"no broadcast", Address("255.255.255.255", 5000))
            machine.send(b"no broadcast", Address("255.255.255.255", 5000))
            machine.send(b"sent", peer.address)
            driver.pump()
            data, _ = await peer.receive()
            assert data == b"sent"
            assert driver.send_errors == {"EMSGSIZE": 1, "EACCES": 2}
            assert [datagram.data for datagram in observed] == [b"sent"]

    run(main())


def test_an_error_reported_when_reading_is_counted(run: Run) -> None:
    class Refused(Endpoint):
        def start(self, loop: asyncio.AbstractEventLoop) -> None:
            self._count(ConnectionRefusedError(111, "Connection refused"))
            self._count(BlockingIOError(11, "nothing left"))

        def close(self, loop: asyncio.AbstractEventLoop) -> None:
            self._sock.close()

    async def main() -> None:
        driver = Driver(EchoMachine(), on_event=ignore)
        driver.open({0: bind("127.0.0.1", 0)[0]}, endpoint=Refused)
        assert driver.send_errors == {"ECONNREFUSED": 1}
        driver.close()

    run(main())


TOLD_BY_ICMP = [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EMSGSIZE]


def test_reading_goes_on_after_icmp_errors(run: Run) -> None:
    """Each is counted once, and costs one more wakeup."""

    async def main() -> None:
        sock = FaultySocket(bind("127.0.0.1", 0)[0])
        address = local_address(sock)
        machine = EchoMachine()
        driver = Driver(machine, on_event=ignore)
        driver.open({0: sock})
        with client() as peer:
            for number in TOLD_BY_ICMP:
                sock.reading = [number]
                assert await peer.ask(b"?", address) == (b"?", address)
        assert driver.send_errors == by_name(TOLD_BY_ICMP)
        # The error, the datagram, and that nothing is left.
        assert sock.reads <= 3 * len(TOLD_BY_ICMP)
        driver.close()

    run(main())


def test_the_machine_learns_of_missing_routes_and_no_other_refusal(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        sock = FaultySocket(bind("127.0.0.1", 0)[0])
        sock.sending = [errno.ENETUNREACH, errno.EPERM]
        driver = Driver(machine, on_event=ignore)
        driver.open({7: sock})
        machine.send(b"no route", SOMEBODY, 7)
        machine.send(b"a firewall", Address("192.0.2.2", 5000), 7)
        driver.pump()
        driver.close()
        assert machine.unreachable == [(7, SOMEBODY)]
        assert driver.send_errors == {"ENETUNREACH": 1, "EPERM": 1}

    run(main())


def test_sending_goes_on_after_refusals(run: Run) -> None:
    """Such as refusals by a firewall, a full queue or a lost network."""
    refusals = [errno.EPERM, errno.ENOBUFS, *TOLD_BY_ICMP]

    async def main() -> None:
        sock = FaultySocket(bind("127.0.0.1", 0)[0])
        sock.sending = list(refusals)
        machine = EchoMachine()
        driver = Driver(machine, on_event=ignore)
        driver.open({0: sock})
        with client() as peer:
            for number in range(len(refusals) + 1):
                machine.send(b"%d" % number, peer.address)
            driver.pump()
            assert (await peer.receive())[0] == b"%d" % len(refusals)
        assert driver.send_errors == by_name(refusals)
        driver.close()

    run(main())


@pytest.mark.parametrize("host", HOSTS)
def test_a_closed_port_at_the_destination_does_no_harm(run: Run, host: str) -> None:
    """The system learns that by ICMP, but does not report it: the socket is not connected."""

    async def main() -> None:
        machine = EchoMachine()
        with client(host) as gone:
            closed = gone.address
        with driven(machine, host=host) as (driver, address), client(host) as peer:
            for _ in range(3):
                machine.send(b"?", closed)
                driver.pump()
                assert await peer.ask(b"!", address) == (b"!", address)
            assert not driver.send_errors

    run(main())


def test_the_driver_opens_as_many_fresh_ports_as_there_are_descriptors(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        with driven(machine) as (driver, _), descriptors_left(3):
            machine.ask_for_sockets(10)
            driver.pump()
            assert len(machine.opened) == 3

    run(main())


def test_an_event_callback_that_raises_stops_nothing(run: Run) -> None:
    told: list[Event] = []

    def fail(event: Event) -> None:
        told.append(event)
        raise RuntimeError("listener")

    async def main() -> None:
        machine = TimerMachine(clock() + 0.01)
        machine.emit(Introduced(SOMEBODY))
        machine.emit(Finished())
        with exceptions_caught() as caught, driven(machine, on_event=fail) as (_, address):
            assert told == [Introduced(SOMEBODY), Finished()]
            with client() as peer:
                assert await peer.ask(b"?", address) == (b"?", address)
            await machine.done.wait()
        assert [str(context["exception"]) for context in caught] == ["listener"] * 2

    told.clear()
    run(main())


def test_an_observer_that_raises_stops_nothing(run: Run) -> None:
    def fail(datagram: Datagram) -> None:
        raise RuntimeError("observer")

    async def main() -> None:
        machine = EchoMachine()
        with (
            exceptions_caught() as caught,
            driven(machine, observer=fail) as (_, address),
            client() as peer,
        ):
            assert await peer.ask(b"1", address) == (b"1", address)
            assert await peer.ask(b"2", address) == (b"2", address)
        assert [str(context["exception"]) for context in caught] == ["observer"] * 4

    run(main())


def test_an_exception_of_the_machine_is_reported_and_the_next_datagram_is_read(run: Run) -> None:
    class Faulty(EchoMachine):
        def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
            if data == b"bad":
                raise RuntimeError("bug")
            super().receive_datagram(data, source, now, via)

    async def main() -> None:
        with (
            exceptions_caught() as caught,
            driven(Faulty()) as (_, address),
            client() as peer,
        ):
            peer.send(b"bad", address)
            assert await peer.ask(b"good", address) == (b"good", address)
        assert [str(context["exception"]) for context in caught] == ["bug"]

    run(main())


# Observing.


def test_the_observer_sees_both_directions_described(run: Run) -> None:
    async def main() -> None:
        observed: list[Datagram] = []
        with driven(EchoMachine(), observer=observed.append) as (_, address), client() as peer:
            await peer.ask(b"hi", address)
            assert observed == [
                Datagram(False, address, peer.address, b"hi", "echo b'hi'"),
                Datagram(True, address, peer.address, b"hi", "echo b'hi'"),
            ]

    run(main())


# Closing.


def test_closing_a_driver_frees_the_ports_at_once_and_may_be_repeated(run: Run) -> None:
    async def main() -> None:
        before = open_descriptors()
        machine = TimerMachine(clock() + 0.005)
        told: list[Event] = []
        driver = Driver(machine, on_event=told.append)
        sockets = bind("", 0)
        port = local_address(sockets[0]).port
        driver.open(dict(enumerate(sockets)))
        machine.ask_for_sockets(4)
        driver.pump()
        assert not port_is_free(port)
        driver.close()
        driver.close()
        assert port_is_free(port)
        assert all(port_is_free(local.port, local.host) for local in machine.opened.values())
        assert open_descriptors() == before

        machine.ask_for_sockets(1)
        machine.emit(Finished())
        driver.pump()
        await asyncio.sleep(0.02)  # the timer must not ring any more
        assert machine.rung == []
        assert told == []

    run(main())


def test_an_event_callback_may_close_the_driver(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        told: list[Event] = []
        observed: list[Datagram] = []

        def close(event: Event) -> None:
            told.append(event)
            driver.close()

        with driven(machine, on_event=close, observer=observed.append) as (driver, address):
            machine.emit(Finished())
            machine.emit(Finished())
            driver.pump()
            assert told == [Finished()]
            assert port_is_free(address.port)

    run(main())


def test_an_observer_may_close_the_driver(run: Run) -> None:
    async def main() -> None:
        machine = EchoMachine()
        closed = asyncio.Event()

        def close(datagram: Datagram) -> None:
            driver.close()
            closed.set()

        with driven(machine, observer=close) as (driver, address), client() as peer:
            peer.send(b"?", address)
            await closed.wait()
            assert port_is_free(address.port)
            assert not driver.send_errors

    run(main())


@pytest.mark.parametrize("seed", range(5))
def test_a_driver_cancelled_at_any_moment_leaves_nothing_open(run: Run, seed: int) -> None:
    moments = random.Random(seed)

    async def converse(peer: Client) -> None:
        machine = TimerMachine(*(clock() + moments.random() * 0.02 for _ in range(5)), NEVER)
        machine.due.sort()
        machine.ask_for_sockets(3)
        with driven(machine) as (driver, address):
            machine.ask_for_sockets(3)
            await asyncio.sleep(0)
            driver.pump()
            while True:
                await peer.ask(b"?", address)

    async def main() -> None:
        with client() as peer:
            before = open_descriptors()
            for _ in range(20):
                task = asyncio.create_task(converse(peer))
                for _ in range(moments.randrange(30)):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert count_descriptors() == before

    run(main())
