"""One end on real sockets: binds, resolves, drives the core object, and frees the port."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from netpunch.address import Address, is_loopback
from netpunch.core.end.end import End
from netpunch.core.endpoints import NO_NAMES, ControlEndpoints
from netpunch.core.events import (
    Event,
    Failed,
    Finished,
    Linked,
    LookupWanted,
    Lost,
    Mapped,
    MappingLost,
    PartnerReturned,
    PathKind,
    Payload,
    Reason,
    TurnOver,
    TurnWanted,
    Via,
    Waiting,
)
from netpunch.core.machine import Machine
from netpunch.core.settings import EndSettings
from netpunch.errors import ControlUnreachableError, NetpunchError, NotLinkedError
from netpunch.net.controls import Controls, local_address
from netpunch.net.driver import MAX_DATAGRAM, MAX_PAYLOAD, Datagram, Driver, Observer, clock
from netpunch.net.sockets import WILDCARDS, binder, options_of
from netpunch.net.turn_queue import TurnQueue

if TYPE_CHECKING:
    from netpunch.net.port_mapping import PortMapping

FAREWELL = 1.0
"""Seconds that a stopped end gets to tell its controls: it needs 40 ms."""

ACROSS_THE_INTERNET = {PathKind.OBSERVED, PathKind.IPV6, PathKind.MAPPED}
"""Candidates that no VPN should be needed for; a partner's own network may well be behind one."""

UNREACHABLE = {Reason.NO_CONTROL, Reason.SECRET_REJECTED_OR_SILENT}
"""Reasons that blame the way to control."""


class Punch:
    """One end's way to a link. Made and used within a running loop:

    `await open()`, then `await linked()`, then either `await released()` (the port is free) or,
    for an end that holds, `await ended()`. `await close()` in the end, whatever happened; it may
    be repeated and is safe at any moment."""

    def __init__(
        self,
        settings: EndSettings,
        observer: Observer | None = None,
        *,
        trace: bool = True,
        probing: TurnQueue | None = None,
        on_payload: Callable[[bytes], None] | None = None,
        on_unresolved: Callable[[str], None] | None = None,
    ) -> None:
        """`observer` sees every event and, with `trace`, every datagram; `probing` is shared by
        the ends of a process; `on_payload` gets what the partner's program sends on a held
        link; `on_unresolved` why some of the controls are not asked, one sentence each."""
        self.failure: Failed | None = None
        """Why there is no link, in detail."""
        self._probing = probing or TurnQueue()
        self._on_payload = on_payload
        self._on_unresolved = on_unresolved
        self._settings = settings
        self._bind = binder(settings)
        self._observer = observer
        self._trace = trace
        self._began = 0.0
        self._controls: Controls | None = None
        self._machine: Machine | None = None
        self._mapping: PortMapping | None = None
        self._mapping_detail = ""
        """Why what a gateway has granted is no use, if anything was."""
        self._driver: Driver | None = None
        self._remote: Address | None = None
        """The partner's address, once there is a link."""
        loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[Linked | NetpunchError] = loop.create_future()
        self._end: asyncio.Future[Lost | PartnerReturned | None] = loop.create_future()
        self._finished = asyncio.Event()

    async def open(self) -> None:
        """Binds the local port, then finds the controls, then announces.

        Raises what `net.sockets.bind` raises (the local address) and ControlUnreachableError (no
        control's name resolves before a deadline that counts from the start; else the end waits
        until one does, and says so)."""
        self._began = clock()
        sockets = dict(enumerate(self._bind(*self._settings.local)))
        try:
            locals_ = {via: local_address(sock) for via, sock in sockets.items()}
            families = {each.family for each in locals_.values()}
            self._controls = Controls(
                self._settings.controls, families, self._on_unresolved, bind=self._bind
            )
            self._machine = self._make_machine(await self._find_controls(), locals_)
            self._driver = Driver(
                self._machine,
                on_event=self._take_event,
                bind=self._bind,
                observer=self._observer if self._trace else None,
                max_datagram=MAX_DATAGRAM if self._on_payload is None else MAX_PAYLOAD,
            )
        except BaseException:
            for sock in sockets.values():
                sock.close()
            raise
        self._controls.follow(self._machine, self._driver)
        self._probing.first_sockets[self] = len(sockets)
        self._driver.open(sockets)
        if "mapped" in self._settings.candidates and self._settings.protocol == "v2":
            from netpunch.net.port_mapping import PortMapping

            self._mapping = PortMapping(
                self._take_mapped,
                self._observe_mapping,
                secret=self._settings.secret,
                bind=self._bind,
                interface=self._settings.interface,
            )
            self._mapping.open(locals_.values())

    async def _find_controls(self) -> ControlEndpoints:
        """What finding them takes is part of the time until the deadline."""
        assert self._controls is not None
        return await self._controls.find(
            self._settings.deadline if self._settings.deadline_from_start else None,
            lambda detail: self._take_event(Waiting(Reason.NO_CONTROL, detail=detail)),
        )

    async def linked(self) -> Linked:
        """The link. Raises NotLinkedError or ControlUnreachableError, with the reason, or what
        `give_up` was told."""
        outcome = await asyncio.shield(self._outcome)
        if isinstance(outcome, NetpunchError):
            raise outcome
        return outcome

    def give_up(self, error: NetpunchError) -> None:
        """There will be no link, for a reason that is not the network's."""
        self._settle(error)

    async def released(self) -> None:
        """Waits until the partner needs nothing more of this end, then frees the port."""
        await self._finished.wait()
        self._close_driver()

    async def ended(self) -> Lost | PartnerReturned | None:
        """How a held link ended; None if it was closed."""
        return await asyncio.shield(self._end)

    @property
    def rtt(self) -> float | None:
        """Seconds: the latest round trip of a held link."""
        return None if self._machine is None else self._machine.rtt

    def send_payload(self, data: bytes) -> None:
        """Sends a program's datagram on the held link."""
        if self._machine is not None and self._driver is not None:
            self._machine.send_payload(data)
            self._driver.drain()  # no timer depends on it

    async def close(self, *, keep_mapping: bool = False) -> None:
        """Stops: tells the controls if it is still of interest, frees the port.

        `keep_mapping`: what a gateway maps to the port is not given back, for another program
        uses the path from now on; it runs out by itself."""
        if self._machine is not None and self._driver is not None:
            self._machine.close(clock())
            self._driver.pump()
            try:
                async with asyncio.timeout(FAREWELL):
                    await self._finished.wait()
            except TimeoutError:
                pass  # the controls find out by themselves
            finally:
                self._close_driver()
        if self._controls is not None:
            await self._controls.close()
        await self._close_mapping(release=not keep_mapping)
        for future in (self._outcome, self._end):
            future.cancel()

    async def _close_mapping(self, *, release: bool) -> None:
        mapping, self._mapping = self._mapping, None
        if mapping is not None:
            await mapping.close(release=release)

    def _observe_mapping(self, seen: Datagram | Event) -> None:
        """What a gateway grants or refuses. What is said to it and by it is no datagram of the
        pair."""
        if isinstance(seen, Mapped | MappingLost):
            self._mapping_detail = seen.detail if isinstance(seen, MappingLost) else seen.flaw
            if self._observer is not None:
                self._observer(seen)

    def _take_mapped(self, addresses: tuple[Address, ...]) -> None:
        if self._machine is not None and self._driver is not None:
            self._machine.mapped(addresses, clock())
            self._driver.pump()

    def _close_driver(self) -> None:
        self._probing.over(self)
        self._probing.first_sockets.pop(self, None)
        if self._driver is not None:
            self._driver.close()
            self._driver = None

    def _make_machine(self, endpoints: ControlEndpoints, sockets: Mapping[Via, Address]) -> Machine:
        settings, now = self._settings, clock()
        deadline = settings.deadline
        if deadline is not None and settings.deadline_from_start:
            deadline = max(0.0, deadline - (now - self._began))
        if settings.protocol == "classic":
            from netpunch.core.classic.end import ClassicEnd

            return ClassicEnd(
                letter=settings.slot,
                secret=settings.secret,
                endpoints=endpoints,
                sockets=sockets,
                deadline=deadline,
                deadline_from_start=settings.deadline_from_start,
                random=os.urandom,
                now=now,
            )
        return End(
            settings._replace(deadline=deadline),
            endpoints=endpoints,
            sockets=sockets,
            probe_bucket=self._probing.bucket,
            host_addresses=_own_hosts(endpoints),
            random=os.urandom,
            now=now,
        )

    def _take_event(self, event: Event) -> None:
        match event:
            case Payload(data):
                if self._on_payload is not None:
                    self._on_payload(data)
                return
            case TurnWanted(turn, ready):
                if self._probing.want(self, self._grant_later, turn, ready):
                    self._grant_later()
            case TurnOver():
                self._probing.over(self)
            case LookupWanted(silent):
                assert self._controls is not None
                self._controls.find_again(silent)
                return
            case Waiting(Reason.SECRET_REJECTED_OR_SILENT):
                event = event._replace(detail=self._explained(event.detail, to_control=True))
            case Linked(remote=remote):
                self._remote = remote
                self._settle(event)
                if self._settings.holds:
                    self._pin(event)
            case Failed(reason, detail):
                unreachable = reason in UNREACHABLE
                tried = [
                    each.remote for each in event.candidates if each.path in ACROSS_THE_INTERNET
                ]
                if reason in (Reason.BLOCKED, Reason.INFEASIBLE):
                    detail = "; ".join(filter(None, (detail, self._mapping_detail)))
                detail = self._explained(detail, to_control=unreachable, remotes=tried)
                event = self.failure = event._replace(detail=detail)
                error = ControlUnreachableError if unreachable else NotLinkedError
                self._settle(error(detail, reason))
            case Lost(detail, ended=False):
                assert self._remote is not None
                event = Lost(self._explained(detail, remotes=[self._remote]))
                self._settle_end(event)
            case Lost() | PartnerReturned():
                self._settle_end(event)
            case Finished():
                self._finished.set()
                self._settle_end(None)
        if self._observer is not None:
            self._observer(event)

    def _pin(self, link: Linked) -> None:
        """The partner and the NATs between know this path by our address; the system, if it may
        choose, changes to another one while this still works: a fresh temporary one of IPv6, or
        that of an interface that has come meanwhile."""
        if link.local.host not in WILDCARDS.values() or self._driver is None:
            return
        from netpunch.net.routes import route_to

        route = route_to(link.remote, port=link.local.port, options=options_of(self._settings))
        if route is not None and route.source:
            self._driver.pin(link.via, link.remote, route.source)

    def _explained(
        self, detail: str, *, to_control: bool = False, remotes: Iterable[Address] = ()
    ) -> str:
        """`detail` with what the machine cannot know: datagrams that did not leave this host, or
        left it into a tunnel, on their way to `remotes` or, `to_control`, to the end's controls."""
        from netpunch.net.diagnosis import refusals, tunnel_towards

        errors: Counter[str] = Counter() if self._driver is None else self._driver.send_errors
        if to_control and self._controls is not None:
            remotes = self._controls.addresses
        tunnel = tunnel_towards(
            remotes, port=self._settings.local[1], options=options_of(self._settings)
        )
        told = (detail, refusals(errors, to_control=to_control), tunnel)
        return "; ".join(filter(None, told))

    def _grant_later(self) -> None:
        """Not from within what another end does, or this one."""
        asyncio.get_running_loop().call_soon(self._grant_turn)

    def _grant_turn(self) -> None:
        if self._machine is None or self._driver is None or not self._probing.has_turn(self):
            return  # it was given back meanwhile
        self._machine.turn_granted(self._probing.sockets, clock())
        self._driver.pump()

    def _settle(self, outcome: Linked | NetpunchError) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    def _settle_end(self, end: Lost | PartnerReturned | None) -> None:
        if not self._end.done():
            self._end.set_result(end)


def _own_hosts(endpoints: ControlEndpoints) -> tuple[str, ...]:
    """On a loopback control only the bound addresses matter: that spares the look-up. A name may
    stand for another one later."""
    on_loopback = all(is_loopback(control.host) for control in endpoints.controls)
    if endpoints.names == NO_NAMES and on_loopback:
        return ()
    from netpunch.net.interfaces import host_addresses

    return host_addresses()
