"""Event records: one JSON object a line.

A record is stamped (`v`, `ts`, `seq`, `run`, `event`, `node`), its fields keep one order, and
what does not apply is left out. Within `v` 1 fields are only ever added.
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

VERSION = 1

MAX_LINE_BYTES = 4096
"""PIPE_BUF of Linux: the kernel takes a line of this length whole or not at all, so no reader
ever sees a torn one, however this process ends. It also fits any pipe's buffer."""

TEXT_LIMITS = (1000, 250, 60)
"""Longest text (and list) of a record, in characters; the next one where a line is too long."""

RUN_ID_BYTES = 8
"""Enough to tell the runs of one site apart; it is no secret."""

Scalar = str | int | float | Address
Value = Scalar | list[Scalar] | tuple[Scalar, ...] | None
Record = dict[str, object]


class EventName(StrEnum):
    """Every event there is."""

    RUN_START = "run.start"
    RUN_READY = "run.ready"
    RUN_RELOAD = "run.reload"
    RUN_STOP = "run.stop"
    PAIR_WAITING = "pair.waiting"
    PAIR_SEEN_INSIDE = "pair.seen_inside"
    """A public control sees the end at a private address."""
    PAIR_MAPPED = "pair.mapped"
    """What a gateway grants, or why it grants nothing."""
    PAIR_INTRODUCED = "pair.introduced"
    PAIR_UP = "pair.up"
    PAIR_ALIVE = "pair.alive"
    """The check passed, nothing was done."""
    PAIR_DOWN = "pair.down"
    PAIR_FAILED = "pair.failed"
    HOOK_START = "hook.start"
    HOOK_OUTPUT = "hook.output"
    HOOK_END = "hook.end"
    ENV_WRITTEN = "env.written"
    CONTROL_READY = "control.ready"
    CONTROL_REGISTERED = "control.registered"
    CONTROL_FAILED = "control.failed"
    """It cannot serve: at all, or one `pair`."""
    CONTROL_EXPIRED = "control.expired"
    CONTROL_END_INSIDE = "control.end_inside"
    """An end comes from this control's own network, or from its gateway."""
    AUTH_REJECTED = "auth.rejected"
    ROLE_CONFLICT = "role.conflict"
    DATAGRAM = "datagram"
    """Only with --trace."""


class Style(StrEnum):
    """What standard output carries."""

    JSON = "json"
    """Every event as a record."""
    TEXT = "text"
    """The rendered template of each link, nothing else."""
    NONE = "none"
    """Nothing: no option, but what a journal gets, which has the lines for people from standard
    error."""


_STAMP = ("v", "ts", "seq", "run", "event")
"""Fields of known length: they survive when a record must be cut."""

_KNOWN = (
    *("pair", "end", "laddr", "lhost", "lport", "raddr", "rhost", "rport", "path", "rtt_ms"),
    *("duration_s", "changed", "attempt", "reason", "err"),
)
_POSITION = {name: position for position, name in enumerate(_KNOWN)}

_ENDS = {"local": "l", "remote": "r"}

_encode_json = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch as UTC with microseconds: `2026-01-31T12:00:00.000000Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def address_fields(prefix: str, address: Address) -> dict[str, Value]:
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
    """Stamps the events of one run and writes them.

    `write` takes a whole line and says whether it was accepted; it must not block. How many lines
    it refused is told by the field `dropped` of the next one that it accepts. Not thread-safe."""

    def __init__(
        self,
        write: Callable[[bytes], bool],
        *,
        node: str | None = None,
        style: Style = Style.JSON,
        clock: Callable[[], float] = time.time,
        observer: Callable[[Record], None] | None = None,
    ) -> None:
        """`observer` sees every record, in either style."""
        self.run = os.urandom(RUN_ID_BYTES).hex()
        self.dropped = 0
        """Lines refused since the start."""
        self._untold = 0
        self._seq = 0
        self._write = write
        self.node = node
        self._style = style
        self._clock = clock
        self._observer = observer

    def emit(self, event: EventName, **fields: Value) -> Record:
        """Write an event (in text style: only count it) and return its record, for hooks.

        The addresses `local` and `remote` become laddr, lhost, lport and raddr, rhost, rport.
        Fields that are None or not finite are left out, floats are rounded to a thousandth."""
        self._seq += 1
        record = self._record(event, fields, seq=self._seq)
        if self._style is Style.JSON:
            told = {"dropped": self._untold} if self._untold else {}
            self._put(encode(record | told))
        if self._observer is not None:
            self._observer(record)
        return record

    def draft(self, event: EventName, **fields: Value) -> Record:
        """An event's record for a hook alone: without a number, and neither written nor counted."""
        return self._record(event, fields)

    def note(self, event: EventName, **fields: Value) -> Record:
        """An event that repeats what is known: only the observer sees it, nothing is written."""
        record = self._record(event, fields)
        if self._observer is not None:
            self._observer(record)
        return record

    def show_link(self, text: str) -> None:
        """Write the rendered template of a link, in text style only."""
        if self._style is Style.TEXT:
            self._put(_utf8(text + "\n").encode())

    def _record(
        self, event: EventName, fields: dict[str, Value], *, seq: int | None = None
    ) -> Record:
        record: Record = {"v": VERSION, "ts": rfc3339(self._clock())}
        if seq is not None:
            record["seq"] = seq
        record |= {"run": self.run, "event": event.value}
        if self.node is not None:
            record["node"] = self.node
        fields = _with_split_addresses(fields)
        for name in sorted(fields, key=lambda name: _POSITION.get(name, len(_POSITION))):
            if (value := _plain(fields[name])) is not None:
                record[name] = value
        return record

    def _put(self, line: bytes) -> None:
        if self._write(line):
            self._untold = 0
        else:
            self._untold += 1
            self.dropped += 1


def _line(record: Record) -> bytes:
    return _encode_json(record).encode("ascii") + b"\n"


def _with_split_addresses(fields: dict[str, Value]) -> dict[str, Value]:
    split: dict[str, Value] = {}
    for name, value in fields.items():
        if name in _ENDS and isinstance(value, Address):
            split |= address_fields(_ENDS[name], value)
        else:
            split[name] = value
    return split


def _plain(value: Value) -> object:
    """A value as JSON knows it; None where there is nothing to tell."""
    if isinstance(value, Address):
        return str(value)
    if isinstance(value, str):
        return _utf8(value)
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _utf8(text: str) -> str:
    """Text without lone surrogates (paths and arguments may have them): parsers reject those."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _shortened(value: object, limit: int) -> object:
    if isinstance(value, str):
        return value if len(value) <= limit else value[:limit] + "…"
    if isinstance(value, list):
        return [_shortened(item, limit) for item in value[:limit]]
    return value
