from __future__ import annotations

from typing import Any

import pytest

from netpunch.address import Address
from netpunch.core.events import (
    AuthRejected,
    Event,
    Expired,
    Finished,
    PortChanged,
    Registered,
    RoleConflict,
)
from netpunch.net.driver import Datagram
from netpunch.node import control_reports as control_reports_module
from netpunch.node.control_reports import ControlReports
from tests.node.children import Run, on_both_loops
from tests.node.recorder import Recorder

HERE, THERE = Address("192.0.2.1", 1), Address("2001:db8::1", 2)
AT_THERE = {"raddr": "[2001:db8::1]:2", "rhost": "2001:db8::1", "rport": 2}
P_A = {"pair": "p", "end": "a"}

CONTROL_REPORTS: list[tuple[Event, str, dict[str, Any], list[str]]] = [
    (
        Registered("p", "a", THERE),
        "control.registered",
        P_A | AT_THERE,
        ["control vps: p a is at [2001:db8::1]:2"],
    ),
    (
        Expired("p", "a"),
        "control.expired",
        P_A | {"reason": "silent"},
        ["control vps: p a fell silent"],
    ),
    (Expired("p", "a", left=True), "control.expired", P_A | {"reason": "left"}, []),
    (
        Expired("p", "a", removed=True),
        "control.expired",
        P_A | {"reason": "removed"},
        ["control vps: p a is no longer served"],
    ),
    (
        RoleConflict("p", "a", (HERE, THERE)),
        "role.conflict",
        P_A | {"addresses": ["192.0.2.1:1", "[2001:db8::1]:2"]},
        [
            "warning: control vps: p a is configured on two machines, at 192.0.2.1:1 and at "
            "[2001:db8::1]:2: stop one of them, or make it the pair's other end"
        ],
    ),
    (
        RoleConflict("p", "a", (HERE, HERE)),
        "role.conflict",
        P_A | {"addresses": ["192.0.2.1:1", "192.0.2.1:1"]},
        [
            "warning: control vps: p a runs in two processes that share a port, at 192.0.2.1:1: "
            "stop one of them"
        ],
    ),
    (
        AuthRejected("bad_mac", 3, "p", THERE),
        "auth.rejected",
        {"pair": "p", "reason": "bad_mac", "count": 3} | AT_THERE,
        [
            "warning: control vps: 3 datagrams for p rejected, the last from [2001:db8::1]:2: "
            "bad_mac, the key of that end differs from the one here: `netpunch key id PAIR FILE` "
            "must print the same at both (or somebody tries to forge)"
        ],
    ),
    (
        AuthRejected("malformed", 1, None, THERE),
        "auth.rejected",
        {"reason": "malformed", "count": 1} | AT_THERE,
        [
            "warning: control vps: 1 datagram rejected, the last from [2001:db8::1]:2: "
            "malformed, not a netpunch datagram"
        ],
    ),
    (
        AuthRejected("other_version", 1, None, THERE),
        "auth.rejected",
        {"reason": "other_version", "count": 1} | AT_THERE,
        [
            "warning: control vps: 1 datagram rejected, the last from [2001:db8::1]:2: "
            "other_version, perhaps of another version of netpunch: install the same one at both"
        ],
    ),
]


@pytest.mark.parametrize(("event", "name", "fields", "lines"), CONTROL_REPORTS)
def test_what_a_control_sees_becomes_an_event_and_a_line(
    event: Event, name: str, fields: dict[str, Any], lines: list[str]
) -> None:
    recorder = Recorder()
    ControlReports("vps", recorder.services).observe(event)
    assert recorder.of(name) == [fields | {"control": "vps"}]
    assert recorder.said == lines


def at(host: str, port: int) -> Registered:
    return Registered("p", "a", Address(host, port))


def test_an_end_is_reported_when_its_host_changes_not_its_port() -> None:
    recorder = Recorder()
    observe = ControlReports("vps", recorder.services).observe
    for seen in (at("192.0.2.1", 1), PortChanged(*at("192.0.2.1", 2)), at("192.0.2.9", 2)):
        observe(seen)
    assert [each["rhost"] for each in recorder.of("control.registered")] == [
        "192.0.2.1",
        "192.0.2.9",
    ]
    assert len(recorder.said) == 2


@on_both_loops
def test_an_end_that_comes_and_goes_is_reported_once_it_stays_away(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_reports_module, "RESTLESS", 0.05)

    async def main() -> None:
        recorder = Recorder()
        reports = ControlReports("vps", recorder.services)
        for port in range(100):
            reports.observe(at("192.0.2.1", port))
            reports.observe(Expired("p", "a", left=True))
        before = ["control.registered", "control.expired", "control.registered"]
        assert recorder.events() == before
        assert (await recorder.wait_for("control.expired", 2))["reason"] == "left"
        reports.observe(at("192.0.2.1", 1))
        assert len(recorder.of("control.registered")) == 3
        reports.close()

    run(main())


def test_other_events_are_not_reported_by_a_control() -> None:
    recorder = Recorder()
    ControlReports("vps", recorder.services).observe(Finished())
    assert (recorder.records, recorder.said) == ([], [])


def test_a_datagram_of_a_control_is_traced() -> None:
    recorder = Recorder()
    ControlReports("vps", recorder.services).observe(Datagram(False, HERE, THERE, b"", "nothing"))
    [received] = recorder.of("datagram")
    laddr = {"laddr": "192.0.2.1:1", "lhost": "192.0.2.1", "lport": 1}
    assert received == laddr | AT_THERE | {
        "direction": "received",
        "bytes": 0,
        "text": "nothing",
        "control": "vps",
    }
    assert recorder.said == []
