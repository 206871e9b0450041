"""`start_control`: a control node in a program's hands."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from netpunch import arguments
from netpunch.address import Address
from netpunch.api.control_events import Announcer, ControlEvents, RegisteredEnds
from netpunch.api.served_pairs import (
    Classic,
    ServedPairs,
    classic_by_name,
    classic_pair,
    control_keys,
    control_keys_by_name,
)
from netpunch.api.starting import Starting
from netpunch.config import values
from netpunch.config.control_rules import control_flaws
from netpunch.core import timing
from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.core.control.presences import RegisteredEnd
from netpunch.core.control.relay import Relay
from netpunch.core.events import ControlEvent
from netpunch.errors import ResourcesError, UsageError
from netpunch.net.driver import Observer
from netpunch.net.listener import Listener, TlsAt
from netpunch.net.own_hosts import OwnHosts

MOST_PAIRS = 100_000
"""Some 75 MB until ends are there. One process on one core serves as many; see docs/fleets.md."""

At = tuple[str, int]
"""An address to listen on."""


class _Settings(NamedTuple):
    """What `start_control` was passed, checked."""

    listen: Sequence[At]
    observe: Sequence[At] | None
    """None: the ports after those of `listen`, if they are free."""
    relay: Sequence[At]
    relay_ports: int
    relay_rate: float
    relay_total: float
    tls: At | None
    tls_certificate: Path | None
    tls_key: Path | None
    public: Sequence[str]
    expire: float
    max_pairs: int


class Control:
    """A control that serves, from `start_control` until `aclose` or the end of an `async with`
    block. Its methods are for the thread of its event loop.

    Pairs come and go while it serves, and no other pair notices. What a removed pair had is gone at
    once: registrations, relayed links and TLS connections. Its ends get silence."""

    def __init__(
        self,
        settings: _Settings,
        pairs: Mapping[str, bytes],
        classic: Classic,
        announcer: Announcer,
        *,
        trace: bool,
    ) -> None:
        """Starts it; `start_control` is for programs."""
        relay = Relay(settings.relay_rate, settings.relay_total)
        machine = ControlNode(
            ControlV2(pairs, expire=settings.expire, relay=relay, random=os.urandom),
            ClassicControl({}),
        )
        self._settings = settings
        self._pairs = ServedPairs(machine, classic)
        self._registered = RegisteredEnds(machine, self._pairs)
        self._announcer = announcer
        self._listener = Listener(
            machine,
            settings.listen,
            observe=settings.observe,
            relay=[
                (host, port + number)
                for number in range(settings.relay_ports)
                for host, port in settings.relay
            ],
            tls=_tls(settings),
            observer=announcer.observe,
            trace=trace,
        )
        self._closed = asyncio.Event()
        self._listener.open()
        if self._listener.refused and settings.observe is not None:
            self._listener.close()
            raise self._listener.refused[0]
        self._own_hosts = OwnHosts(machine.v2)
        if settings.public:
            self._own_hosts.learn(settings.public)

    # Pairs.

    @property
    def pairs(self) -> Collection[str]:
        """The names of the pairs that it serves now: a view, not a copy."""
        return self._pairs

    @arguments.checked
    def add_pair(
        self,
        name: str,
        key: bytes | str | Path,
        *,
        other_key: bytes | str | Path | None = None,
        slots: str | None = None,
    ) -> None:
        """Serve one more pair from now on.

        `name`: up to 32 of a-z, 0-9 and '-', or MESH.NODE.NODE: the same at both ends.
        `key`: control's key of this pair, as 32 bytes, as text (`npc1:...`; from a pair's own
        `npk1:...` control's is derived) or as the Path of its file. Each pair needs one of its own.
        `other_key`: a second one that counts as well, while the pair's key is rotated.
        `slots`: for a classic pair, such as `a-b`; then `key` is its secret, bytes or a Path.

        Raises UsageError for an argument, if the pair is served already or control is closed;
        ResourcesError if `max_pairs` are served; MissingFileError, PermissionsError and
        ConfigurationError for a key's file. Then nothing has changed."""
        self._check_open()
        name = arguments.pair_name("name", name)
        if slots is None:
            self._pairs.add(name, control_keys(name, key, other_key), self._settings.max_pairs)
        elif other_key is not None:
            raise UsageError("other_key: a classic pair has one secret: leave this out")
        else:
            self._pairs.add_classic(name, classic_pair(key, slots))
        self._listener.pump()

    @arguments.checked
    def rekey_pair(
        self, name: str, key: bytes | str | Path, *, other_key: bytes | str | Path | None = None
    ) -> None:
        """Serve a pair with another key, or two, from now on. What is registered under a key that
        stays is kept. To rotate a key: `rekey_pair(name, new, other_key=old)`, then give the ends
        the new one, then `rekey_pair(name, new)`.

        `key` and `other_key`, and what is raised for them, are as for `add_pair`. Raises UsageError
        if no such v2 pair is served."""
        self._check_open()
        self._pairs.rekey(name, key, other_key)
        self._listener.pump()

    @arguments.checked
    def remove_pair(self, name: str) -> None:
        """Serve a pair no longer. Its ends that are registered are `Expired`, with `removed`.

        Links that are not relayed go on: they need no control. Raises UsageError if no such pair is
        served or control is closed."""
        self._check_open()
        self._listener.pairs_removed([self._pairs.remove(name)])

    # What happens.

    @property
    def registered(self) -> Mapping[tuple[str, str], RegisteredEnd]:
        """The ends that are registered now, by pair and end (`a` or `b`): a view, not a copy. It
        changes while the loop runs, so copy it to iterate over it with an `await` in between.
        Nobody is, once control is closed."""
        return {} if self._closed.is_set() else self._registered

    def events(self) -> ControlEvents:
        """What happens from now on, for `async for`, until control is closed.

        Raises UsageError if it is closed."""
        self._check_open()
        return self._announcer.stream()

    # Where it listens.

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Those of `listen`, with the ports that they got; a wildcard is one for each family."""
        return tuple(self._listener.listening)

    @property
    def observe_addresses(self) -> tuple[Address, ...]:
        """Where else it tells ends their address; empty if the ports of `observe=True` are in
        use."""
        return tuple(self._listener.observing)

    @property
    def relay_addresses(self) -> tuple[Address, ...]:
        """Where it relays."""
        return tuple(self._listener.relay_addresses)

    @property
    def tls_address(self) -> Address | None:
        """Where it takes TLS connections, over TCP."""
        return None if self._listener.tls is None else self._listener.tls.local

    def reload_certificate(self) -> None:
        """Read `tls_certificate` and `tls_key` again, for the connections that come from now on.

        Raises MissingFileError, PermissionsError, ConfigurationError and ResourcesError; then the
        former one stays in use. Raises UsageError without a `tls_certificate`."""
        self._check_open()
        certificate, tls = self._settings.tls_certificate, self._listener.tls
        if certificate is None or tls is None:
            raise UsageError("reload_certificate(): control was started without `tls_certificate`")
        from netpunch.net.tls_certificate import load

        load(tls.context, certificate, self._settings.tls_key)

    # The end.

    async def aclose(self) -> None:
        """Stop serving: the ports are free when it returns, even if it is cancelled. May be
        repeated."""
        self._closed.set()
        self._listener.close()
        self._announcer.close()
        await self._own_hosts.stop()

    async def wait_closed(self) -> None:
        """Wait until it is closed: for programs that do nothing else."""
        await self._closed.wait()

    async def __aenter__(self) -> Control:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        if self._closed.is_set():
            return "<Control, closed>"
        at = ", ".join(map(str, self.addresses))
        return f"<Control at {at}, {len(self._pairs)} pairs, {len(self._registered)} ends here>"

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise UsageError("this control is closed: start another one")


class StartingControl(Starting[Control]):
    """A control that starts when it is awaited, or entered by `async with`; once."""

    call = "start_control"


@arguments.checked
def start_control(
    *,
    listen: str | Sequence[str] = ":10001",
    observe: bool | str | Sequence[str] = True,
    pairs: Mapping[str, bytes | str | Path] | None = None,
    classic: Mapping[str, bytes | Path] | None = None,
    relay: str | Sequence[str] | None = None,
    relay_ports: int = 1,
    relay_rate: float = timing.RELAY_RATE,
    relay_total: float = timing.RELAY_TOTAL,
    tls: str | None = None,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    public: str | Sequence[str] | None = None,
    expire: float = timing.EXPIRE,
    max_pairs: int = MOST_PAIRS,
    on_event: Callable[[ControlEvent], object] | None = None,
    observer: Observer | None = None,
) -> StartingControl:
    """Start a control node in the running event loop: `await` it for a `Control`, or enter it by
    `async with`, which closes it in the end. Close what you have awaited by `aclose`.

    `listen`: `IP:port` or `:port`, one or several; port 0 is a free one.
    `observe`: a second port shows ends how their NAT maps. True: the port after that of `listen`,
    where ends look for it, if it is free; False: none; or addresses.
    `pairs`: control's key for each pair's name; see `Control.add_pair`.
    `classic`: the secret for each set of slot letters (`ab`, or all 26), as bytes or as a Path. In
    events such pairs are called `a-b`, `c-d` and so on.
    `relay`: where pairs are relayed that cannot be linked otherwise: one address, or several with
    the same port. `relay_ports`: so many ports, from that one on; as many pairs of a host may be
    relayed that `share` one port of it. `relay_rate`, `relay_total`: bits a second of a pair, and
    of all.
    `tls`: where ends are served over TLS whose networks block UDP, mostly `:443`; it needs `relay`.
    `tls_certificate`: a PEM file, with the key, unless that is in the file `tls_key`; without one a
    certificate is made, as ends don't verify it.
    `public`: the name or address at which the Internet sees this network, one or several, if ends
    are in this network, too.
    `expire`: seconds after which a silent end is forgotten; one of a classic pair after 95.
    `max_pairs`: how many v2 pairs may be served; each takes 1 to 2 KB.
    `on_event`: is called with every event. `observer`: with every `Datagram`, too, at some cost.

    The call itself raises UsageError for an argument, ResourcesError for too many `pairs`, and
    MissingFileError, PermissionsError and ConfigurationError for a key's file. Starting raises
    PortInUseError, NetworkNotReadyError, PermissionsError and ConfigurationError, each with the
    address, for what it can't listen on; the last three and MissingFileError for a certificate; and
    ResourcesError. Then nothing is open."""
    settings = _Settings(
        listen=arguments.local_addresses("listen", listen),
        observe=_observe(observe),
        relay=[] if relay is None else arguments.local_addresses("relay", relay),
        relay_ports=arguments.count("relay_ports", relay_ports),
        relay_rate=arguments.bit_rate("relay_rate", relay_rate),
        relay_total=arguments.bit_rate("relay_total", relay_total),
        tls=None if tls is None else arguments.local_address("tls", tls),
        tls_certificate=arguments.file("tls_certificate", tls_certificate),
        tls_key=arguments.file("tls_key", tls_key),
        public=[] if public is None else arguments.public_hosts("public", public),
        expire=arguments.seconds("expire", expire),
        max_pairs=arguments.count("max_pairs", max_pairs),
    )
    _check_relay_and_tls(settings)
    arguments.callback("on_event", on_event)
    arguments.callback("observer", observer)
    slots, keys = classic_by_name(classic), control_keys_by_name(pairs)
    if len(keys) > settings.max_pairs:
        raise ResourcesError(
            f"pairs: expected at most {settings.max_pairs}, as many as `max_pairs` allows, got "
            f"{len(keys)}"
        )
    for name in slots:
        if name in keys:
            raise UsageError(f"pairs: {name!r} is what a pair of `classic` is called: rename it")
    announcer = Announcer(on_event, observer)

    async def start() -> Control:
        return Control(settings, keys, slots, announcer, trace=observer is not None)

    return StartingControl(start)


def _observe(value: object) -> list[At] | None:
    if isinstance(value, bool):
        return None if value else []
    return arguments.local_addresses("observe", value)


def _check_relay_and_tls(settings: _Settings) -> None:
    """By the rules of site files."""
    ports = {port for _host, port in settings.relay}
    if len(ports) > 1 or (0 in ports and len(settings.relay) > 1):
        raise UsageError(f"relay: {values.ONE_PORT}")
    if settings.relay_ports > values.MOST_RELAY_PORTS:
        raise UsageError(
            f"relay_ports: expected at most {values.MOST_RELAY_PORTS}, got {settings.relay_ports}"
        )
    if settings.relay_ports > 1 and 0 in ports:
        raise UsageError("relay_ports: needs a port in `relay`, such as ':10003', as port 0 is any")
    usual = {"relay_ports": 1, "relay_rate": timing.RELAY_RATE, "relay_total": timing.RELAY_TOTAL}
    written = {key for key, rate in usual.items() if getattr(settings, key) != rate}
    for key, message in control_flaws(settings, written, assign="="):
        raise UsageError(f"{key}: {message}")


def _tls(settings: _Settings) -> TlsAt | None:
    if settings.tls is None:
        return None
    from netpunch.net.tls_certificate import server_context  # few controls need it

    name = next(iter(settings.public), "localhost")
    context = server_context(settings.tls_certificate, settings.tls_key, name=name)
    return TlsAt(*settings.tls, context)
