"""The status of a process: immutable values without secrets, and where its sockets are."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from enum import StrEnum
from operator import add
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from netpunch.mesh import mesh_pair
from netpunch.output.journal import VERSION, Record, rfc3339

SOCKET_NAME = "status.sock"
"""In a unit's runtime directory."""

SOCKET_SUFFIX = ".sock"

ROOT_FOLDER = Path("/run/netpunch")
"""Where root's processes have their sockets that are in no unit."""

USER_FOLDER = "netpunch"
"""The same for other users, in $XDG_RUNTIME_DIR."""

DIGEST_BYTES = 8
"""Enough to tell the site files of one host apart."""

THOUSAND = 1000
"""Of a unit of bytes in the next one."""

TIMES = {"started", "since", "path_since", "err_at", "reload_err_at", "last_seen"}
"""Fields that are RFC 3339 in JSON."""

ENDS_AT_ONCE = 32
"""In one piece of a status: some 0.4 ms."""

MOST_RELAYED = 32
"""Pairs of a relay that are shown: a control may have a hundred thousand."""

MOST_ABSENT = 256
"""Ends that a control names: half a millisecond of encoding."""

NONE_COUNTED: Mapping[str, int] = MappingProxyType({})


class State(StrEnum):
    """Where an end is."""

    STARTING = "starting"
    """Its check or its `before` hook runs."""
    WAITING = "waiting"
    """For control, or for the partner: the reason says which."""
    PUNCHING = "punching"
    """Introduced to the partner."""
    UP = "up"
    """Linked, or its check says that it is alive."""
    DOWN = "down"
    """The link was lost."""
    FAILED = "failed"
    """There is no link; in `keep` it is tried again."""
    STOPPED = "stopped"
    """It was stopped, and a link of it is not watched any more."""


class Traffic(NamedTuple):
    """What programs have sent over held links that netpunch relays for, and have received; `drops`
    are datagrams of both that were lost at this end, by reason."""

    sent_datagrams: int = 0
    sent_bytes: int = 0
    received_datagrams: int = 0
    received_bytes: int = 0
    drops: Counter[str] = Counter()  # noqa: RUF012 - nobody changes it

    def plus(self, other: "Traffic") -> "Traffic":
        return Traffic._make(map(add, self, other))


class Figures(NamedTuple):
    """What is measured of a held link; times in seconds. `rtt` is smoothed, `jitter` the mean
    deviation from it, `loss` the part of the last pings that stayed unanswered; `traffic` is None
    where no program's datagrams pass through netpunch."""

    rtt: float | None
    jitter: float | None
    loss: float
    traffic: Traffic | None = None


class EndStatus(NamedTuple):
    """One end of a pair; names and order of the fields are those of JSON. Times are in seconds
    since the epoch."""

    pair: str
    end: str
    state: State = State.STARTING
    reason: str | None = None
    laddr: str | None = None
    raddr: str | None = None
    observed: str | None = None
    """The end's own address as control sees it."""
    path: str | None = None
    path_since: float | None = None
    """Since when it has that path: a link that moves stays in its state."""
    rtt_ms: float | None = None
    """Round trip: smoothed while the link is held, else that of when it was made."""
    jitter_ms: float | None = None
    """Mean deviation from it; None unless the link is held."""
    loss: float | None = None
    """Part of the last 20 pings that were not answered, 0 to 1; None unless the link is held."""
    since: float = 0.0
    """When it entered this state."""
    err: str | None = None
    """The last error, which stays when the end is up again."""
    err_at: float | None = None
    links: int = 0
    """How often it was linked."""
    failures: Mapping[str, int] = NONE_COUNTED
    """How often it has failed, by reason."""
    losses: Mapping[str, int] = NONE_COUNTED
    """How often a link was lost, by reason."""
    moves: Mapping[str, int] = NONE_COUNTED
    """How often a held link has moved to another path, by reason."""
    sent_datagrams: int | None = None
    """Of the local program (`forward`), over all links; None for ends that do not relay."""
    sent_bytes: int | None = None
    received_datagrams: int | None = None
    received_bytes: int | None = None
    drops: Mapping[str, int] | None = None
    """Datagrams of both programs that were lost at this end, by reason."""
    forward: str | None = None
    """Where the local program sends to; None for ends that do not relay."""

    @property
    def is_up(self) -> bool:
        return self.state is State.UP

    @property
    def mesh(self) -> str | None:
        """The mesh that its pair belongs to, if to any."""
        pair = mesh_pair(self.pair)
        return None if pair is None else pair.mesh

    def as_record(self) -> Record:
        """Its part of the JSON object."""
        return _record({**self._asdict(), "mesh": self.mesh})


class RelayedPair(NamedTuple):
    """What a relay has done for a pair; names and order of the fields are those of JSON."""

    pair: str
    datagrams: int = 0
    bytes: int = 0
    drops: Mapping[str, int] = NONE_COUNTED
    """Datagrams of its ends that were not passed on, by reason."""


class RelayStatus(NamedTuple):
    """The relay of a control, likewise. Counts are since its start."""

    addresses: tuple[str, ...] = ()
    """Where it relays; with several ports as `0.0.0.0:10003-10018`."""
    bound: int = 0
    """Ends that are bound now."""
    datagrams: int = 0
    bytes: int = 0
    drops: Mapping[str, int] = NONE_COUNTED
    """Datagrams that were not passed on, by reason."""
    pairs: tuple[RelayedPair, ...] = ()
    """The pairs with the most bytes, MOST_RELAYED at most."""


class TlsStatus(NamedTuple):
    """The TLS connections of a control, likewise."""

    address: str
    """Where it takes them."""
    ends: int = 0
    """Ends that are connected now."""
    strangers: int = 0
    """Connections now that have not proved to be an end's."""
    refused: int = 0
    """Connections that did not prove it in time, or were too many."""


class AbsentEnd(NamedTuple):
    """An end that is not registered at a control, likewise."""

    pair: str
    end: str
    last_seen: float | None = None
    """None: not since control has run."""
    awaited: bool = False
    """Its partner is registered."""


class ControlStatus(NamedTuple):
    """A control; names and order of the fields are those of JSON. Counts are since its start."""

    control: str
    """Its name."""
    addresses: tuple[str, ...] = ()
    """What it listens on; empty if it cannot."""
    registered: int = 0
    """Ends that are registered now."""
    drops: Mapping[str, int] = NONE_COUNTED
    """Datagrams that were dropped, by reason."""
    send_errors: Mapping[str, int] = NONE_COUNTED
    """Datagrams that the system did not send, by the error's name."""
    queue_drops: int = 0
    """Datagrams that the system dropped because they came faster than they were read."""
    awaited: tuple[str, ...] = ()
    """`home-office b`: ends (v2) that are missing though their partners are registered."""
    problems: tuple[str, ...] = ()
    """Why it does not listen, or does not serve a pair."""
    relay: RelayStatus | None = None
    """Its relay, if it has one."""
    tls: TlsStatus | None = None
    """Its TLS connections, if it takes them."""
    behind: tuple[str, ...] = ()
    """`home-office b`: ends that use only the second of their pair's two keys."""
    absent_ends: int = 0
    """How many ends are not registered."""
    absent: tuple[AbsentEnd, ...] = ()
    """Those that are awaited, those seen last and others, MOST_ABSENT at most."""


class Refusal(NamedTuple):
    """The last reload failed: the process keeps the earlier configuration, but could not be started
    again with its file. `at` is seconds since the epoch."""

    err: str
    at: float

    @property
    def first_line(self) -> str:
        """The first of several problems, without the line of the file."""
        return self.err.partition("\n")[0]


class ProcessStatus(NamedTuple):
    """The whole status. `at` and `started` are seconds since the epoch."""

    at: float
    started: float
    version: str
    run: str
    pid: int
    node: str | None = None
    events_dropped: int = 0
    """Lines of standard output that a stalled reader has cost."""
    ends: tuple[EndStatus, ...] = ()
    controls: tuple[ControlStatus, ...] = ()
    file: str | None = None
    """The site file, as an absolute path."""
    refusal: Refusal | None = None
    """The last reload, if it failed."""

    @property
    def is_ok(self) -> bool:
        """Whether all pairs are up, and every control serves all of its own."""
        return all(end.is_up for end in self.ends) and not any(
            control.problems for control in self.controls
        )

    @property
    def paths(self) -> Counter[str]:
        """How many pairs have which kind of path. A pair is up if all of its ends here are; one
        whose check alone says that it is up has the path `unknown`."""
        down = {end.pair for end in self.ends if not end.is_up}
        up = {end.pair: end.path or "unknown" for end in self.ends if end.pair not in down}
        return Counter(up.values())

    @property
    def summary(self) -> str:
        """`3 of 4 pairs up, 1 relayed`, for a control `12 ends registered`. A refused reload comes
        first."""
        parts: list[str] = []
        if self.ends:
            paths = self.paths
            pairs = _count(len({end.pair for end in self.ends}), "pair")
            parts.append(f"{paths.total()} of {pairs} up")
            if relayed := paths["relay"]:
                parts.append(f"{relayed} relayed")
        if self.controls:
            registered = sum(control.registered for control in self.controls)
            parts.append(f"{_count(registered, 'end')} registered")
        standing = ", ".join(parts) or "nothing to do"
        if self.refusal is None:
            return standing
        return f"reload refused: {self.refusal.first_line}; {standing}"

    @property
    def health(self) -> str:
        """How the held links do, in one line however many there are: the worst of them, and sums.
        Empty if none is held."""
        held = [end for end in self.ends if end.loss is not None]
        if not held:
            return ""
        most = "up to " if len(held) > 1 else ""
        parts: list[str] = []
        if rtts := [end.rtt_ms for end in held if end.rtt_ms is not None]:
            parts.append(f"round trip {most}{max(rtts):.3g} ms")
        parts.append(f"loss {most}{max(end.loss or 0.0 for end in held):.0%}")
        if moves := sum(sum(end.moves.values()) for end in held):
            parts.append(_count(moves, "move"))
        if any(end.sent_bytes is not None for end in held):
            sent, received = (
                amount(sum(getattr(end, f"{way}_bytes") or 0 for end in held))
                for way in ("sent", "received")
            )
            parts.append(f"{sent} sent, {received} received")
        return ", ".join(parts)

    def as_record(self) -> Record:
        """The JSON object that a status socket sends."""
        pairs: list[Record] = [end.as_record() for end in self.ends]
        return self._head() | {"pairs": pairs} | self._tail()

    def as_json(self) -> Iterator[bytes]:
        """`as_record` as a line, in pieces that take less than a millisecond to make: with 500 ends
        all of it takes 5, for which a process may not keep its links waiting."""
        yield _encode(self._head())[:-1] + b',"pairs":['
        for first in range(0, len(self.ends), ENDS_AT_ONCE):
            ends = self.ends[first : first + ENDS_AT_ONCE]
            piece = _encode([end.as_record() for end in ends])[1:-1]
            yield b"," + piece if first else piece
        yield b"]," + _encode(self._tail())[1:] + b"\n"

    def _head(self) -> Record:
        return _record(
            {
                "v": VERSION,
                "ts": rfc3339(self.at),
                "run": self.run,
                "node": self.node,
                "file": self.file,
                "version": self.version,
                "pid": self.pid,
                "started": self.started,
                "ok": self.is_ok,
                "summary": self.summary,
                "events_dropped": self.events_dropped,
                "reload_err": self.refusal and self.refusal.err,
                "reload_err_at": self.refusal and self.refusal.at,
            }
        )

    def _tail(self) -> Record:
        return {"controls": [_record(control._asdict()) for control in self.controls]}


def default_socket(environ: Mapping[str, str]) -> Path | None:
    """Where the status socket is unless the site file says: in the unit's runtime directory."""
    folder = runtime_directory(environ)
    return folder / SOCKET_NAME if folder else None


def runtime_directory(environ: Mapping[str, str]) -> Path | None:
    """The folder that systemd has given to the unit that this process is in."""
    folder = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # systemd joins several
    return Path(folder) if folder else None


def own_folder(environ: Mapping[str, str], uid: int) -> Path | None:
    """Where a process of user `uid` in no unit has its socket, unless the site file says."""
    if uid == 0:
        return ROOT_FOLDER
    runtime = environ.get("XDG_RUNTIME_DIR")
    return Path(runtime, USER_FOLDER) if runtime else None


def socket_prefix(file: Path) -> str:
    """What the names of such sockets begin with, for the processes of one site file. The process's
    number follows, so that several of them don't compete for one."""
    digest = hashlib.sha256(os.fsencode(file.resolve())).hexdigest()
    return f"{digest[: 2 * DIGEST_BYTES]}-"


def own_socket(folder: Path, file: Path, pid: int) -> Path:
    """The socket of process `pid`, which runs `file`."""
    return folder / f"{socket_prefix(file)}{pid}{SOCKET_SUFFIX}"


def _record(fields: Record) -> Record:
    """Fields as JSON has them; what is not known is left out."""
    return {name: _plain(name, value) for name, value in fields.items() if value is not None}


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _plain(name: str, value: object) -> object:
    """The most frequent first, by their classes: a status has 20 fields for each end."""
    if isinstance(value, float):
        return rfc3339(value) if name in TIMES else value
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, (dict, MappingProxyType)):
        return dict(value)
    if isinstance(value, (AbsentEnd, RelayStatus, RelayedPair, TlsStatus)):
        return _record(value._asdict())
    return [_plain("", each) for each in value] if isinstance(value, tuple) else value


def amount(number: int) -> str:
    """Bytes for people: `12.3 MB`."""
    size = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if size < THOUSAND:
            return f"{size:.1f} {unit}" if unit != "B" else f"{number} B"
        size /= THOUSAND
    return f"{size:.1f} TB"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
