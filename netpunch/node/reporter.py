"""Core events and datagrams as records for programs and lines for people."""

from __future__ import annotations

from netpunch.core.events import Failed
from netpunch.errors import (
    ConfigurationError,
    HookError,
    NetpunchError,
    NetworkNotReadyError,
    OutputError,
    PermissionsError,
    PortInUseError,
    PunchError,
    ResourcesError,
    UnresolvedError,
)
from netpunch.net.driver import Datagram
from netpunch.node.services import Services
from netpunch.output.record import EventName, Value
from netpunch.reasons import Reason

WAITING_WORDS = {
    Reason.PARTNER_ABSENT: "registered, waiting for the partner",
    Reason.NO_CONTROL: "waiting for the name of a control to resolve",
    Reason.SPRAY_QUEUE: "waiting for another pair of this host to finish its probing",
}

FAILURE_REASONS: dict[type[NetpunchError], Reason] = {
    PortInUseError: Reason.PORT_IN_USE,
    OutputError: Reason.OUTPUT,
    HookError: Reason.HOOK,
    ResourcesError: Reason.RESOURCES,
    NetworkNotReadyError: Reason.NETWORK_NOT_READY,
    PermissionsError: Reason.PERMISSIONS,
    ConfigurationError: Reason.CONFIGURATION,
    UnresolvedError: Reason.UNRESOLVED,
}
"""The `reason` of failures that are not the network's."""


def reason_of(error: NetpunchError) -> str:
    """The `reason` of an error in events."""
    if isinstance(error, PunchError) and error.reason is not None:
        return error.reason
    return next(
        (name for kind, name in FAILURE_REASONS.items() if isinstance(error, kind)), Reason.BUG
    )


def failure_fields(failure: Failed) -> dict[str, Value]:
    """What shows why an attempt failed: both NATs, what was sent, what came back, per address."""
    return {
        "duration_s": failure.duration,
        "nat": failure.nat,
        "partner_nat": failure.partner_nat,
        "datagrams": failure.datagrams,
        "candidates": [
            f"{tried.remote} {tried.path} "
            + ("unsendable" if tried.unsendable else f"sent={tried.sent} received={tried.received}")
            for tried in failure.candidates
        ],
    }


def trace(seen: Datagram, services: Services, **whose: Value) -> None:
    """A datagram, in words."""
    services.journal.emit(
        EventName.DATAGRAM,
        local=seen.local,
        remote=seen.remote,
        direction="sent" if seen.sent else "received",
        bytes=len(seen.data),
        text=seen.text,
        **whose,
    )
