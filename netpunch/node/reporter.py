"""Core events and datagrams as records for programs and lines for people."""

from __future__ import annotations

from netpunch.core.events import (
    AuthRejected,
    Event,
    Expired,
    Failed,
    Introduced,
    Registered,
    RoleConflict,
    SeenInside,
    Waiting,
)
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
from netpunch.net.observer import Datagram, Observer
from netpunch.node.services import Services
from netpunch.output.record import EventName, Value
from netpunch.reasons import Reason

WAITING_WORDS = {
    Reason.PARTNER_ABSENT: "registered, waiting for the partner",
    Reason.SECRET_REJECTED_OR_SILENT: "no answer from control so far; still trying",
    Reason.NO_CONTROL: "waiting for the name of a control to resolve",
    Reason.SPRAY_QUEUE: "waiting for another pair of this host to finish its probing",
}

REJECTED_WORDS = {
    "bad_mac": (
        "the key of that end differs from the one here (compare `netpunch key id PAIR FILE`), "
        "or somebody tries to forge"
    ),
    "unknown_pair": "its pair is not configured here",
    "malformed": "not a netpunch datagram",
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


def end_observer(pair: str, end: str, services: Services) -> Observer:
    """Reports what an end sees, but for the link itself."""

    def observe(seen: Datagram | Event) -> None:
        match seen:
            case Datagram():
                _trace(seen, services, pair=pair, end=end)
            case Waiting(reason, observed, detail):
                services.journal.emit(
                    EventName.PAIR_WAITING,
                    pair=pair,
                    end=end,
                    reason=reason,
                    observed=observed,
                    err=detail or None,
                )
                words = "; ".join(filter(None, (WAITING_WORDS.get(reason, reason), detail)))
                services.console.say(f"{pair} {end}: {words}")
            case SeenInside(control, observed):
                services.journal.emit(
                    EventName.PAIR_SEEN_INSIDE,
                    pair=pair,
                    end=end,
                    observed=observed,
                    control=str(control),
                )
                services.console.warn(
                    f"{pair} {end}: control at {control} sees this end at {observed}, a private "
                    "address, so a partner elsewhere may not learn where this end is; if control "
                    "runs in a container, give it the host's network; if this end is in control's "
                    "own network, set `public` at that control"
                )
            case Introduced(remote):
                services.journal.emit(EventName.PAIR_INTRODUCED, pair=pair, end=end, remote=remote)
                services.console.say(f"{pair} {end}: the partner is at {remote}, punching")

    return observe


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


def control_observer(name: str, services: Services) -> Observer:
    """Reports what control `name` sees."""

    def observe(seen: Datagram | Event) -> None:
        journal, console = services.journal, services.console
        match seen:
            case Datagram():
                _trace(seen, services, control=name)
            case Registered(pair, end, address):
                journal.emit(
                    EventName.CONTROL_REGISTERED, pair=pair, end=end, remote=address, control=name
                )
                console.say(f"control {name}: {pair} {end} is at {address}")
            case Expired(pair, end, left, removed):
                reason = Reason.LEFT if left else Reason.REMOVED if removed else Reason.SILENT
                journal.emit(
                    EventName.CONTROL_EXPIRED, pair=pair, end=end, reason=reason, control=name
                )
                if removed:
                    console.say(f"control {name}: {pair} {end} is not served any more")
                elif not left:
                    console.say(f"control {name}: {pair} {end} fell silent")
            case RoleConflict(pair, end, (one, other)):
                journal.emit(
                    EventName.ROLE_CONFLICT,
                    pair=pair,
                    end=end,
                    addresses=(one, other),
                    control=name,
                )
                console.warn(
                    f"control {name}: {pair} {end} is configured on two machines, "
                    f"at {one} and at {other}: stop one of them"
                )
            case AuthRejected(reason, count, rejected_pair, source):
                journal.emit(
                    EventName.AUTH_REJECTED,
                    pair=rejected_pair,
                    remote=source,
                    reason=reason,
                    count=count,
                    control=name,
                )
                about = f" for {rejected_pair}" if rejected_pair else ""
                noun = "datagram" if count == 1 else "datagrams"
                console.warn(
                    f"control {name}: {count} {noun}{about} rejected, the last from {source}: "
                    f"{reason}, {REJECTED_WORDS.get(reason, reason)}"
                )

    return observe


def _trace(seen: Datagram, services: Services, **whose: Value) -> None:
    services.journal.emit(
        EventName.DATAGRAM,
        local=seen.local,
        remote=seen.remote,
        direction="sent" if seen.sent else "received",
        bytes=len(seen.data),
        text=seen.text,
        **whose,
    )
