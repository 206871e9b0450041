"""What both ends of a held link report, from the outside: whether it is the same path, since when,
and how often they have begun to look for another one."""

from __future__ import annotations

from functools import partial

from netpunch.core.events import Event, Finished, Linked, Lost, Moved
from netpunch.wire.envelope import CONTROL_DATAGRAM, END_B, ControlChannel
from netpunch.wire.keys import control_key
from netpunch.wire.v2 import Announce, Kind, Purpose
from tests.sim.machines import PAIR, SECRET
from tests.sim.movement import start_if_down
from tests.sim.network import Record
from tests.sim.promises import connects
from tests.sim.scenarios import Scenario, Side

RETRY_AFTER = 2.0
"""Seconds until a node tries anew when an end has ended."""
ROUND = 0.001
"""Seconds: the bounds on starts hold in the end's time, a datagram is sent at the network's."""


class Watch:
    """Runs both ends as a node does in `keep`, and takes down what they report."""

    def __init__(self, run: Scenario) -> None:
        self.lost: list[tuple[float, str, str]] = []
        """When, who, and why: links that were given up."""
        self.moves = 0
        self.longest_apart = 0.0
        """The longest that both reported different paths, from `count_from` on."""
        self.count_from = 0.0
        self._run = run
        self._reports: dict[str, bytes | None] = {"a": None, "b": None}
        self._apart_since: float | None = None
        for side in run.sides:
            side.host.on_event = partial(self._take, side)
            side.host.on_kill = partial(self._report, side, None)

    @property
    def same(self) -> bool:
        """Whether both hold, and report the same path."""
        a, b = self._reports.values()
        return a is not None and a == b

    @property
    def any_holds(self) -> bool:
        """Whether an end has a link."""
        return any(self._reports.values())

    def works(self) -> bool:
        """Whether both hold the same path and it leads from each to the other."""
        a, b = self._run.sides
        asleep = a.host.asleep or b.host.asleep
        return not asleep and self.same and connects(self._run, a, b) and connects(self._run, b, a)

    def finish(self) -> None:
        """Accounts for what still is the case at the end of the run."""
        self._close_span()

    def _take(self, side: Side, event: Event) -> None:
        now = self._run.network.now
        match event:
            case Linked() | Moved():
                self.moves += isinstance(event, Moved)
                assert event.session_key
                self._report(side, event.session_key)
            case Lost(detail, ended):
                if not ended:
                    self.lost.append((now, side.name, detail))
                self._report(side, None)
            case Finished():
                self._report(side, None)
                self._run.network.call_at(now + RETRY_AFTER, start_if_down, self._run, side)

    def _report(self, side: Side, session: bytes | None) -> None:
        self._close_span()
        self._reports[side.name] = session
        a, b = self._reports.values()
        if a is not None and b is not None and a != b:
            self._apart_since = self._run.network.now

    def _close_span(self) -> None:
        if self._apart_since is not None:
            began = max(self._apart_since, self.count_from)
            self.longest_apart = max(self.longest_apart, self._run.network.now - began)
            self._apart_since = None


class Starts:
    """When each process of an end began to punch, as its announcements tell: one time for each
    attempt that wants to be introduced."""

    def __init__(self, run: Scenario) -> None:
        self._run = run
        self._times: dict[tuple[str, int], list[float]] = {}
        """By end, and number of its process."""
        self._seen: set[bytes] = set()
        key = control_key(SECRET, PAIR)
        self._sides: dict[str, Side] = {side.name: side for side in run.sides}
        self._channels = {
            side.name: ControlChannel(key, PAIR, side.name).to_control for side in run.sides
        }
        run.network.on_send.append(self._observe)

    def most_in(self, seconds: float) -> int:
        """The most that one process began in any such stretch of time."""
        return max((most_in(times, seconds) for times in self._times.values()), default=0)

    @property
    def total(self) -> int:
        return sum(map(len, self._times.values()))

    def _observe(self, record: Record) -> None:
        side, data = self._sides.get(record.host), record.datagram.data
        if side is None or len(data) != CONTROL_DATAGRAM or data[1] & ~END_B != Kind.ANNOUNCE:
            return
        message = self._channels[side.name].open(data)
        assert isinstance(message, Announce)
        if message.purpose == Purpose.PUNCH and message.attempt not in self._seen:
            self._seen.add(message.attempt)
            process = side.name, len(side.started_at)
            self._times.setdefault(process, []).append(record.time)


def most_in(times: list[float], seconds: float) -> int:
    most, first = 0, 0
    for number, time in enumerate(times):
        while times[first] <= time - seconds + ROUND:
            first += 1
        most = max(most, number - first + 1)
    return most
