"""Datagrams over TLS: each behind its length, two bytes, big-endian.

Plain sockets with `ssl.SSLObject` and `add_reader`, not asyncio's transports: these reserve a
buffer of 256 KiB for each connection, and do not say how much a peer has sent before its handshake
is done. What is inside is sealed already and the peer's certificate is not verified: TLS is only
what firewalls let through.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

CHUNK = 16 * 1024
"""Bytes to read at once; OpenSSL keeps a buffer of this size. A TLS record has no more."""
LONGEST_DATAGRAM = 65_507
"""Bytes: any datagram of UDP over IPv4. A longer one ends the stream."""
QUEUE = 64 * 1024
"""Bytes that wait to be sent; what comes then is lost, as in a full queue of a router. Five
milliseconds at 100 Mbit/s: a longer queue only adds delay."""
SILENT_LOSS = 5.0
"""Seconds that sent bytes may be unacknowledged until the stream counts as broken. TCP alone would
try for a quarter of an hour."""
LENGTH_SIZE = 2


class Allowance:
    """What a peer may send before it has shown who it is. Each read costs as much as a few hundred
    bytes, so they are counted, too."""

    __slots__ = ("_bytes", "_reads")

    def __init__(self, size: int, reads: int) -> None:
        self._bytes = size
        self._reads = reads

    def spend(self, size: int) -> bool:
        """Accounts for one read of so many bytes; False if it was too much."""
        self._bytes -= size
        self._reads -= 1
        return self._bytes >= 0 and self._reads >= 0


class TooLongError(Exception):
    """A datagram is longer than the peer may send."""


class Unframer:
    """Datagrams out of a stream of bytes. `longest`: bytes of one."""

    __slots__ = ("_rest", "longest")

    def __init__(self) -> None:
        self.longest = LONGEST_DATAGRAM
        self._rest = b""
        """The beginning of a datagram."""

    def feed(self, data: bytes) -> list[bytes]:
        """The datagrams that are complete with this. Raises TooLongError."""
        data = self._rest + data
        datagrams, at = [], 0
        while len(data) >= at + LENGTH_SIZE:
            begin = at + LENGTH_SIZE
            length = int.from_bytes(data[at:begin], "big")
            if length > self.longest:
                raise TooLongError
            if len(data) < begin + length:
                break
            at = begin + length
            datagrams.append(data[begin:at])
        self._rest = data[at:]
        return datagrams


def framed(datagram: bytes) -> bytes:
    """As it is in a stream."""
    return len(datagram).to_bytes(LENGTH_SIZE, "big") + datagram


class Stream:
    """One TLS connection over a connected socket, which it closes when it ends. `on_ready` is
    called once, after the handshake, `on_datagrams` with what has arrived, `on_end` once, if the
    stream ends by itself. A callback may close the stream."""

    __slots__ = (
        "_flushing",
        "_frames",
        "_incoming",
        "_loop",
        "_on_datagrams",
        "_on_end",
        "_on_ready",
        "_outgoing",
        "_queued",
        "_sock",
        "_tls",
        "_unsent",
        "allowance",
        "is_closed",
        "is_ready",
        "unframer",
    )

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        server: bool,
        hostname: str | None = None,
        on_datagrams: Callable[[list[bytes]], None],
        on_ready: Callable[[], None] | None = None,
        on_end: Callable[[], None],
    ) -> None:
        """`hostname` is what a client names to the server."""
        self.is_ready = False
        """Whether the handshake is done."""
        self.is_closed = False
        self.unframer = Unframer()
        """What the peer sends in longer datagrams than this takes ends the stream."""
        self.allowance: Allowance | None = None
        """What the peer may send in all; None: no limit."""
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server, server_hostname=hostname
        )
        self._on_datagrams, self._on_ready, self._on_end = on_datagrams, on_ready, on_end
        self._frames: list[bytes] = []
        """To be sent, not encrypted yet."""
        self._queued = 0
        """Bytes in `_frames`."""
        self._unsent = b""
        """Encrypted."""
        self._flushing = False
        """Whether `_flush` is going to be called."""
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Begins the handshake."""
        _tune(self._sock)
        self._loop.add_reader(self._sock, self._run, self._read)
        self._run(self._advance)

    def send(self, datagram: bytes) -> bool:
        """Queues a datagram; returns whether there was room. What is queued in one turn of the loop
        leaves together."""
        size = LENGTH_SIZE + len(datagram)
        if not self.is_ready or self.is_closed or len(datagram) > LONGEST_DATAGRAM:
            return False
        if self._queued + len(self._unsent) + size > QUEUE:
            return False
        self._frames.append(framed(datagram))
        self._queued += size
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._run, self._flush)
        return True

    def close(self) -> None:
        """Ends it at once and silently. May be repeated; `on_end` is not called."""
        if not self.is_closed:
            self.is_closed = True
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()

    def _run(self, step: Callable[[], None]) -> None:
        """Whatever a peer sends, and however the connection breaks, only ends the stream."""
        if self.is_closed:
            return
        try:
            step()
        except OSError:  # ssl.SSLError is one, too
            self.end()

    def end(self) -> None:
        """Closes it as broken."""
        if not self.is_closed:
            self.close()
            self._on_end()

    def _read(self) -> None:
        try:
            data = self._sock.recv(CHUNK)
        except BlockingIOError:
            return
        if not data or (self.allowance is not None and not self.allowance.spend(len(data))):
            self.end()
            return
        self._incoming.write(data)
        self._advance()

    def _advance(self) -> None:
        """As far as what has arrived goes."""
        try:
            if not self.is_ready:
                self._tls.do_handshake()
                self.is_ready = True
                if self._on_ready is not None:
                    self._on_ready()
            while self._incoming.pending and not self.is_closed:
                data = self._tls.read(CHUNK)
                if not data:
                    self.end()  # as the peer has
                elif datagrams := self.unframer.feed(data):
                    self._on_datagrams(datagrams)
        except ssl.SSLWantReadError:
            pass
        except TooLongError:
            self.end()
        if not self._flushing and not self.is_closed:
            self._write()  # what TLS itself has to say

    def _flush(self) -> None:
        self._flushing = False
        if self._unsent:
            return  # `_writable` goes on
        data = memoryview(b"".join(self._frames))
        self._frames.clear()
        self._queued = 0
        while data:
            data = data[self._tls.write(data) :]  # one record of it
        self._write()

    def _write(self) -> None:
        """Sends what is encrypted, as far as the system takes it."""
        was_waiting = bool(self._unsent)
        self._unsent += self._outgoing.read()
        if not self._unsent:
            return
        with contextlib.suppress(BlockingIOError):
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        if self._unsent and not was_waiting:
            self._loop.add_writer(self._sock, self._run, self._writable)

    def _writable(self) -> None:
        self._write()
        if not self._unsent:
            self._loop.remove_writer(self._sock)
            if self._frames and not self._flushing:
                self._flush()


def _tune(sock: socket.socket) -> None:
    """No delay, a short queue in the kernel, and a broken connection is noticed."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in _LINUX.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


_LINUX = {"TCP_NOTSENT_LOWAT": QUEUE, "TCP_USER_TIMEOUT": int(SILENT_LOSS * 1000)}
