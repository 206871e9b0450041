"""What a running process says of itself: plain values that never change, without secrets."""

import hashlib
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

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

NONE_COUNTED: Mapping[str, int] = MappingProxyType({})


class State(StrEnum):
    """Where an end is."""

    STARTING = "starting"
    """Nothing was told yet: its check or its `before` hook runs."""
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
    """It was stopped: nobody looks after a link of it."""


class EndStatus(NamedTuple):
    """One end of a pair; the names are those of events. `since` and `err_at` are seconds since
    the epoch, `err` is the last error, which stays when the end is up again."""

    pair: str
    end: str
    since: float
    state: State = State.STARTING
    reason: str | None = None
    laddr: str | None = None
    raddr: str | None = None
    observed: str | None = None
    """The end's own address as control sees it."""
    path: str | None = None
    rtt_ms: float | None = None
    err: str | None = None
    err_at: float | None = None
    links: int = 0
    failures: Mapping[str, int] = NONE_COUNTED
    """How often it has failed, by reason."""
    losses: Mapping[str, int] = NONE_COUNTED
    """How often a link was lost, by reason."""

    @property
    def is_up(self) -> bool:
        return self.state is State.UP

    def as_record(self) -> Record:
        return {
            "pair": self.pair,
            "end": self.end,
            "state": self.state,
            **_known(
                reason=self.reason,
                laddr=self.laddr,
                raddr=self.raddr,
                observed=self.observed,
                path=self.path,
                rtt_ms=self.rtt_ms,
            ),
            "since": rfc3339(self.since),
            **_known(err=self.err, err_at=None if self.err_at is None else rfc3339(self.err_at)),
            "links": self.links,
            "failures": dict(self.failures),
            "losses": dict(self.losses),
        }


class ControlStatus(NamedTuple):
    """A control node. Counts are since its start."""

    name: str
    addresses: tuple[str, ...] = ()
    """What it listens on; nothing: it could not."""
    registered: int = 0
    """Ends that are there now."""
    drops: Mapping[str, int] = NONE_COUNTED
    """Datagrams that it did not take, by reason."""
    send_errors: Mapping[str, int] = NONE_COUNTED
    """Datagrams that the system did not send, by the error's name."""
    queue_drops: int = 0
    """Datagrams that came faster than they were read: the system threw them away."""
    awaited: tuple[str, ...] = ()
    """`home-office b`: ends (v2) that are not there though their partners are."""
    problems: tuple[str, ...] = ()
    """Why it does not listen, or does not serve a pair."""

    def as_record(self) -> Record:
        return {
            "control": self.name,
            "addresses": list(self.addresses),
            "registered": self.registered,
            "drops": dict(self.drops),
            "send_errors": dict(self.send_errors),
            "queue_drops": self.queue_drops,
            "awaited": list(self.awaited),
            "problems": list(self.problems),
        }


class Refusal(NamedTuple):
    """The last reload was refused: the process runs on with the configuration before it, but could
    not start again. `at` is seconds since the epoch."""

    err: str
    at: float

    @property
    def first_line(self) -> str:
        """Of several problems the first, without the line of the file."""
        return self.err.partition("\n")[0]


class ProcessStatus(NamedTuple):
    """Everything. `at` and `started` are seconds since the epoch."""

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
    """Until a reload succeeds."""

    @property
    def is_ok(self) -> bool:
        """Whether all pairs are up, and every control serves all of its own."""
        return all(end.is_up for end in self.ends) and not any(
            control.problems for control in self.controls
        )

    @property
    def summary(self) -> str:
        """`3 of 4 pairs up`, for a control `12 ends registered`. A pair is up if all of its ends
        here are. A refused reload comes first."""
        parts: list[str] = []
        if self.ends:
            pairs = {end.pair for end in self.ends}
            up = len(pairs - {end.pair for end in self.ends if not end.is_up})
            parts.append(f"{up} of {_count(len(pairs), 'pair')} up")
        if self.controls:
            registered = sum(control.registered for control in self.controls)
            parts.append(f"{_count(registered, 'end')} registered")
        standing = ", ".join(parts) or "nothing to do"
        if self.refusal is None:
            return standing
        return f"reload refused: {self.refusal.first_line}; {standing}"

    def as_record(self) -> Record:
        """As JSON knows it: what a status socket answers."""
        return {
            "v": VERSION,
            "ts": rfc3339(self.at),
            "run": self.run,
            **_known(node=self.node, file=self.file),
            "version": self.version,
            "pid": self.pid,
            "started": rfc3339(self.started),
            "ok": self.is_ok,
            "summary": self.summary,
            "events_dropped": self.events_dropped,
            **self._refusal(),
            "pairs": [end.as_record() for end in self.ends],
            "controls": [control.as_record() for control in self.controls],
        }

    def _refusal(self) -> Record:
        if self.refusal is None:
            return {}
        return {"reload_err": self.refusal.err, "reload_err_at": rfc3339(self.refusal.at)}


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


def _known(**fields: object) -> Record:
    return {name: value for name, value in fields.items() if value is not None}


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
