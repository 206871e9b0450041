from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from netpunch import errors
from netpunch.address import Address
from netpunch.config import SiteError
from netpunch.core.events import (
    AuthRejected,
    Event,
    Expired,
    Finished,
    Introduced,
    Reason,
    Registered,
    RoleConflict,
    SeenInside,
    Waiting,
)
from netpunch.errors import MissingFileError, NetpunchError, PunchError, UsageError
from netpunch.net.observer import Datagram
from netpunch.node.reporter import control_observer, end_observer, reason_of
from netpunch.template import TemplateError
from tests.node.told import Told

HERE, THERE = Address("192.0.2.1", 1), Address("2001:db8::1", 2)
AT_THERE = {"raddr": "[2001:db8::1]:2", "rhost": "2001:db8::1", "rport": 2}
P_A = {"pair": "p", "end": "a"}

END_REPORTS: list[tuple[Event, str, dict[str, Any], str]] = [
    (
        Waiting(Reason.PARTNER_ABSENT, HERE),
        "pair.waiting",
        {"reason": "partner_absent", "observed": "192.0.2.1:1"},
        "p a: registered, waiting for the partner",
    ),
    (
        Waiting(Reason.SECRET_REJECTED_OR_SILENT),
        "pair.waiting",
        {"reason": "secret_rejected_or_silent"},
        "p a: no answer from control so far; still trying",
    ),
    (
        Waiting(Reason.SECRET_REJECTED_OR_SILENT, detail="the system refuses to send"),
        "pair.waiting",
        {"reason": "secret_rejected_or_silent", "err": "the system refuses to send"},
        "p a: no answer from control so far; still trying; the system refuses to send",
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
        Introduced(THERE),
        "pair.introduced",
        AT_THERE,
        "p a: the partner is at [2001:db8::1]:2, punching",
    ),
]


@pytest.mark.parametrize(("event", "name", "fields", "line"), END_REPORTS)
def test_what_an_end_sees(event: Event, name: str, fields: dict[str, Any], line: str) -> None:
    told = Told()
    end_observer("p", "a", told.services)(event)
    assert told.of(name) == [P_A | fields]
    assert told.said == [line]


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
        ["control vps: p a is not served any more"],
    ),
    (
        RoleConflict("p", "a", (HERE, THERE)),
        "role.conflict",
        P_A | {"addresses": ["192.0.2.1:1", "[2001:db8::1]:2"]},
        [
            "warning: control vps: p a is configured on two machines, at 192.0.2.1:1 and at "
            "[2001:db8::1]:2: stop one of them"
        ],
    ),
    (
        AuthRejected("bad_mac", 3, "p", THERE),
        "auth.rejected",
        {"pair": "p", "reason": "bad_mac", "count": 3} | AT_THERE,
        [
            "warning: control vps: 3 datagrams for p rejected, the last from [2001:db8::1]:2: "
            "bad_mac, the key of that end differs from the one here (compare `netpunch key id PAIR "
            "FILE`), or somebody tries to forge"
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
]


@pytest.mark.parametrize(("event", "name", "fields", "lines"), CONTROL_REPORTS)
def test_what_a_control_sees(
    event: Event, name: str, fields: dict[str, Any], lines: list[str]
) -> None:
    told = Told()
    control_observer("vps", told.services)(event)
    assert told.of(name) == [fields | {"control": "vps"}]
    assert told.said == lines


def test_what_is_nobodys_business() -> None:
    told = Told()
    end_observer("p", "a", told.services)(Finished())
    control_observer("vps", told.services)(Finished())
    assert (told.records, told.said) == ([], [])


def test_datagrams() -> None:
    told = Told()
    end_observer("p", "a", told.services)(Datagram(True, HERE, THERE, b"xyz", "PING"))
    control_observer("vps", told.services)(Datagram(False, HERE, THERE, b"", "nothing"))
    sent, received = told.of("datagram")
    laddr = {"laddr": "192.0.2.1:1", "lhost": "192.0.2.1", "lport": 1}
    assert sent == P_A | laddr | AT_THERE | {"direction": "sent", "bytes": 3, "text": "PING"}
    assert received == laddr | AT_THERE | {
        "direction": "received",
        "bytes": 0,
        "text": "nothing",
        "control": "vps",
    }
    assert told.said == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.NotLinkedError("x", "blocked"), "blocked"),
        (errors.ControlUnreachableError("x", "no_control"), "no_control"),
        (errors.PortInUseError("x"), "port_in_use"),
        (errors.ResourcesError("x"), "resources"),
        (errors.NetworkNotReadyError("x"), "network_not_ready"),
        (errors.OutputError("x"), "output"),
        (errors.HookError("x"), "hook"),
        (errors.PermissionsError("x"), "permissions"),
        (SiteError(()), "configuration"),
        (TemplateError("x", 0), "configuration"),
        (errors.NetpunchError("x"), "bug"),
    ],
)
def test_the_reason_of_an_error(error: errors.NetpunchError, reason: str) -> None:
    assert reason_of(error) == reason


def subclasses(kind: type[NetpunchError]) -> Iterator[type[NetpunchError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from subclasses(each)


def test_no_error_that_an_end_can_meet_is_called_a_bug() -> None:
    """Usage and missing files belong to the command line: nothing runs then."""
    elsewhere = {NetpunchError, UsageError, MissingFileError}
    for kind in set(subclasses(NetpunchError)) - elsewhere:
        error = kind.__new__(kind)
        if isinstance(error, PunchError):
            error.reason = "blocked"
        assert reason_of(error) != "bug", kind
