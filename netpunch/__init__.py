"""UDP hole punching between hosts behind NATs.

    async with netpunch.link(
        pair="home-office", end="a", secret=Path("home-office.key"), control="vps:10001"
    ) as link:
        await link.send(b"hello")
        async for datagram in link:
            ...

`link` holds a link, `create_link_endpoint` gives it to an asyncio protocol, `start_control` runs a
control, and `punch` leaves the addresses for another program to use: docs/library.md. netpunch logs
nothing. Its errors derive from NetpunchError. Cancelling a call closes what it has opened. Each
name is imported when it is first used, so that a small tool starts quickly. docs/sans-io.md shows
how to drive the machines without asyncio.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from netpunch._version import __version__ as __version__

_GROUPS: dict[str, dict[str, str]] = {
    "Calls of asyncio programs": {
        "netpunch.api.control": "Control StartingControl start_control",
        "netpunch.api.control_events": "ControlEvents",
        "netpunch.core.control.presences": "RegisteredEnd",
        "netpunch.api.held_link": "Closed HeldLink",
        "netpunch.api.link": "StartingLink create_link_endpoint link",
        "netpunch.api.punch": "Link punch",
        "netpunch.net.link_transport": "LinkEnd",
        "netpunch.net.driver": "Datagram Observer",
        "netpunch.net.loop": "run",
    },
    "Keys": {"netpunch.keys": "control_key load_control_key load_key new_key"},
    "Machines, which do no input or output": {
        "netpunch.core.machine": "LinkFigures Machine Transmit",
        "netpunch.core.end.end": "End",
        "netpunch.core.end.standby": "Standby",
        "netpunch.core.classic.end": "ClassicEnd",
        "netpunch.core.control.node": "ControlNode",
        "netpunch.core.control.control": "ControlV2",
        "netpunch.core.classic.control": "ClassicControl",
        "netpunch.core.portmap.pcp": "PortMapper",
    },
    "Settings and values": {
        "netpunch.address": "Address",
        "netpunch.core.settings": "CandidateKind ControlAt EndName EndSettings",
        "netpunch.core.endpoints": "ControlEndpoints Names Reflectors",
        "netpunch.core.nat64": "Nat64",
        "netpunch.core.pacing": "TokenBucket",
        "netpunch.core.events": "CandidateReport MoveReason PathKind Turn Via",
        "netpunch.reasons": "Reason",
        "netpunch.wire.drop": "Drop",
    },
    "What machines ask of their driver": {
        "netpunch.core.events": (
            "CloseSocket FollowRoutes LookupWanted OpenSockets StreamsWanted TurnOver TurnWanted"
        ),
    },
    "Events": {
        "netpunch.core.events": (
            "AuthRejected ControlEvent Event Expired Failed Finished Introduced Linked Lost Mapped "
            "MappingLost Moved PartnerReturned Payload Registered RoleConflict SeenInside "
            "Unmapped Waiting"
        ),
    },
    "Errors": {
        "netpunch.errors": (
            "ConfigurationError ControlUnreachableError HookError LinkClosedError MissingFileError "
            "NetpunchError NetworkNotReadyError NotLinkedError OutputError PermissionsError "
            "PortInUseError PunchError ResourcesError UnresolvedError UsageError"
        ),
    },
}
"""Every public name, by what it is for and by the module that it comes from."""

_HOMES = {
    name: module
    for group in _GROUPS.values()
    for module, names in group.items()
    for name in names.split()
}

__all__ = sorted([*_HOMES, "__version__"])

__doc__ = "\n".join(
    [f"{__doc__}"]
    + [
        f"{title}: {', '.join(sorted(' '.join(group.values()).split()))}.\n"
        for title, group in _GROUPS.items()
    ]
)

if TYPE_CHECKING:  # the same names, spelt out for type checkers
    from netpunch.address import Address as Address
    from netpunch.api.control import Control as Control
    from netpunch.api.control import StartingControl as StartingControl
    from netpunch.api.control import start_control as start_control
    from netpunch.api.control_events import ControlEvents as ControlEvents
    from netpunch.api.held_link import Closed as Closed
    from netpunch.api.held_link import HeldLink as HeldLink
    from netpunch.api.link import StartingLink as StartingLink
    from netpunch.api.link import create_link_endpoint as create_link_endpoint
    from netpunch.api.link import link as link
    from netpunch.api.punch import Link as Link
    from netpunch.api.punch import punch as punch
    from netpunch.core.classic.control import ClassicControl as ClassicControl
    from netpunch.core.classic.end import ClassicEnd as ClassicEnd
    from netpunch.core.control.control import ControlV2 as ControlV2
    from netpunch.core.control.node import ControlNode as ControlNode
    from netpunch.core.control.presences import RegisteredEnd as RegisteredEnd
    from netpunch.core.end.end import End as End
    from netpunch.core.end.standby import Standby as Standby
    from netpunch.core.endpoints import ControlEndpoints as ControlEndpoints
    from netpunch.core.endpoints import Names as Names
    from netpunch.core.endpoints import Reflectors as Reflectors
    from netpunch.core.events import AuthRejected as AuthRejected
    from netpunch.core.events import CandidateReport as CandidateReport
    from netpunch.core.events import CloseSocket as CloseSocket
    from netpunch.core.events import ControlEvent as ControlEvent
    from netpunch.core.events import Event as Event
    from netpunch.core.events import Expired as Expired
    from netpunch.core.events import Failed as Failed
    from netpunch.core.events import Finished as Finished
    from netpunch.core.events import FollowRoutes as FollowRoutes
    from netpunch.core.events import Introduced as Introduced
    from netpunch.core.events import Linked as Linked
    from netpunch.core.events import LookupWanted as LookupWanted
    from netpunch.core.events import Lost as Lost
    from netpunch.core.events import Mapped as Mapped
    from netpunch.core.events import MappingLost as MappingLost
    from netpunch.core.events import Moved as Moved
    from netpunch.core.events import MoveReason as MoveReason
    from netpunch.core.events import OpenSockets as OpenSockets
    from netpunch.core.events import PartnerReturned as PartnerReturned
    from netpunch.core.events import PathKind as PathKind
    from netpunch.core.events import Payload as Payload
    from netpunch.core.events import Registered as Registered
    from netpunch.core.events import RoleConflict as RoleConflict
    from netpunch.core.events import SeenInside as SeenInside
    from netpunch.core.events import StreamsWanted as StreamsWanted
    from netpunch.core.events import Turn as Turn
    from netpunch.core.events import TurnOver as TurnOver
    from netpunch.core.events import TurnWanted as TurnWanted
    from netpunch.core.events import Unmapped as Unmapped
    from netpunch.core.events import Via as Via
    from netpunch.core.events import Waiting as Waiting
    from netpunch.core.machine import LinkFigures as LinkFigures
    from netpunch.core.machine import Machine as Machine
    from netpunch.core.machine import Transmit as Transmit
    from netpunch.core.nat64 import Nat64 as Nat64
    from netpunch.core.pacing import TokenBucket as TokenBucket
    from netpunch.core.portmap.pcp import PortMapper as PortMapper
    from netpunch.core.settings import CandidateKind as CandidateKind
    from netpunch.core.settings import ControlAt as ControlAt
    from netpunch.core.settings import EndName as EndName
    from netpunch.core.settings import EndSettings as EndSettings
    from netpunch.errors import ConfigurationError as ConfigurationError
    from netpunch.errors import ControlUnreachableError as ControlUnreachableError
    from netpunch.errors import HookError as HookError
    from netpunch.errors import LinkClosedError as LinkClosedError
    from netpunch.errors import MissingFileError as MissingFileError
    from netpunch.errors import NetpunchError as NetpunchError
    from netpunch.errors import NetworkNotReadyError as NetworkNotReadyError
    from netpunch.errors import NotLinkedError as NotLinkedError
    from netpunch.errors import OutputError as OutputError
    from netpunch.errors import PermissionsError as PermissionsError
    from netpunch.errors import PortInUseError as PortInUseError
    from netpunch.errors import PunchError as PunchError
    from netpunch.errors import ResourcesError as ResourcesError
    from netpunch.errors import UnresolvedError as UnresolvedError
    from netpunch.errors import UsageError as UsageError
    from netpunch.keys import control_key as control_key
    from netpunch.keys import load_control_key as load_control_key
    from netpunch.keys import load_key as load_key
    from netpunch.keys import new_key as new_key
    from netpunch.net.driver import Datagram as Datagram
    from netpunch.net.driver import Observer as Observer
    from netpunch.net.link_transport import LinkEnd as LinkEnd
    from netpunch.net.loop import run as run
    from netpunch.reasons import Reason as Reason
    from netpunch.wire.drop import Drop as Drop


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        text = f"module 'netpunch' has no attribute {name!r}"
        raise AttributeError(text, name=name, obj=sys.modules[__name__])  # Python says what is near
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
