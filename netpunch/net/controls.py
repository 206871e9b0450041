"""Where an end's controls are, and what it needs to know of them."""

import asyncio
import socket
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple, Protocol

from netpunch.address import Address, is_loopback
from netpunch.core.events import Reason
from netpunch.core.lookups import Names, Whereabouts
from netpunch.core.observers import Observers
from netpunch.errors import ControlUnreachableError
from netpunch.net.driver import Driver, clock
from netpunch.net.resolve import is_literal, resolve


class ControlAt(NamedTuple):
    """A control's host, port, and second port, which tells how NATs map (None: it has none)."""

    host: str
    port: int
    observe: int | None = None


class Follower(Protocol):
    """An end, which wants to know where its controls are."""

    def controls_found(self, whereabouts: Whereabouts, now: float) -> None: ...


class Controls:
    """Where an end's controls are: looked up at first, and again whenever that is wanted."""

    def __init__(self, controls: Sequence[ControlAt], families: Collection[int]) -> None:
        """`families` are those (4, 6) that the end has a socket of."""
        self.unresolved: list[str] = []
        """Why some were not found at first, one sentence each."""
        self._families = families
        self._places: dict[ControlAt, Address | None] = dict.fromkeys(controls)
        self._lookup: asyncio.Task[None] | None = None

    async def find(self) -> Whereabouts:
        """One address for each control whose name resolves, IPv4 where possible.

        Raises ControlUnreachableError if nothing does."""
        self.unresolved += await self._look_up(frozenset())
        if not any(self._places.values()):
            raise ControlUnreachableError("; ".join(self.unresolved), Reason.NO_CONTROL)
        return self._whereabouts()

    def find_again(self, silent: Collection[Address], end: Follower, driver: Driver) -> None:
        """Looks all names up in the background, if that is not being done already; tells the end
        only if some control is elsewhere. `silent` are addresses where none answers."""
        if self._lookup is None or self._lookup.done():
            self._lookup = asyncio.create_task(self._find_again(silent, end, driver))

    async def close(self) -> None:
        """Looks nothing up any more."""
        if self._lookup is not None:
            self._lookup.cancel()
            await asyncio.wait([self._lookup])

    async def _find_again(self, silent: Collection[Address], end: Follower, driver: Driver) -> None:
        before = dict(self._places)
        await self._look_up(silent)
        if self._places != before:
            end.controls_found(self._whereabouts(), clock())
            driver.pump()

    async def _look_up(self, silent: Collection[Address]) -> list[str]:
        """What went wrong, one sentence each; such a control stays where it was."""
        # At once: a lookup that no server answers takes half a minute.
        answers = await asyncio.gather(*(self._addresses(control) for control in self._places))
        problems = []
        for control, answer in zip(list(self._places), answers, strict=True):
            if isinstance(answer, str):
                problems.append(answer)
            else:
                self._places[control] = _chosen(answer, self._places[control], silent)
        return problems

    async def _addresses(self, control: ControlAt) -> list[Address] | str:
        """A control's addresses of our families, at least one, or what is wrong."""
        try:
            addresses = await resolve(control.host, control.port)
        except ControlUnreachableError as error:
            return str(error)
        usable = [address for address in addresses if address.family in self._families]
        return usable or f"{control.host} has no address of the family of the local address"

    def _whereabouts(self) -> Whereabouts:
        places = self._places
        found = {place: control.observe for control, place in places.items() if place is not None}
        named = {place for control, place in places.items() if not is_literal(control.host)}
        names = Names(frozenset(place for place in named if place is not None), None in named)
        return Whereabouts(tuple(found), tuple(observers(found)), names)


def _chosen(
    addresses: Sequence[Address], current: Address | None, silent: Collection[Address]
) -> Address:
    """The one to ask: the current one while it is named and answers, else the first of the first
    one's family where we have not met silence just now. IPv6 is no way out of IPv4's silence: a
    host that has no route would wait there while the control comes back."""
    if current is not None and current in addresses and current not in silent:
        return current
    likely = [address for address in addresses if address.family == addresses[0].family]
    return next((address for address in likely if address not in silent), likely[0])


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
