"""The settings of an end: from the configuration, or a call, to the network and the core."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from netpunch.core import timing
from netpunch.redacted import redacted

EndName = Literal["a", "b"]
Protocol = Literal["v2", "classic"]
CandidateKind = Literal["observed", "host", "any-port", "mapped", "relay"]

USUAL_CANDIDATES: frozenset[CandidateKind] = frozenset({"observed", "host", "any-port", "relay"})
"""All but `mapped`: asking a gateway to map a port is for its owner to allow."""

TLS_PORT = 443
"""Where ends look for a control's TLS if nothing says otherwise: the port that every firewall lets
through."""


class ControlAt(NamedTuple):
    """A control's host, port, second port, which tells how NATs map (None: it has none), and TCP
    port for TLS (None: not known)."""

    host: str
    port: int
    observe: int | None = None
    tls: int | None = None


class EndSettings(NamedTuple):
    """One end of a pair. Durations are in seconds.

    `end` is `a` or `b`; for the classic protocol with its slot letter in `slot`. `secret` is the
    pair's 32 bytes, for classic any bytes; empty in a configuration until it is read.
    `other_secret`: a second key that counts as well, while the pair's key is rotated (v2 alone).

    `holds`: the end keeps its socket after the link; `sealed`: and seals what its program sends
    over it. `share`: another program has the port and uses the link; netpunch finds and holds it,
    and sends its own datagrams from that port. `candidates`: which addresses it offers and tries.
    `deadline` counts from the start, or (`deadline_from_start` False) from when the partner has
    proved its presence; None: never. `keepalive` is the interval at which a held link is checked,
    `hold_for` how long it may be silent before it is given up.

    The rest is for the driver; a machine is given its sockets and the controls' addresses.
    `controls` introduce the end. `local` is (host, port) to bind: an empty host means every address
    of both families, port 0 a free port. `mark` (SO_MARK, 0: none) and `interface`
    (SO_BINDTODEVICE, empty: any) apply to every socket of the end. `tls` is the TCP port at which
    silent controls are tried over TLS: None for their own, 0 for none."""

    pair: str
    end: EndName
    secret: bytes
    holds: bool = False
    share: bool = False
    sealed: bool = False
    candidates: frozenset[CandidateKind] = USUAL_CANDIDATES
    deadline: float | None = 60.0
    deadline_from_start: bool = True
    keepalive: float = 15.0
    hold_for: float = timing.HOLD_FOR
    controls: tuple[ControlAt, ...] = ()
    protocol: Protocol = "v2"
    slot: str = ""
    local: tuple[str, int] = ("", 0)
    mark: int = 0
    interface: str = ""
    tls: int | None = None
    other_secret: bytes = b""

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The one or two keys that count."""
        return (self.secret, self.other_secret) if self.other_secret else (self.secret,)

    def with_secrets(self, secrets: Sequence[bytes]) -> "EndSettings":
        """With these keys instead: one, or two."""
        first, *others = secrets
        return self._replace(secret=first, other_secret=b"".join(others))

    def tls_port(self, control: ControlAt) -> int:
        """Where to try a control over TLS; 0: nowhere."""
        own = TLS_PORT if control.tls is None else control.tls
        return own if self.tls is None else self.tls

    @property
    def mode(self) -> tuple[bool, bool]:
        """What both ends have to agree on, as in a card."""
        return self.holds, self.sealed

    @property
    def offer_hosts(self) -> bool:
        """Whether the partner learns this host's own addresses."""
        return "host" in self.candidates

    @property
    def try_observed(self) -> bool:
        """Whether the partner's address as a control sees it is tried."""
        return "observed" in self.candidates

    @property
    def any_port(self) -> bool:
        """Whether another local port may win, which symmetric NATs at this end require."""
        return "any-port" in self.candidates and not self.share

    @property
    def traverses(self) -> bool:
        """Whether more than plain pings is tried against hard NATs; without `any_port` only what
        the end's first sockets can do."""
        return "any-port" in self.candidates

    @property
    def carries(self) -> bool:
        """Whether programs' datagrams pass through the held link by way of netpunch: if so, they
        may also take a way that only netpunch knows, such as a stream."""
        return self.holds and not self.share

    @property
    def may_be_relayed(self) -> bool:
        """Whether a control's relay may carry the link if nothing else can."""
        return "relay" in self.candidates

    @property
    def asks_gateways(self) -> bool:
        """Whether the driver asks gateways to map a port, and calls `reachable_at`."""
        return "mapped" in self.candidates

    def __repr__(self) -> str:
        return redacted(self, "secret", "other_secret")
