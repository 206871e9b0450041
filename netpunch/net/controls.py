"""Where an end's controls are, and what it needs to know of them."""

import asyncio
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import NamedTuple, Protocol

from netpunch.address import Address, is_loopback, is_private
from netpunch.core.lookups import Names, Whereabouts
from netpunch.core.observers import Observers
from netpunch.errors import ControlUnreachableError, ResourcesError
from netpunch.net.driver import Driver, clock
from netpunch.net.resolve import is_literal, resolve
from netpunch.reasons import Reason


class ControlAt(NamedTuple):
    """A control's host, port, and second port, which tells how NATs map (None: it has none)."""

    host: str
    port: int
    observe: int | None = None


GRACE = 0.3
"""Seconds that the other names get when the first one has resolved. Nearly all answers that come at
all are there by then; a name whose servers are dead takes half a minute."""


class Follower(Protocol):
    """An end, which wants to know where its controls are."""

    def controls_found(self, whereabouts: Whereabouts, now: float) -> None: ...


class Controls:
    """Where an end's controls are: looked up at first, and again whenever that is wanted."""

    __slots__ = (
        "_families",
        "_follower",
        "_lookups",
        "_on_unresolved",
        "_other_family",
        "_places",
    )

    def __init__(
        self,
        controls: Sequence[ControlAt],
        families: Collection[int],
        on_unresolved: Callable[[str], None] | None = None,
    ) -> None:
        """`families` are those (4, 6) that the end has a socket of. `on_unresolved` is told why a
        control was not found at first, one sentence each, if another one was."""
        self._families = families
        self._on_unresolved = on_unresolved
        self._places: dict[ControlAt, Address | None] = dict.fromkeys(controls)
        self._other_family: dict[ControlAt, Address | None] = {}
        """Where they are in the family in which they are not announced to."""
        self._lookups: dict[ControlAt, asyncio.Task[str | None]] = {}
        """Those that go on."""
        self._follower: tuple[Follower, Driver] | None = None

    async def find(self) -> Whereabouts:
        """One address for each control whose name resolves, IPv4 where possible; once there is
        one, the others are waited for no longer than GRACE.

        Raises ControlUnreachableError if nothing resolves."""
        lookups = self._look_up(frozenset())
        pending = set(lookups)
        while pending and not any(self._places.values()):
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if pending:
            await asyncio.wait(pending, timeout=GRACE)
        if not any(self._places.values()):
            problems = (lookup.result() for lookup in lookups)
            raise ControlUnreachableError("; ".join(filter(None, problems)), Reason.NO_CONTROL)
        for lookup in lookups:
            lookup.add_done_callback(self._tell_problem)
        return self._whereabouts()

    def follow(self, end: Follower, driver: Driver) -> None:
        """From now on the end is told whenever some control is found, or is elsewhere. To be
        called in one go with `find`."""
        self._follower = end, driver

    def find_again(self, silent: Collection[Address]) -> None:
        """Looks all names up in the background, but those that are being looked up already.
        `silent` are addresses where none answers."""
        self._look_up(silent)

    async def close(self) -> None:
        """Looks nothing up any more."""
        for lookup in self._lookups.values():
            lookup.cancel()
        if self._lookups:
            await asyncio.wait(self._lookups.values())

    def _look_up(self, silent: Collection[Address]) -> list[asyncio.Task[str | None]]:
        """The look-ups of all names: each goes on by itself, as one that no server answers takes
        half a minute."""
        for control in self._places:
            if control not in self._lookups:
                lookup = asyncio.create_task(self._find(control, silent))
                lookup.add_done_callback(partial(self._forget, control))
                self._lookups[control] = lookup
        return list(self._lookups.values())

    async def _find(self, control: ControlAt, silent: Collection[Address]) -> str | None:
        """What went wrong, in a sentence; then the control stays where it was."""
        answer = await self._addresses(control)
        if isinstance(answer, str):
            return answer
        before = self._places[control]
        self._places[control] = place = _chosen(answer, before, silent)
        other_before = self._other_family.get(control)
        other = next((each for each in answer if each.family != place.family), None)
        self._other_family[control] = other
        if self._follower is not None and (place, other) != (before, other_before):
            end, driver = self._follower
            end.controls_found(self._whereabouts(), clock())
            driver.pump()
        return None

    def _forget(self, control: ControlAt, _lookup: asyncio.Task[str | None]) -> None:
        del self._lookups[control]

    def _tell_problem(self, lookup: asyncio.Task[str | None]) -> None:
        problem = None if lookup.cancelled() else lookup.result()
        if problem is not None and self._on_unresolved is not None:
            self._on_unresolved(problem)

    async def _addresses(self, control: ControlAt) -> list[Address] | str:
        """A control's addresses of our families, at least one, or what is wrong."""
        try:
            addresses = await resolve(control.host, control.port)
        except (ControlUnreachableError, ResourcesError) as error:
            return str(error)
        usable = [address for address in addresses if address.family in self._families]
        return usable or f"{control.host} has no address of the family of the local address"

    def _whereabouts(self) -> Whereabouts:
        places = self._places
        found = {place: control.observe for control, place in places.items() if place is not None}
        named = {place for control, place in places.items() if not is_literal(control.host)}
        names = Names(frozenset(place for place in named if place is not None), None in named)
        others = (each for each in self._other_family.values() if each is not None)
        return Whereabouts(tuple(found), tuple(observers(found)), names, tuple(others))


def _chosen(
    addresses: Sequence[Address], current: Address | None, silent: Collection[Address]
) -> Address:
    """The one to ask: the current one while it answers and is named, or nothing of its family is:
    that is rather half an answer than a move. Else the first of the first one's family where we
    have not met silence just now. IPv6 is no way out of IPv4's silence: a host that has no route
    would wait there while the control comes back."""
    if current is not None and current not in silent:
        alike = [address for address in addresses if address.family == current.family]
        if current in alike or not alike:
            return current
    likely = [address for address in addresses if address.family == addresses[0].family]
    return next((address for address in likely if address not in silent), likely[0])


def observers(found: Mapping[Address, int | None]) -> list[Observers]:
    """Who can tell how our NAT maps, the best first: both ports of a control, else two controls;
    those that are in our own network last. All are of one family. None on loopback: there is no
    NAT."""
    apart = [control for control in found if not is_loopback(control.host)]
    apart.sort(key=lambda control: is_private(control.host))
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
