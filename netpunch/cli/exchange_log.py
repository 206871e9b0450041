"""The log of `control` and `peer`, in the format of the Go netpunch.

2022/04/02 17:40:24.725102 [25399] [info] write: "i|a|127.0.0.1:5000" -> 127.0.0.1:5001
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from netpunch.address import Address
from netpunch.cli.streams import write_error
from netpunch.core.events import (
    AuthRejected,
    Event,
    Expired,
    Introduced,
    Linked,
    RoleConflict,
    Waiting,
)
from netpunch.net.driver import Datagram, Observer
from netpunch.wire.classic import verify
from netpunch.wire.drop import Drop

EVENT_LINES: dict[type, tuple[str, Callable[[Any], str]]] = {
    Waiting: ("info", lambda event: f"waiting: {event.reason}"),
    Introduced: ("info", lambda event: f"introduced: {event.remote}"),
    Linked: ("info", lambda event: f"linked: {event.local} <-> {event.remote}"),
    Expired: ("info", lambda event: f"expired: {event.pair} {event.end}"),
    AuthRejected: (
        "error",
        lambda event: f"rejected: {event.count} x {event.reason}, such as from {event.source}",
    ),
    RoleConflict: (
        "error",
        lambda event: (
            f"conflict: two machines are {event.pair} {event.end}: "
            + " and ".join(str(address) for address in event.addresses)
        ),
    ),
}
"""Level and text. Events that the datagrams already show have no line."""

PRINTABLE_ASCII = range(0x20, 0x7F)
ESCAPES = {
    0x07: r"\a",
    0x08: r"\b",
    0x09: r"\t",
    0x0A: r"\n",
    0x0B: r"\v",
    0x0C: r"\f",
    0x0D: r"\r",
    0x22: r"\"",
    0x5C: r"\\",
}
"""Go's names for bytes. Any other unprintable byte is \\xNN."""

SKIPPED = {
    Drop.MALFORMED: b"[message skipped, since it is too short]",
    Drop.BAD_MAC: b"[message skipped due to invalid signature]",
}
"""The text that the Go netpunch logs for a datagram that it drops."""

Content = Callable[[Datagram], bytes]
"""The part of a datagram to show."""


def as_on_the_wire(datagram: Datagram) -> bytes:
    return datagram.data


def decoded(datagram: Datagram) -> bytes:
    return datagram.text.encode()


def classic_payload(secret: bytes) -> Content:
    def payload(datagram: Datagram) -> bytes:
        verified = verify(secret, datagram.data)
        return SKIPPED[verified] if isinstance(verified, Drop) else verified

    return payload


class ExchangeLog:
    """Writes datagrams and events to standard error. The lines of a peer name its `slot`."""

    def __init__(self, content: Content, *, slot: str = "", silent: bool = False) -> None:
        self._content = content
        self._silent = silent
        self._prefix = f"[{os.getpid()}]" + (f" [{slot}]" if slot else "")

    @property
    def observer(self) -> Observer | None:
        """The observer to pass on. None if silent: then no datagram is decoded for it."""
        return None if self._silent else self._observe

    def _observe(self, observation: Datagram | Event) -> None:
        if isinstance(observation, Datagram):
            self.info(self._exchange(observation))
        elif line := EVENT_LINES.get(type(observation)):
            level, describe = line
            self._write(level, describe(observation))

    def listening(self, addresses: Iterable[Address]) -> None:
        self.info(f"Listening on {', '.join(map(str, addresses))}")

    def info(self, text: str) -> None:
        self._write("info", text)

    def _exchange(self, datagram: Datagram) -> str:
        content = quote(self._content(datagram))
        if datagram.sent:
            return f"write: {content} -> {datagram.remote}"
        return f"read: {content} <- {datagram.remote}"

    def _write(self, level: str, text: str) -> None:
        if not self._silent:
            now = datetime.now().strftime("%Y/%m/%d %H:%M:%S.%f")
            write_error(f"{now} {self._prefix} [{level}] {text}")


def quote(data: bytes) -> str:
    """Bytes as Go's %q writes them: nothing from the network reaches the terminal unescaped."""
    return '"' + "".join(_escape(byte) for byte in data) + '"'


def _escape(byte: int) -> str:
    if byte in ESCAPES:
        return ESCAPES[byte]
    return chr(byte) if byte in PRINTABLE_ASCII else f"\\x{byte:02x}"
