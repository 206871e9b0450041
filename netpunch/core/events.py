"""What core objects tell their driver: values, no secrets in their repr.

`Waiting`, `Introduced`, `Linked`, `Finished`, `Failed`, `Lost` and `PartnerReturned` come from
ends (both protocols); the others from control nodes.
"""

# No `from __future__ import annotations` where there are many NamedTuples: each annotation would be
# a text that is compiled when the class is made, which is half of what a class costs at the start.

from enum import StrEnum
from typing import NamedTuple

from netpunch.address import Address, is_private
from netpunch.reasons import Reason as Reason
from netpunch.redacted import redacted

Via = int
"""A socket, as its driver numbers it. Core objects never open or close one."""


class PathKind(StrEnum):
    """What kind of candidate a path uses: `path` of events. Classic links are `observed`."""

    HOST = "host"
    IPV6 = "ipv6"
    OBSERVED = "observed"
    PREDICTED = "predicted"
    SPRAY = "spray"
    MAPPED = "mapped"


class Sign:
    """An event that says no more than its type does. (A tuple without fields would be false, and
    equal to every other one.)"""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Waiting(NamedTuple):
    """Registered and waiting for the partner, or still without an answer of any control.
    `detail` is for people, and may be empty."""

    reason: Reason
    observed: Address | None = None
    detail: str = ""


class SeenInside(NamedTuple):
    """A control was asked at a public address and sees this end at a private one, `observed`: a
    translation in front of it hides who sends, or this end is in its network. A partner elsewhere
    can't be told where this end is, unless that control knows its own public address."""

    control: Address
    observed: Address


class Introduced(NamedTuple):
    """A partner is there: punching begins. `remote` is its observed address."""

    remote: Address


class Linked(NamedTuple):
    """A path is agreed. `via`/`local` and `remote` are this end's view of it; seconds.

    The sockets stay in use until `Finished`."""

    via: Via
    local: Address
    remote: Address
    path: PathKind
    rtt: float | None
    duration: float
    session_key: bytes | None = None
    datagrams: int = 0
    """How many were sent to the partner until then."""

    def __repr__(self) -> str:
        return redacted(self, "session_key")


class Finished(Sign):
    """Nothing more will be sent: the driver may close the sockets and hand over the port."""

    __slots__ = ()


class CandidateReport(NamedTuple):
    """What became of an address of the partner: pings sent to it, pings and pongs from it.
    `unsendable`: this end cannot send there, as it has no socket of that family, or no route."""

    remote: Address
    path: PathKind
    sent: int
    received: int
    unsendable: bool = False


class Failed(NamedTuple):
    """The end gave up; `Finished` follows. `detail` is one sentence for people."""

    reason: Reason
    detail: str
    duration: float
    nat: str = "unknown"
    """How this end's NAT maps, as far as is known."""
    partner_nat: str = "unknown"
    datagrams: int = 0
    """How many were sent to the partner."""
    candidates: tuple[CandidateReport, ...] = ()


class Lost(NamedTuple):
    """A held link fell silent, or (`ended`) the partner has ended it; `Finished` follows."""

    detail: str
    ended: bool = False


class PartnerReturned(Sign):
    """The partner of a held link wants to punch anew (it was restarted); it is proved."""

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
    """The end needs socket `via` no longer; the driver closes it. Not shown to users."""

    via: Via


class Payload(NamedTuple):
    """What came from the partner on a held link that is not netpunch's own."""

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
    | Lost
    | PartnerReturned
    | Payload
)


class Turn(StrEnum):
    """What the ends of a process do one after the other, because it costs the host much."""

    SURVEY = "survey"
    """A few sockets for a second at most; several ends at a time."""
    OPEN = "open"
    """Many sockets, each with a mapping of our NAT."""
    SPRAY = "spray"
    """Many probes."""


class TurnWanted(NamedTuple):
    """The end wants a turn. When it is there, call `turn_granted(sockets, now)`; the end says
    `TurnOver` when it is done. Said again by an end that has the turn: it wants to go on, unless
    others wait. Not `ready`: it keeps its place in the queue, but could not use the turn now (its
    partner waits for one). Not for users."""

    turn: Turn
    ready: bool = True


class TurnOver(Sign):
    """The turn ends, or is no longer wanted."""

    __slots__ = ()


class LookupWanted(NamedTuple):
    """The names of the end's controls should be looked up again: those at `silent` have answered
    nothing for long, or a name has never had an address, or the last lookup was long ago. The
    driver calls `controls_found` if they are elsewhere, whenever it knows. Not for users."""

    silent: frozenset[Address] = frozenset()


SocketRequest = OpenSockets | CloseSocket
TurnRequest = TurnWanted | TurnOver


class Registered(NamedTuple):
    """An end announced itself, newly or from another address. `end` is `a`/`b`; in classic
    `pair` is the pair's name where one is configured and `slot` its letter."""

    pair: str
    end: str
    address: Address


class Expired(NamedTuple):
    """An end was not heard for the expiry time, or said that it leaves (`left`), or its pair is not
    served any more, or with another key (`removed`)."""

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
    """Datagrams that did not authenticate, aggregated: at once for the first, then per minute.

    `reason` is a `Drop` value; `pair` is known for `bad_mac` only; `source` is an example."""

    reason: str
    count: int  # type: ignore[assignment] # a tuple's method of that name is not missed
    pair: str | None
    source: Address


ControlEvent = Registered | Expired | RoleConflict | AuthRejected


class Mapped(NamedTuple):
    """The gateway forwards datagrams from `external` to the mapped port for `lifetime` seconds
    (it is renewed long before). Told again when one of them changes."""

    external: Address
    lifetime: float

    @property
    def flaw(self) -> str:
        """Why hosts elsewhere can't use it, in a clause for people; empty if nothing is wrong."""
        if not is_private(self.external.host):
            return ""
        return (
            f"the gateway maps {self.external}, a private address: it is itself behind another "
            "NAT (a carrier's, or a second router), so hosts elsewhere can't reach it there"
        )


class MappingLost(NamedTuple):
    """There is no mapping, or no longer; it will be tried again. `detail` is for people."""

    detail: str


class Unmapped(Sign):
    """The mapping was released, as far as the gateway answers: nothing more will be sent."""

    __slots__ = ()


MappingEvent = Mapped | MappingLost | Unmapped
Event = EndEvent | ControlEvent | SocketRequest | TurnRequest | LookupWanted | MappingEvent
