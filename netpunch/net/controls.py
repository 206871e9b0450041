"""Finds an end's controls: resolves their names, and keeps doing so while the end runs."""

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import chain, combinations, count
from typing import Any

from netpunch.address import Address, is_loopback, is_nat64, is_private
from netpunch.core.endpoints import ControlEndpoints, Names, Reflectors
from netpunch.core.machine import Machine
from netpunch.core.nat64 import DISCOVERY_HOSTS, WELL_KNOWN, Nat64
from netpunch.core.settings import ControlAt
from netpunch.errors import ControlUnreachableError, NetpunchError, ResourcesError
from netpunch.net.driver import Driver, clock
from netpunch.net.resolver import NO_SERVER_ADVICE, discover_nat64, is_literal, resolve
from netpunch.net.sockets import Bind, bind, has_route
from netpunch.reasons import Reason

GRACE = 0.3
"""Seconds that the other names get once the first one has resolved. Nearly all answers are there by
then; a name whose servers are dead takes half a minute."""
MOST_ADDRESSES = 4
"""Addresses of one name that an end announces to. Each may be another control, so the ends of a
pair meet only if both announce to all; each costs an announcement every 15 s."""
MOST_IN_ALL = 8
"""Addresses of all names together. Each name keeps at least one."""
FIRST_RETRY = 1.0
"""Seconds until a name that did not resolve is looked up again: name servers may start later."""
RETRY_PART = 0.1
"""The pause grows to this part of the time spent so far, so that a name which resolves late is
found at most a tenth later."""
LONGEST_RETRY = 30.0
"""Seconds: a misspelt name must not burden name servers."""
FIRST_NOTICE = 3.0
"""Seconds until the first message that name servers have not answered."""
REMINDERS = (15.0, 60.0, 300.0)
"""Seconds until further messages that no control is found; the last one repeats."""

ANY_IPV4 = Address(DISCOVERY_HOSTS[0], 9)
"""A public address without a host: a route to it shows that this host has IPv4."""


class Controls:
    """Resolves an end's controls, at first and on request. A name that does not resolve is looked
    up until it does."""

    __slots__ = (
        "_began",
        "_bind",
        "_discovery",
        "_families",
        "_follower",
        "_lookups",
        "_most",
        "_nat64",
        "_news",
        "_on_unresolved",
        "_other_family",
        "_places",
        "_problems",
        "_retries",
        "_wayless",
    )

    def __init__(
        self,
        controls: Sequence[ControlAt],
        families: Collection[int],
        on_unresolved: Callable[[str], None] | None = None,
        *,
        bind: Bind = bind,
    ) -> None:
        """`families` (4, 6) are those of the end's sockets; `bind` makes more such sockets, which
        show whether this host has a route. `on_unresolved` gets a sentence for each control that
        is not found at first while another one is."""
        self._bind = bind
        self._nat64: Nat64 | None = None
        """The translator, if this host reaches IPv4 addresses by that only."""
        self._discovery: asyncio.Task[Nat64 | None] | None = None
        self._wayless: set[ControlAt] = set()
        """The controls that this host has no route to now. After boot it soon has one."""
        self._families = families
        self._on_unresolved = on_unresolved
        self._places: dict[ControlAt, tuple[Address, ...]] = dict.fromkeys(controls, ())
        self._other_family: dict[ControlAt, Address | None] = {}
        """Their addresses in the family in which the end does not announce itself."""
        self._most = max(1, min(MOST_ADDRESSES, MOST_IN_ALL // max(1, len(self._places))))
        self._lookups: dict[ControlAt, asyncio.Task[str | None]] = {}
        """The running lookups."""
        self._retries: dict[ControlAt, asyncio.TimerHandle] = {}
        """The next lookup of each name that has not resolved yet."""
        self._problems: dict[ControlAt, str] = {}
        """Why a control has not been found yet, one sentence each."""
        self._news = asyncio.Event()
        """A lookup has ended."""
        self._began = asyncio.get_running_loop().time()
        self._follower: tuple[Machine, Driver] | None = None

    async def find(
        self, deadline: float | None = None, on_waiting: Callable[[str], None] | None = None
    ) -> ControlEndpoints:
        """Returns the addresses of each control whose name resolves, IPv4 if possible. Once there
        is one, the others get GRACE. Until then `on_waiting` gets messages about the wait.

        Raises ControlUnreachableError if nothing resolves within `deadline` seconds (None: no
        limit), or if nothing ever will because no control has a name."""
        first = self._look_up(frozenset())
        try:
            async with asyncio.timeout(deadline):
                await self._wait_until_found(first, on_waiting)
        except TimeoutError:
            raise self._not_found() from None
        pending = [lookup for lookup in first if not lookup.done()]
        if pending:
            await asyncio.wait(pending, timeout=GRACE)
        for control, problem in self._problems.items():
            if control not in self._lookups:
                self._tell_problem(problem)
        for lookup in self._lookups.values():
            lookup.add_done_callback(self._tell_outcome)
        return self._endpoints()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The addresses that are known."""
        return self._endpoints().controls

    @property
    def places(self) -> dict[ControlAt, tuple[Address, ...]]:
        """The addresses of each control that are known."""
        return dict(self._places)

    def follow(self, end: Machine, driver: Driver) -> None:
        """Reports to the end from now on whenever a control is found or has moved. Call it right
        after `find`, without awaiting anything in between."""
        self._follower = end, driver

    def find_again(self, silent: Collection[Address]) -> None:
        """Looks all names up again in the background. No control answers at the addresses
        `silent`."""
        self._look_up(silent)

    def network_changed(self) -> None:
        """Looks the controls up again that this host has no route to now: in another network they
        may have another address, or one by a translator."""
        for control, places in self._places.items():
            if not any(has_route(place, self._bind) for place in places):
                self._look_one_up(control)

    async def close(self) -> None:
        """Ends all lookups."""
        lookups: list[asyncio.Task[Any]] = list(self._lookups.values())
        if self._discovery is not None:
            lookups.append(self._discovery)
        for lookup in lookups:
            lookup.cancel()
        if lookups:
            await asyncio.wait(lookups)
        for retry in self._retries.values():
            retry.cancel()
        self._retries.clear()

    def _look_up(self, silent: Collection[Address]) -> list[asyncio.Task[str | None]]:
        """Starts the lookups of all names, each in its own task: one that no server answers takes
        half a minute."""
        if self._discovery is not None and self._discovery.done():
            self._discovery = None
        for control in self._places:
            self._look_one_up(control, silent)
        return list(self._lookups.values())

    def _look_one_up(self, control: ControlAt, silent: Collection[Address] = ()) -> None:
        if control in self._lookups:
            return
        retry = self._retries.pop(control, None)
        if retry is not None:
            retry.cancel()
        lookup = asyncio.create_task(self._find(control, silent))
        lookup.add_done_callback(partial(self._looked_up, control))
        self._lookups[control] = lookup

    async def _find(self, control: ControlAt, silent: Collection[Address]) -> str | None:
        """Returns what went wrong, in a sentence; then the control's addresses stay as they
        were."""
        answer = await self._addresses(control)
        if isinstance(answer, str):
            return answer
        before = self._places[control]
        if has_route(answer[0], self._bind):  # else the network is down, and routes say nothing
            silent = {*silent, *(each for each in before if not has_route(each, self._bind))}
        self._places[control] = places = _chosen(answer, before, silent, self._most)
        other_before = self._other_family.get(control)
        other = next((each for each in _in_order(answer) if each.family != places[0].family), None)
        self._other_family[control] = other
        self._problems.pop(control, None)
        if (places, other) != (before, other_before):
            self._tell_follower()
        return None

    def _tell_follower(self) -> None:
        if self._follower is not None:
            end, driver = self._follower
            end.controls_found(self._endpoints(), clock())
            driver.pump()

    def _looked_up(self, control: ControlAt, lookup: asyncio.Task[str | None]) -> None:
        del self._lookups[control]
        self._news.set()
        if lookup.cancelled():
            return
        problem = lookup.result()
        lacking = problem is not None and not self._places[control]
        if problem is not None and lacking:
            self._problems[control] = problem
        if (lacking and not is_literal(control.host)) or control in self._wayless:
            loop = asyncio.get_running_loop()
            waited = loop.time() - self._began
            pause = min(max(FIRST_RETRY, waited * RETRY_PART), LONGEST_RETRY)
            self._retries[control] = loop.call_later(pause, self._look_one_up, control)

    async def _wait_until_found(
        self,
        first: Collection[asyncio.Task[str | None]],
        on_waiting: Callable[[str], None] | None,
    ) -> None:
        """Waits for any control, with a message when the first lookups have ended or take long, and
        after each of REMINDERS."""
        await self._news_until(FIRST_NOTICE, lambda: all(lookup.done() for lookup in first))
        if not self._anywhere and not self._lookups and not self._retries:
            raise self._not_found()
        for due in chain(REMINDERS, count(2 * REMINDERS[-1], REMINDERS[-1])):
            if self._anywhere:
                return
            if on_waiting is not None:
                waited = asyncio.get_running_loop().time() - self._began
                on_waiting(f"{self._problem()}; still looking it up, {waited:.0f} s so far")
            await self._news_until(due)

    async def _news_until(self, due: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Waits until a control is found, `enough` holds, or `due` seconds have passed since the
        start."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._began + due):
                while not self._anywhere and not enough():
                    self._news.clear()
                    await self._news.wait()

    @property
    def _anywhere(self) -> bool:
        return any(self._places.values())

    def _not_found(self) -> ControlUnreachableError:
        return ControlUnreachableError(self._problem(), Reason.NO_CONTROL)

    def _problem(self) -> str:
        """Why no control is found."""
        unanswered = (
            f"no name server has answered for {control.host!r} yet: {NO_SERVER_ADVICE}"
            for control in self._lookups
            if control not in self._problems
        )
        return "; ".join((*self._problems.values(), *unanswered))

    def _tell_outcome(self, lookup: asyncio.Task[str | None]) -> None:
        problem = None if lookup.cancelled() else lookup.result()
        if problem is not None:
            self._tell_problem(problem)

    def _tell_problem(self, problem: str) -> None:
        if self._on_unresolved is not None:
            self._on_unresolved(problem)

    async def _addresses(self, control: ControlAt) -> list[Address] | str:
        """A control's addresses of the end's families, at least one, or what is wrong."""
        try:
            addresses = await resolve(control.host, control.port)
        except (ControlUnreachableError, ResourcesError) as error:
            return str(error)
        ways = await self._ways(control, addresses)
        usable = [address for address in addresses if address.family in self._families]
        return ways or usable or f"{control.host} has no address of the local address's family"

    async def _ways(self, control: ControlAt, addresses: Sequence[Address]) -> list[Address]:
        """A control's addresses that this host has a route to now, perhaps by a translator."""
        usable = [address for address in addresses if address.family in self._families]
        routed = [address for address in usable if has_route(address, self._bind)]
        self._wayless.discard(control)
        direct = any(each.family == 4 or is_loopback(each.host) for each in routed)
        if direct or 6 not in self._families or (routed and has_route(ANY_IPV4, self._bind)):
            return routed
        if routed:  # find the translator, if any: partners may have IPv4 only
            if any(is_nat64(address.host) for address in routed):
                self._nat64 = WELL_KNOWN
            else:
                self._discover()
            return routed
        try:
            translated = await self._translated(addresses)
        except (ControlUnreachableError, ResourcesError):
            self._wayless.add(control)
            return []
        if usable and not translated:
            self._wayless.add(control)
        return translated

    async def _translated(self, addresses: Sequence[Address]) -> list[Address]:
        """IPv4 addresses as this network's translator maps them; none without a translator."""
        if not has_route(WELL_KNOWN.translated(ANY_IPV4), self._bind):
            return []
        nat64 = await asyncio.shield(self._discover())
        return [] if nat64 is None else [nat64.translated(a) for a in addresses if a.family == 4]

    def _discover(self) -> asyncio.Task[Nat64 | None]:
        if self._discovery is None:
            self._discovery = asyncio.create_task(discover_nat64())
            self._discovery.add_done_callback(self._discovered)
        return self._discovery

    def _discovered(self, discovery: asyncio.Task[Nat64 | None]) -> None:
        if discovery.cancelled():
            return
        error = discovery.exception()
        if error is not None:
            self._discovery = None  # the next lookup tries again
            if not isinstance(error, NetpunchError):
                raise error
        elif discovery.result() != self._nat64:
            self._nat64 = discovery.result()
            self._tell_follower()

    def _endpoints(self) -> ControlEndpoints:
        places = self._places
        found = {place: control.observe for control in places for place in places[control]}
        names = [control for control in places if not is_literal(control.host)]
        addresses = frozenset(place for control in names for place in places[control])
        unresolved = not all(places[control] for control in names)
        others = (each for each in self._other_family.values() if each is not None)
        return ControlEndpoints(
            tuple(found),
            tuple(reflectors(found)),
            Names(addresses, unresolved),
            tuple(others),
            self._nat64,
        )


def _chosen(
    addresses: Sequence[Address],
    current: Sequence[Address],
    silent: Collection[Address],
    most: int,
) -> tuple[Address, ...]:
    """The addresses to announce to: at most `most`, of one family, those that answer first. The
    order is the same on every host, though resolvers differ: the ends of a pair must meet.

    All ends use the first address's family if they have it; to a control, an end that used both
    would seem to move to and fro. The current family stays while any of its addresses answers: if a
    resolver leaves it out, it probably gave half an answer. IPv6 does not stand in for silent IPv4:
    a host without a route would wait there while the control returns."""
    family = addresses[0].family
    if any(address not in silent for address in current):
        family = current[0].family
        if all(address.family != family for address in addresses):
            return tuple(current)
    alike = [address for address in addresses if address.family == family]
    return tuple(sorted(_in_order(alike), key=lambda address: address in silent)[:most])


def _in_order(addresses: Sequence[Address]) -> list[Address]:
    """By number."""
    return sorted(addresses, key=lambda each: ipaddress.ip_address(each.host).packed)


def reflectors(found: Mapping[Address, int | None]) -> list[Reflectors]:
    """Pairs of addresses that show how our NAT maps, the best first: both ports of a control, else
    two controls; those in our own network last. All are of one family. None on loopback, where
    there is no NAT."""
    apart = [control for control in found if not is_loopback(control.host)]
    apart.sort(key=lambda control: is_private(control.host))
    ports = ((control, found[control]) for control in apart)
    both = [(each, Address(each.host, port)) for each, port in ports if port is not None]
    choices = both or list(combinations(apart, 2))
    families = [{one.family, other.family} for one, other in choices]
    first = next((each for each in families if len(each) == 1), None)
    return [choice for choice, each in zip(choices, families, strict=True) if each == first]
