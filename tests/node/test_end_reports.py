"""An end reports each change once, and again and again that it still waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netpunch.address import Address
from netpunch.core.events import (
    CandidateReport,
    Event,
    Expired,
    Failed,
    Finished,
    Introduced,
    Linked,
    Mapped,
    MappingLost,
    Moved,
    MoveReason,
    PathKind,
    Reason,
    Registered,
    SeenInside,
    Waiting,
)
from netpunch.errors import OutputError
from netpunch.net.driver import Datagram
from netpunch.node.control_reports import ControlReports
from netpunch.node.end_reports import EndReports
from tests.node.children import Run, on_both_loops
from tests.node.recorder import Recorder, end_with, named

pytestmark = on_both_loops

HERE, THERE = Address("192.0.2.1", 1), Address("2001:db8::1", 2)
AT_THERE = {"raddr": "[2001:db8::1]:2", "rhost": "2001:db8::1", "rport": 2}
P_A = {"pair": "p", "end": "a"}
SILENT = "no answer from control at 192.0.2.9:1: is it running? (`netpunch key id PAIR FILE`)"

BEHIND_ANOTHER = (
    "the gateway maps 100.64.0.2:5000, a private address: it is itself behind another NAT (a "
    "carrier's, or a second router), so hosts elsewhere can't reach it there"
)

SEEN: list[tuple[Event, str, dict[str, Any], str]] = [
    (
        Waiting(Reason.PARTNER_ABSENT, HERE),
        "pair.waiting",
        {"reason": "partner_absent", "observed": "192.0.2.1:1"},
        "p a: registered, waiting for the partner",
    ),
    (
        Waiting(Reason.SECRET_REJECTED_OR_SILENT, detail=SILENT),
        "pair.waiting",
        {"reason": "secret_rejected_or_silent", "err": SILENT},
        f"warning: p a: {SILENT}",
    ),
    (
        Waiting(Reason.SPRAY_QUEUE),
        "pair.waiting",
        {"reason": "spray_queue"},
        "p a: waiting for another pair of this host to finish its probing",
    ),
    (
        SeenInside(HERE, Address("172.17.0.1", 5)),
        "pair.seen_inside",
        {"control": "192.0.2.1:1", "observed": "172.17.0.1:5"},
        "warning: p a: control at 192.0.2.1:1 sees this end at 172.17.0.1:5, a private address, so "
        "a partner elsewhere may not learn where this end is; if control runs in a container, give "
        "it the host's network; if this end is in control's own network, set `public` at that "
        "control",
    ),
    (
        Mapped(Address("198.51.100.9", 5000), 3600.0),
        "pair.mapped",
        {"external": "198.51.100.9:5000"},
        "p a: the gateway forwards 198.51.100.9:5000 to this end",
    ),
    (
        Mapped(Address("100.64.0.2", 5000), 3600.0),
        "pair.mapped",
        {"external": "100.64.0.2:5000", "err": BEHIND_ANOTHER},
        f"warning: p a: {BEHIND_ANOTHER}",
    ),
    (
        MappingLost("the gateway 192.0.2.1 maps no port: it answers neither PCP nor NAT-PMP"),
        "pair.mapped",
        {"err": "the gateway 192.0.2.1 maps no port: it answers neither PCP nor NAT-PMP"},
        "warning: p a: the gateway 192.0.2.1 maps no port: it answers neither PCP nor NAT-PMP",
    ),
    (
        Introduced(THERE),
        "pair.introduced",
        AT_THERE,
        "p a: the partner is at [2001:db8::1]:2, punching",
    ),
]


@pytest.mark.parametrize(("event", "name", "fields", "line"), SEEN)
def test_what_an_end_sees_is_reported_once(
    run: Run[Any], tmp_path: Path, event: Event, name: str, fields: dict[str, Any], line: str
) -> None:
    async def main() -> None:
        recorder = Recorder()
        reports = EndReports(end_with(tmp_path), recorder.services)
        for _ in range(3):
            reports.observe(event)
        reports.observe(Finished())
        assert recorder.of(name) == [P_A | fields]
        assert recorder.said == [line]

    run(main())


def moved(reason: MoveReason, remote: Address, rtt: float | None = 0.0123) -> Moved:
    return Moved(0, HERE, remote, PathKind.RELAY, rtt, reason, HERE, 0.25, b"secret", 7)


def test_every_move_of_a_link_is_reported(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        reports = EndReports(end_with(tmp_path), recorder.services)
        reports.observe(Linked(0, HERE, HERE, PathKind.HOST, None, 0.1))
        for reason in MoveReason:
            reports.observe(moved(reason, THERE))
            assert json.loads(reports.latest_move)["reason"] == reason
        assert recorder.of("pair.moved") == [
            P_A
            | {"laddr": str(HERE), "lhost": HERE.host, "lport": HERE.port}
            | AT_THERE
            | {"path": "relay", "rtt_ms": 12.3, "duration_s": 0.25, "changed": True, "datagrams": 7}
            | {"reason": reason, "prev_raddr": str(HERE)}
            for reason in MoveReason
        ]
        assert len(set(recorder.said)) == len(MoveReason), "each reason in its own words"
        assert recorder.said[0] == (
            "p a: moved to 192.0.2.1:1 -> [2001:db8::1]:2 (relay, 12.3 ms, after 0.250 s): "
            "this host's network has changed"
        )
        assert "secret" not in str(recorder.records)

    run(main())


def test_a_path_has_changed_if_programs_must_know(run: Run[Any], tmp_path: Path) -> None:
    """Our port, or the partner's address: not the host that we send from."""
    other_host, other_port = Address("192.0.2.9", HERE.port), Address(HERE.host, 9)

    async def main() -> None:
        recorder = Recorder()
        reports = EndReports(end_with(tmp_path), recorder.services)
        reports.observe(Linked(0, HERE, HERE, PathKind.HOST, None, 0.1))
        stays = moved(MoveReason.WOKE, HERE)
        for local in (HERE, other_host, other_port, other_port, HERE):
            reports.observe(stays._replace(local=local))
        changed = [record["changed"] for record in recorder.of("pair.moved")]
        assert changed == [False, False, True, False, True]

    run(main())


def test_programs_that_do_not_know_of_a_move_are_reported_once_for_each(
    run: Run[Any], tmp_path: Path
) -> None:
    async def main() -> None:
        recorder = Recorder()
        reports = EndReports(end_with(tmp_path), recorder.services)
        for _ in range(2):
            reports.observe(moved(MoveReason.WOKE, THERE))
            for text in ("disk full", "disk full", "read-only"):
                reports.stale(OutputError(text))
        reported = [record["err"] for record in recorder.of("pair.stale")]
        assert reported == ["disk full", "read-only"] * 2
        errors = [line for line in recorder.said if line.startswith("error: ")]
        assert errors == [
            f"error: p a: moved, but programs may not know: {text}" for text in reported
        ]

    run(main())


def test_a_role_conflict_is_reported_each_time(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        reports = EndReports(end_with(tmp_path), recorder.services)
        for _ in range(2):
            reports.observe(Waiting(Reason.ROLE_CONFLICT))
        assert recorder.of("pair.waiting") == [P_A | {"reason": "role_conflict"}] * 2
        assert [line.partition(",")[0] for line in recorder.said] == [
            "warning: p a: another machine announces itself as this end"
        ] * 2

    run(main())


def test_a_datagram_of_an_end_is_traced(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        reports = EndReports(end_with(tmp_path), recorder.services)
        reports.observe(Datagram(True, HERE, THERE, b"xyz", "PING"))
        laddr = {"laddr": "192.0.2.1:1", "lhost": "192.0.2.1", "lport": 1}
        sent = P_A | laddr | AT_THERE | {"direction": "sent", "bytes": 3, "text": "PING"}
        assert recorder.of("datagram") == [sent]
        assert recorder.said == []

    run(main())


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Waits:
    """Ends that wait, over a time that passes when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.recorder = Recorder()
        self.clock = self.recorder.services.reminders._clock = Clock()
        self._folder = folder

    def end(self, **settings: Any) -> EndReports:
        return EndReports(end_with(self._folder, **settings), self.recorder.services)

    def pass_until(self, end: float, then: Callable[[], None] = lambda: None) -> None:
        reminders = self.recorder.services.reminders
        while (at := reminders.next_timer()) <= end:
            self.clock.now = at
            reminders.handle_timer()
            then()
        self.clock.now = end

    def lines(self) -> list[str]:
        said, self.recorder.said = self.recorder.said, []
        return said


def test_nothing_is_silent_for_longer_than_a_minute(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        waits = Waits(tmp_path)
        waits.end().observe(Waiting(Reason.SECRET_REJECTED_OR_SILENT, detail=SILENT))
        times: list[float] = []
        waits.lines()
        waits.pass_until(610, lambda: times.append(waits.clock.now))
        assert times == [15, *range(60, 601, 60)]
        silent = "p a: no answer from control at 192.0.2.9:1 for"
        advice = ": is it running? (`netpunch key id p FILE`)"
        in_full = [f"{silent} {time}{advice}" for time in ("15 s", "1 min", "5 min", "10 min")]
        lines = waits.lines()
        assert [line for line in lines if advice in line] == in_full
        assert next(line for line in lines if advice not in line) == f"{silent} 2 min"
        events = waits.recorder.of("pair.waiting")
        assert [event.get("waited_s") for event in events] == [None, 15.0, 60.0, 300.0, 600.0]
        assert {event["err"] for event in events} == {SILENT}

    run(main())


def test_an_absent_partner_is_named_with_its_node(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        waits = Waits(tmp_path)
        end = end_with(tmp_path)._replace(partner_node="laptop")
        reports = EndReports(end, waits.recorder.services)
        reports.observe(Waiting(Reason.PARTNER_ABSENT, HERE))
        waits.pass_until(240)
        assert waits.lines()[-1] == "p a: waiting for end b (node laptop) for 4 min"
        reports.alive()
        waits.lines()
        waits.pass_until(1000)
        assert waits.lines() == []

    run(main())


def test_ends_that_wait_for_the_same_share_a_reminder(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        waits = Waits(tmp_path)
        end = end_with(tmp_path)
        for number in range(50):
            waits.pass_until(number * 0.5)
            reports = EndReports(named(end, f"p{number}"), waits.recorder.services)
            reports.observe(Waiting(Reason.SECRET_REJECTED_OR_SILENT, detail=SILENT))
        waits.pass_until(120)
        waits.lines()
        waits.pass_until(241)
        silent = "50 pairs: no answer from control at 192.0.2.9:1 for up to"
        assert waits.lines() == [f"{silent} 3 min", f"{silent} 4 min"]

    run(main())


def test_a_reminder_names_the_hook_that_failed(run: Run[Any], tmp_path: Path) -> None:
    """The link was there, but could not be used."""

    async def main() -> None:
        waits = Waits(tmp_path)
        reports = waits.end()
        reports.alive()
        reports.failed(Reason.HOOK, "hook up: wg: exit status 3")
        reports.retries_in(30, Reason.HOOK)
        waits.pass_until(15)
        assert waits.lines()[-1] == (
            "p a: no link for 15 s, the last attempt failed: hook failed; now pausing before the "
            "next attempt for 15 s: hook up: wg: exit status 3"
        )

    run(main())


def blocked(attempt: int) -> Failed:
    tried = tuple(
        CandidateReport(Address("203.0.113.7", 1000 + attempt + port), PathKind.OBSERVED, 70, 0)
        for port in range(8)
    )
    return Failed(
        Reason.BLOCKED, "nothing arrives: " + "why " * 50, 60.0, "easy", "easy", 560, tried
    )


def test_a_blocked_pair_fills_no_log(run: Run[Any], tmp_path: Path) -> None:
    """A day of attempts, each of 60 s and with four fresh ports, and pauses of 30 s."""
    day, cycle = 86_400, 90

    async def main() -> None:
        waits = Waits(tmp_path)
        reports = waits.end(mode="keep")
        control = Recorder()
        at_control = ControlReports("vps", control.services)
        for attempt in range(day // cycle):
            begin = attempt * cycle
            reports.observe(Waiting(Reason.PARTNER_ABSENT, Address("192.0.2.1", attempt)))
            for port in range(4):
                reports.observe(Introduced(Address("203.0.113.7", 1000 + attempt + port)))
            waits.pass_until(begin + 60)
            failure = blocked(attempt)
            reports.failed(failure.reason, failure.detail, failure)
            reports.retries_in(30, failure.reason)
            waits.pass_until(begin + cycle)
        failed = waits.recorder.of("pair.failed")
        assert len(failed) == day // cycle, "each is counted"
        assert [len(each.get("candidates", ())) for each in failed[:3]] == [8, 0, 0]
        assert written(waits.recorder) < 700_000
        assert len(waits.recorder.said) < 1500
        assert "no link for 1 d, the last attempt failed: nothing gets through" in waits.lines()[-1]
        for attempt in range(day // cycle):
            for port in range(4):
                at_control.observe(registered(attempt * 4 + port))
                at_control.observe(Expired("p", "b", left=True))
        assert written(control) < 2_000
        at_control.close()
        await asyncio.sleep(0)

    run(main())


def registered(port: int) -> Registered:
    return Registered("p", "b", Address("203.0.113.7", port % 60_000))


def written(recorder: Recorder) -> int:
    """Bytes of both streams."""
    records = sum(len(json.dumps(record, separators=(",", ":"))) + 1 for record in recorder.records)
    return records + sum(len(line) + 1 for line in recorder.said)
