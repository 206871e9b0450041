"""One attempt of an end at a link, from binding its port to freeing it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from netpunch.address import Address, is_loopback
from netpunch.core.end.end import End
from netpunch.core.endpoints import NO_NAMES, ControlEndpoints
from netpunch.core.events import (
    Event,
    Failed,
    Finished,
    FollowRoutes,
    Introduced,
    Linked,
    LookupWanted,
    Lost,
    Mapped,
    MappingLost,
    Moved,
    PathKind,
    Payload,
    Reason,
    StreamsWanted,
    TurnOver,
    TurnWanted,
    Via,
    Waiting,
)
from netpunch.core.machine import NEVER, LinkFigures, Machine
from netpunch.core.settings import EndSettings
from netpunch.errors import (
    ControlUnreachableError,
    NetpunchError,
    NetworkNotReadyError,
    NotLinkedError,
)
from netpunch.net.datagrams import Datagrams, one
from netpunch.net.driver import MAX_DATAGRAM, MAX_PAYLOAD, Datagram, Endpoint, Observer, clock
from netpunch.net.end import DrivenEnd
from netpunch.net.program import Program
from netpunch.net.sockets import options_of
from netpunch.net.turn_queue import TurnQueue
from netpunch.wire.envelope import Buffer

if TYPE_CHECKING:
    from netpunch.net.held_path import HeldPath
    from netpunch.net.lone import Way
    from netpunch.net.port_mapping import PortMapping
    from netpunch.net.silence import Look
    from netpunch.net.watch import NetworkWatch

ACROSS_THE_INTERNET = {PathKind.OBSERVED, PathKind.IPV6, PathKind.MAPPED}
"""Candidates that are reached without a VPN. A partner's own network may well be behind one."""

SILENT_AFTER = 0.7
"""Seconds without an answer of any control after which an end looks why: most have answered by
then, and what is found is there, even on a busy host, when the silence is reported
(`timing.SILENCE_NOTICE`)."""

FOLLOW_AFTER = 1.0
"""Seconds after which an end that still waits for its partner hears of changes of its host's
network: most are linked by then, and need no watch unless they hold the link."""

TLS_PATIENCE = 1.5
"""Seconds that the report of controls' silence on UDP waits for their answer over TLS, four round
trips: then it is known that UDP is blocked."""

NO_PATH_NOTICE = 8.0
"""Seconds after an introduction at which an end without a path says what is known of the reason:
longer than the first round of any strategy takes."""

UNREACHABLE = {Reason.NO_CONTROL, Reason.SECRET_REJECTED_OR_SILENT, Reason.UDP_BLOCKED}
"""Reasons that concern the path to the controls."""


class Punch(DrivenEnd):
    """One attempt of an end at a link. Make and use it within a running loop:

    `await open()`, then `await linked()`, then either `await released()` (the port is free) or,
    for an end that holds, `await news()` until the link has ended. In the end `await close()`,
    whatever happened: it may be repeated, and is safe at any moment."""

    def __init__(
        self,
        settings: EndSettings,
        observer: Observer | None = None,
        *,
        trace: bool = True,
        turns: TurnQueue | None = None,
        program: Program | None = None,
        on_unresolved: Callable[[str], None] | None = None,
    ) -> None:
        """`observer` sees every event and, with `trace`, every datagram. All ends of a process
        share `turns`. `program` sends by `send_payloads`;
        `on_unresolved` gets a sentence for each control that is not found."""
        super().__init__(settings, observer, trace=trace)
        self.failure: Failed | None = None
        """Why there is no link, in detail."""
        self._turns = turns or TurnQueue()
        self._program = program
        self._on_unresolved = on_unresolved
        self._began = 0.0
        self._mapping: PortMapping | None = None
        self._mapping_detail = ""
        """Why the gateway's mapping is of no use, if so."""
        self._remote: Address | None = None
        """The partner's address, once there is a link."""
        self._path: HeldPath | None = None
        self._detaches = False
        self._detached: socket.socket | NetpunchError | None = None
        """That the link was left to."""
        self._watch: NetworkWatch | None = None
        self._later: list[asyncio.TimerHandle] = []
        """What is done later unless the end closes: to follow this host's network, to look why
        control is silent, to say that there is no path yet."""
        self._looks: list[asyncio.Task[Look]] = []
        """Why controls are silent: those that this end has begun."""
        self._is_answered = False
        """Whether a control has answered."""
        self._unsaid: Waiting | None = None
        """The report of controls' silence, until it is known whether they answer over TLS."""
        self._is_explaining = False
        """Whether it will say why there is no path."""
        self._on_loopback = False
        """Whether all controls are there for good, as then only the bound addresses matter. (A name
        may move elsewhere.)"""
        loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[Linked | NetpunchError] = loop.create_future()
        self._end: asyncio.Future[Lost | None] = loop.create_future()
        self._move: Moved | None = None
        """The latest one that `news` has not returned yet."""
        self._has_news = asyncio.Event()

    async def open(self) -> None:
        """Bind the local port, then find the controls, then announce. A port that is shared is not
        bound: once a program has it, it is opened beside that.

        Raises what `net.sockets.bind` raises (the local address), and ControlUnreachableError if no
        control's name resolves before a deadline that counts from the start; without one the end
        waits until a name resolves, and reports that."""
        self._began = clock()
        settings = self._settings
        if settings.share:
            from netpunch.net.share import until_owned  # few ends share their port

            await until_owned(
                settings,
                lambda text: self._take_event(Waiting(Reason.NO_PROGRAM, detail=text)),
            )
        bound = await self._start(
            settings.local,
            on_unresolved=self._on_unresolved,
            deadline=settings.deadline if settings.deadline_from_start else None,
            on_waiting=lambda text: self._take_event(Waiting(Reason.NO_CONTROL, detail=text)),
            max_datagram=MAX_DATAGRAM if self._program is None else MAX_PAYLOAD,
        )
        if settings.protocol == "v2":
            self._call_later(FOLLOW_AFTER, self._follow_network)
            self._call_later(SILENT_AFTER, self._look_at_silence)
        if settings.asks_gateways and settings.protocol == "v2":
            from netpunch.net.port_mapping import PortMapping

            self._mapping = PortMapping(
                self._take_mapped,
                self._observe_mapping,
                secret=settings.secret,
                bind=self._bind,
                interface=settings.interface,
            )
            self._mapping.open(bound)

    async def linked(self) -> Linked:
        """Wait for the link. Raises NotLinkedError or ControlUnreachableError, with the reason, or
        the error passed to `give_up`."""
        outcome = await asyncio.shield(self._outcome)
        if isinstance(outcome, NetpunchError):
            raise outcome
        return outcome

    def give_up(self, error: NetpunchError) -> None:
        """End the wait for a link, for a reason that is not the network's."""
        self._settle(error)

    async def released(self) -> None:
        """Wait until the partner needs nothing more of this end, then free the port."""
        await self._finished.wait()
        self._close_driver()

    async def news(self) -> Moved | Lost | None:
        """Wait until a held link has moved or ended; None if it was closed. Of several moves since
        the last call this returns the latest one, and of a link that has ended its end."""
        while not self._end.done():
            if (move := self._move) is not None:
                self._move = None
                return move
            self._has_news.clear()
            await self._has_news.wait()
        return self._end.result()

    def network_changed(self, *, woke: bool = False) -> None:
        """This host's addresses or routes have changed, or (`woke`) it was suspended."""
        if self._machine is None or self._driver is None:
            return
        self._driver.bind_to_interface_again(options_of(self._settings))
        gone = False
        if self._path is not None and self._watch is not None:
            gone = self._path.is_gone(self._watch.hosts)
            if gone:
                self._path.follow_routes()
        self._machine.network_changed(self._own_hosts(), clock(), gone=gone, woke=woke)
        self._driver.pump()
        if self._controls is not None:
            self._controls.network_changed()
        if self._mapping is not None:
            self._mapping.network_changed()
        if self._streams is not None and self._watch is not None:
            # After a suspend the far end, or a NAT, has mostly given a stream up.
            self._streams.network_changed(() if woke else self._watch.hosts)

    def rekey(self, secrets: Sequence[bytes]) -> bool:
        """Go on with these keys of the pair, one or two; False if no link is held."""
        if self._machine is None or self._driver is None:
            return False
        if not self._machine.rekey(secrets, clock()):
            return False
        self._driver.pump()
        return True

    @property
    def figures(self) -> LinkFigures | None:
        """How a held link does; times are those of `net.driver.clock`."""
        return None if self._machine is None else self._machine.figures

    def send_payloads(self, datagrams: Datagrams) -> None:
        """Send a program's datagrams on the held link: together, if its socket can."""
        machine, driver = self._machine, self._driver
        if machine is None or driver is None or (path := machine.path) is None:
            return
        via, remote, flow = path
        endpoint = driver.endpoints.get(via)
        if endpoint is None or not endpoint.send_payloads(datagrams, remote):
            for each in datagrams.each:
                self.send_payload(bytes(each))
        elif flow.payloads_sent(datagrams.total, sum(datagrams.lengths), clock()):
            driver.arm()

    def send_payload(self, data: bytes) -> None:
        """Send a program's datagram on the held link."""
        if self._machine is not None and self._driver is not None:
            if self._machine.send_payload(data, clock()):
                self._driver.pump()
            else:
                self._driver.drain()

    def send_now(self, data: Buffer) -> None:
        """Send a program's datagram on the held link: at once, or not at all; then the program is
        told (`unsent`)."""
        machine, driver = self._machine, self._driver
        if machine is None or driver is None or (path := machine.path) is None:
            return
        via, remote, flow = path
        endpoint = driver.endpoints.get(via)
        if endpoint is None:
            return
        if driver.observes:
            self.send_payload(bytes(data))
            return
        sealing = machine.sealing
        try:
            endpoint.put(data if sealing is None else sealing.seal_one(data), remote)
        except OSError as error:
            self._unsent((data,), error, via, remote)
            return
        traffic = flow.traffic
        traffic.sent += 1
        traffic.sent_bytes += len(data)
        if flow.unheard_since == NEVER:
            now = flow.unheard_since = clock()
            if flow.silence_at == NEVER and flow.begin_unheard(now):
                driver.arm()

    @property
    def way(self) -> Way | None:
        """How a program's datagrams may leave without `send_now`; None if they may not."""
        machine, driver, endpoint = self._machine, self._driver, self.endpoint
        if machine is None or driver is None or machine.path is None or endpoint is None:
            return None
        if driver.observes:
            return None
        from netpunch.net.lone import Way

        via, remote, flow = machine.path

        def refused(data: Buffer, error: OSError) -> None:
            self._unsent((data,), error, via, remote)

        return Way(machine, flow, endpoint.put, remote, refused, driver.arm)

    def send_first(self, payloads: Sequence[Buffer]) -> int:
        """The same with the first of these and those that can be one message with it; returns how
        many."""
        machine, driver, endpoint = self._machine, self._driver, self.endpoint
        if machine is None or driver is None or machine.path is None or endpoint is None:
            return len(payloads)
        via, remote, flow = machine.path
        some = payloads[: endpoint.joinable(payloads)]
        try:
            if len(some) == 1 or not endpoint.put_together(some, remote):
                self.send_now(payloads[0])
                return 1
        except OSError as error:
            self._unsent(some, error, via, remote)
        else:
            if flow.payloads_sent(len(some), sum(map(len, some)), clock()):
                driver.arm()
        return len(some)

    def _unsent(
        self, payloads: Sequence[Buffer], error: OSError, via: Via, remote: Address
    ) -> None:
        if not isinstance(error, BlockingIOError) and self._driver is not None:
            self._driver.refused(error, via, remote, len(payloads))
        if self._program is not None:
            self._program.unsent(payloads[0], error)

    @property
    def endpoint(self) -> Endpoint | None:
        """Of the held link's path; None without one."""
        if self._machine is None or self._driver is None or self._machine.path is None:
            return None
        return self._driver.endpoints.get(self._machine.path[0])

    async def detached(self) -> socket.socket | None:
        """Leaves the held link to the caller: waits until the partner needs no more of this end,
        then returns the socket, connected to the partner; None if the link has ended meanwhile.
        Raises NetworkNotReadyError without a route. `close` has to follow."""
        if self._machine is not None and self._driver is not None:
            self._detaches = True
            self._machine.hand_over()
            self._driver.pump()
        await self._finished.wait()
        detached, self._detached = self._detached, None
        if isinstance(detached, NetpunchError):
            raise detached
        return detached

    def _detach(self) -> None:
        if self._machine is None or self._driver is None or self._machine.path is None:
            return
        via, remote, _ = self._machine.path
        try:
            self._detached = self._driver.surrender(via, remote)
        except OSError as error:
            self._detached = NetworkNotReadyError(f"no way to {remote}: {error.strerror}")

    async def close(self, *, keep_mapping: bool = False) -> None:
        """Stop: tell the controls if that still matters, and free the port.

        With `keep_mapping` the gateway's mapping of the port runs out by itself: another program
        uses the path from now on."""
        await self._stop()
        await asyncio.gather(*self._looks, return_exceptions=True)
        mapping, self._mapping = self._mapping, None
        if mapping is not None:
            await mapping.close(release=not keep_mapping)
        if isinstance(self._detached, socket.socket):
            self._detached.close()  # nobody took it
        for future in (self._outcome, self._end):
            future.cancel()
        self._has_news.set()

    def leave(self) -> None:
        """Begin to close: tell the partner and the controls now. `close` has to follow."""
        if self._machine is not None and self._driver is not None:
            now = clock()
            self._machine.close(now)
            self._machine.handle_timer(now)  # the loop may not run again, to ring it
            self._driver.pump()

    def abort(self) -> None:
        """Free the port at once, without a word to the partner and the controls. `close` has to
        follow; it is quick then."""
        self._close_driver()
        self._finished.set()

    def _make_machine(self, endpoints: ControlEndpoints, sockets: Mapping[Via, Address]) -> Machine:
        self._turns.first_sockets[self] = len(sockets)
        settings, now = self._settings, clock()
        self._on_loopback = endpoints.names == NO_NAMES and all(
            is_loopback(control.host) for control in endpoints.controls
        )
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
            probe_bucket=self._turns.bucket,
            host_addresses=self._own_hosts(),
            random=os.urandom,
            now=now,
        )

    def _own_hosts(self) -> tuple[str, ...]:
        """This host's addresses, as candidates for partners."""
        if self._on_loopback:
            return ()
        from netpunch.net.interfaces import host_addresses

        return host_addresses()

    def _close_driver(self) -> None:
        self._turns.over(self)
        self._turns.first_sockets.pop(self, None)
        for timer in self._later:
            timer.cancel()
        for look in self._looks:
            look.cancel()
        if self._watch is not None:
            self._watch.unfollow(self.network_changed)
        super()._close_driver()

    def _take_mapped(self, addresses: tuple[Address, ...]) -> None:
        if self._machine is not None and self._driver is not None:
            self._machine.reachable_at(PathKind.MAPPED, addresses, clock())
            self._driver.pump()

    def _observe_mapping(self, seen: Datagram | Event) -> None:
        """Reports what a gateway grants or refuses. Datagrams to and from it are not the pair's."""
        if isinstance(seen, Mapped | MappingLost):
            self._mapping_detail = seen.detail if isinstance(seen, MappingLost) else seen.flaw
            if self._observer is not None:
                self._observer(seen)

    def _take_event(self, event: Event) -> None:
        match event:
            case Payload(data):
                if self._program is not None:
                    self._program.deliver(one(data))
                return
            case TurnWanted(turn, ready):
                if self._turns.want(self, self._grant_later, turn, ready):
                    self._grant_later()
            case TurnOver():
                self._turns.over(self)
            case LookupWanted(silent):
                if self._controls is not None:
                    self._controls.find_again(silent)
                return
            case StreamsWanted(wanted):
                self._want_streams(wanted)
                return
            case Waiting(Reason.SECRET_REJECTED_OR_SILENT):
                event = event._replace(detail=self._explained(event.detail, to_control=True))
                if not self._is_answered and next(self._tls_places(), None) is not None:
                    self._unsaid = event
                    self._call_later(TLS_PATIENCE, self._say_silent)
                    return
            case Waiting(Reason.PARTNER_ABSENT | Reason.UDP_BLOCKED):
                self._is_answered = True
            case Introduced():
                self._is_answered = True
                if not self._is_explaining:
                    self._is_explaining = True
                    self._call_later(NO_PATH_NOTICE, self._explain_no_path)
            case Linked(remote=remote):
                self._remote = remote
                self._settle(event)
                if self._settings.holds:
                    self._hold(event)
            case Moved(remote=remote):
                self._remote, self._move = remote, event
                self._hold(event)
                self._has_news.set()
            case FollowRoutes():
                if self._path is not None:
                    self._path.follow_routes()
                return
            case Failed():
                event = self.failure = self._explain_failure(event)
                unreachable = event.reason in UNREACHABLE
                error = ControlUnreachableError if unreachable else NotLinkedError
                self._settle(error(event.detail, event.reason))
            case Lost(detail, ended=False):
                assert self._remote is not None
                event = Lost(self._explained(detail, remotes=[self._remote]))
                self._settle_end(event)
            case Lost():
                self._settle_end(event)
            case Finished():
                if self._detaches:
                    self._detach()
                self._finished.set()
                self._settle_end(None)
        if self._observer is not None:
            self._observer(event)

    def _explain_failure(self, failure: Failed) -> Failed:
        detail = failure.detail
        if failure.reason in (Reason.BLOCKED, Reason.INFEASIBLE):
            detail = "; ".join(filter(None, (detail, self._mapping_detail)))
        tried = (each.remote for each in failure.candidates if each.path in ACROSS_THE_INTERNET)
        to_control = failure.reason in UNREACHABLE
        return failure._replace(
            detail=self._explained(detail, to_control=to_control, remotes=tried)
        )

    def _hold(self, path: Linked | Moved) -> None:
        if self._driver is None:
            return
        if self._program is not None and self._machine is not None and sys.platform == "linux":
            from netpunch.net.batch import batches_allowed

            if batches_allowed():
                carries = self._program.endpoint_for(self._machine)
                self._driver.replace(path.via, endpoint=carries)
        if self._path is None:
            from netpunch.net.held_path import HeldPath

            pins = not self._settings.share
            self._path = HeldPath(self._driver, options_of(self._settings), pins=pins)
            self._follow_network()
        self._path.agreed(path)

    def _call_later(self, delay: float, call: Callable[[], None]) -> None:
        self._later.append(asyncio.get_running_loop().call_later(delay, call))

    def _look_at_silence(self) -> None:
        """Asks why no control has answered, for `_explained`."""
        if self._is_answered or self._controls is None:
            return
        from netpunch.net.silence import begin_to_look  # most ends are answered

        begun = (begin_to_look(control, self._settings) for control in self._controls.addresses)
        self._looks = [look for look in begun if look is not None]

    def _say_silent(self) -> None:
        """Control has not answered over TLS either."""
        if self._unsaid is not None and not self._is_answered and self._observer is not None:
            self._observer(self._unsaid)
        self._unsaid = None

    def _explain_no_path(self) -> None:
        """Says why there is no path yet, long before the deadline."""
        if self._remote is not None or not isinstance(self._machine, End):
            return
        if (failure := self._machine.no_path(clock())) is not None:
            detail = self._explain_failure(failure).detail
            waiting = Waiting(Reason.BLOCKED, detail=f"no path so far: {detail}")
            if self._observer is not None:
                self._observer(waiting)

    def _follow_network(self) -> None:
        """Hears of changes of this host's network from now on."""
        if self._watch is None and self._driver is not None:
            from netpunch.net.watch import network_watch

            self._watch = network_watch()
            self._watch.follow(self.network_changed, options_of(self._settings))

    def _explained(
        self, detail: str, *, to_control: bool = False, remotes: Iterable[Address] = ()
    ) -> str:
        """With what the machine can't know: datagrams to `remotes` (with `to_control`, to the end's
        controls) did not leave this host, left it through a tunnel, or (controls) were refused.
        What is known of a silent control stands instead of what may be."""
        from netpunch.net.diagnosis import refusals, tunnel_towards

        errors: Counter[str] = Counter() if self._driver is None else self._driver.send_errors
        if to_control and self._controls is not None:
            remotes = self._controls.addresses
        tunnel = tunnel_towards(
            remotes, port=self._settings.local[1], options=options_of(self._settings)
        )
        known = [refusals(errors, to_control=to_control), tunnel]
        if not to_control:
            return "; ".join(filter(None, (detail, *known)))
        found = "; ".join(filter(None, (tunnel, *self._silences(), *known[:1])))
        what, _, _ = detail.partition(": ")
        return f"{what}: {found}" if found else detail

    def _silences(self) -> list[str]:
        """What was found of controls that are silent."""
        silence = sys.modules.get("netpunch.net.silence")
        if silence is None or self._controls is None:
            return []
        places = self._controls.addresses
        found = [(each, silence.explanation(each, self._settings)) for each in places]
        return [f"{place}: {text}" if len(places) > 1 else text for place, text in found if text]

    def _grant_later(self) -> None:
        """Outside of what this end, or another one, is doing right now."""
        asyncio.get_running_loop().call_soon(self._grant_turn)

    def _grant_turn(self) -> None:
        if self._machine is None or self._driver is None or not self._turns.has_turn(self):
            return  # it was given back meanwhile
        self._machine.turn_granted(self._turns.sockets, clock())
        self._driver.pump()

    def _settle(self, outcome: Linked | NetpunchError) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    def _settle_end(self, end: Lost | None) -> None:
        if not self._end.done():
            self._end.set_result(end)
            self._has_news.set()
