"""Connectivity checks towards one partner attempt (ICE's term): pings, pongs, valid paths.

A path (ICE: a candidate pair) is one of our sockets and one remote address. It is valid once a PONG
came back on the very socket and address that its PING was sent to. A partner attempt is proved,
that is alive and no recording, by a datagram of its own that names our attempt.

A live partner need not be where a datagram seems to come from. So a host gets pings without limit
only if the partner's own card names it, or control, which has seen it receive there; any other
host, until a pong comes from it, gets only what `core.allowances` has for strangers.
"""

from __future__ import annotations

from copy import copy
from enum import Enum
from struct import Struct

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.candidates import RANK, Candidate
from netpunch.core.end.identity import AttemptHost
from netpunch.core.events import CandidateReport, PathKind, Via
from netpunch.core.machine import NEVER
from netpunch.wire import v2
from netpunch.wire.drop import Drop

_SEQUENCE = Struct("!I4s")
"""A rising number, by which recordings are recognised, and four random bytes."""
_WINDOW_MASK = (1 << timing.SEQUENCE_WINDOW) - 1


class _Origin(Enum):
    """Why a path is tried. Each origin has places of its own, so that none displaces another."""

    NAMED = "named"
    """Control or a card names its address."""
    HEARD = "heard"
    """A ping came on it."""
    AIMED = "aimed"
    """A traversal strategy opened its socket."""
    RELAYED = "relayed"
    """Its address is a relay's."""


class Path:
    """One of our sockets and a candidate of the partner; times in seconds."""

    def __init__(self, via: Via, remote: Address, kind: PathKind, next_ping: float) -> None:
        self.via = via
        self.remote = remote
        self.kind = kind
        self.next_ping = next_ping
        self.pings = 0
        self.unsent = 0
        """Pings and other datagrams to it for which the system had no route."""
        self.received = 0
        """Pings and pongs that came on it."""
        self.first_ping = NEVER
        self.rtt: float | None = None
        """The shortest round trip until a path is agreed, the latest one of a held link."""
        self.sequence = b""
        """The ping that made it valid."""
        self.proved_at = NEVER
        """When that ping was sent."""
        self.heard = _Heard()

    @property
    def place(self) -> tuple[Via, Address]:
        """Our socket and the partner's address."""
        return self.via, self.remote

    @property
    def valid(self) -> bool:
        return self.rtt is not None

    def relocated(self, via: Via, remote: Address) -> Path:
        """The same, from another socket to another address."""
        path = copy(self)
        path.via, path.remote = via, remote
        return path

    def report(self) -> CandidateReport:
        sent = max(0, self.pings - self.unsent)
        unsendable = self.unsent > 0 and not sent and not self.received
        return CandidateReport(self.remote, self.kind, sent, self.received, unsendable)


class _Heard:
    """Pings that came on a path: each counts once. Their numbers are the bits of one integer, as
    they go on coming while a link is held. Copies on other paths don't count here: an attacker
    who races the partner with copies must not silence it."""

    __slots__ = ("_arrivals", "_bits", "_latest")

    def __init__(self) -> None:
        self._latest = -1
        self._bits = 0
        """Bit n: the ping n below the latest number has come."""
        self._arrivals: dict[bytes, float] | None = None

    def add(self, sequence: bytes) -> bool:
        """Whether this ping counts: not heard before, not older than the window."""
        number, _ = _SEQUENCE.unpack(sequence)
        ahead = number - self._latest
        if ahead > 0:
            shifted = self._bits << ahead if ahead < timing.SEQUENCE_WINDOW else 0
            self._bits = (shifted & _WINDOW_MASK) | 1
            self._latest = number
            return True
        bit = 1 << -ahead if -ahead < timing.SEQUENCE_WINDOW else 0
        if not bit or self._bits & bit:
            return False
        self._bits |= bit
        return True

    def remember(self, sequence: bytes, now: float) -> None:
        """Notes when it came, as it may be nominated."""
        if self._arrivals is None:
            self._arrivals = {}
        if len(self._arrivals) >= timing.NOMINABLE_PINGS:
            del self._arrivals[next(iter(self._arrivals))]
        self._arrivals[sequence] = now

    def arrival(self, sequence: bytes) -> float | None:
        """When it came; None if that is not known."""
        return None if self._arrivals is None else self._arrivals.get(sequence)


class Checklist:
    """All paths from our attempt, of `host`, to one attempt of the partner."""

    def __init__(self, host: AttemptHost, partner: bytes) -> None:
        self.proved = False
        self.paths: dict[tuple[Via, Address], Path] = {}
        self.valid: list[Path] = []
        self.stopped = False
        self.pings = 0
        """Sent in all."""
        self._unsendable: dict[Address, PathKind] = {}
        """Named addresses of a family in which this end has no socket."""
        self._host = host
        self._partner = partner
        self._bucket = host.resources.ping_bucket
        self._strangers = host.resources.strangers
        self._random = host.resources.random
        self._places = dict.fromkeys(_Origin, timing.MAX_CANDIDATES)
        """How many paths may still be added."""
        self._number = 0
        self._sent: dict[bytes, tuple[Path, float]] = {}
        self._vouched: set[str] = set()
        """Hosts that the partner's card or control names."""
        self._unproved_pings: dict[str, int] = {}
        """How many more pings a host gets before it is proved."""

    def add(
        self,
        candidate: Candidate,
        now: float,
        *,
        vouched: bool = True,
        unproved_pings: int = timing.UNPROVED_PINGS,
        opener: bool = False,
    ) -> None:
        """Tries a candidate from every socket of its family, within the bounds.

        `vouched`: the partner's card names it, or control has seen the partner receive there.
        `unproved_pings`: how many its host gets before the partner is proved.
        `opener`: the first ping dies on the way. It opens our NAT unseen by the partner's, which
        may still be closed and then block our port."""
        host = candidate.address.host
        vias = list(self._host.resources.vias_for(candidate.address.family))
        if not vias and len(self._unsendable) < timing.MAX_CANDIDATES:
            self._unsendable[candidate.address] = candidate.kind
        for via in vias:
            is_new = (via, candidate.address) not in self.paths
            path = self._add_path(via, candidate, _Origin.NAMED if vouched else _Origin.HEARD, now)
            if path is None:
                continue
            if vouched and host not in self._vouched:
                self._vouched.add(host)
                self._allow_unproved(host, unproved_pings)
                path.next_ping = min(path.next_ping, now)
            elif is_new and not vouched:
                self._allow_unproved(host, unproved_pings)
                path.next_ping = now
            if RANK[candidate.kind] < RANK[path.kind] and path.kind is not PathKind.RELAY:
                path.kind = candidate.kind  # its ping was faster than the card that names it
            if opener and is_new and self._may_ping(path, now):
                self._ping(path, now, ttl=timing.OPENER_TTL)
                path.next_ping = now + timing.OPENER_LEAD

    def add_path(self, via: Via, candidate: Candidate, now: float) -> None:
        """Tries a candidate from one socket only, with an opener at once."""
        path = self._add_path(via, candidate, _Origin.AIMED, now)
        if path is not None and not path.pings and self._bucket.take(now):
            self._ping(path, now, ttl=timing.OPENER_TTL)
            path.next_ping = now + timing.PROBED_LEAD

    def add_relay(self, via: Via, relay: Address, now: float) -> None:
        """Tries a relay, from the socket that is bound there. It stands for no other port of its
        host, and is no stranger's address."""
        path = self._add_path(via, Candidate(relay, PathKind.RELAY), _Origin.RELAYED, now)
        if path is not None:
            self.is_relayed(path, now)

    def is_relayed(self, path: Path, now: float) -> None:
        """What the partner sends on it comes by a relay."""
        if path.kind is not PathKind.RELAY:  # it came before that was known
            path.kind = PathKind.RELAY
            path.next_ping = min(path.next_ping, now)

    def probe(self, via: Via, candidate: Candidate, ttl: int, now: float) -> None:
        """One ping, whose pong makes a path. The caller keeps to the rate."""
        known = self.paths.get((via, candidate.address))
        path = known or Path(via, candidate.address, candidate.kind, next_ping=NEVER)
        self._ping(path, now, ttl)

    def is_vouched(self, host: str) -> bool:
        """Whether the partner's card or control names this host."""
        return host in self._vouched

    def forget(self, via: Via) -> None:
        """A socket is closed: nothing more is sent from it."""
        self.paths = {key: path for key, path in self.paths.items() if path.via != via}

    def prove(self, now: float) -> None:
        """The partner attempt is alive: its candidates get pings without limit."""
        if not self.proved:
            self.proved = True
            for path in self.paths.values():
                if self._is_unlimited(path):
                    path.next_ping = min(path.next_ping, now)

    def ping_received(
        self, sequence: bytes, via: Via, source: Address, kind: PathKind, now: float
    ) -> Path | Drop:
        """Takes a PING; returns why it does not count, or its path, for which the caller owes a
        PONG. While the path is not valid, one PING goes back at once."""
        origin = _Origin.RELAYED if kind is PathKind.RELAY else _Origin.HEARD
        path = self._add_path(via, Candidate(source, kind), origin, now)
        if path is None:
            return Drop.OVER_LIMIT
        if origin is _Origin.RELAYED:
            self.is_relayed(path, now)
        if not path.heard.add(sequence):
            return Drop.STALE
        if not self.stopped:  # what is nominated later has come before
            path.heard.remember(sequence, now)
        path.received += 1
        if not self._is_unlimited(path) and not self._strangers.may_hear(source.host, now):
            return Drop.OVER_LIMIT
        if not path.valid and not self.stopped:
            self.ping_now(path, now)
        return path

    def pong_received(self, sequence: bytes, via: Via, source: Address, now: float) -> Path | Drop:
        """Takes a PONG; returns its path, or why it does not count."""
        if sequence not in self._sent:
            return Drop.STALE
        path, sent_at = self._sent[sequence]
        if path.place != (via, source):
            return Drop.UNEXPECTED_SOURCE
        del self._sent[sequence]
        path = self.paths.setdefault((via, source), path)
        path.received += 1
        took, known = now - sent_at, path.rtt
        # On a held link the latest one; before, hosts may be busy with a start of many links.
        path.rtt = took if known is None or self.stopped else min(known, took)
        if known is None:
            path.sequence = sequence
            path.proved_at = sent_at
            self.valid.append(path)
            # One ping may not be enough for the partner, and earlier ones may have been forged.
            path.next_ping = min(path.next_ping, now + timing.PING_FAST_INTERVAL)
        return path

    def keep_only(self, path: Path) -> None:
        """No more pings: this path is agreed, and the others are forgotten."""
        self.stop()
        self.paths = {path.place: path}
        self.valid = [path]

    def reports(self) -> list[CandidateReport]:
        """What became of each address."""
        lacking = self._unsendable.items()
        tried = [path.report() for path in self.paths.values()]
        return tried + [CandidateReport(remote, kind, 0, 0, True) for remote, kind in lacking]

    def best(self) -> Path | None:
        """The most direct valid path; the quicker of equals."""
        if not self.valid:
            return None
        return min(self.valid, key=lambda path: (RANK[path.kind], path.rtt))

    def decided_at(self, path: Path) -> float:
        """When no better candidate is worth waiting for: each gets the valid path's round trip
        and a little grace from its own first ping on."""
        assert path.rtt is not None
        patience = path.rtt + timing.BETTER_PATH_GRACE
        rivals = (
            rival.first_ping + patience
            for rival in self.paths.values()
            if not rival.valid and rival.pings and RANK[rival.kind] < RANK[path.kind]
        )
        return max(rivals, default=0.0)

    def ping_now(self, path: Path, now: float) -> None:
        """One ping out of turn, if the rate and its host's allowance do."""
        if not self._is_unlimited(path) and not self._strangers.may_hear(path.remote.host, now):
            return
        if self._bucket.take(now):
            self._ping(path, now)

    def stop(self) -> None:
        """No more pings: a path is chosen, or all is over."""
        self.stopped = True

    def next_timer(self) -> float:
        if self.stopped:
            return NEVER
        return min((path.next_ping for path in self.paths.values()), default=NEVER)

    def handle_timer(self, now: float) -> None:
        if self.stopped:
            return
        # Where the rate does not suffice for all, those with the fewest pings come first.
        for path in sorted(self.paths.values(), key=lambda path: path.pings):
            if path.next_ping > now:
                continue
            if self._may_ping(path, now):
                self._ping(path, now)

    def _allow_unproved(self, host: str, pings: int) -> None:
        """So many pings go there before the partner is proved."""
        self._unproved_pings[host] = pings
        if len(self._unproved_pings) > 2 * timing.MAX_CANDIDATES:
            del self._unproved_pings[next(iter(self._unproved_pings))]

    def _is_unlimited(self, path: Path) -> bool:
        """Whether its pings don't count as sent to a stranger."""
        return path.valid or (
            self.proved and (path.remote.host in self._vouched or path.kind is PathKind.RELAY)
        )

    def _may_ping(self, path: Path, now: float) -> bool:
        """Whether the rates allow a ping now; if not, its next one is put off."""
        host = path.remote.host
        if not self._is_unlimited(path):
            more = self._unproved_pings.get(host, 0)
            if more == 0 or not self._strangers.may_hear(host, now):
                path.next_ping = NEVER
                return False
        if not self._bucket.take(now):
            path.next_ping = now + self._bucket.refill
            return False
        return True

    def _add_path(self, via: Via, candidate: Candidate, origin: _Origin, now: float) -> Path | None:
        """The path there, known or new; None if all places are taken or it is our own address."""
        path = self.paths.get((via, candidate.address))
        if path is not None:
            return path
        if self._host.is_own(candidate.address):
            return None
        is_vouched = origin is not _Origin.HEARD or candidate.address.host in self._vouched
        if not is_vouched:
            self._make_room_for_unvouched()
        elif self._places[origin]:
            self._places[origin] -= 1
        else:
            return None
        path = Path(via, candidate.address, candidate.kind, next_ping=now if is_vouched else NEVER)
        self.paths[via, candidate.address] = path
        return path

    def _make_room_for_unvouched(self) -> None:
        """Drops the oldest unanswered path to a host that only a datagram's source names."""
        unvouched = [
            key
            for key, path in self.paths.items()
            if not self._is_unlimited(path) and path.remote.host not in self._vouched
        ]
        if len(unvouched) >= timing.MAX_UNVOUCHED:
            del self.paths[unvouched[0]]

    def _ping(self, path: Path, now: float, ttl: int = 0) -> None:
        self._number += 1
        sequence = _SEQUENCE.pack(self._number, self._random(4))
        if len(self._sent) >= timing.OUTSTANDING_PINGS:
            del self._sent[next(iter(self._sent))]
        self._sent[sequence] = (path, now)
        if not self._is_unlimited(path):
            host = path.remote.host
            if self._unproved_pings.get(host, 0):
                self._unproved_pings[host] -= 1
        path.pings += 1
        path.first_ping = min(path.first_ping, now)
        self.pings += 1
        if path.next_ping != NEVER:
            path.next_ping = now + self._gap(path, now)
        probe = v2.PROBE_NUMBERS.get(path.kind, 0)
        ping = v2.Ping(self._host.identity.id, self._partner, sequence, probe)
        self._host.send(ping, path.remote, path.via, ttl)

    def _gap(self, path: Path, now: float) -> float:
        over_stream = path.via in self._host.resources.streams.controls
        if now - path.first_ping < timing.PING_FAST_FOR and not over_stream:
            return timing.PING_FAST_INTERVAL
        return timing.PING_INTERVAL
