"""Where an end's controls are, and what it needs to know of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from netpunch.address import Address, is_loopback
from netpunch.core.events import Reason
from netpunch.core.observers import Observers
from netpunch.errors import ControlUnreachableError
from netpunch.net.resolve import resolve


class ControlAt(NamedTuple):
    """A control's host, port, and second port, which tells how NATs map (None: it has none)."""

    host: str
    port: int
    observe: int | None = None


async def find_controls(
    controls: Sequence[ControlAt], families: set[int], unresolved: list[str]
) -> dict[Address, int | None]:
    """One address for each control whose name resolves, IPv4 where possible, and its second port.

    What does not resolve is told in `unresolved`; raises ControlUnreachableError if nothing
    does."""
    found: dict[Address, int | None] = {}
    # At once: a lookup that no server answers takes half a minute.
    lookups = (_look_up(control, families) for control in controls)
    for control, answer in zip(controls, await asyncio.gather(*lookups), strict=True):
        if isinstance(answer, Address):
            found[answer] = control.observe
        else:
            unresolved.append(answer)
    if not found:
        raise ControlUnreachableError("; ".join(unresolved), Reason.NO_CONTROL)
    return found


async def _look_up(control: ControlAt, families: set[int]) -> Address | str:
    """A control's first address of these families, or what is wrong."""
    try:
        addresses = await resolve(control.host, control.port)
    except ControlUnreachableError as error:
        return str(error)
    usable = (address for address in addresses if address.family in families)
    return next(usable, f"{control.host} has no address of the family of the local address")


def observers(found: Mapping[Address, int | None]) -> list[Observers]:
    """Who can tell how our NAT maps, the best first: both ports of a control, else two controls.
    All are of one family. None on loopback: there is no NAT."""
    apart = [control for control in found if not is_loopback(control.host)]
    ports = ((control, found[control]) for control in apart)
    both = [(each, Address(each.host, port)) for each, port in ports if port is not None]
    choices = both or list(combinations(apart, 2))
    families = [{one.family, other.family} for one, other in choices]
    first = next((each for each in families if len(each) == 1), None)
    return [choice for choice, each in zip(choices, families, strict=True) if each == first]


def local_address(sock: socket.socket) -> Address:
    """What a bound socket is bound to."""
    host, port = sock.getsockname()[:2]
    return Address(host.partition("%")[0], port)
