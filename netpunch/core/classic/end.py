"""A classic end: from its first announcement until it is linked, or has failed.

Theory of operation. The end announces its slot to every control until one introduces the partner
(`i`), pings (`x`) the address that it names, answers the partner's pings with pongs (`y`) and its
pongs with closes (`z`). A pong proves to its receiver that datagrams pass in both directions, a
close proves it to the sender of the pong. So one pong or close links this end; what it sends
afterwards is for the partner.

A Go end that is closing goes back to ponging on an `x` and to pinging on an `i`, and 100 ms after
its first close it is gone. Hence: an end that has ponged pings no more and takes no introduction,
and one that is linked lingers, so that a partner that lost every close isn't stranded.

Classic messages carry no nonce: a recorded ping, replayed, looks like a new one. What it can do
is bounded: few addresses are talked to, each gets few datagrams for one (`core.classic.paths`),
and an end whose pongs lead nowhere starts over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, StrEnum, auto

from netpunch.address import Address, is_loopback, is_pingable
from netpunch.core.classic.paths import MOST_FOR_ONE, Path, Paths, Sent
from netpunch.core.endpoints import LOOKUP_INTERVAL, NO_NAMES, ControlEndpoints
from netpunch.core.events import (
    Failed,
    Finished,
    Introduced,
    Linked,
    LookupWanted,
    PathKind,
    Reason,
    Via,
    Waiting,
)
from netpunch.core.machine import NEVER, Machine, Random
from netpunch.wire.classic import (
    Codec,
    PeerMessage,
    describe,
    describe_peer_message,
    parse_introduction,
    partner_letter,
)
from netpunch.wire.drop import Drop

# Times in seconds.
SHORTEST_ANNOUNCE_GAP = 0.1
"""The first gap; then an end waits as long again as it has waited so far: 0, 100, 200, 400 ms."""
LONGEST_ANNOUNCE_GAP = 5.0
"""What a user waits at most when the partner was late (with Go's ends: 30 s)."""
ANNOUNCE_JITTER = 0.1
"""Part of the longest gap: ends that lost the same control don't come back in step."""
SILENCE_NOTICE = 3.0
"""An end that got no answer for so long says so: people read logs."""
REPEAT_GAP = 0.1
"""Between pings and between pongs: Go's pace."""
CLOSE_GAP = 0.02
CLOSE_COUNT = 5
"""Five closes, 20 ms apart: what Go sends."""
PONGING_PATIENCE = 1.0
"""After the last ping: time for ten pongs, as many as Go sends."""
LINGER = 1.2
"""Longer than a partner's PONGING_PATIENCE, so that each of its pongs gets a close."""

MOST_REPORTED = 16
"""Addresses that events report, however many a hostile control or a replay makes up."""


class State(Enum):
    """The state of a classic end."""

    WAITING = auto()
    """Announces; knows nothing of the partner."""
    PINGING = auto()
    """Introduced: pings, and still announces, as the partner may move."""
    PONGING = auto()
    """The partner's ping has arrived: waits for its pong or close."""
    CLOSING = auto()
    """Linked by a pong; tells the partner."""
    LINGERING = auto()
    """Linked; the partner may still need an answer."""
    FINISHED = auto()


class Cause(StrEnum):
    """What changes the state: the messages, and time."""

    INTRODUCTION = "introduction"
    PING = "ping"
    PONG = "pong"
    CLOSE = "close"
    TIMEOUT = "timeout"
    """The state has lasted long enough."""


TRANSITIONS: dict[tuple[State, Cause], State] = {
    (State.WAITING, Cause.INTRODUCTION): State.PINGING,
    (State.WAITING, Cause.PING): State.PONGING,
    (State.PINGING, Cause.INTRODUCTION): State.PINGING,
    (State.PINGING, Cause.PING): State.PONGING,
    (State.PINGING, Cause.PONG): State.CLOSING,
    (State.PONGING, Cause.PING): State.PONGING,
    (State.PONGING, Cause.PONG): State.CLOSING,
    (State.PONGING, Cause.CLOSE): State.LINGERING,
    (State.PONGING, Cause.TIMEOUT): State.WAITING,
    (State.CLOSING, Cause.PONG): State.CLOSING,
    (State.CLOSING, Cause.CLOSE): State.LINGERING,
    (State.CLOSING, Cause.TIMEOUT): State.LINGERING,
    (State.LINGERING, Cause.PONG): State.LINGERING,
    (State.LINGERING, Cause.CLOSE): State.LINGERING,
    (State.LINGERING, Cause.TIMEOUT): State.FINISHED,
}
"""A message that isn't here in a state is dropped as unexpected."""

UNLINKED = frozenset({State.WAITING, State.PINGING, State.PONGING})
REPEATS = {State.PINGING: REPEAT_GAP, State.PONGING: REPEAT_GAP, State.CLOSING: CLOSE_GAP}
LASTS = {State.PONGING: PONGING_PATIENCE, State.LINGERING: LINGER}

FAILURES = {
    Reason.NO_CONTROL: "no control has an address of a family that this end has a socket of",
    Reason.SECRET_REJECTED_OR_SILENT: (
        "no control answered: it is down or firewalled, or has another secret, or the partner is "
        "not running or uses the other of IPv4 and IPv6 (until then a classic control is silent)"
    ),
    Reason.BLOCKED: (
        "introduced to the partner, but none of its datagrams arrived: a NAT or firewall of "
        "either end blocks them, or the partner is gone"
    ),
    Reason.NOT_AGREED: "the partner's pings arrived, but none of its answers",
}


class _Timer(Enum):
    ANNOUNCE = auto()
    NOTICE = auto()
    LOOKUP = auto()
    """The next look at the controls' names."""
    DEADLINE = auto()
    TIMEOUT = auto()
    """The end of the state."""
    REPEAT = auto()
    """The next pings, pongs or close."""


_TIMERS_UNTIL_LINKED = frozenset(_Timer) - {_Timer.TIMEOUT, _Timer.REPEAT}


class ClassicEnd(Machine):
    """The sans-I/O end of a classic pair; see `core.machine` for the contract.

    `letter` is its slot; `endpoints` says where the controls are, all announced to, and whether
    they may move; `sockets` are the bound local addresses by socket, which `Linked` repeats.
    `deadline` in seconds (None: never) counts from the start or, with `deadline_from_start` False,
    from the first introduction.

    Raises ConfigurationError for a secret that cannot sign, ValueError for a letter that is no
    slot."""

    def __init__(
        self,
        *,
        letter: str,
        secret: bytes,
        endpoints: ControlEndpoints,
        sockets: Mapping[Via, Address],
        deadline: float | None,
        deadline_from_start: bool,
        random: Random,
        now: float,
    ) -> None:
        super().__init__()
        self.state = State.WAITING
        self._partner = partner_letter(letter)
        self._codec = Codec(secret, letter + "".join(PeerMessage))
        self._announcement = self._codec.fixed(letter)
        self._sockets = dict(sockets)
        self._controls = self._reachable(endpoints.controls)
        self._deadline = NEVER if deadline is None else deadline
        self._random = random
        self._began = now
        self._announced_for = 0.0
        self._closes = 0
        self._paths = Paths()
        self._linked: Path | None = None
        self._reported: set[Address] = set()
        self._shortfall = Reason.SECRET_REJECTED_OR_SILENT
        """The reason, should the end fail now."""
        self._timers = {_Timer.ANNOUNCE: now, _Timer.NOTICE: now + SILENCE_NOTICE}
        if endpoints.names != NO_NAMES:
            self._timers[_Timer.LOOKUP] = now + LOOKUP_INTERVAL
        if deadline_from_start:
            self._timers[_Timer.DEADLINE] = now + self._deadline
        if not self._controls:
            self._shortfall = Reason.NO_CONTROL
            self._fail(now)

    # The contract.

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        payload = self._codec.verify(data)
        path = Path(via, source)
        drop = payload if isinstance(payload, Drop) else self._take(payload, path, now)
        if drop is not None:
            self._drop(drop)

    def next_timer(self) -> float:
        return min(self._timers.values(), default=NEVER)

    def handle_timer(self, now: float) -> None:
        actions: dict[_Timer, Callable[[float], None]] = {
            _Timer.ANNOUNCE: self._announce,
            _Timer.NOTICE: self._notice_silence,
            _Timer.LOOKUP: self._want_lookup,
            _Timer.DEADLINE: self._fail,
            _Timer.TIMEOUT: self._time_out,
            _Timer.REPEAT: self._repeat,
        }
        for timer, action in actions.items():
            if self._timers.get(timer, NEVER) <= now:
                del self._timers[timer]
                action(now)

    def describe(self, data: bytes) -> str:
        payload = self._codec.verify(data)
        if isinstance(payload, Drop):
            return "not authentic"
        return describe_peer_message(payload) or describe(payload)

    def close(self, now: float) -> None:
        """Stops and emits Finished. A link that is being handed over goes on as it was."""
        if self.state in UNLINKED:
            self._enter(State.FINISHED, now)

    def controls_found(self, endpoints: ControlEndpoints, now: float) -> None:
        """The controls, or some of them, have moved."""
        self._controls = self._reachable(endpoints.controls)
        if self.state in UNLINKED:
            self._announced_for = 0.0
            self._timers[_Timer.ANNOUNCE] = now

    # What arrives. Each method returns why it drops the message, or None.

    def _take(self, payload: bytes, path: Path, now: float) -> Drop | None:
        match payload.decode("latin-1"):
            case PeerMessage.PING:
                return self._take_ping(path, now)
            case PeerMessage.PONG:
                return self._take_pong(path, now)
            case PeerMessage.CLOSE:
                return self._take_close(path, now)
            case _:
                return self._take_introduction(payload, path, now)

    def _take_introduction(self, payload: bytes, origin: Path, now: float) -> Drop | None:
        introduction = parse_introduction(payload)
        if introduction is None:
            return Drop.UNEXPECTED
        if origin.remote not in self._controls:
            return Drop.UNEXPECTED_SOURCE
        if introduction.letter != self._partner:
            return Drop.UNEXPECTED
        path = self._path_to(introduction.address, loopback=is_loopback(origin.remote.host))
        if path is None:
            return Drop.HOSTILE_ADDRESS
        if not self._takes(Cause.INTRODUCTION):
            return self._hear_again(path)
        if self._shortfall is Reason.SECRET_REJECTED_OR_SILENT:
            self._shortfall = Reason.BLOCKED
        self._timers.setdefault(_Timer.DEADLINE, now + self._deadline)
        self._meet(path, now, named=True)
        self._advance(Cause.INTRODUCTION, now)
        return None

    def _hear_again(self, path: Path) -> Drop | None:
        """A ponging end takes no new address, but a known one may get more pongs."""
        if self.state is not State.PONGING or path not in self._paths:
            return Drop.UNEXPECTED
        self._paths.hear(path, named=True)
        return None

    def _take_ping(self, path: Path, now: float) -> Drop | None:
        if path.remote in self._controls:  # it would take our answers for announcements
            return Drop.UNEXPECTED_SOURCE
        if not self._takes(Cause.PING):
            return Drop.UNEXPECTED
        if not is_pingable(path.remote, loopback=True):
            return Drop.HOSTILE_ADDRESS
        self._shortfall = Reason.NOT_AGREED
        self._pong(path, self._meet(path, now), now)
        self._advance(Cause.PING, now)
        self._timers[_Timer.TIMEOUT] = now + PONGING_PATIENCE
        return None

    def _take_pong(self, path: Path, now: float) -> Drop | None:
        sent = self._paths.get(path)
        if sent is None or not sent.pings:
            return Drop.UNEXPECTED_SOURCE
        if not self._takes(Cause.PONG):
            return Drop.UNEXPECTED
        self._paths.hear(path)
        self._transmit(PeerMessage.CLOSE, path, now)
        if self._linked is None:
            # All pings are alike: with two of them out, the answer may be to either.
            self._link(path, now - sent.pinged_at if sent.pings == 1 else None, now)
            self._closes = 1
        self._advance(Cause.PONG, now)
        if self.state is State.LINGERING and path == self._linked:
            # The partner sends few pongs, so each of them gets all the closes that it allows.
            self._closes = CLOSE_COUNT - MOST_FOR_ONE + 1
            self._timers[_Timer.REPEAT] = now + CLOSE_GAP
        return None

    def _take_close(self, path: Path, now: float) -> Drop | None:
        sent = self._paths.get(path)
        if sent is None or not sent.ponged:
            return Drop.UNEXPECTED_SOURCE
        if not self._takes(Cause.CLOSE):
            return Drop.UNEXPECTED
        if self._linked is None:
            self._link(path, None, now)
        self._advance(Cause.CLOSE, now)
        return None

    # What is sent.

    def _announce(self, now: float) -> None:
        for control, via in self._controls.items():
            self._send(self._announcement, control, via)
        gap = max(SHORTEST_ANNOUNCE_GAP, self._announced_for)
        if gap > LONGEST_ANNOUNCE_GAP:
            gap = LONGEST_ANNOUNCE_GAP * (1 - ANNOUNCE_JITTER * self._random(1)[0] / 256)
        self._announced_for += gap
        self._timers[_Timer.ANNOUNCE] = now + gap

    def _repeat(self, now: float) -> None:
        if self._linked is not None:
            self._close_again(self._linked, now)
            return
        self._timers[_Timer.REPEAT] = now + REPEATS[self.state]
        for path, sent in self._paths.items():
            if self.state is State.PINGING:
                self._ping(path, sent, now)
            elif sent.ponged:
                self._pong(path, sent, now)

    def _close_again(self, path: Path, now: float) -> None:
        self._transmit(PeerMessage.CLOSE, path, now)
        self._closes += 1
        if self._closes < CLOSE_COUNT:
            self._timers[_Timer.REPEAT] = now + CLOSE_GAP
        elif self.state is State.CLOSING:
            self._advance(Cause.TIMEOUT, now)

    def _ping(self, path: Path, sent: Sent, now: float) -> None:
        if self._transmit(PeerMessage.PING, path, now):
            sent.pings += 1
            sent.pinged_at = now

    def _pong(self, path: Path, sent: Sent, now: float) -> None:
        if self._transmit(PeerMessage.PONG, path, now):
            sent.ponged = True

    def _transmit(self, message: PeerMessage, path: Path, now: float) -> bool:
        """Sends it if the path's budget allows; whether it did."""
        if not self._paths.may_send(path, now):
            return False
        self._send(self._codec.fixed(message), path.remote, path.via)
        return True

    # Paths.

    def _meet(self, path: Path, now: float, *, named: bool = False) -> Sent:
        """Counts a datagram from, or about, a path; a new path is pinged at once."""
        is_new = path not in self._paths
        sent = self._paths.hear(path, named=named)
        if not is_new:
            return sent
        if self.state is not State.PONGING:
            self._ping(path, sent, now)
        if path.remote not in self._reported and len(self._reported) < MOST_REPORTED:
            self._reported.add(path.remote)
            self._emit(Introduced(path.remote))
        return sent

    def _path_to(self, address: Address, *, loopback: bool) -> Path | None:
        """The path to an address that control named; None if there is none or it is forbidden."""
        via = self._via_for(address.family)
        if via is None or address in self._controls or not is_pingable(address, loopback=loopback):
            return None
        return Path(via, address)

    def _via_for(self, family: int) -> Via | None:
        return next((via for via, local in self._sockets.items() if local.family == family), None)

    def _reachable(self, controls: Sequence[Address]) -> dict[Address, Via]:
        """The controls of a family that there is a socket of, and that socket."""
        vias = {control: self._via_for(control.family) for control in controls}
        return {control: via for control, via in vias.items() if via is not None}

    # States.

    def _takes(self, cause: Cause) -> bool:
        return (self.state, cause) in TRANSITIONS

    def _advance(self, cause: Cause, now: float) -> None:
        state = TRANSITIONS[self.state, cause]
        if state is not self.state:
            self._enter(state, now)

    def _enter(self, state: State, now: float) -> None:
        """Changes the state; nothing else does. The timers of the old state end with it."""
        kept = _TIMERS_UNTIL_LINKED if state in UNLINKED else ()
        self._timers = {timer: at for timer, at in self._timers.items() if timer in kept}
        for timer, durations in ((_Timer.REPEAT, REPEATS), (_Timer.TIMEOUT, LASTS)):
            if state in durations:
                self._timers[timer] = now + durations[state]
        self.state = state
        if state is State.WAITING:  # it starts over
            self._paths.clear()
            self._announced_for = 0.0
            self._timers[_Timer.ANNOUNCE] = now
        if state is State.FINISHED:
            self._emit(Finished())

    def _time_out(self, now: float) -> None:
        self._advance(Cause.TIMEOUT, now)

    def _link(self, path: Path, rtt: float | None, now: float) -> None:
        self._linked = path
        local = self._sockets[path.via]
        duration = now - self._began
        self._emit(Linked(path.via, local, path.remote, PathKind.OBSERVED, rtt, duration))

    def _notice_silence(self, _now: float) -> None:
        if self._shortfall is Reason.SECRET_REJECTED_OR_SILENT:
            self._emit(Waiting(self._shortfall, detail=FAILURES[self._shortfall]))

    def _want_lookup(self, now: float) -> None:
        """A classic control is silent until the partner is there, so its silence tells nothing of
        whether it has moved."""
        self._timers[_Timer.LOOKUP] = now + LOOKUP_INTERVAL
        self._emit(LookupWanted())

    def _fail(self, now: float) -> None:
        self._emit(Failed(self._shortfall, FAILURES[self._shortfall], now - self._began))
        self._enter(State.FINISHED, now)
