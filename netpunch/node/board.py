"""Where everything stands: a fold over the events of a run, and what controls count.

    starting ──> waiting ──> punching ──> up ──> down ──> waiting …
        └─ (check passes) ────────────────^        any but up ──> failed ──> waiting …

Whoever tells an event tells the board; nobody has to remember to do both.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping

from netpunch.output.record import EventName, Record
from netpunch.output.status import ControlStatus, EndStatus, Refusal, State
from netpunch.reasons import Reason

EndKey = tuple[str, str]
"""A pair's name and `a` or `b`."""

STATES: Mapping[object, State] = {
    EventName.PAIR_WAITING: State.WAITING,
    EventName.PAIR_INTRODUCED: State.PUNCHING,
    EventName.PAIR_UP: State.UP,
    EventName.PAIR_ALIVE: State.UP,
    EventName.PAIR_DOWN: State.DOWN,
    EventName.PAIR_FAILED: State.FAILED,
}
"""The state that an event of an end leads to."""

CONTROL_EVENTS: Collection[object] = {EventName.CONTROL_REGISTERED, EventName.CONTROL_EXPIRED}
"""What changes a control's status; what it counts is read when somebody asks."""

IGNORED_WHILE_UP = {State.WAITING, State.PUNCHING}
"""An end stays registered while its link is up; only a loss or a failure ends that."""


class Board:
    """`ends` and `problems` are fed by `take`; who runs something adds and removes it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since the epoch."""
        self._clock = clock
        self._ends: dict[EndKey, EndStatus] = {}
        self._controls: dict[str, Callable[[], ControlStatus]] = {}
        self._rtts: dict[EndKey, Callable[[], float | None]] = {}
        self._problems: dict[str, list[str]] = {}
        self._refusal: Refusal | None = None
        self._watchers: list[Callable[[], None]] = []

    @property
    def ends(self) -> tuple[EndStatus, ...]:
        return tuple(self._measured(key, status) for key, status in sorted(self._ends.items()))

    def _measured(self, key: EndKey, status: EndStatus) -> EndStatus:
        rtt = self._rtts[key]() if key in self._rtts and status.is_up else None
        return status if rtt is None else status._replace(rtt_ms=round(rtt * 1000, 3))

    @property
    def controls(self) -> tuple[ControlStatus, ...]:
        names = sorted({*self._controls, *self._problems})
        return tuple(self._control(name) for name in names)

    @property
    def refusal(self) -> Refusal | None:
        return self._refusal

    def watch(self, watcher: Callable[[], None]) -> None:
        """`watcher` is called after each change; it must be quick."""
        self._watchers.append(watcher)

    def take(self, record: Record) -> None:
        """An event happened."""
        event = record["event"]
        if event in CONTROL_EVENTS:
            self._changed()
        if event == EventName.CONTROL_FAILED:
            self._add_problem(record)
        state = STATES.get(event)
        pair, end = record.get("pair"), record.get("end")
        if state is not None and isinstance(pair, str) and isinstance(end, str):
            before = self._ends.get((pair, end)) or EndStatus(pair, end, self._clock())
            if before.is_up and state in IGNORED_WHILE_UP:
                return
            self._put(_after(before, state, record, self._clock()))

    # For whoever runs ends and controls.

    def keep(self, ends: Collection[EndKey]) -> None:
        """A new plan begins: forgets all ends but these, and every problem."""
        self._ends = {key: status for key, status in self._ends.items() if key in ends}
        self._problems.clear()
        self._changed()

    def reloaded(self, refused: str | None = None) -> None:
        """The file was read anew; `refused`: why it could not be used."""
        self._refusal = None if refused is None else Refusal(refused, self._clock())
        self._changed()

    def add_end(self, pair: str, end: str) -> None:
        """It starts."""
        self._put(EndStatus(pair, end, self._clock()))

    def end_stopped(self, pair: str, end: str, err: str | None = None) -> None:
        """Nobody looks after it any more; `err`: because of a bug. Fine if it is forgotten."""
        before = self._ends.get((pair, end))
        if before is not None:
            record: Record = {"reason": Reason.STOPPED}
            if err is not None:
                record = {"reason": Reason.BUG, "err": err}
            self._put(_after(before, State.FAILED, record, self._clock()))

    @contextlib.contextmanager
    def measuring(self, pair: str, end: str, rtt: Callable[[], float | None]) -> Iterator[None]:
        """Within it the link is held: `rtt` gives the seconds of its latest round trip."""
        self._rtts[pair, end] = rtt
        try:
            yield
        finally:
            del self._rtts[pair, end]

    def add_control(self, name: str, status: Callable[[], ControlStatus]) -> None:
        """It serves; `status` is called when somebody wants to know."""
        self._controls[name] = status
        self._changed()

    def remove_control(self, name: str) -> None:
        self._controls.pop(name, None)
        self._changed()

    # Inside.

    def _control(self, name: str) -> ControlStatus:
        read = self._controls.get(name)
        status = read() if read else ControlStatus(name)
        return status._replace(problems=tuple(self._problems.get(name, ())))

    def _add_problem(self, record: Record) -> None:
        whose = f"{record['pair']}: " if "pair" in record else ""
        self._problems.setdefault(str(record["control"]), []).append(f"{whose}{record.get('err')}")
        self._changed()

    def _put(self, status: EndStatus) -> None:
        self._ends[status.pair, status.end] = status
        self._changed()

    def _changed(self) -> None:
        for watcher in self._watchers:
            watcher()


def _after(before: EndStatus, state: State, record: Record, now: float) -> EndStatus:
    """The status after an event. An event tells all that holds from then on: what it lacks is
    not known any more."""
    reason = _text(record, "reason")
    if state is State.FAILED and reason == Reason.STOPPED:
        state = State.STOPPED
    err = _text(record, "err")
    rtt = record.get("rtt_ms")
    return EndStatus(
        before.pair,
        before.end,
        since=before.since if state is before.state else now,
        state=state,
        reason=reason,
        laddr=_text(record, "laddr"),
        raddr=_text(record, "raddr"),
        observed=_text(record, "observed") or before.observed,
        path=_text(record, "path"),
        rtt_ms=rtt if isinstance(rtt, float) else None,
        err=err or before.err,
        err_at=now if err else before.err_at,
        links=before.links + (record.get("event") == EventName.PAIR_UP),
        failures=_counted(before.failures, reason, state is State.FAILED),
        losses=_counted(before.losses, reason, state is State.DOWN),
    )


def _text(record: Record, name: str) -> str | None:
    value = record.get(name)
    return value if isinstance(value, str) else None


def _counted(counts: Mapping[str, int], reason: str | None, happened: bool) -> Mapping[str, int]:
    if not happened:
        return counts
    key = reason or "unknown"
    return {**counts, key: counts.get(key, 0) + 1}
