"""A site file as plain values: what the rest of netpunch sees of the configuration.

Durations are seconds, ports are numbers, paths are absolute (or None), templates are kept as
written and were checked when the file was loaded.
"""

# No `from __future__ import annotations` where there are many NamedTuples: each annotation would be
# a text that is compiled when the class is made, which is half of what a class costs at the start.

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from netpunch.config.document.problems import Position, Problem, problem_at, source_of
from netpunch.config.values import HostPort
from netpunch.core.settings import ControlAt, EndName, EndSettings, Protocol
from netpunch.core.timing import RELAY_RATE, RELAY_TOTAL
from netpunch.redacted import redacted

Mode = Literal["once", "keep"]


SECRET_KEYS = {
    "file": "secret_file",
    "credential": "credential",
    "inline": "secret",
    "generate": "secret",
}
"""The keys that say where a pair's secret comes from, by `SecretSource.kind`."""


class SecretSource(NamedTuple):
    """Where a secret comes from; exactly one kind. `path` is absolute for `file`, the name
    below $CREDENTIALS_DIRECTORY for `credential`; `text` only for `inline`."""

    kind: Literal["file", "credential", "inline", "generate"]
    position: Position
    path: str = ""
    text: str = ""
    mesh: str = ""
    """The mesh whose secret it is; empty for a pair's own."""
    other: "SecretSource | None" = None
    """Of the second key, while the pair's is rotated; of the same kind."""

    @property
    def all(self) -> "tuple[SecretSource, ...]":
        """One for each key, each without another."""
        first = (self._replace(other=None),)
        return first if self.other is None else (*first, self.other)

    def at(self, position: Position) -> "SecretSource":
        """The same, in another place of the file."""
        other = self.other and self.other.at(position)
        return self._replace(position=position, other=other)

    def __repr__(self) -> str:
        return redacted(self, "text")


class ControlConfig(NamedTuple):
    """A control node."""

    name: str
    node: str | None
    address: HostPort
    """Where ends reach it."""
    listen: tuple[HostPort, ...]
    observe: tuple[HostPort, ...]
    """Second port; empty when off."""
    expire: float
    position: Position
    public: tuple[str, ...] = ()
    """Names or IPs at which the world sees this control's network; empty: those of `address`."""
    relay: tuple[HostPort, ...] = ()
    """Where it relays, all at one port, the first of `relay_ports`; empty: nowhere."""
    relay_ports: int = 1
    relay_rate: float = RELAY_RATE
    relay_total: float = RELAY_TOTAL
    """Bits a second, for each pair and for all."""
    tls: HostPort | None = None
    """Where it listens for TLS connections, if so."""
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    @property
    def relay_sockets(self) -> list[HostPort]:
        """Every address at which it relays."""
        numbers = range(self.relay_ports)
        return [HostPort(host, port + number) for number in numbers for host, port in self.relay]

    @property
    def at(self) -> ControlAt:
        """What an end needs to know of it."""
        observe = self.observe[0].port if self.observe else None
        tls = None if self.tls is None else self.tls.port
        return ControlAt(self.address.host, self.address.port, observe, tls)


Argv = tuple[str, ...]


class Hooks(NamedTuple):
    """One argv (not a shell line) per occasion, empty for none; `timeout` in seconds."""

    before: Argv = ()
    up: Argv = ()
    down: Argv = ()
    fail: Argv = ()
    timeout: float = 30.0


class Forward(NamedTuple):
    """Relay between the punched socket and a local UDP program."""

    listen: HostPort
    """`Auto` in a Site, `Chosen` in a Part, where netpunch chooses it."""
    to: HostPort | None
    """None: where the program last sent from."""
    sealed: bool = False
    """Whether what passes is encrypted and authenticated."""


class RenderedFile(NamedTuple):
    """A file made from a template at each link."""

    template: Path
    to: str
    mode: int
    position: Position
    """Where `template` stands in the site file."""
    text: str = ""
    """The template's text: read by `select`, for the ends that run on this node."""

    def __repr__(self) -> str:
        return redacted(self, "text")


class EndConfig(NamedTuple):
    """One end of a pair, with everything inherited from pair and defaults."""

    settings: EndSettings
    """What the network and the core need; its `secret` is empty until it is read from `secret`."""
    node: str | None
    enabled: bool
    mode: Mode
    controls: tuple[str, ...]
    """Names of the controls that introduce this pair."""
    retry_after: float
    probe_rate: float
    """Datagrams a second."""
    check: Argv
    check_every: float
    command: Argv
    forward: Forward | None
    hooks: Hooks
    env_file: str | None
    files: tuple[RenderedFile, ...]
    template: str | None
    wireguard_key: str | None
    """Public keys of WireGuard: this host's, and the partner's."""
    partner_wireguard_key: str | None
    session_key: bool
    standby: bool
    secret: SecretSource
    position: Position
    path: str
    """Where it stands in the file: `pairs.home-office.a`, or the node of a mesh."""
    directory: Path
    """The folder of the configuration file: hooks and commands run there."""
    partner_node: str | None
    """Where the other end runs, as the file says."""

    @property
    def pair(self) -> str:
        return self.settings.pair

    @property
    def end(self) -> EndName:
        return self.settings.end

    @property
    def protocol(self) -> Protocol:
        return self.settings.protocol

    @property
    def holds(self) -> bool:
        """Whether netpunch keeps the socket after the link."""
        return self.settings.holds

    def in_mode(self, mode: Mode) -> "EndConfig":
        """This end in a mode: the file's, or one that the command line asks for instead."""
        holds = mode == "keep" and not (self.check or self.command)
        settings = self.settings._replace(
            holds=holds,
            sealed=holds and self.forward is not None and self.forward.sealed,
            deadline_from_start=mode == "once",
        )
        return self._replace(mode=mode, settings=settings)


class Pair(NamedTuple):
    """A named pair of ends."""

    name: str
    enabled: bool
    protocol: Protocol
    slots: str
    """The classic slot letters of a and b, `ab`; empty for v2."""
    controls: tuple[str, ...]
    secret: SecretSource
    """What a control node uses; an end may override its own."""
    a: EndConfig
    b: EndConfig
    position: Position

    @property
    def ends(self) -> tuple[EndConfig, EndConfig]:
        return (self.a, self.b)


class Site(NamedTuple):
    """A whole site file. `pairs` are those of its meshes, too. `warnings` are complete lines."""

    path: Path
    node: str | None
    controls: tuple[ControlConfig, ...]
    pairs: tuple[Pair, ...]
    status: str | None
    metrics_textfile: str | None
    """Templates: the node may stand in both paths."""
    source: str = ""
    """The file's text, for carets in later errors."""
    included: Mapping[str, str] = MappingProxyType({})
    """The same of the files that it includes, by their names."""
    warnings: tuple[str, ...] = ()

    def problem(self, position: Position, key: str, message: str) -> Problem:
        """What is wrong, or to be remarked, once it is loaded."""
        file, text = position.file or str(self.path), self.source
        if position.file:
            text = self.included[position.file]
        return problem_at(source_of(file, text), position, key, message)

    def __repr__(self) -> str:
        return redacted(self, "source", "included")


class Part(NamedTuple):
    """What one node runs of a site."""

    node: str | None
    controls: tuple[ControlConfig, ...]
    ends: tuple[EndConfig, ...]
    status: Path | None = None
    metrics_textfile: Path | None = None
