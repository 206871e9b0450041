"""The state of every end and control: a fold over the events of a run, and what controls count.

    starting ──> waiting ──> punching ──> up (moves) ──> down ──> waiting …
        └─ (check passes) ────────────────^        any but up ──> failed ──> waiting …

The journal passes every event on to `take`, so reporting an event updates the status, too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from netpunch.address import Address
from netpunch.output.events import (
    ControlExpired,
    ControlFailed,
    ControlRegistered,
    Event,
    PairAlive,
    PairDown,
    PairFailed,
    PairIntroduced,
    PairMoved,
    PairStale,
    PairUp,
    PairWaiting,
)
from netpunch.output.journal import valid_text
from netpunch.output.status import ControlStatus, EndStatus, Figures, Refusal, State, Traffic
from netpunch.reasons import Reason

EndKey = tuple[str, str]
"""A pair's name and `a` or `b`."""


class StatusModel:
    """Gets events from the journal, and is called when ends and controls start and stop."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since the epoch."""
        self.refusal: Refusal | None = None
        """The last reload, if it was refused."""
        self._clock = clock
        self._ends: dict[EndKey, EndStatus] = {}
        self._controls: dict[str, Callable[[], ControlStatus]] = {}
        self._figures: dict[EndKey, Callable[[], Figures | None]] = {}
        """How to read those of links that are held now: only when somebody asks."""
        self._carried: dict[EndKey, Traffic] = {}
        """Over links that have ended."""
        self._problems: dict[str, list[str]] = {}
        self._watchers: list[Callable[[], None]] = []

    @property
    def ends(self) -> tuple[EndStatus, ...]:
        return tuple(self._measured(key, status) for key, status in sorted(self._ends.items()))

    def _measured(self, key: EndKey, status: EndStatus) -> EndStatus:
        read = self._figures.get(key)
        figures = None if read is None else read()
        traffic = _total(self._carried.get(key), figures and figures.traffic)
        fields: dict[str, Any] = {} if traffic is None else traffic._asdict()
        if figures is not None and status.is_up:
            rtt_ms = _ms(figures.rtt)
            fields["rtt_ms"] = status.rtt_ms if rtt_ms is None else rtt_ms
            fields["jitter_ms"] = _ms(figures.jitter)
            fields["loss"] = round(figures.loss, 3)
        return status._replace(**fields) if fields else status

    @property
    def controls(self) -> tuple[ControlStatus, ...]:
        names = sorted({*self._controls, *self._problems})
        return tuple(self._control(name) for name in names)

    def watch(self, watcher: Callable[[], None]) -> None:
        """`watcher` is called after each change; it must be quick."""
        self._watchers.append(watcher)

    def take(self, event: Event) -> None:
        """An event happened. It says all that holds from then on: what it lacks is not known any
        more. While an end is up, it stays registered at its controls: only a loss or a failure
        ends that state."""
        match event:
            case PairWaiting(pair, end, reason, err, observed):
                if not self._is_up(pair, end):
                    self._enter(State.WAITING, pair, end, reason, err=err, observed=observed)
            case PairIntroduced(pair, end, remote):
                if not self._is_up(pair, end):
                    self._enter(State.PUNCHING, pair, end, remote=remote)
            case PairUp():
                self._enter(State.UP, event.pair, event.end, link=event)
            case PairMoved():
                self._move(event)
            case PairStale(pair, end, _, err):
                self._change(pair, end, err=valid_text(err), err_at=self._clock())
            case PairAlive(pair, end):
                self._enter(State.UP, pair, end)
            case PairDown(pair, end, reason, err):
                self._enter(State.DOWN, pair, end, reason, err=err)
            case PairFailed():
                self._fail(event.pair, event.end, event.reason, event.err)
            case ControlFailed(pair, _, err, control):
                problem = f"{pair}: {err}" if pair else err
                self._problems.setdefault(control, []).append(valid_text(problem))
                self._changed()
            case ControlRegistered() | ControlExpired():
                self._changed()

    # For the tasks that run ends and controls.

    def keep(self, ends: Collection[EndKey]) -> None:
        """A new plan begins: forgets all other ends, and every problem."""
        self._ends = {key: status for key, status in self._ends.items() if key in ends}
        self._carried = {key: each for key, each in self._carried.items() if key in ends}
        self._problems.clear()
        self._changed()

    def reloaded(self, refused: str | None = None) -> None:
        """The file was read again; `refused`: why it could not be used."""
        self.refusal = None if refused is None else Refusal(refused, self._clock())
        self._changed()

    def add_end(self, pair: str, end: str) -> None:
        """It starts: its counters begin anew."""
        self._carried.pop((pair, end), None)
        self._put(EndStatus(pair, end, since=self._clock()))

    def end_stopped(self, pair: str, end: str, bug: str | None = None) -> None:
        """Its task has ended; `bug`: why, if it was not stopped. Nothing happens if the end is
        forgotten already."""
        if (pair, end) in self._ends:
            self._fail(pair, end, Reason.BUG if bug else Reason.STOPPED, bug)

    def forwards(self, pair: str, end: str, local: str) -> None:
        """The local program sends there."""
        self._change(pair, end, forward=local)

    @contextlib.contextmanager
    def measuring(
        self, pair: str, end: str, figures: Callable[[], Figures | None]
    ) -> Iterator[None]:
        """Within it the link is held, and `figures` says how it does. What it has carried counts on
        afterwards."""
        key = (pair, end)
        self._figures[key] = figures
        try:
            yield
        finally:
            del self._figures[key]
            last = figures()
            carried = _total(self._carried.get(key), last and last.traffic)
            if carried is not None and key in self._ends:
                self._carried[key] = carried

    def add_control(self, name: str, status: Callable[[], ControlStatus]) -> None:
        """It serves; `status` is called whenever the status is read."""
        self._controls[name] = status
        self._changed()

    def remove_control(self, name: str) -> None:
        self._controls.pop(name, None)
        self._changed()

    # Inside.

    def _is_up(self, pair: str, end: str) -> bool:
        return (pair, end) in self._ends and self._ends[pair, end].is_up

    def _control(self, name: str) -> ControlStatus:
        read = self._controls.get(name)
        status = read() if read else ControlStatus(name)
        return status._replace(problems=tuple(self._problems.get(name, ())))

    def _fail(self, pair: str, end: str, reason: str, err: str | None) -> None:
        state = State.STOPPED if reason == Reason.STOPPED else State.FAILED
        self._enter(state, pair, end, reason, err=err)

    def _enter(
        self,
        state: State,
        pair: str,
        end: str,
        reason: str | None = None,
        *,
        err: str | None = None,
        observed: Address | None = None,
        remote: Address | None = None,
        link: PairUp | None = None,
    ) -> None:
        now = self._clock()
        before = self._ends.get((pair, end)) or EndStatus(pair, end, since=now)
        after = before._replace(
            since=before.since if state is before.state else now,
            state=state,
            reason=reason,
            laddr=None,
            raddr=None if remote is None else str(remote),
            path=None,
            path_since=None,
            rtt_ms=None,
            failures=_counted(before.failures, reason, state is State.FAILED),
            losses=_counted(before.losses, reason, state is State.DOWN),
        )
        if observed is not None:
            after = after._replace(observed=str(observed))
        if err:
            after = after._replace(err=valid_text(err), err_at=now)
        if link is not None:
            after = after._replace(**_path(link), path_since=now, links=before.links + 1)
        self._put(after)

    def _move(self, move: PairMoved) -> None:
        if self._is_up(move.pair, move.end):
            moves = _counted(self._ends[move.pair, move.end].moves, move.reason, True)
            self._change(move.pair, move.end, **_path(move), path_since=self._clock(), moves=moves)

    def _change(self, pair: str, end: str, **fields: Any) -> None:
        """Of an end that stays in its state."""
        if (pair, end) in self._ends:
            self._put(self._ends[pair, end]._replace(**fields))

    def _put(self, status: EndStatus) -> None:
        self._ends[status.pair, status.end] = status
        self._changed()

    def _changed(self) -> None:
        for watcher in self._watchers:
            watcher()


def _path(link: PairUp | PairMoved) -> dict[str, Any]:
    """The fields that a new path replaces."""
    return {
        "laddr": str(link.local),
        "raddr": str(link.remote),
        "path": str(link.path),
        "rtt_ms": None if link.rtt_ms is None else round(link.rtt_ms, 3),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _total(before: Traffic | None, now: Traffic | None) -> Traffic | None:
    return before.plus(now) if before and now else before or now


def _counted(counts: Mapping[str, int], reason: str | None, happened: bool) -> Mapping[str, int]:
    if not happened or reason is None:
        return counts
    return {**counts, reason: counts.get(reason, 0) + 1}
