"""What `netpunch check` says about the ways that this host's ends take to their controls."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from netpunch.config.model import End, HostPort, Part, Site
from netpunch.tunnels import has_tunnel

if TYPE_CHECKING:
    from netpunch.address import Address

LOOKUP = 2.0
"""Seconds for a control's name, when this host has a tunnel: a name that isn't found by then is
left alone."""


def route_warnings(site: Site, part: Part) -> Iterator[str]:
    """Complete lines for people, for the ends of `part`."""
    tunnelled = has_tunnel()
    addresses = {control.name: control.address for control in site.controls}
    for end in part.ends:
        complaints = [_missing_interface(end)]
        if tunnelled:
            complaints += [_tunnel(end, addresses[name]) for name in end.controls]
        line, column = end.position
        place = f"{site.path}:{line}:{column}: pairs.{end.pair}.{end.end}"
        yield from (f"{place}: warning: {each}" for each in complaints if each)


def _missing_interface(end: End) -> str:
    try:
        if end.interface:
            socket.if_nametoindex(end.interface)
    except OSError:
        return f"this host has no interface {end.interface} now: `ip link` shows those that it has"
    return ""


def _tunnel(end: End, control: HostPort) -> str:
    import asyncio  # here, as few hosts have a tunnel

    from netpunch.net.routes import tunnel_towards
    from netpunch.net.sockets import SocketOptions

    options = SocketOptions(end.mark, end.interface)
    return tunnel_towards(asyncio.run(_find(control)), port=end.local.port, options=options)


async def _find(control: HostPort) -> list[Address]:
    import asyncio

    from netpunch.errors import ControlUnreachableError
    from netpunch.net.resolve import resolve

    try:
        async with asyncio.timeout(LOOKUP):
            return await resolve(control.host, control.port)
    except (ControlUnreachableError, TimeoutError):
        return []
