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
    """Our NAT is the random one: opens many ports of it towards the partner, for its probes. These
    pings die on the way: a Linux router would not let the partner use a port that was pinged
    unasked. Later rounds replace a few sockets, whose pings go all the way: they get in if the
    partner has probed their ports already."""

    budget = budget.OPEN_MANY
    turn = Turn.OPEN
    kind = PathKind.SPRAY
    probe_ttl = timing.OPENER_TTL

    def __init__(self, host: TraversalHost, partner: Partner, now: float) -> None:
        super().__init__(host, partner, now)
        self._sockets: list[Via] = []
        """Those that have pinged."""
        self._fresh: list[Via] = []
        self._asked = False
        """For sockets; never again if the system has none left."""

    def resume(self, pause: float, now: float) -> None:
        super().resume(pause, now)
        if pause > budget.MAPPINGS_LIVE:
            self._fresh += self._sockets
            self._open_anew()

    def cut(self) -> None:
        self._fresh, self._asked = [], False
        self._open_anew()

    def _open_anew(self) -> None:
        """The ports are closed. Only the rounds go on counting: another opening costs no fewer
        probes than the first."""
        self._begin_round_anew()
        self._sockets, self._spent = [], 0

    def begin_round(self) -> Iterable[Probe] | None:
        target = self._partner.observed
        if target is None:
            return None
        if not self._fresh:
            self._ask_for_sockets()
            return None
        self.probe_ttl = 0 if self._sockets else timing.OPENER_TTL
        fresh, self._fresh = self._fresh, []
        self._sockets += fresh
        return [(via, target) for via in fresh]

    def _ask_for_sockets(self) -> None:
        if self._asked:
            return
        self._asked = True
        if not self._sockets:
            self._host.open_sockets(budget.OPEN_PORTS, self._opened)
            return
        # The latest are the least use: a router may have taken them for unasked.
        heard = {via for via, _ in self._partner.checks.paths}
        replaced = [via for via in self._sockets[-budget.FRESH_PORTS :] if via not in heard]
        self._sockets = [via for via in self._sockets if via not in replaced]
        for via in replaced:
            self._host.close_socket(via)
        self._host.open_sockets(len(replaced), self._opened)

    def _opened(self, sockets: Mapping[Via, Address], now: float) -> None:
        self._fresh += sockets
        self._asked = not sockets
        self.something_changed(now)


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
