"""Events change the status of ends and controls."""

from __future__ import annotations

from collections import Counter

import pytest

from netpunch.address import Address
from netpunch.output import events
from netpunch.output.journal import Journal, Style
from netpunch.output.status import ControlStatus, EndStatus, Figures, State, Traffic
from netpunch.output.status_model import StatusModel

LOCAL, REMOTE = Address("0.0.0.0", 5000), Address("203.0.113.7", 6000)
ELSEWHERE = Address("203.0.113.9", 6001)
OBSERVED = Address("198.51.100.1", 5000)
P_A = ("p", "a")


class Run:
    """A journal that feeds a status model, and a clock that counts the events."""

    def __init__(self) -> None:
        self.now = 0.0
        self.model = StatusModel(clock=lambda: self.now)
        self.journal = Journal(lambda _: True, observer=self.model.take)

    def tell(self, event: events.Event, end: str = "a") -> EndStatus:
        """One second later something happens to an end of `p`; gives its status then."""
        self.now += 1
        self.journal.emit(event)
        return next(status for status in self.model.ends if status.end == end)

    def tell_moved(self, reason: str = "silent", path: str = "relay") -> EndStatus:
        return self.tell(
            events.PairMoved(
                *(*P_A, LOCAL, ELSEWHERE, path, None, 0.3),
                *(True, 3, reason, REMOTE),
            )
        )

    def tell_up(self) -> EndStatus:
        return self.tell(
            events.PairUp(*P_A, LOCAL, REMOTE, "observed", 12.5, 0.2, changed=True, datagrams=3)
        )


@pytest.fixture
def run() -> Run:
    run = Run()
    run.model.add_end("p", "a")
    return run


def test_the_status_of_an_end_that_starts(run: Run) -> None:
    assert run.model.ends == (EndStatus("p", "a", State.STARTING, since=0.0),)


def test_the_states_on_the_way_to_a_link(run: Run) -> None:
    silent = run.tell(events.PairWaiting(*P_A, "secret_rejected_or_silent"))
    assert (silent.state, silent.reason, silent.since) == (
        *(State.WAITING, "secret_rejected_or_silent"),
        1.0,
    )
    waiting = run.tell(events.PairWaiting(*P_A, "partner_absent", observed=OBSERVED))
    assert (waiting.reason, waiting.observed) == ("partner_absent", str(OBSERVED))
    assert waiting.since == 1.0, "it waits since then, whatever for"
    punching = run.tell(events.PairIntroduced(*P_A, REMOTE))
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
        path_since=4.0,
        rtt_ms=12.5,
        links=1,
    )


def measured(rtt: float | None, *counts: int, **drops: int) -> Figures:
    traffic = Traffic._make((*counts, Counter(drops))) if counts else None
    return Figures(rtt, 0.0012, 0.05, traffic)


def carried(end: EndStatus) -> tuple[int | None, ...]:
    return end.sent_datagrams, end.sent_bytes, end.received_datagrams, end.received_bytes


def test_a_held_link_shows_what_is_measured_now(run: Run) -> None:
    up = run.tell_up()
    latest: list[Figures | None] = [None, measured(None), measured(0.0301234), measured(0.0502)]
    with run.model.measuring("p", "a", lambda: latest.pop(0) if latest else None):
        assert run.model.ends[0] == up, "nothing is known yet"
        assert [run.model.ends[0].rtt_ms for _ in range(3)] == [12.5, 30.123, 50.2]
        latest = [measured(0.03)]
        shown = run.model.ends[0]
        assert (shown.jitter_ms, shown.loss, carried(shown)) == (1.2, 0.05, (None,) * 4)
    assert run.model.ends[0] == up


def test_what_is_measured_is_read_only_when_somebody_asks(run: Run) -> None:
    read: list[str] = []

    def figures() -> None:
        read.append("!")

    with run.model.measuring("p", "a", figures):
        run.tell(events.PairWaiting(*P_A, "partner_absent"), "a")
        read.clear()
        run.journal.emit(events.PairIntroduced(*P_A, REMOTE))
        assert read == []
        assert run.model.ends
        assert read == ["!"]


def test_what_links_carry_counts_on_over_all_of_them(run: Run) -> None:
    """A counter that falls would be taken for a restart."""
    now = measured(0.03, 1, 100, 2, 200)
    run.tell_up()
    with run.model.measuring("p", "a", lambda: now):
        assert carried(run.model.ends[0]) == (1, 100, 2, 200)
        now = measured(0.03, 5, 500, 6, 600, stale=2)
        down = run.tell(events.PairDown(*P_A, "silent", "no answer"))
        assert (down.jitter_ms, down.loss, carried(down)) == (None, None, (5, 500, 6, 600))
    assert carried(run.model.ends[0]) == (5, 500, 6, 600)
    run.tell_up()
    now = measured(0.03, 1, 10, 0, 0, stale=1, bad_mac=3)
    with run.model.measuring("p", "a", lambda: now):
        assert carried(run.model.ends[0]) == (6, 510, 6, 600)
        assert run.model.ends[0].drops == {"stale": 3, "bad_mac": 3}
    run.model.add_end("p", "a")
    assert carried(run.model.ends[0]) == (None,) * 4, "a reload has changed it"


def test_what_was_carried_by_ends_that_are_gone_is_forgotten(run: Run) -> None:
    with run.model.measuring("p", "a", lambda: measured(0.03, 1, 1, 1, 1)):
        pass
    run.model.keep(())
    with run.model.measuring("p", "a", lambda: measured(0.03, 1, 1, 1, 1)):
        assert not run.model.ends
    run.journal.emit(events.PairAlive(*P_A))
    assert carried(run.model.ends[0]) == (None,) * 4


def test_a_loss_removes_the_addresses_and_keeps_the_error(run: Run) -> None:
    run.tell_up()
    down = run.tell(events.PairDown(*P_A, "silent", "3 silent keepalives"))
    assert (down.state, down.reason, down.err, down.err_at) == (
        *(State.DOWN, "silent", "3 silent keepalives"),
        2.0,
    )
    assert (down.laddr, down.raddr, down.path, down.rtt_ms) == (None, None, None, None)
    up = run.tell_up()
    assert (up.state, up.err, up.err_at) == (State.UP, "3 silent keepalives", 2.0)
    assert (up.links, up.losses, up.failures) == (2, {"silent": 1}, {})


def test_a_link_that_moves_stays_up_on_another_path(run: Run) -> None:
    up = run.tell_up()
    moved = run.tell_moved()
    assert moved == up._replace(
        raddr=str(ELSEWHERE), path="relay", path_since=2.0, rtt_ms=None, moves={"silent": 1}
    )
    run.tell_moved("woke")
    assert run.tell_moved("woke").moves == {"silent": 1, "woke": 2}
    down = run.tell(events.PairDown(*P_A, "silent", "3 silent keepalives"))
    assert (down.path, down.path_since, down.moves) == (None, None, {"silent": 1, "woke": 2})


def test_programs_that_do_not_know_of_a_move_are_an_error_of_a_link_that_is_up(run: Run) -> None:
    run.tell_up()
    moved = run.tell_moved()
    stale = run.tell(events.PairStale(*P_A, "hook", "exit status 1"))
    assert stale == moved._replace(err="exit status 1", err_at=3.0)


def test_what_happens_to_a_link_that_is_gone_does_not_bring_it_back(run: Run) -> None:
    run.tell_up()
    down = run.tell(events.PairDown(*P_A, "silent", "3 silent keepalives"))
    assert run.tell_moved() == down
    run.model.keep(())
    run.journal.emit(events.PairStale(*P_A, "hook", "exit status 1"))
    assert run.model.ends == ()


def test_failures_are_counted_by_reason(run: Run) -> None:
    for reason in ("blocked", "partner_absent", "blocked"):
        failed = run.tell(events.PairFailed(*P_A, None, reason, f"it is {reason}"))
        assert (failed.state, failed.reason, failed.since) == (State.FAILED, reason, 1.0)
    assert failed.failures == {"blocked": 2, "partner_absent": 1}
    assert (failed.err, failed.err_at) == ("it is blocked", 3.0)


def test_an_end_that_was_stopped_has_not_failed(run: Run) -> None:
    stopped = run.tell(events.PairFailed(*P_A, None, "stopped"))
    assert (stopped.state, stopped.failures, stopped.err) == (State.STOPPED, {}, None)


def test_a_check_that_passes_is_as_good_as_a_link(run: Run) -> None:
    alive = run.tell(events.PairAlive(*P_A))
    assert (alive.state, alive.links) == (State.UP, 0)


def test_an_end_that_is_up_stays_so_whatever_control_says(run: Run) -> None:
    up = run.tell_up()
    assert run.tell(events.PairWaiting(*P_A, "partner_absent")) == up
    assert run.tell(events.PairIntroduced(*P_A, REMOTE)) == up


def test_a_failed_up_hook_makes_an_end_failed(run: Run) -> None:
    run.tell_up()
    assert run.tell(events.PairFailed(*P_A, None, "hook", "exit 3")).state is State.FAILED


@pytest.mark.parametrize(
    "event", [events.HookStart(*P_A, "up", ["./up"]), events.EnvWritten(*P_A, "p.env")]
)
def test_other_events_do_not_change_the_status(run: Run, event: events.Event) -> None:
    changes: list[None] = []
    run.model.watch(lambda: changes.append(None))
    assert run.tell(event).state is State.STARTING
    assert changes == []


def test_an_end_that_could_not_be_planned(run: Run) -> None:
    failed = run.tell(events.PairFailed("p", "b", None, "permissions", "world-readable"), "b")
    assert (failed.state, failed.err) == (State.FAILED, "world-readable")
    assert [status.end for status in run.model.ends] == ["a", "b"]


def test_a_reload_forgets_what_is_gone(run: Run) -> None:
    run.tell_up()
    run.tell(events.PairFailed("p", "b", None, "permissions", "world-readable"), "b")
    run.journal.emit(events.ControlFailed(None, "port_in_use", "taken", "vps"))
    run.model.keep({("p", "a")})
    (kept,) = run.model.ends
    assert (kept.end, kept.state) == ("a", State.UP)
    assert run.model.controls == ()
    run.model.keep(())
    assert run.model.ends == ()


def test_an_end_that_is_restarted_begins_anew(run: Run) -> None:
    run.tell_up()
    run.model.add_end("p", "a")
    assert run.model.ends == (EndStatus("p", "a", State.STARTING, since=1.0),)


def test_the_status_of_an_end_whose_task_has_ended(run: Run) -> None:
    run.tell_up()
    run.model.end_stopped("p", "a")
    (stopped,) = run.model.ends
    assert (stopped.state, stopped.laddr, stopped.links) == (State.STOPPED, None, 1)
    run.model.end_stopped("p", "a", bug="bug: KeyError()")
    (failed,) = run.model.ends
    assert (failed.state, failed.err, failed.failures) == (
        *(State.FAILED, "bug: KeyError()"),
        {"bug": 1},
    )
    run.model.end_stopped("p", "b")
    assert len(run.model.ends) == 1, "it was forgotten before"


def test_the_status_of_a_control_is_read_on_demand(run: Run) -> None:
    registered = 0
    run.model.add_control("vps", lambda: ControlStatus("vps", registered=registered))
    registered = 3
    assert run.model.controls == (ControlStatus("vps", registered=3),)
    run.model.remove_control("vps")
    assert len(run.model.controls) == 0


def test_the_status_says_why_a_control_does_not_serve(run: Run) -> None:
    run.model.add_control("vps", lambda: ControlStatus("vps", ("0.0.0.0:10001",)))
    run.journal.emit(events.ControlFailed(None, "port_in_use", "taken", "other"))
    run.journal.emit(events.ControlFailed("q", "output", "no such file", "vps"))
    assert run.model.controls == (
        ControlStatus("other", problems=("taken",)),
        ControlStatus("vps", ("0.0.0.0:10001",), problems=("q: no such file",)),
    )
    assert [status.pair for status in run.model.ends] == ["p"]


def test_watchers_are_called_after_each_change(run: Run) -> None:
    changes: list[str] = []
    run.model.watch(lambda: changes.append("!"))

    def is_told(count: int) -> bool:
        told, changes[:] = len(changes), []
        return told == count

    run.tell_up()
    assert is_told(1)
    run.journal.emit(events.ControlRegistered(*P_A, REMOTE, "vps"))
    run.journal.emit(events.ControlExpired(*P_A, "left", "vps"))
    assert is_told(2)
    run.model.add_control("vps", lambda: ControlStatus("vps"))
    run.model.remove_control("vps")
    assert is_told(2)
    run.model.keep(())
    run.model.add_end("p", "a")
    run.model.end_stopped("p", "a")
    assert is_told(3)


def test_events_update_the_status_in_text_style_too() -> None:
    model = StatusModel()
    journal = Journal(lambda _: True, style=Style.TEXT, observer=model.take)
    journal.emit(events.PairAlive(*P_A))
    assert [status.state for status in model.ends] == [State.UP]
