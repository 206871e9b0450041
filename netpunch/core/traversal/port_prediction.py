"""Strategies against a NAT that gives every destination another port, a steady step further on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from netpunch.address import Address
from netpunch.core.end.partner import Partner
from netpunch.core.events import Turn, Via
from netpunch.core.traversal import budget
from netpunch.core.traversal.host import TraversalHost
from netpunch.core.traversal.nat import Bracket
from netpunch.core.traversal.strategy import Probe, Strategy
from netpunch.core.traversal.survey import LATER_QUESTIONS, Survey


class PredictionStrategy(Strategy):
    """Makes our own brackets, round by round. The first may come from the survey of the NAT's
    class. One end of a process at a time: they share the NAT, and would disturb each other."""

    turn = Turn.OPEN

    def cut(self) -> None:
        super().cut()
        self.survey = None

    def handle_timer(self, now: float) -> None:
        if self.survey is not None:
            self.survey.handle_timer(now)
        super().handle_timer(now)

    def _has_bracket(self, number: int) -> bool:
        """Whether ours is of this round; if not, and no survey is under way, begins one."""
        if self._host.bracket.round >= number:
            return True
        if self.survey is None:
            self.survey = Survey(self._host, self._partner, number, self._surveyed)
        return False

    def _surveyed(self, now: float) -> None:
        self.survey = None
        self._host.share_card(now)
        self.something_changed(now)


class OfferBracket(PredictionStrategy):
    """Our NAT steps: the partner scans where our ping must be."""

    budget = budget.OFFER_BRACKET

    def begin_round(self) -> Iterable[Probe] | None:
        return () if self._has_bracket(self._rounds + 1) else None


class ScanBracket(Strategy):
    """The partner's NAT steps: pings each port where its ping may be, a few times a bracket."""

    budget = budget.SCAN_BRACKET

    def __init__(self, host: TraversalHost, partner: Partner, now: float) -> None:
        super().__init__(host, partner, now)
        self._scanned = 0
        self._passes = 0

    def begin_round(self) -> Iterable[Probe] | None:
        partner, via = self._partner, self._host.primary()
        bracket, observed = partner.bracket, partner.observed
        if bracket.round == 0 or observed is None or via is None:
            return None
        if bracket.round != self._scanned:
            self._scanned, self._passes = bracket.round, 0
        if self._passes == budget.SCAN_PASSES:
            return None
        self._passes += 1
        steps = min(bracket.span + budget.SCAN_SLACK, budget.SCAN_WINDOW)
        ports = [bracket.port_at(n) for n in range(1, steps + 1)]
        return [(via, Address(observed.host, port)) for port in ports]


class Diagonal(PredictionStrategy):
    """Both NATs step: each end opens a row of sockets, the first to the partner's next port, the
    second to the one after that, and so on. If nobody else allocates ports, the rows meet."""

    budget = budget.DIAGONAL
    meets = True

    def __init__(self, host: TraversalHost, partner: Partner, now: float) -> None:
        super().__init__(host, partner, now)
        self.follows = host.resources.settings.end == "b"
        self._row: list[Via] = []
        self._asked_for_row = False

    def cut(self) -> None:
        super().cut()
        self._row, self._asked_for_row = [], False

    def begin_round(self) -> Iterable[Probe] | None:
        partner, observed = self._partner, self._partner.observed
        number = max(self._rounds + 1, partner.bracket.round)
        if observed is None or not self._has_bracket(number) or partner.bracket.round < number:
            return None
        if not self._row:
            self._ask_for_row()
            return None
        row, self._row = self._row, []
        return self._aim(row, observed.host, partner.bracket)

    def _ask_for_row(self) -> None:
        if not self._asked_for_row:
            self._asked_for_row = True
            self._host.open_sockets(budget.DIAGONAL_WIDTH, self._opened)

    def _opened(self, sockets: Mapping[Via, Address], now: float) -> None:
        self._asked_for_row = False
        self._row = list(sockets)
        self.something_changed(now)

    def _aim(self, row: Sequence[Via], host: str, bracket: Bracket) -> Iterator[Probe]:
        """Several times over, as the partner begins earlier or later."""
        for _ in range(budget.DIAGONAL_PASSES):
            for place, via in enumerate(row):
                port = bracket.port_at(bracket.span + LATER_QUESTIONS + 1 + place)
                yield via, Address(host, port)
