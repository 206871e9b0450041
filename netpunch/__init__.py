"""Netpunch: UDP hole punching between hosts behind NATs.

    link = await netpunch.punch(pair="home-office", end="a", secret=key, control="vps:10001")

Nothing is logged; errors derive from NetpunchError; cancelling leaves nothing behind. The names
below are imported when they are first used, so that a small tool stays quick to start.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from netpunch._version import __version__

if TYPE_CHECKING:
    from netpunch.address import Address
    from netpunch.core.classic_control import ClassicControl
    from netpunch.core.classic_end import ClassicEnd
    from netpunch.core.control import ControlNode
    from netpunch.core.control_v2 import ControlV2
    from netpunch.core.end import End
    from netpunch.core.settings import EndSettings
    from netpunch.errors import (
        ConfigurationError,
        ControlUnreachableError,
        NetpunchError,
        NetworkNotReadyError,
        NotLinkedError,
        PermissionsError,
        PortInUseError,
        ResourcesError,
    )
    from netpunch.net.api import Link, punch, serve_control
    from netpunch.net.observer import Datagram

_HOMES = {
    "Address": "netpunch.address",
    "ClassicControl": "netpunch.core.classic_control",
    "ClassicEnd": "netpunch.core.classic_end",
    "ConfigurationError": "netpunch.errors",
    "ControlNode": "netpunch.core.control",
    "ControlUnreachableError": "netpunch.errors",
    "ControlV2": "netpunch.core.control_v2",
    "Datagram": "netpunch.net.observer",
    "End": "netpunch.core.end",
    "EndSettings": "netpunch.core.settings",
    "Link": "netpunch.net.api",
    "NetpunchError": "netpunch.errors",
    "NetworkNotReadyError": "netpunch.errors",
    "NotLinkedError": "netpunch.errors",
    "PermissionsError": "netpunch.errors",
    "PortInUseError": "netpunch.errors",
    "ResourcesError": "netpunch.errors",
    "punch": "netpunch.net.api",
    "serve_control": "netpunch.net.api",
}

__all__ = [
    "Address",
    "ClassicControl",
    "ClassicEnd",
    "ConfigurationError",
    "ControlNode",
    "ControlUnreachableError",
    "ControlV2",
    "Datagram",
    "End",
    "EndSettings",
    "Link",
    "NetpunchError",
    "NetworkNotReadyError",
    "NotLinkedError",
    "PermissionsError",
    "PortInUseError",
    "ResourcesError",
    "__version__",
    "punch",
    "serve_control",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'netpunch' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
