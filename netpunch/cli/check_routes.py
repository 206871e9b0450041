"""What `netpunch check` says about this host: addresses and interfaces that the file names and it
has not, and the ways that its ends take to their controls."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from netpunch.config.model import Control, End, HostPort, Part, Site
from netpunch.tunnels import has_tunnel

if TYPE_CHECKING:
    from netpunch.address import Address

LOOKUP = 2.0
"""Seconds for a control's name, when this host has a tunnel: a name that isn't found by then is
left alone."""


def route_warnings(site: Site, part: Part) -> Iterator[str]:
    """Complete lines for people, for what `part` runs."""
    tunnelled = has_tunnel()
    addresses = {control.name: control.address for control in site.controls}
    for control in part.controls:
        complaints = _missing_addresses(*control.listen, *control.observe)
        yield from _warnings(site, control, f"control {control.name}", complaints)
    for end in part.ends:
        own = (end.local, end.forward.listen) if end.forward else (end.local,)
        complaints = [*_missing_addresses(*own), _missing_interface(end)]
        if tunnelled:
            complaints += [_tunnel(end, addresses[name]) for name in end.controls]
        yield from _warnings(site, end, f"pairs.{end.pair}.{end.end}", complaints)


def _warnings(
    site: Site, part: Control | End, key: str, complaints: Iterable[str]
) -> Iterator[str]:
    line, column = part.position
    return (f"{site.path}:{line}:{column}: {key}: warning: {each}" for each in complaints if each)


def _missing_addresses(*local: HostPort) -> list[str]:
    """Not an error: the address may come late, as it does at boot, and `run` waits for it."""
    hosts = dict.fromkeys(each.host for each in local if each.host)
    return [
        f"{host} is no address of this host now: `ip address` shows those that it has"
        for host in hosts
        if _is_missing(host)
    ]


def _is_missing(host: str) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError as error:
        return error.errno == errno.EADDRNOTAVAIL
    return False


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
