"""The journal of a run: one JSON object a line for each event.

A line begins with `v`, `ts`, `seq`, `run`, `event` and `node`. Within `v` 1 fields are only ever
added.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum

from netpunch.address import Address
from netpunch.output.events import Event

VERSION = 1

MAX_LINE_BYTES = 4096
"""PIPE_BUF of Linux: the kernel takes a line of this length whole or not at all, so a reader never
sees a torn one, however this process ends. It also fits any pipe's buffer."""

TEXT_LIMITS = (1000, 250, 60)
"""Longest text (and list) of a record, in characters; the next one where a line is too long."""

RUN_ID_BYTES = 8
"""Enough to tell the runs of one site apart; not a secret."""

Record = dict[str, object]
"""A JSON object."""


class Style(StrEnum):
    """What standard output carries."""

    JSON = "json"
    """Every event as a record."""
    TEXT = "text"
    """The rendered template of each link, nothing else."""
    TEMPLATES = "templates"
    """The same, but only where the site file sets a template. It is no option: a person who sees
    standard error on the same terminal is told of the link there."""
    NONE = "none"
    """Nothing. It is no option: systemd's journal gets it, as it has the lines for people from
    standard error."""


_STAMP = ("v", "ts", "seq", "run", "event")
"""Fields of known length: they survive when a record must be cut."""

_SIDES = {"local": "l", "remote": "r"}

_encode_json = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch as UTC with microseconds: `2026-01-31T12:00:00.000000Z`."""
    at = datetime.fromtimestamp(seconds, UTC)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")  # strftime takes 10 us


def address_fields(prefix: str, address: Address) -> dict[str, str | int]:
    """`laddr`, `lhost`, `lport` for the prefix `l`."""
    return {
        f"{prefix}addr": str(address),
        f"{prefix}host": address.host,
        f"{prefix}port": address.port,
    }


def encode(record: Record) -> bytes:
    """A record as one line of ASCII, newline included, of at most MAX_LINE_BYTES.

    Where it would be longer, its texts and lists are shortened; if nothing helps, only the stamp
    is kept, with `cut` set."""
    for limit in TEXT_LIMITS:
        line = _line({name: _shortened(value, limit) for name, value in record.items()})
        if len(line) <= MAX_LINE_BYTES:
            return line
    return _line({name: record[name] for name in _STAMP if name in record} | {"cut": True})


class Journal:
    """Stamps the events of one run and writes them as JSON lines.

    `write` takes a whole line and says whether it was accepted; it must not block. The next line
    that it accepts has the number of refused ones in its field `dropped`. Not thread-safe."""

    def __init__(
        self,
        write: Callable[[bytes], bool],
        *,
        node: str | None = None,
        style: Style = Style.JSON,
        clock: Callable[[], float] = time.time,
        observer: Callable[[Event], None] | None = None,
    ) -> None:
        """`observer` sees every event, whatever the style."""
        self.run = os.urandom(RUN_ID_BYTES).hex()
        self.dropped = 0
        """Lines refused since the start."""
        self._unreported = 0
        self._seq = 0
        self._write = write
        self.node = node
        self._style = style
        self._clock = clock
        self._observer = observer

    def emit(self, event: Event) -> bytes:
        """Write an event (not in the other styles) and return its line, for a hook."""
        self._seq += 1
        record = self._record(event, seq=self._seq)
        line = encode(record)
        if self._style is Style.JSON:
            self._put(encode(record | {"dropped": self._unreported}) if self._unreported else line)
        self.note(event)
        return line

    def draft(self, event: Event) -> bytes:
        """An event's line for a hook alone: without a number, neither written nor observed."""
        return encode(self._record(event))

    def note(self, event: Event) -> None:
        """An event that repeats what is known: only the observer gets it, nothing is written."""
        if self._observer is not None:
            self._observer(event)

    def show_link(self, text: str, *, own_template: bool = False) -> None:
        """Write the rendered template of a link, in text style only. `own_template`: it is one of
        the site file."""
        if self._style is Style.TEXT or (own_template and self._style is Style.TEMPLATES):
            self._put(valid_text(text + "\n").encode())

    def _record(self, event: Event, **number: int) -> Record:
        """Stamped; the addresses `local` and `remote` become laddr, lhost, lport and raddr, rhost,
        rport. What is None or not finite is left out, floats are rounded to a thousandth."""
        record: Record = {"v": VERSION, "ts": rfc3339(self._clock())}
        record |= number | {"run": self.run, "event": event.event}
        if self.node is not None:
            record["node"] = self.node
        for name in event.__match_args__:
            value = getattr(event, name)
            if name in _SIDES and isinstance(value, Address):
                record |= address_fields(_SIDES[name], value)
            elif (plain := _plain(value)) is not None:
                record[name] = plain
        return record

    def _put(self, line: bytes) -> None:
        if self._write(line):
            self._unreported = 0
        else:
            self._unreported += 1
            self.dropped += 1


def _line(record: Record) -> bytes:
    return _encode_json(record).encode("ascii") + b"\n"


def _plain(value: object) -> object:
    """A value as JSON has it; None for a number that is not finite."""
    if isinstance(value, Address):
        return str(value)
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def valid_text(text: str) -> str:
    """Text without lone surrogates (paths and arguments may have them): parsers reject those."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _shortened(value: object, limit: int) -> object:
    if isinstance(value, str):
        return value if len(value) <= limit else value[:limit] + "…"
    if isinstance(value, list):
        return [_shortened(item, limit) for item in value[:limit]]
    return value
