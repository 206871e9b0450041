"""Asks the reflectors where they see a few fresh sockets: how our NAT maps, and where it is now.

The sockets ask one after the other; in between another one may ping the partner. A NAT that
allocates ports in steps has put that ping between its neighbours' ports: the bracket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from netpunch.address import Address
from netpunch.core.end.candidates import Candidate
from netpunch.core.end.partner import Partner
from netpunch.core.events import PathKind, Via
from netpunch.core.machine import NEVER
from netpunch.core.traversal.budget import SURVEY_SOCKETS
from netpunch.core.traversal.host import TraversalHost
from netpunch.core.traversal.nat import Bracket, NatReport, Sample, classify
from netpunch.wire.card import NatClass
from netpunch.wire.v2 import ECHO_LENGTH

RETRY = 0.1
"""Seconds after which an unanswered question is repeated: a few small datagrams are cheap."""
TRIES = 12
"""With 20 % loss both ways each question is answered; a silent reflector costs a second."""
LATER_QUESTIONS = 2
"""Allocations after the bracket's end: the last two of six questions."""
MAX_COUNT = 255

Done = Callable[[float], None]


class Survey:
    """Learns the NAT's class and, if it pings a partner, the bracket; then calls `done`.

    `pinged` is the socket that pings the partner; the others are closed in the end."""

    def __init__(
        self, host: TraversalHost, partner: Partner | None, number: int, done: Done
    ) -> None:
        self.next_timer = NEVER
        self.pinged: Via | None = None
        self._host = host
        self._reflectors = host.reflectors() or ()
        self._partner = partner
        self._number = number
        self._done = done
        self._sockets: list[tuple[Via, Address]] = []
        self._questions: list[tuple[Via, Address, bytes]] = []
        self._seen: dict[bytes, Address] = {}
        self._tries = 0
        host.open_sockets(SURVEY_SOCKETS, self._begin)

    @property
    def _middle(self) -> int:
        return len(self._questions) // 2

    def observed(self, echo: bytes, address: Address, now: float) -> bool:
        """Takes a reflector's answer; False if it was not asked for."""
        if all(echo != asked for _, _, asked in self._questions):
            return False
        self._seen.setdefault(echo, address)
        if len(self._seen) == len(self._questions):
            self._finish(now)
        return True

    def handle_timer(self, now: float) -> None:
        """Repeats what is unanswered, a few times."""
        if now < self.next_timer:
            return
        if self._tries == TRIES:
            self._finish(now)
            return
        self._ask(self._questions, now)

    def _begin(self, opened: Mapping[Via, Address], now: float) -> None:
        sockets = list(opened.items())
        if len(sockets) == SURVEY_SOCKETS:
            self.pinged = sockets.pop()[0]
        self._sockets = sockets
        self._questions = [
            (via, reflector, self._host.resources.random(ECHO_LENGTH))
            for via, _ in sockets
            for reflector in self._reflectors
        ]
        self._ask(self._questions[: self._middle], now)
        self._ping_partner(now)
        self._ask(self._questions[self._middle :], now)
        self._tries = 1

    def _ping_partner(self, now: float) -> None:
        if self.pinged is None or self._partner is None or self._partner.observed is None:
            return
        target = Candidate(self._partner.observed, PathKind.PREDICTED)
        self._partner.checks.add_path(self.pinged, target, now)

    def _ask(self, questions: list[tuple[Via, Address, bytes]], now: float) -> None:
        self._tries += 1
        self.next_timer = now + RETRY
        for via, reflector, echo in questions:
            if echo not in self._seen:
                self._host.observe(via, reflector, echo)

    def _finish(self, now: float) -> None:
        self.next_timer = NEVER
        for via, _ in self._sockets:
            self._host.close_socket(via)
        self._host.seen_at = tuple({seen.host for seen in self._seen.values()})
        report = self._report()
        if report.nat_class is not NatClass.UNKNOWN:
            self._host.resources.nat = report
        bracket = self._bracket(report)
        if bracket is not None:
            self._host.bracket = bracket
        elif self.pinged is not None:
            self._host.close_socket(self.pinged)
        self._done(now)

    def _answers(self) -> list[Address | None]:
        return [self._seen.get(echo) for _, _, echo in self._questions]

    def _report(self) -> NatReport:
        per_socket = len(self._reflectors)
        seen = self._answers()
        samples = [
            Sample(local.port, tuple(seen[i * per_socket : (i + 1) * per_socket]))
            for i, (_, local) in enumerate(self._sockets)
        ]
        return classify(samples, self._host.resources.host_addresses, self._reflectors)

    def _bracket(self, report: NatReport) -> Bracket | None:
        """None unless the partner was pinged through a NAT that allocates in steps."""
        pinged = self._partner is not None and self.pinged is not None
        if report.nat_class is not NatClass.HARD_STEP or not pinged:
            return None
        seen = self._answers()
        before = next((a for a in reversed(seen[: self._middle]) if a), None)
        after = next((a for a in seen[self._middle :] if a), None)
        if before is None:
            return None
        count = (after.port - before.port) // report.step if after else 2
        return Bracket(before.port, report.step, min(max(count, 2), MAX_COUNT), self._number % 256)
