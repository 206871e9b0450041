"""Relays between a held link and a local UDP program, which talks to a fixed local port and does
not notice when the link is punched anew."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
import time
from collections.abc import Callable

from netpunch.address import Address
from netpunch.errors import ControlUnreachableError, UnresolvedError
from netpunch.net.driver import MAX_PAYLOAD
from netpunch.net.resolver import resolve
from netpunch.net.sockets import SocketOptions, bind

DATAGRAMS_PER_WAKEUP = 64
"""Datagrams to read from a busy program before the other sockets get their turn."""
MAX_UNFRAGMENTED = 1472
"""Bytes that fit into one Ethernet packet of 1,500: IPv4 and UDP take 28."""
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


class Forwarder:
    """The program's side. What the program sends to `listen` goes to the attached link; what the
    link delivers goes to `to`, by default to where the program last sent from. Both are (host,
    port)."""

    def __init__(
        self,
        listen: tuple[str, int],
        to: tuple[str, int] | None,
        on_warning: Callable[[str], None] | None = None,
    ) -> None:
        """`on_warning` gets a warning, once, if the program's datagrams need to be fragmented, and
        repeatedly if no program listens on this host."""
        self.dropped = 0
        """How many datagrams were lost because there was no link, or no program."""
        self._listen = listen
        self._to = to
        self._on_warning = on_warning
        self._warn_above = MAX_UNFRAGMENTED
        self._check_at = self._warn_at = 0.0
        """When to check next whether a program listens, and when to warn again that none does."""
        self._sock: socket.socket | None = None
        self._program: tuple[str, int] | None = None
        self._send: Callable[[bytes], None] | None = None

    async def open(self) -> None:
        """Binds. Raises PortInUseError, PermissionsError, ConfigurationError, and UnresolvedError
        if `to` does not resolve."""
        if self._sock is not None:
            return
        if self._to is not None:
            self._program = await _resolved(*self._to)
        sock, *others = bind(*self._listen, SocketOptions(receive_buffer=BUFFER))
        for other in others:
            other.close()
        self._sock = sock
        asyncio.get_running_loop().add_reader(sock, self._read)

    def attach(self, send: Callable[[bytes], None]) -> None:
        """A link is up: `send` takes what the program sends from now on."""
        self._send = send

    def detach(self) -> None:
        """The link has ended."""
        self._send = None

    def deliver(self, data: bytes) -> None:
        """Sends the program what has come from the partner."""
        if self._sock is None or self._program is None:
            self.dropped += 1
            return
        now = time.monotonic()
        try:
            if now < self._check_at:
                self._sock.sendto(data, self._program)
            else:
                self._check_at = now + CHECK_INTERVAL
                self._send_and_check(data, self._sock, self._program, now)
        except OSError:
            self.dropped += 1

    def close(self) -> None:
        """Closes the local port. May be repeated."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def _read(self) -> None:
        sock = self._sock
        assert sock is not None
        for _ in range(DATAGRAMS_PER_WAKEUP):
            try:
                if self._to is None:
                    data, source = sock.recvfrom(MAX_PAYLOAD)
                    self._program = source[:2]
                else:
                    data = sock.recv(MAX_PAYLOAD)  # a third less than recvfrom()
            except OSError:  # nothing left, or an ICMP error about an earlier datagram
                return
            if len(data) > self._warn_above:
                self._warn(len(data))
            if self._send is None:
                self.dropped += 1
            else:
                self._send(data)

    def _send_and_check(
        self, data: bytes, sock: socket.socket, program: tuple[str, int], now: float
    ) -> None:
        """Sends, and checks whether a program listens: if it is on this host, the system knows
        before it returns. A socket that is not connected learns that only if it asks, and an error
        left in the socket's queue would end uvloop's watch over it."""
        option = RECEIVE_ERRORS.get(sock.family) if sys.platform == "linux" else None
        if option is None:
            sock.sendto(data, program)
            return
        sock.setsockopt(*option, 1)
        try:
            sock.sendto(data, program)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        finally:
            sock.setsockopt(*option, 0)  # which empties the queue
        if error != errno.ECONNREFUSED:
            return
        self.dropped += 1
        if now >= self._warn_at and self._on_warning is not None:
            self._warn_at = now + WARNING_INTERVAL
            where = "" if self._to is None else " (forward.to)"
            self._on_warning(
                f"no program listens at {Address(*program)}{where}: what the partner sends is "
                "lost; start the program, or correct its port"
            )

    def _warn(self, size: int) -> None:
        self._warn_above = MAX_PAYLOAD
        if self._on_warning is not None:
            self._on_warning(
                f"forward relays a datagram of {size} bytes: those above {MAX_UNFRAGMENTED} travel "
                "in fragments, which some networks drop; lower the MTU of the tunnel that sends to "
                f"{Address(*self._listen)} (WireGuard: `MTU = 1420`)"
            )


async def _resolved(host: str, port: int) -> tuple[str, int]:
    try:
        return (await resolve(host, port))[0]
    except ControlUnreachableError as error:
        raise UnresolvedError(f"forward.to: {error}") from error
