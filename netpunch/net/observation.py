"""Where controls see this host, and what its gateways offer, from sockets of its own: nothing that
runs notices. What is asked is `core.observing` and `core.portmap.inquiry`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Sequence
from typing import NamedTuple

from netpunch.address import Address
from netpunch.core.events import Via
from netpunch.core.observing import Answer, Observing, Question
from netpunch.core.portmap.inquiry import GatewayInquiry
from netpunch.core.settings import EndSettings
from netpunch.core.traversal.nat import NatReport, Sample, classify
from netpunch.errors import NetpunchError
from netpunch.net.driver import Driver, clock
from netpunch.net.interfaces import host_addresses
from netpunch.net.routes import Gateway, bind_to_interface
from netpunch.net.sockets import Bind, binder, connected, local_address, options_of
from netpunch.wire.envelope import ControlChannel
from netpunch.wire.portmap import SERVER_PORT

VIA: Via = 0
ASKING_SOCKETS = 2
"""A survey of an end asks from three. Of four random ports one set in a million looks like steps;
and five answers in all a control has for its host every 20 seconds."""
STREAM_PATIENCE = 3.0
"""Seconds for TLS to a control, with its answer: three round trips."""
IP_MTU, IPV6_MTU = 14, 24
"""Linux's numbers, linux/in.h and in6.h; Python's socket module has no names for them."""


class Reply(NamedTuple):
    """What came of asking one address of a control. Without an answer: `refused` if its host said
    that nothing listens at that port, `error` if the system did not send. `mtu`: bytes of the
    longest IP packet on the way there, as far as this host knows; 0 if it does not."""

    answer: Answer | None = None
    refused: bool = False
    error: str = ""
    mtu: int = 0


class NatSurvey(NamedTuple):
    """How this host's NAT maps. `seen`: the outside addresses; `preserves_ports`: the outside port
    is the local one; `looped_back`: see `Observing`; both None if not known. `silent`: reflectors
    that answered nothing."""

    report: NatReport
    seen: tuple[Address, ...] = ()
    preserves_ports: bool | None = None
    looped_back: bool | None = None
    silent: tuple[Address, ...] = ()


class GatewayOffer(NamedTuple):
    """See `GatewayInquiry`."""

    gateway: Gateway
    pcp: bool | None = None
    nat_pmp: bool | None = None
    external: str = ""


async def ask(channel: ControlChannel, control: Address, settings: EndSettings) -> Reply:
    """Asks a control over UDP, from a fresh port, with the socket options of an end."""
    try:
        sock = connected(control, binder(settings))
    except NetpunchError as error:
        return Reply(error=str(error))
    except OSError as error:
        return Reply(error=error.strerror or str(error))
    mtu = _mtu(sock)  # before the driver has it
    question = Question(VIA, control)
    done = asyncio.Event()
    machine = Observing(channel, [question], random=os.urandom, now=clock(), on_done=done.set)
    errors = await _drive(machine, {VIA: sock}, done)
    return Reply(machine.answers.get(question), "ECONNREFUSED" in errors, _unsent(errors), mtu)


async def ask_over_tls(
    channel: ControlChannel, place: Address, name: str | None, settings: EndSettings
) -> Answer | None:
    """Asks a control over TLS; `name` is what the control goes by, if it has a name."""
    from netpunch.net.tls_client import ControlStreams  # imports ssl, which few need

    done = asyncio.Event()
    machine = Observing(channel, [], streams=1, random=os.urandom, now=clock(), on_done=done.set)
    driver = Driver(machine, on_event=lambda _: None)
    streams = ControlStreams(machine, driver, options_of(settings))
    try:
        driver.open({})
        streams.keep([(place, name)])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STREAM_PATIENCE):
                await done.wait()
    finally:
        await streams.close()
        driver.close()
    return next(iter(machine.answers.values()), None)


async def survey(
    channel: ControlChannel, reflectors: Sequence[Address], settings: EndSettings
) -> NatSurvey:
    """Asks the reflectors, of one family, from a few fresh ports. Raises what `bind` raises."""
    family = socket.AF_INET6 if reflectors[0].family == 6 else socket.AF_INET
    sockets = _fresh_sockets(family, settings)
    local = {via: local_address(sock) for via, sock in sockets.items()}
    questions = [Question(via, each) for via in sockets for each in reflectors]
    done = asyncio.Event()
    machine = Observing(
        channel, questions, loops_back=True, random=os.urandom, now=clock(), on_done=done.set
    )
    await _drive(machine, sockets, done)
    return surveyed(local, reflectors, machine, host_addresses())


def surveyed(
    local: dict[Via, Address],
    reflectors: Sequence[Address],
    machine: Observing,
    own_hosts: Sequence[str],
) -> NatSurvey:
    """What the answers to a survey say."""
    answers = machine.answers
    samples = [
        Sample(
            address.port,
            tuple(
                answers[each].observed if (each := Question(via, reflector)) in answers else None
                for reflector in reflectors
            ),
        )
        for via, address in local.items()
    ]
    ports = [(sample.local_port, seen.port) for sample in samples for seen in sample.seen if seen]
    heard = {question.control for question in answers}
    return NatSurvey(
        classify(samples, own_hosts, reflectors) if len(reflectors) > 1 else NatReport(),
        tuple(dict.fromkeys(answer.observed for answer in answers.values())),
        all(inside == outside for inside, outside in ports) if ports else None,
        machine.looped_back,
        tuple(each for each in reflectors if each not in heard),
    )


async def inquire(gateway: Gateway, bind: Bind) -> GatewayOffer:
    """Asks a gateway whether it maps ports, from a socket that `bind` makes. Has none mapped."""
    try:
        [sock] = bind(gateway.source, 0)
    except NetpunchError:
        return GatewayOffer(gateway)
    bind_to_interface(sock, gateway.interface)
    done = asyncio.Event()
    place = Address(gateway.host, SERVER_PORT)
    machine = GatewayInquiry(place, gateway.source, now=clock(), on_done=done.set)
    await _drive(machine, {VIA: sock}, done)
    return GatewayOffer(gateway, machine.pcp, machine.nat_pmp, machine.external)


async def _drive(
    machine: Observing | GatewayInquiry, sockets: dict[Via, socket.socket], done: asyncio.Event
) -> dict[str, int]:
    """Until it is done. Returns the errors of sending, by name."""
    driver = Driver(machine, on_event=lambda _: None)
    try:
        driver.open(sockets)
        await done.wait()
    finally:
        driver.close()
    return driver.send_errors


def _fresh_sockets(family: int, settings: EndSettings) -> dict[Via, socket.socket]:
    """Bound to the end's own address, if it has one of the family, each at a free port."""
    wildcard = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104
    host = settings.local[0]
    own = host if host and (":" in host) == (family == socket.AF_INET6) else wildcard
    sockets: dict[Via, socket.socket] = {}
    try:
        for via in range(ASKING_SOCKETS):
            [sockets[via]] = binder(settings)(own, 0)
    except NetpunchError:
        for sock in sockets.values():
            sock.close()
        raise
    return sockets


def _mtu(sock: socket.socket) -> int:
    """Of a connected socket: that of the first link, or less if a router further on has said so."""
    if sys.platform != "linux":
        return 0
    try:
        if sock.family == socket.AF_INET6:
            return sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)
        return sock.getsockopt(socket.IPPROTO_IP, IP_MTU)
    except OSError:
        return 0


def _unsent(errors: dict[str, int]) -> str:
    """Why the system did not send, by the error's name; empty if it did."""
    return next((name for name in errors if name != "ECONNREFUSED"), "")
