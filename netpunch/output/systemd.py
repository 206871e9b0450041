"""Notifies systemd of the state of the service (`Type=notify`): sd_notify(3) without a library."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Mapping

MICROSECONDS = 1_000_000
NANOSECONDS_PER_MICROSECOND = 1000

PINGS_PER_DEADLINE = 2
"""sd_watchdog_enabled(3): notify at half of the interval, so that one delay does not kill it."""

MAX_WAITING = 16
"""Messages kept while systemd's queue is full; the newest ones."""

RETRY_PAUSE = 0.1
"""Seconds until a full queue is tried again: all services share it."""


class Notifier:
    """Sends to `address`, a path or `@` and an abstract name; sends nothing if it is empty.

    `watchdog`: seconds within which systemd expects a sign of life. A message that cannot be
    delivered is lost: a service manager that is gone must not stop a link."""

    def __init__(self, address: str = "", watchdog: float | None = None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog = watchdog
        self._socket: socket.socket | None = None
        self._waiting: deque[str] = deque(maxlen=MAX_WAITING)
        self._retry: asyncio.TimerHandle | None = None
        self._next_ping: asyncio.TimerHandle | None = None
        self._status = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Notifier:
        """As NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID say."""
        address = environ.get("NOTIFY_SOCKET", "")
        known = address.startswith(("/", "@"))  # vsock, for virtual machines, is not for services
        return cls(address, _watchdog(environ)) if known else cls()

    def open(self) -> None:
        """Begins with the signs of life, in a running loop. `close` must follow."""
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            self._ping()

    def close(self) -> None:
        """Drops what systemd has not taken by now."""
        for timer in (self._retry, self._next_ping):
            if timer is not None:
                timer.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def is_open(self) -> bool:
        """Whether anybody listens."""
        return self._socket is not None

    def ready(self) -> None:
        """It serves: after the start, and after each reload, even one that changed nothing."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The configuration is read again; `ready` follows."""
        now = time.monotonic_ns() // NANOSECONDS_PER_MICROSECOND
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """The process is about to end."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent when it has changed."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def _ping(self) -> None:
        """It shows that the loop runs."""
        if self._watchdog is not None:
            self._send("WATCHDOG=1")
            pause = self._watchdog / PINGS_PER_DEADLINE
            self._next_ping = asyncio.get_running_loop().call_later(pause, self._ping)

    def _send(self, message: str) -> None:
        if self._socket is not None:
            self._waiting.append(message)
            self._flush()

    def _flush(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        while self._waiting and self._socket is not None:
            try:
                self._socket.sendto(self._waiting[0].encode(), self._address)
            except BlockingIOError:
                self._retry = asyncio.get_running_loop().call_later(RETRY_PAUSE, self._flush)
                return
            except OSError:
                pass  # systemd is gone
            self._waiting.popleft()


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Seconds; None when no sign of life is expected, or that of another process."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    meant = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    if not meant or not microseconds.isascii() or not microseconds.isdigit():
        return None
    return int(microseconds) / MICROSECONDS or None
