"""What the network says: controls, NAT, gateways. All at once, within some 12 seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from netpunch.address import Address, is_loopback, is_private
from netpunch.config.model import ControlConfig
from netpunch.core.observing import Answer
from netpunch.core.settings import ControlAt, EndSettings
from netpunch.errors import ControlUnreachableError, NetpunchError
from netpunch.net.controls import Controls, reflectors
from netpunch.net.diagnosis import tunnel_towards
from netpunch.net.hops import router_at
from netpunch.net.interfaces import host_addresses
from netpunch.net.observation import (
    GatewayOffer,
    NatSurvey,
    Reply,
    ask,
    ask_over_tls,
    inquire,
    survey,
)
from netpunch.net.resolver import is_literal
from netpunch.net.routes import default_gateways
from netpunch.net.silence import refuses_others
from netpunch.net.sockets import binder, local_address, options_of
from netpunch.wire.envelope import ControlChannel

RESOLVE_PATIENCE = 4.0
"""Seconds for a control's name. One whose servers are dead takes half a minute."""
MOST_ASKERS = 64
"""Keys that are tried: a control may have a hundred thousand."""


class Asker(NamedTuple):
    """One end of a pair, or of one of a mesh's, that can ask controls. `owner` is the pair or mesh
    that has the key, `controls` are the names of those that should have it."""

    owner: str
    settings: EndSettings
    channel: ControlChannel
    controls: tuple[str, ...]


class ControlSeen(NamedTuple):
    """A control as this host sees it. `addresses`: those that ends of this host announce to;
    `other`: one of the other family; `problem`: why there are none; `tunnel`: which tunnel the
    route leads into, with what to do."""

    at: ControlAt
    addresses: tuple[Address, ...] = ()
    other: tuple[Address, ...] = ()
    problem: str = ""
    tunnel: str = ""
    replies: dict[tuple[str, Address], Reply] = {}  # noqa: RUF012 - never changed
    """By owner of the key and address."""
    other_reply: Reply | None = None
    tls: Answer | None = None
    tls_asked: bool = False
    tls_by: str = ""
    """The owner of the key that it was asked with."""
    refuses_others: bool = False
    """It is silent, but its host refuses a port where nothing listens."""

    @property
    def answer(self) -> Answer | None:
        """The quickest one over UDP."""
        answers = [each.answer for each in self.replies.values() if each.answer]
        return min(answers, key=lambda each: each.rtt, default=None)

    def answers(self, owner: str) -> list[Answer]:
        """To the key of a pair or mesh."""
        found = (reply.answer for (each, _), reply in self.replies.items() if each == owner)
        return [answer for answer in found if answer is not None]

    def has_key(self, owner: str) -> bool:
        """Whether an answer proves it."""
        return bool(self.answers(owner)) or (self.tls is not None and self.tls_by == owner)

    def was_asked(self, owner: str) -> bool:
        return any(each == owner for each, _ in self.replies)

    @property
    def relay_port(self) -> int | None:
        """0: it has none; None: not known."""
        answer = self.answer or self.tls
        return None if answer is None else answer.relay_port


class Network(NamedTuple):
    """All that was measured. `controls` by name; `nat` is None where nobody could be asked."""

    controls: dict[str, ControlSeen]
    nat: NatSurvey | None = None
    gateways: tuple[GatewayOffer, ...] = ()
    hosts: tuple[str, ...] = ()
    """This host's own addresses, as offered to partners."""
    second_router: str = ""
    """The address of the router behind the first one, on the way to a control."""


async def measure(controls: Iterable[ControlConfig], askers: Sequence[Asker]) -> Network:
    """Asks every control with the keys that it should have, then how the NAT maps."""
    own = _settings(askers)
    gateways = default_gateways(own.interface)
    (found, nat, second), offers = await asyncio.gather(
        _look(list(controls), askers),
        asyncio.gather(*(inquire(each, binder(own)) for each in gateways)),
    )
    return Network(found, nat, tuple(offers), host_addresses(), second)


async def _look(
    controls: Sequence[ControlConfig], askers: Sequence[Asker]
) -> tuple[dict[str, ControlSeen], NatSurvey | None, str]:
    seen = await asyncio.gather(*(_see(each, _of(each, askers)) for each in controls))
    found = {control.name: each for control, each in zip(controls, seen, strict=True)}
    nat, second = await asyncio.gather(
        _survey(found, askers), _second_router(found, _settings(askers))
    )
    return found, nat, second


async def _second_router(found: Mapping[str, ControlSeen], own: EndSettings) -> str:
    places = [address for each in found.values() for address in each.addresses]
    far = next((each for each in places if each.family == 4 and not is_private(each.host)), None)
    return await router_at(2, far, binder(own)) if far else ""


def _of(control: ControlConfig, askers: Sequence[Asker]) -> list[Asker]:
    return [asker for asker in askers if control.name in asker.controls][:MOST_ASKERS]


async def _see(control: ControlConfig, askers: Sequence[Asker]) -> ControlSeen:
    at = control.at
    seen = await _find(at, _settings(askers))
    if not askers or not seen.addresses:
        return seen
    first = askers[0]
    places = [(asker, address) for asker in askers for address in seen.addresses]
    replies, other, tls = await asyncio.gather(
        asyncio.gather(*(ask(a.channel, address, a.settings) for a, address in places)),
        _ask_first(first, seen.other),
        _over_tls(first, seen) if control.tls else _nothing(),
    )
    by_place = {
        (asker.owner, address): reply
        for (asker, address), reply in zip(places, replies, strict=True)
    }
    seen = seen._replace(
        replies=by_place,
        other_reply=other,
        tls=tls,
        tls_asked=control.tls is not None,
        tls_by=first.owner,
    )
    if seen.answer is not None:
        return seen
    asks_tls = not seen.tls_asked and first.settings.tls_port(at)
    late, refuses = await asyncio.gather(
        _over_tls(first, seen) if asks_tls else _nothing(),
        refuses_others(seen.addresses[0], first.settings),
    )
    return seen._replace(
        tls=seen.tls or late, tls_asked=seen.tls_asked or bool(asks_tls), refuses_others=refuses
    )


def _settings(askers: Sequence[Asker]) -> EndSettings:
    """Those by which this host is looked at."""
    return askers[0].settings if askers else EndSettings("", "a", b"")


async def _find(at: ControlAt, settings: EndSettings) -> ControlSeen:
    """Where a control is, by the rules of an end."""
    bind = binder(settings)
    try:
        sockets = bind(settings.local[0], 0)
    except NetpunchError as error:
        return ControlSeen(at, problem=str(error))
    families = {local_address(sock).family for sock in sockets}
    for sock in sockets:
        sock.close()
    controls = Controls((at,), families, bind=bind)
    try:
        endpoints = await controls.find(RESOLVE_PATIENCE)
    except ControlUnreachableError as error:
        return ControlSeen(at, problem=str(error))
    finally:
        await controls.close()
    tunnel = tunnel_towards(endpoints.controls, options=options_of(settings))
    return ControlSeen(at, endpoints.controls, endpoints.other_family, tunnel=tunnel)


async def _ask_first(asker: Asker, addresses: Sequence[Address]) -> Reply | None:
    return await ask(asker.channel, addresses[0], asker.settings) if addresses else None


async def _over_tls(asker: Asker, seen: ControlSeen) -> Answer | None:
    place = Address(seen.addresses[0].host, asker.settings.tls_port(seen.at))
    name = None if is_literal(seen.at.host) else seen.at.host
    return await ask_over_tls(asker.channel, place, name, asker.settings)


async def _nothing() -> None:
    return None


async def _survey(found: dict[str, ControlSeen], askers: Sequence[Asker]) -> NatSurvey | None:
    """By the first key that controls answer to."""
    for asker in askers:
        answering = {
            address: found[name].at.observe
            for name in asker.controls
            if name in found
            for (owner, address), reply in found[name].replies.items()
            if owner == asker.owner and reply.answer is not None
        }
        apart = [address for address in answering if not is_loopback(address.host)]
        choice = next(iter(reflectors(answering)), None) or apart[:1]
        if choice:
            return await survey(asker.channel, choice, asker.settings)
    return None
