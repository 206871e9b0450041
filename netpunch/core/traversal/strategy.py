"""The interface of every traversal strategy, and those that send nothing of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from netpunch.address import Address
from netpunch.core.end.candidates import Candidate
from netpunch.core.end.partner import Partner
from netpunch.core.events import PathKind, Turn, Via
from netpunch.core.machine import NEVER
from netpunch.core.traversal import budget
from netpunch.core.traversal.budget import Budget
from netpunch.core.traversal.host import TraversalHost
from netpunch.core.traversal.survey import Survey

Probe = tuple[Via, Address]
"""From where to where."""


class Strategy(ABC):
    """Runs in rounds until a path is valid, when it is dropped, or until it is `exhausted`.

    A round's probes go out as fast as the rate allows; `patience` after the last one the next
    round begins. A round that can't begin, as something of ours or of the partner is missing, is
    tried again when something changes, and counts as a round after its patience."""

    budget: Budget
    turn: Turn | None = None
    """What it may do only while it has this turn."""
    follows = False
    """Whether it takes its turn only once the partner has its own."""
    meets = False
    """Whether both ends need the same kind of turn at the same time."""
    is_the_last = True
    """Whether nothing more can be tried once it is exhausted."""
    kind = PathKind.PREDICTED
    probe_ttl = 0
    """Hops; 0 for the system's default."""

    def __init__(self, host: TraversalHost, partner: Partner, now: float) -> None:
        self.exhausted = False
        self.next_timer = now
        self.survey: Survey | None = None
        """Of our NAT, while one is under way."""
        self._host = host
        self._partner = partner
        self._rounds = 0
        self._stalls = 0
        self._stalled = False
        self._spent = 0
        self._spent_before = 0
        """Until the current round."""
        self._probes: Iterator[Probe] | None = None
        self._unsent: Probe | None = None

    @abstractmethod
    def begin_round(self) -> Iterable[Probe] | None:
        """The probes of the next round; None if it can't begin yet."""

    def something_changed(self, now: float) -> None:
        """The partner has a later card, or what a round waited for is there."""
        if self._stalled:
            self._begin(now)

    def resume(self, pause: float, now: float) -> None:
        """Goes on after a pause of so many seconds."""
        self.next_timer = max(now, self.next_timer + pause)

    def cut(self) -> None:
        """The turn ends too soon, and all sockets are closed: the next turn makes up for it."""
        self._begin_round_anew()

    def _begin_round_anew(self) -> None:
        """The current one does not count. The caller bounds how often."""
        if self._rounds and not self._stalled:
            self._rounds -= 1
            self._spent = self._spent_before
        self._probes = self._unsent = None
        self._stalled = False
        self.next_timer = 0.0

    def handle_timer(self, now: float) -> None:
        if self.exhausted or now < self.next_timer:
            return
        if self._probes is not None:
            self._send_probes(now)
        elif self._rounds + self._stalls >= self.budget.rounds:
            self.exhausted = True
            self._stalled = False
            self.next_timer = NEVER
        else:
            self._stalls += self._stalled  # for a whole patience
            if not self._begin(now):
                self.next_timer = now + self.budget.patience

    def _begin(self, now: float) -> bool:
        """Whether a round could begin."""
        probes = self.begin_round()
        self._stalled = probes is None
        if probes is None:
            return False
        self._rounds += 1
        self._spent_before = self._spent
        self._probes = iter(probes)
        self._send_probes(now)
        return True

    def _send_probes(self, now: float) -> None:
        """Sends what rate and budget allow."""
        assert self._probes is not None
        bucket = self._host.resources.probe_bucket
        while self._spent < self.budget.probes:
            self._unsent = self._unsent or next(self._probes, None)
            if self._unsent is None:
                break
            if not bucket.take(now):
                self.next_timer = now + bucket.refill
                return
            self._spent += 1
            via, address = self._unsent
            self._partner.checks.probe(via, Candidate(address, self.kind), self.probe_ttl, now)
            self._unsent = None
        self._probes = None
        self.next_timer = now + self.budget.patience


class FreshPort(Strategy):
    """Both NATs are easy, and yet nothing passes: a NAT may have given the port away, as Linux
    does when a ping comes before ours went out. Both ends begin anew, each from a fresh port."""

    budget = budget.FRESH_PORT
    is_the_last = False

    def __init__(self, host: TraversalHost, partner: Partner, now: float, patience: float) -> None:
        super().__init__(host, partner, now)
        self.next_timer = now + patience

    def begin_round(self) -> Iterable[Probe] | None:
        self._host.take_fresh_port()
        return ()


class KeepPort(Strategy):
    """As FreshPort, where the port has to stay: nothing but plain pings is left."""

    budget = budget.FRESH_PORT
    is_the_last = False

    def begin_round(self) -> Iterable[Probe] | None:
        return ()


class Hopeless(Strategy):
    """No strategy opens this pairing of NATs; plain pings get a while, as classes can be wrong."""

    budget = budget.HOPELESS

    def begin_round(self) -> Iterable[Probe] | None:
        return ()
