"""netpunch.node.board: what events make of an end's status."""

from __future__ import annotations

import pytest

from netpunch.address import Address
from netpunch.node.board import Board
from netpunch.output.record import EventName, Journal, Style, Value
from netpunch.output.status import ControlStatus, EndStatus, State

LOCAL, REMOTE = Address("0.0.0.0", 5000), Address("203.0.113.7", 6000)
OBSERVED = Address("198.51.100.1", 5000)


class Run:
    """A journal that feeds a board, and a clock that counts the events."""

    def __init__(self) -> None:
        self.now = 0.0
        self.board = Board(clock=lambda: self.now)
        self.journal = Journal(lambda _: True, observer=self.board.take)

    def tell(self, event: EventName, end: str = "a", **fields: Value) -> EndStatus:
        """One second later something happens to an end of `p`; gives its status then."""
        self.now += 1
        self.journal.emit(event, pair="p", end=end, **fields)
        return next(status for status in self.board.ends if status.end == end)

    def tell_up(self) -> EndStatus:
        return self.tell(
            EventName.PAIR_UP, local=LOCAL, remote=REMOTE, path="observed", rtt_ms=12.5
        )


@pytest.fixture
def run() -> Run:
    run = Run()
    run.board.add_end("p", "a")
    return run


def test_an_end_starts(run: Run) -> None:
    assert run.board.ends == (EndStatus("p", "a", 0.0, State.STARTING),)


def test_the_way_to_a_link(run: Run) -> None:
    silent = run.tell(EventName.PAIR_WAITING, reason="secret_rejected_or_silent")
    assert (silent.state, silent.reason, silent.since) == (
        *(State.WAITING, "secret_rejected_or_silent"),
        1.0,
    )
    waiting = run.tell(EventName.PAIR_WAITING, reason="partner_absent", observed=OBSERVED)
    assert (waiting.reason, waiting.observed) == ("partner_absent", str(OBSERVED))
    assert waiting.since == 1.0, "it waits since then, whatever for"
    punching = run.tell(EventName.PAIR_INTRODUCED, remote=REMOTE)
    assert (punching.state, punching.raddr, punching.reason) == (State.PUNCHING, str(REMOTE), None)
    assert run.tell_up() == EndStatus(
        "p",
        "a",
        since=4.0,
        state=State.UP,
        laddr=str(LOCAL),
        raddr=str(REMOTE),
        observed=str(OBSERVED),
        path="observed",
        rtt_ms=12.5,
        links=1,
    )


def test_a_held_link_shows_its_latest_round_trip(run: Run) -> None:
    run.tell_up()
    latest: list[float | None] = [None, 0.0301234, 0.0502]
    with run.board.measuring("p", "a", lambda: latest.pop(0)):
        assert [run.board.ends[0].rtt_ms for _ in range(3)] == [12.5, 30.123, 50.2]
    assert run.board.ends[0].rtt_ms == 12.5


def test_a_loss_takes_the_addresses_and_leaves_the_error(run: Run) -> None:
    run.tell_up()
    down = run.tell(EventName.PAIR_DOWN, reason="silent", err="3 silent keepalives")
    assert (down.state, down.reason, down.err, down.err_at) == (
        *(State.DOWN, "silent", "3 silent keepalives"),
        2.0,
    )
    assert (down.laddr, down.raddr, down.path, down.rtt_ms) == (None, None, None, None)
    up = run.tell_up()
    assert (up.state, up.err, up.err_at) == (State.UP, "3 silent keepalives", 2.0)
    assert (up.links, up.losses, up.failures) == (2, {"silent": 1}, {})


def test_failures_are_counted_by_reason(run: Run) -> None:
    for reason in ("blocked", "partner_absent", "blocked"):
        failed = run.tell(EventName.PAIR_FAILED, reason=reason, err=f"it is {reason}")
        assert (failed.state, failed.reason, failed.since) == (State.FAILED, reason, 1.0)
    assert failed.failures == {"blocked": 2, "partner_absent": 1}
    assert (failed.err, failed.err_at) == ("it is blocked", 3.0)


def test_an_end_that_was_stopped_has_not_failed(run: Run) -> None:
    stopped = run.tell(EventName.PAIR_FAILED, reason="stopped")
    assert (stopped.state, stopped.failures, stopped.err) == (State.STOPPED, {}, None)


def test_a_check_that_passes_is_as_good_as_a_link(run: Run) -> None:
    alive = run.tell(EventName.PAIR_ALIVE)
    assert (alive.state, alive.links) == (State.UP, 0)


def test_an_end_that_is_up_stays_so_whatever_control_says(run: Run) -> None:
    up = run.tell_up()
    assert run.tell(EventName.PAIR_WAITING, reason="partner_absent") == up
    assert run.tell(EventName.PAIR_INTRODUCED, remote=REMOTE) == up


def test_a_failing_up_hook_ends_it(run: Run) -> None:
    run.tell_up()
    assert run.tell(EventName.PAIR_FAILED, reason="hook", err="exit 3").state is State.FAILED


@pytest.mark.parametrize("event", [EventName.HOOK_START, EventName.ENV_WRITTEN, EventName.DATAGRAM])
def test_other_events_change_nothing(run: Run, event: EventName) -> None:
    changes: list[None] = []
    run.board.watch(lambda: changes.append(None))
    assert run.tell(event).state is State.STARTING
    assert changes == []


def test_an_end_that_could_not_be_planned(run: Run) -> None:
    failed = run.tell(EventName.PAIR_FAILED, end="b", reason="permissions", err="world-readable")
    assert (failed.state, failed.err) == (State.FAILED, "world-readable")
    assert [status.end for status in run.board.ends] == ["a", "b"]


def test_a_reload_forgets_what_is_gone(run: Run) -> None:
    run.tell_up()
    run.tell(EventName.PAIR_FAILED, end="b", reason="permissions", err="world-readable")
    run.journal.emit(EventName.CONTROL_FAILED, control="vps", reason="port_in_use", err="taken")
    run.board.keep({("p", "a")})
    (kept,) = run.board.ends
    assert (kept.end, kept.state) == ("a", State.UP)
    assert run.board.controls == ()
    run.board.keep(())
    assert run.board.ends == ()


def test_an_end_that_is_restarted_begins_anew(run: Run) -> None:
    run.tell_up()
    run.board.add_end("p", "a")
    assert run.board.ends == (EndStatus("p", "a", 1.0, State.STARTING),)


def test_an_end_that_nobody_looks_after(run: Run) -> None:
    run.tell_up()
    run.board.end_stopped("p", "a")
    (stopped,) = run.board.ends
    assert (stopped.state, stopped.laddr, stopped.links) == (State.STOPPED, None, 1)
    run.board.end_stopped("p", "a", err="bug: KeyError()")
    (failed,) = run.board.ends
    assert (failed.state, failed.err, failed.failures) == (
        *(State.FAILED, "bug: KeyError()"),
        {"bug": 1},
    )
    run.board.end_stopped("p", "b")
    assert len(run.board.ends) == 1, "it was forgotten before"


def test_controls_are_read_when_somebody_asks(run: Run) -> None:
    registered = 0
    run.board.add_control("vps", lambda: ControlStatus("vps", registered=registered))
    registered = 3
    assert run.board.controls == (ControlStatus("vps", registered=3),)
    run.board.remove_control("vps")
    assert len(run.board.controls) == 0


def test_why_a_control_does_not_serve(run: Run) -> None:
    run.board.add_control("vps", lambda: ControlStatus("vps", ("0.0.0.0:10001",)))
    run.journal.emit(EventName.CONTROL_FAILED, control="other", reason="port_in_use", err="taken")
    run.journal.emit(EventName.CONTROL_FAILED, control="vps", pair="q", err="no such file")
    assert run.board.controls == (
        ControlStatus("other", problems=("taken",)),
        ControlStatus("vps", ("0.0.0.0:10001",), problems=("q: no such file",)),
    )
    assert [status.pair for status in run.board.ends] == ["p"]


def test_every_change_is_told(run: Run) -> None:
    changes: list[str] = []
    run.board.watch(lambda: changes.append("!"))

    def is_told(count: int) -> bool:
        told, changes[:] = len(changes), []
        return told == count

    run.tell_up()
    assert is_told(1)
    run.journal.emit(EventName.CONTROL_REGISTERED, pair="p", end="a", control="vps")
    run.journal.emit(EventName.CONTROL_EXPIRED, pair="p", end="a", control="vps")
    assert is_told(2)
    run.board.add_control("vps", lambda: ControlStatus("vps"))
    run.board.remove_control("vps")
    assert is_told(2)
    run.board.keep(())
    run.board.add_end("p", "a")
    run.board.end_stopped("p", "a")
    assert is_told(3)


def test_the_text_style_feeds_it_as_well() -> None:
    board = Board()
    journal = Journal(lambda _: True, style=Style.TEXT, observer=board.take)
    journal.emit(EventName.PAIR_ALIVE, pair="p", end="a")
    assert [status.state for status in board.ends] == [State.UP]
