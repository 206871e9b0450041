"""What is measured of a held link: round trips, losses, programs' datagrams."""

from __future__ import annotations

from netpunch.core.events import PathKind
from netpunch.core.machine import LinkFigures, Traffic

LATEST_PINGS = 20
"""Of which the loss is told: five minutes of keepalives."""
_MASK = (1 << LATEST_PINGS) - 1
USUAL_RTT = 0.2
"""Seconds, until one is measured: longer than most of the Internet's."""
_RTT_GAIN, _JITTER_GAIN = 1 / 8, 1 / 4
"""Those of RFC 6298. Until so many round trips are known, the smoothed one is their mean: the first
ones may be longer, for what routers and hosts do once."""


class Meter:
    """Of one path. `rtt` is smoothed, in seconds; `traffic` goes on counting that of the paths
    before."""

    def __init__(self, rtt: float | None, traffic: Traffic | None = None) -> None:
        self.traffic = traffic or Traffic()
        self.rtt = USUAL_RTT if rtt is None else rtt
        self._known = 0 if rtt is None else 1
        """How many round trips."""
        self._jitter = self.rtt / 2
        self._pings = 0
        self._answers = 0
        """Bit n: the ping n before the latest one was answered."""
        self._awaits = False
        """Whether the latest ping may still be answered."""

    def pinged(self) -> None:
        self._pings = min(self._pings + 1, LATEST_PINGS)
        self._answers = (self._answers << 1) & _MASK
        self._awaits = True

    def answered(self, rtt: float | None) -> None:
        """The latest ping, after this round trip. Pings from before the link do not count."""
        if self._awaits:
            self._answers |= 1
            self._awaits = False
        if rtt is None:
            return
        if not self._known:
            self.rtt, self._jitter = rtt, rtt / 2
        self._known += 1
        self._jitter += _JITTER_GAIN * (abs(rtt - self.rtt) - self._jitter)
        self.rtt += max(_RTT_GAIN, 1 / self._known) * (rtt - self.rtt)

    def figures(self, path: PathKind, since: float, moves: int) -> LinkFigures:
        known, pings = self._known, self._pings
        lost = pings - self._answers.bit_count()
        if self._awaits:
            lost, pings = lost - 1, pings - 1
        return LinkFigures(
            path,
            self.rtt if known else None,
            self._jitter if known else None,
            lost / pings if pings else 0.0,
            since,
            moves,
            self.traffic.sent,
            self.traffic.sent_bytes,
            self.traffic.received,
            self.traffic.received_bytes,
        )
