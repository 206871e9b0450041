"""Netpunch: UDP hole punching between hosts behind NATs.

    link = await netpunch.punch(
        pair="home-office", end="a", secret=Path("home-office.key"), control="vps:10001"
    )

Nothing is logged; errors derive from NetpunchError; cancelling leaves nothing behind. The names
below are imported when they are first used, so that a small tool stays quick to start.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from netpunch._version import __version__

if TYPE_CHECKING:
    from netpunch.address import Address
    from netpunch.api.calls import Link, punch, serve_control
    from netpunch.core.classic.control import ClassicControl
    from netpunch.core.classic.end import ClassicEnd
    from netpunch.core.control.control import ControlV2
    from netpunch.core.control.node import ControlNode
    from netpunch.core.end.end import End
    from netpunch.core.events import (
        AuthRejected,
        CandidateReport,
        Event,
        Expired,
        Failed,
        Finished,
        Introduced,
        Linked,
        Lost,
        PartnerReturned,
        PathKind,
        Registered,
        RoleConflict,
        SeenInside,
        Waiting,
    )
    from netpunch.core.settings import EndSettings
    from netpunch.errors import (
        ConfigurationError,
        ControlUnreachableError,
        MissingFileError,
        NetpunchError,
        NetworkNotReadyError,
        NotLinkedError,
        PermissionsError,
        PortInUseError,
        PunchError,
        ResourcesError,
        UsageError,
    )
    from netpunch.net.observer import Datagram, Observer
    from netpunch.reasons import Reason

_HOMES = {
    "Address": "netpunch.address",
    "AuthRejected": "netpunch.core.events",
    "CandidateReport": "netpunch.core.events",
    "ClassicControl": "netpunch.core.classic.control",
    "ClassicEnd": "netpunch.core.classic.end",
    "ConfigurationError": "netpunch.errors",
    "ControlNode": "netpunch.core.control.node",
    "ControlUnreachableError": "netpunch.errors",
    "ControlV2": "netpunch.core.control.control",
    "Datagram": "netpunch.net.observer",
    "End": "netpunch.core.end.end",
    "EndSettings": "netpunch.core.settings",
    "Event": "netpunch.core.events",
    "Expired": "netpunch.core.events",
    "Failed": "netpunch.core.events",
    "Finished": "netpunch.core.events",
    "Introduced": "netpunch.core.events",
    "Link": "netpunch.api.calls",
    "Linked": "netpunch.core.events",
    "Lost": "netpunch.core.events",
    "MissingFileError": "netpunch.errors",
    "NetpunchError": "netpunch.errors",
    "NetworkNotReadyError": "netpunch.errors",
    "NotLinkedError": "netpunch.errors",
    "Observer": "netpunch.net.observer",
    "PartnerReturned": "netpunch.core.events",
    "PathKind": "netpunch.core.events",
    "PermissionsError": "netpunch.errors",
    "PortInUseError": "netpunch.errors",
    "PunchError": "netpunch.errors",
    "Reason": "netpunch.reasons",
    "Registered": "netpunch.core.events",
    "ResourcesError": "netpunch.errors",
    "RoleConflict": "netpunch.core.events",
    "SeenInside": "netpunch.core.events",
    "UsageError": "netpunch.errors",
    "Waiting": "netpunch.core.events",
    "punch": "netpunch.api.calls",
    "serve_control": "netpunch.api.calls",
}

__all__ = [
    "Address",
    "AuthRejected",
    "CandidateReport",
    "ClassicControl",
    "ClassicEnd",
    "ConfigurationError",
    "ControlNode",
    "ControlUnreachableError",
    "ControlV2",
    "Datagram",
    "End",
    "EndSettings",
    "Event",
    "Expired",
    "Failed",
    "Finished",
    "Introduced",
    "Link",
    "Linked",
    "Lost",
    "MissingFileError",
    "NetpunchError",
    "NetworkNotReadyError",
    "NotLinkedError",
    "Observer",
    "PartnerReturned",
    "PathKind",
    "PermissionsError",
    "PortInUseError",
    "PunchError",
    "Reason",
    "Registered",
    "ResourcesError",
    "RoleConflict",
    "SeenInside",
    "UsageError",
    "Waiting",
    "__version__",
    "punch",
    "serve_control",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'netpunch' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
