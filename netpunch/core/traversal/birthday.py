"""Strategies against a NAT that gives every destination a random port: many ports, by the birthday
paradox. The end behind it takes its turn first, and the easy end then sprays in its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.partner import Partner
from netpunch.core.events import PathKind, Turn, Via
from netpunch.core.traversal import budget
from netpunch.core.traversal.host import TraversalHost
from netpunch.core.traversal.strategy import Probe, Strategy

FIRST_PORT = 1024
"""NATs take no privileged port."""


class OpenMany(Strategy):
    """Our NAT is the random one: opens many ports of it towards the partner. The pings die on the
    way: a Linux router would not let the partner use a port that was pinged unasked."""

    budget = budget.OPEN_MANY
    turn = Turn.OPEN
    kind = PathKind.SPRAY
    probe_ttl = timing.OPENER_TTL

    def __init__(self, host: TraversalHost, partner: Partner, now: float) -> None:
        super().__init__(host, partner, now)
        self._sockets: list[Via] = []
        self._asked = False

    def resume(self, pause: float, now: float) -> None:
        super().resume(pause, now)
        if pause > budget.MAPPINGS_LIVE:
            self._begin_round_anew()

    def cut(self) -> None:
        super().cut()
        self._sockets, self._asked = [], False

    def begin_round(self) -> Iterable[Probe] | None:
        if self._partner.observed is None:
            return None
        if not self._sockets:
            if not self._asked:
                self._asked = True
                self._host.open_sockets(budget.OPEN_MANY.sockets, self._opened)
            return None
        return self._aim(self._partner.observed)

    def _opened(self, sockets: Mapping[Via, Address], now: float) -> None:
        self._sockets = list(sockets)
        self.something_changed(now)

    def _aim(self, target: Address) -> Iterable[Probe]:
        for via in self._sockets:
            yield via, target


class SprayPorts(Strategy):
    """The partner's NAT is the random one: pings ports of it at random, each once."""

    budget = budget.SPRAY
    turn = Turn.SPRAY
    follows = True
    kind = PathKind.SPRAY

    def __init__(self, host: TraversalHost, partner: Partner, now: float) -> None:
        super().__init__(host, partner, now)
        self._tried: set[int] = set()

    def cut(self) -> None:
        """Goes on with the next probe: a probe is as good in one turn as in another."""

    def begin_round(self) -> Iterable[Probe] | None:
        via, observed = self._host.primary(), self._partner.observed
        if via is None or observed is None:
            return None
        return self._aim(via, observed.host)

    def _aim(self, via: Via, host: str) -> Iterable[Probe]:
        while True:
            port = int.from_bytes(self._host.resources.random(2), "big")
            if port >= FIRST_PORT and port not in self._tried:
                self._tried.add(port)
                yield via, Address(host, port)
