"""Relays between a held link and a local UDP program, which talks to a fixed local port and does
not notice when the link is punched anew.

On Linux, what arrives at once goes on at once, from socket to socket (`net.bulk`), as soon as a
link was there; before that, and elsewhere, datagrams go one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from netpunch.address import Address
from netpunch.core.machine import Machine
from netpunch.errors import ControlUnreachableError, PortInUseError, UnresolvedError
from netpunch.net.datagrams import Datagrams, one
from netpunch.net.driver import MAX_PAYLOAD, EndpointFactory
from netpunch.net.resolver import resolve
from netpunch.net.sockets import SocketOptions, bind
from netpunch.wire.envelope import Buffer
from netpunch.wire.sealed import OVERHEAD

if TYPE_CHECKING:
    from netpunch.net.bulk import Inlet, Outlet
    from netpunch.net.lone import Way

DATAGRAMS_PER_WAKEUP = 64
"""Datagrams to read from a busy program before the other sockets get their turn."""
MAX_UNFRAGMENTED = 1472
"""Bytes that fit into one Ethernet packet of 1,500: IPv4 and UDP take 28."""
LONGEST_SEALED = MAX_UNFRAGMENTED - OVERHEAD
"""Bytes of a program's datagram that do so when they are sealed."""
BUFFER = 1024 * 1024
"""Bytes of receive buffer to ask for: they hold a burst of a tunnel at line speed."""

CHECK_INTERVAL = 1.0
"""Seconds between two checks whether the program listens: each costs 2 µs."""
WARNING_INTERVAL = 300.0
"""Seconds between two warnings that it does not: a partner's tunnel sends all the time."""
RECEIVE_ERRORS = {
    socket.AF_INET: (socket.IPPROTO_IP, 11),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 25),
}
"""IP_RECVERR (linux/in.h) and IPV6_RECVERR (linux/in6.h), which Python has no names for."""


LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what programs send to instead


class Link(Protocol):
    """Takes what the program sends to the partner."""

    def send_payloads(self, datagrams: Datagrams, /) -> None: ...

    def send_now(self, data: Buffer, /) -> None: ...

    @property
    def way(self) -> Way | None:
        """Of those that come alone, until it changes."""
        ...


class Forwarder:
    """The program's side. What the program sends to `listen` goes to the attached link; what the
    link delivers goes to `to`, by default to where the program last sent from. Both are (host,
    port)."""

    def __init__(
        self,
        listen: tuple[str, int],
        to: tuple[str, int] | None,
        on_warning: Callable[[str], None] | None = None,
        *,
        sealed: bool = False,
        spare_ports: Iterable[int] = (),
    ) -> None:
        """`spare_ports` are tried in their order if somebody has the port of `listen`. `on_warning`
        gets a warning of that; another, once, if the program's datagrams need to be fragmented
        (`sealed`: they become longer); and repeatedly if no program listens on this host."""
        self.drops: Counter[str] = Counter()
        """How many datagrams were lost here: `no_link` had no link, `no_program` no program that
        is known or listens, and the system has `refused` the others."""
        self._listen = listen
        self._spare_ports = spare_ports
        self._to = to
        self._on_warning = on_warning
        self._sealed = sealed
        self._warn_above = LONGEST_SEALED if sealed else MAX_UNFRAGMENTED
        self.peer: Address | None = None
        """The program."""
        self.receive: Callable[[bytes, Any], object] = self._receive_first
        """Sends it one of the partner's."""
        self._checking: asyncio.TimerHandle | None = None
        """Until it rings, no check whether a program listens is due."""
        self._warn_at = 0.0
        """When to warn again that none does."""
        self._sock: socket.socket | None = None
        self._link: Link | None = None
        self._inlet: Inlet | None = None
        self._outlet: Outlet | None = None
        """They are there once datagrams pass in bulk."""
        self._source: bytes | tuple[Any, ...] = b""
        """Where the program last sent from, as its `Inlet` says it."""

    async def open(self) -> None:
        """Binds. Raises PortInUseError, PermissionsError, ConfigurationError, and UnresolvedError
        if `to` has no address that is reached from `listen`."""
        if self._sock is not None:
            return
        if self._to is not None:
            self.peer = await _resolved(*self._to, listen=self._listen[0])
        sock, *others = sorted(self._bind(), key=self._is_other_family)
        for other in others:
            other.close()
        self._sock = sock
        asyncio.get_running_loop().add_reader(sock, self._read_each)

    @property
    def local(self) -> Address:
        """Where a program of this host sends to, once this is open."""
        assert self._sock is not None
        host, port = self._sock.getsockname()[:2]
        return Address(LOOPBACK.get(host, host), port)

    def _is_other_family(self, sock: socket.socket) -> bool:
        """Than that of a program with a given address."""
        if self.peer is None:
            return False
        return (sock.family == socket.AF_INET6) != (self.peer.family == 6)

    def _bind(self) -> list[socket.socket]:
        options = SocketOptions(receive_buffer=BUFFER)
        host, _ = self._listen
        try:
            return bind(*self._listen, options)
        except PortInUseError as error:
            for port in self._spare_ports:
                with contextlib.suppress(PortInUseError):
                    sockets = bind(host, port, options)
                    self._listen = host, port
                    if self._on_warning is not None:
                        where = Address(host, port)
                        self._on_warning(f"{error}; listening on {where} instead (forward.listen)")
                    return sockets
            raise

    def attach(self, link: Link) -> None:
        """A link is up, which takes what the program sends from now on."""
        self._link = link
        self._forget_way()
        if sys.platform == "linux" and self._inlet is None and self._sock is not None:
            from netpunch.net.batch import batches_allowed
            from netpunch.net.bulk import Inlet, Outlet

            if not batches_allowed():
                return
            self._inlet = Inlet(self._sock)
            self._outlet = Outlet(self._sock, self._send_one, self._count)
            self._forget_way()

    def detach(self) -> None:
        """The link has ended."""
        self._link = None
        self._forget_way()

    def _forget_way(self) -> None:
        """What comes alone goes the usual way again."""
        if self._sock is not None and self._inlet is not None:
            asyncio.get_running_loop().add_reader(self._sock, self._read_at_once)

    def deliver(self, datagrams: Datagrams) -> None:
        """Sends the program what has come from the partner."""
        if self._sock is None or self.peer is None:
            self.drops["no_program"] += datagrams.total
        elif self._checking is not None:
            self._send(datagrams, self.peer)
        else:
            self.receive = self._sock.sendto
            loop = asyncio.get_running_loop()
            self._checking = loop.call_later(CHECK_INTERVAL, self._check_next)
            self._send_and_check(datagrams, self._sock, self.peer)

    def not_received(self, error: Exception) -> None:
        """`receive` has raised it."""
        if not isinstance(error, OSError):
            raise error
        self._count(error, self.peer, 1)

    def _receive_first(self, data: bytes, _program: object) -> None:
        self.deliver(one(data))

    def _check_next(self) -> None:
        """With the next one, as long after the last check as may be."""
        self._checking, self.receive = None, self._receive_first

    def endpoint_for(self, machine: Machine) -> EndpointFactory:
        """Of the link's socket: what comes in bulk is sent in bulk."""
        from netpunch.net.carrying import CarryingEndpoint

        return partial(CarryingEndpoint, machine, self, on_refused=self._not_sent)

    def unsent(self, payload: Buffer, error: OSError) -> None:
        """Tries again if there was no room."""
        if isinstance(error, BlockingIOError) and self._link is not None:
            self._link.send_payloads(one(payload))
        else:
            self._not_sent(1)

    def _not_sent(self, count: int) -> None:
        """To the partner."""
        self.drops["refused"] += count

    def close(self) -> None:
        """Closes the local port. May be repeated."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = self._inlet = self._outlet = None
            self._source = b""
        if self._checking is not None:
            self._checking.cancel()
        self._check_next()

    # From the program.

    def _read_each(self) -> None:
        sock = self._sock
        assert sock is not None
        for _ in range(DATAGRAMS_PER_WAKEUP):
            try:
                data, source = sock.recvfrom(MAX_PAYLOAD)
            except OSError:  # nothing left, or an ICMP error about an earlier datagram
                return
            if self._to is None:
                self.peer = Address(*source[:2])
            self._pass_on(one(data))

    def _read_at_once(self) -> None:
        """One that came alone, or as many as have arrived."""
        inlet = self._inlet
        assert inlet is not None
        if not inlet.alone:
            self._read_many()
            return
        inlet.alone -= 1
        try:
            data, source = inlet.receive_one(MAX_PAYLOAD)
        except OSError:  # nothing left, or an ICMP error about an earlier datagram
            return
        self._take_one(data, source)

    def _take_one(self, data: bytes, source: Any) -> None:
        """The next ones take fewer steps, if possible."""
        self._sent_from(source)
        if len(data) > self._warn_above:
            self._warn(len(data))
        if self._link is None:
            self.drops["no_link"] += 1
            return
        self._link.send_now(data)
        if (way := self._link.way) is None or self._inlet is None or self._sock is None:
            return
        from netpunch.net.lone import from_program

        read = from_program(
            *(self._inlet, way, self._warn_above),
            *(self._sent_from, self._take_one, self._read_many),
        )
        asyncio.get_running_loop().add_reader(self._sock, read)

    def _sent_from(self, source: Any) -> None:
        """The program, by an address as Python has it."""
        if self._to is None and source != self._source:
            self._source, self.peer = source, Address(*source[:2])

    def _read_many(self) -> None:
        inlet = self._inlet
        assert inlet is not None
        try:
            received = inlet.receive()
        except OSError:  # as above
            return
        if self._to is None:
            source = received.names[-inlet.name_length :]
            if source != self._source:
                self._source, self.peer = source, inlet.address(source)
        self._pass_on(inlet.datagrams(received, 0, len(received.lengths)))
        inlet.done(received)

    def _pass_on(self, datagrams: Datagrams) -> None:
        if (longest := datagrams.longest) > self._warn_above:
            self._warn(longest)
        if self._link is None:
            self.drops["no_link"] += datagrams.total
        else:
            self._link.send_payloads(datagrams)

    # To the program.

    def _send(self, datagrams: Datagrams, program: Address) -> None:
        if self._outlet is not None:
            self._outlet.send(datagrams, program)
        else:
            for each in datagrams.each:
                self._send_one(each, program)

    def _send_one(self, data: Buffer, program: Address) -> None:
        assert self._sock is not None
        try:
            self._sock.sendto(data, program)
        except OSError as error:
            self._count(error, program, 1)

    def _count(self, error: OSError, _program: object, count: int) -> None:
        nobody = error.errno == errno.ECONNREFUSED
        self.drops["no_program" if nobody else "refused"] += count

    def _send_and_check(self, datagrams: Datagrams, sock: socket.socket, program: Address) -> None:
        """Sends, and checks whether a program listens: if it is on this host, the system knows
        before it returns. A socket that is not connected learns that only if it asks, and an error
        left in the socket's queue would end uvloop's watch over it."""
        option = RECEIVE_ERRORS.get(sock.family) if sys.platform == "linux" else None
        if option is None:
            self._send(datagrams, program)
            return
        lost = self.drops["no_program"]
        sock.setsockopt(*option, 1)
        try:
            self._send(datagrams, program)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        finally:
            sock.setsockopt(*option, 0)  # which empties the queue
        if error == errno.ECONNREFUSED:
            self.drops["no_program"] = lost + datagrams.total
        if self.drops["no_program"] == lost:
            return
        now = time.monotonic()
        if now >= self._warn_at and self._on_warning is not None:
            self._warn_at = now + WARNING_INTERVAL
            where = "" if self._to is None else " (forward.to)"
            self._on_warning(
                f"no program listens at {program}{where}: what the partner sends is "
                "lost; start the program, or correct its port"
            )

    def _warn(self, size: int) -> None:
        self._warn_above = MAX_PAYLOAD
        if self._on_warning is None:
            return
        what = f"forward relays a datagram of {size} bytes"
        listen = Address(*self._listen)
        if self._sealed:
            what += f", {size + OVERHEAD} once sealed"
            advice = f"let the program that sends to {listen} send {LONGEST_SEALED} at most"
        else:
            advice = f"lower the MTU of the tunnel that sends to {listen} (WireGuard: `MTU = 1420`)"
        self._on_warning(
            f"{what}: those above {MAX_UNFRAGMENTED} travel in fragments, which some networks "
            f"drop; {advice}"
        )


async def _resolved(host: str, port: int, *, listen: str) -> Address:
    try:
        found = await resolve(host, port)
    except ControlUnreachableError as error:
        raise UnresolvedError(f"forward.to: {error}") from error
    if not listen:
        return found[0]
    family = Address(listen, 0).family
    for each in found:
        if each.family == family:
            return each
    raise UnresolvedError(
        f"forward.to: {host} has no IPv{family} address, but datagrams to it leave from that of "
        f"forward.listen, {listen}: give both of one family"
    )
