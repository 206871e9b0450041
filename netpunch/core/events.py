"""The events of the machines: immutable values, without secrets in their repr.

`EndEvent`s come from ends (of both protocols), `ControlEvent`s from controls, `MappingEvent`s from
port mappings. The others are requests to the driver.
"""

# No `from __future__ import annotations` in files with many NamedTuples: it makes each annotation a
# text to compile, which is half of the time that a class costs at the start.

from enum import StrEnum
from typing import NamedTuple

from netpunch.address import Address, is_private
from netpunch.reasons import Reason as Reason
from netpunch.redacted import redacted

Via = int
"""Number of a socket, given by the driver. Machines never open or close sockets."""


class PathKind(StrEnum):
    """Kind of candidate that a path uses. Classic links are `observed`."""

    HOST = "host"
    IPV6 = "ipv6"
    OBSERVED = "observed"
    PREDICTED = "predicted"
    SPRAY = "spray"
    MAPPED = "mapped"
    RELAY = "relay"
    """Through a relay at a control."""


class Sign:
    """An event without fields. (An empty tuple would be false, and equal to every other one.)"""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Waiting(NamedTuple):
    """The end waits for a control or for its partner, as `reason` says. `observed` is its address
    as control sees it; `detail` is for people, and may be empty."""

    reason: Reason
    observed: Address | None = None
    detail: str = ""


class SeenInside(NamedTuple):
    """A control with a public address sees this end at a private one, `observed`: a translation in
    front of control hides the sender, or this end is in control's network. Partners elsewhere
    cannot learn this end's address unless that control knows its own public one."""

    control: Address
    observed: Address


class Introduced(NamedTuple):
    """Control has introduced the partner: punching begins. `remote` is the partner's address as
    control sees it."""

    remote: Address


class Linked(NamedTuple):
    """A path is agreed. `via`/`local` and `remote` are this end's view of it; durations are in
    seconds. The sockets stay in use until `Finished`."""

    via: Via
    local: Address
    remote: Address
    path: PathKind
    rtt: float | None
    duration: float
    session_key: bytes | None = None
    datagrams: int = 0
    """How many were sent to the partner."""

    def __repr__(self) -> str:
        return redacted(self, "session_key")


class Finished(Sign):
    """The end sends nothing more: the driver may close the sockets and hand over the port."""

    __slots__ = ()


class CandidateReport(NamedTuple):
    """An address of the partner, with the number of pings sent to it, and of pings and pongs from
    it. `unsendable`: this end has no socket of that family, or no route there."""

    remote: Address
    path: PathKind
    sent: int
    received: int
    unsendable: bool = False


class Failed(NamedTuple):
    """The end has given up; `Finished` follows. `detail` is one sentence for people; `duration` is
    in seconds."""

    reason: Reason
    detail: str
    duration: float
    nat: str = "unknown"
    """Class of this end's NAT, as far as it is known."""
    partner_nat: str = "unknown"
    datagrams: int = 0
    """How many were sent to the partner."""
    candidates: tuple[CandidateReport, ...] = ()


class Lost(NamedTuple):
    """A held link fell silent, or (`ended`) the partner has ended it; `Finished` follows."""

    detail: str
    ended: bool = False


class MoveReason(StrEnum):
    """Why a held link moves to another path."""

    NETWORK_CHANGED = "network_changed"
    """This host's addresses or routes have changed."""
    WOKE = "woke"
    """This host was suspended."""
    SILENT = "silent"
    """Nothing came from the partner, not even answers to pings."""
    ADDRESS_CHANGED = "address_changed"
    """A control sees this end at another address than before."""
    BETTER_PATH = "better_path"
    """The link is relayed, and a direct path was looked for."""
    KEY_CHANGED = "key_changed"
    """The pair's key is rotated: the link comes under another key, mostly on the same path."""
    PARTNER_ASKED = "partner_asked"
    """The partner began to move, or was restarted."""


class Moved(NamedTuple):
    """A held link has another path, for `reason`. `previous` is the partner's address until now;
    `duration` is in seconds since this end began to look for another path. The other fields are
    as in `Linked`."""

    via: Via
    local: Address
    remote: Address
    path: PathKind
    rtt: float | None
    reason: MoveReason
    previous: Address
    duration: float
    session_key: bytes | None = None
    datagrams: int = 0

    def __repr__(self) -> str:
        return redacted(self, "session_key")


class FollowRoutes(Sign):
    """The address that the held path was pinned to is doubted: from now on the driver lets the
    system choose the source of each datagram, until the next Linked or Moved. Not shown to
    users."""

    __slots__ = ()


class PartnerReturned(Sign):
    """The partner of a link wants to punch anew, as after a restart (authenticated)."""

    __slots__ = ()


class OpenSockets(NamedTuple):
    """The end wants `count` more sockets of a family (4, 6), bound like its first one of that
    family but to fresh ports. The driver opens as many as it can and calls
    `sockets_opened(request, {via: local}, now)` once. Not shown to users."""

    request: int
    """The number of this request, never used again by this end."""
    count: int  # type: ignore[assignment] # a tuple's method of that name is not missed
    family: int


class CloseSocket(NamedTuple):
    """The end no longer needs socket `via`; the driver closes it. Not shown to users."""

    via: Via


class Payload(NamedTuple):
    """A datagram of the partner's program on a held link."""

    data: bytes

    def __repr__(self) -> str:
        return redacted(self, "data")


EndEvent = (
    Waiting
    | SeenInside
    | Introduced
    | Linked
    | Finished
    | Failed
    | Moved
    | Lost
    | PartnerReturned
    | Payload
)


class Turn(StrEnum):
    """What the ends of a process do in turns, because it costs the host much."""

    SURVEY = "survey"
    """Opens a few sockets for a second at most; several ends at a time."""
    OPEN = "open"
    """Opens many sockets, each with a mapping of our NAT."""
    SPRAY = "spray"
    """Sends many probes."""


class TurnWanted(NamedTuple):
    """The end wants a turn. When it has one, call `turn_granted(sockets, now)`; the end emits
    `TurnOver` when it is done. An end that has the turn emits this again to go on, unless others
    wait. Not `ready`: the end keeps its place in the queue, but cannot use a turn now, as its
    partner waits for one. Not shown to users."""

    turn: Turn
    ready: bool = True


class TurnOver(Sign):
    """The turn ends, or is no longer wanted. Not shown to users."""

    __slots__ = ()


class LookupWanted(NamedTuple):
    """The names of the end's controls should be looked up again: those at `silent` have not
    answered for long, a name has never had an address, or the last look-up was long ago. The driver
    calls `controls_found` once it knows that they have moved. Not shown to users."""

    silent: frozenset[Address] = frozenset()


class StreamsWanted(NamedTuple):
    """All controls are silent on UDP, so that streams to them should be opened (`wanted`), and
    opened again when they break; or they are no longer needed. The driver calls `control_connected`
    and `control_disconnected`. Not shown to users."""

    wanted: bool


SocketRequest = OpenSockets | CloseSocket
TurnRequest = TurnWanted | TurnOver


class Registered(NamedTuple):
    """An end has registered, newly or from another address. `end` is `a` or `b`. For classic,
    `pair` is the pair's name if one is configured."""

    pair: str
    end: str
    address: Address


class PortChanged(Registered):
    """It was registered already, at another port of the same host: most NATs do that at times."""

    __slots__ = ()


def registered(pair: str, end: str, address: Address, before: Address | None) -> Registered:
    """`before`: where the end was registered until now, if it was."""
    is_same_host = before is not None and before.host == address.host
    return (PortChanged if is_same_host else Registered)(pair, end, address)


class Expired(NamedTuple):
    """An end is no longer registered: it was silent for the expiry time, it has said that it leaves
    (`left`), or its pair is no longer served with that key (`removed`)."""

    pair: str
    end: str
    left: bool = False
    removed: bool = False


class RoleConflict(NamedTuple):
    """Two machines announce the same end and displace each other."""

    pair: str
    end: str
    addresses: tuple[Address, Address]


class AuthRejected(NamedTuple):
    """Datagrams that did not authenticate: the first at once, then a sum per minute.

    `reason` is a `Drop` value; `pair` is known only for `bad_mac`; `source` is the last sender."""

    reason: str
    count: int  # type: ignore[assignment] # a tuple's method of that name is not missed
    pair: str | None
    source: Address


ControlEvent = Registered | Expired | RoleConflict | AuthRejected


class Mapped(NamedTuple):
    """The gateway forwards datagrams for `external` to the mapped port for `lifetime` seconds; the
    mapping is renewed long before. Emitted again when one of them changes."""

    external: Address
    lifetime: float

    @property
    def flaw(self) -> str:
        """Why hosts elsewhere cannot use the mapping, for people; empty if they can."""
        if not is_private(self.external.host):
            return ""
        return (
            f"the gateway maps {self.external}, a private address: it is itself behind another "
            "NAT (a carrier's, or a second router), so hosts elsewhere can't reach it there"
        )


class MappingLost(NamedTuple):
    """There is no mapping, or no longer; it is tried again. `detail` is for people."""

    detail: str


class Unmapped(Sign):
    """The mapping is released, or the gateway does not answer: nothing more is sent."""

    __slots__ = ()


MappingEvent = Mapped | MappingLost | Unmapped
Event = (
    EndEvent
    | ControlEvent
    | SocketRequest
    | TurnRequest
    | LookupWanted
    | StreamsWanted
    | FollowRoutes
    | MappingEvent
)
