"""Tells systemd how the service is: `Type=notify`, as sd_notify(3) has it, without a library."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Mapping

MICROSECONDS = 1_000_000
NANOSECONDS_PER_MICROSECOND = 1000

PINGS_PER_DEADLINE = 2
"""sd_watchdog_enabled(3): send at half of the time, so that one delay is no death."""

MAX_WAITING = 16
"""Messages kept while systemd's queue is full; later ones outdate the earliest."""

RETRY_PAUSE = 0.1
"""Seconds until a full queue is tried again: it is systemd's, and shared by all services."""


class Notifier:
    """Sends to `address`, a path or an abstract name with `@`; empty: nobody wants to know.

    `watchdog`: seconds in which systemd wants a sign of life. A message that can't be delivered
    is lost: a service manager that is gone must not stop a link. To be used in a running loop."""

    def __init__(self, address: str = "", watchdog: float | None = None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog = watchdog
        self._socket: socket.socket | None = None
        self._waiting: deque[str] = deque(maxlen=MAX_WAITING)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._status = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Notifier:
        """As systemd has told this process, in $NOTIFY_SOCKET and $WATCHDOG_…"""
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls()
        return cls(address, _watchdog(environ))

    def open(self) -> None:
        """Begins with the signs of life. To be ended with `close`."""
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            self._ping()

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ready(self) -> None:
        """It serves: after the start, and after each reload, also one that changed nothing."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The configuration is read anew; `ready` follows."""
        now = time.monotonic_ns() // NANOSECONDS_PER_MICROSECOND
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """The end begins."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent when it has changed."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def _ping(self) -> None:
        if self._watchdog is not None:
            self._send("WATCHDOG=1")
            self._call_later(self._watchdog / PINGS_PER_DEADLINE, "_ping")

    def _send(self, message: str) -> None:
        if self._socket is not None:
            self._waiting.append(message)
            self._flush()

    def _flush(self) -> None:
        while self._waiting and self._socket is not None:
            try:
                self._socket.sendto(self._waiting[0].encode(), self._address)
            except BlockingIOError:
                self._call_later(RETRY_PAUSE, "_flush")
                return
            except OSError:
                pass
            self._waiting.popleft()
