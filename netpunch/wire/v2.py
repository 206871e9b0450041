"""The messages of v2 and their bytes inside the envelope.

A message is a NamedTuple; the table LAYOUTS says how its fields become bytes. The envelope
(`wire.envelope`) pads, seals and opens. Its kind byte names the sender's or addressee's end, `a`
or `b`. Integers are big-endian. Bytes after the last field are padding today and room for later
fields: readers ignore them.
"""

# No `from __future__ import annotations` where there are many NamedTuples: each annotation would be
# a text that is compiled when the class is made, which is half of what a class costs at the start.

import ipaddress
from enum import IntEnum
from socket import AF_INET, AF_INET6, inet_pton
from struct import Struct
from typing import Any, NamedTuple

from netpunch.address import Address

ATTEMPT_LENGTH = 8
NO_ATTEMPT = bytes(ATTEMPT_LENGTH)
COOKIE_LENGTH = 15
"""As long as an introduction has room for."""
NO_COOKIE = bytes(COOKIE_LENGTH)
SEALED_CARD_LENGTH = 268
"""12 bytes of nonce, 240 of card, 16 of tag: see `wire.card`."""
ECHO_LENGTH = 8
MAX_MILLISECONDS = 0xFFFFFFFF
"""Durations are 32 bits of milliseconds: 49 days."""
NEVER_HEARD = 0xFFFFFFFF
"""`partner_age` of WAITING when control never heard the partner."""
ADDRESS_LENGTH = 19
_ADDRESS = Struct("!B16sH")
"""Family (4 or 6), IP (IPv4 in the first four of 16 bytes), port."""

PATH_NUMBERS = {
    "host": 0,
    "ipv6": 1,
    "observed": 2,
    "predicted": 3,
    "spray": 4,
    "mapped": 5,
    "relay": 6,
}
"""`path` of NOMINATE, by the name that events have for the kind of path."""
PROBE_NUMBERS = {"predicted": 1, "spray": 2}
"""`probe` of PING, by the kind of path that its strategy may find; 0 for every other ping. So
both ends give the path the same name."""


class Malformed(Exception):  # noqa: N818 - a verdict on remote bytes that never leaves wire
    """Authentic bytes that make no message; the envelope turns it into a drop reason."""


class Kind(IntEnum):
    """The kind byte, without its high bit."""

    ANNOUNCE = 0x01
    WAITING = 0x02
    INTRODUCE = 0x03
    CHALLENGE = 0x04
    LEAVE = 0x05
    OBSERVE = 0x06
    OBSERVED = 0x07
    KNOCK = 0x08
    BIND = 0x09
    BOUND = 0x0A
    PING = 0x11
    PONG = 0x12
    NOMINATE = 0x13
    ACCEPT = 0x14
    DONE = 0x15
    BYE = 0x16


class Purpose(IntEnum):
    """Why an end announces itself."""

    PUNCH = 0
    """It wants to be introduced."""
    STANDBY = 1
    """It holds a link and only wants to know when its partner punches anew."""


class Announce(NamedTuple):
    """End to control: I am here. `card` is sealed: control can't read it."""

    attempt: bytes
    counter: int
    cookie: bytes
    purpose: int
    card: bytes


class Waiting(NamedTuple):
    """Control to end: you are registered, the partner is absent or not punching.

    `partner_age` is milliseconds since the partner was last heard (NEVER_HEARD: never);
    `standby_attempt` is the partner's attempt if it is on standby, else NO_ATTEMPT. With a
    `cookie` other than NO_COOKIE, the end's address has yet to be proved: announce again with
    it, at once. `conflict`: two machines announce this end in turn."""

    attempt: bytes
    counter: int
    observed: Address
    partner_age: int
    standby_attempt: bytes
    cookie: bytes = NO_COOKIE
    conflict: int = 0


class Introduce(NamedTuple):
    """Control to end: here is your partner, at an address where it has proved to receive.

    `counter` is 0 if it is pushed, without an announcement; `cookie` and `conflict` as in
    WAITING."""

    attempt: bytes
    counter: int
    observed: Address
    partner_attempt: bytes
    partner_observed: Address
    card: bytes
    cookie: bytes = NO_COOKIE
    conflict: int = 0


class Knock(Introduce):
    """Like an introduction, but the partner's address is not proved: the announcement came from
    the partner, or is a recording, sent from anywhere."""

    __slots__ = ()


class Challenge(NamedTuple):
    """Control to end: announce again with this cookie, to show that you are where you say.

    `conflict` as in WAITING."""

    attempt: bytes
    counter: int
    cookie: bytes
    conflict: int = 0


class Leave(NamedTuple):
    """End to control: introduce me to no partner any more."""

    attempt: bytes
    counter: int


class Observe(NamedTuple):
    """End to any port of a control: from where do you see me? Registers nothing. `echo` are
    ECHO_LENGTH random bytes."""

    echo: bytes


class Observed(NamedTuple):
    """Control to end: from there. `relay_port` is the port of this control's relay, 0 if it has
    none: an older control says so by its padding. `relay_more`: so many ports after that one relay,
    too."""

    echo: bytes
    observed: Address
    relay_port: int = 0
    relay_more: int = 0


class Bind(NamedTuple):
    """End to relay: pass what comes from here to my partner, and what is from my partner to here.
    The attempt is one that is registered and proved at this control; `counter` rises with each
    BIND of it. `cookie` is that of a CHALLENGE from the relay, or NO_COOKIE."""

    attempt: bytes
    counter: int
    cookie: bytes = NO_COOKIE


class Bound(NamedTuple):
    """Relay to end: done. `partner_bound` is 1 if the partner is bound, too; without datagrams or
    another BIND from `observed`, the binding ends after `lifetime` seconds."""

    attempt: bytes
    counter: int
    observed: Address
    partner_bound: int
    lifetime: int


class Ping(NamedTuple):
    """End to end: does this path work? `sequence` is unguessable and used once; `probe` is one of
    PROBE_NUMBERS or 0."""

    sender: bytes
    receiver: bytes
    sequence: bytes
    probe: int


class Pong(NamedTuple):
    """End to end: your ping came, from `source`."""

    sender: bytes
    receiver: bytes
    sequence: bytes
    source: Address


class Nominate(NamedTuple):
    """a to b: let us use the path of this ping. `path` is one of PATH_NUMBERS; `age` is how long
    ago the ping was sent, in milliseconds."""

    sender: bytes
    receiver: bytes
    sequence: bytes
    path: int
    age: int = 0


class Accept(NamedTuple):
    """b to a: agreed."""

    sender: bytes
    receiver: bytes
    sequence: bytes


class Done(NamedTuple):
    """a to b: I know that you agreed; nothing more of netpunch comes on this path."""

    sender: bytes
    receiver: bytes
    sequence: bytes


class Bye(NamedTuple):
    """End to end: I stop; the link ends here."""

    sender: bytes
    receiver: bytes


ToControl = Announce | Leave | Observe | Bind
FromControl = Waiting | Introduce | Knock | Challenge | Observed | Bound
PeerMessage = Ping | Pong | Nominate | Accept | Done | Bye
Message = ToControl | FromControl | PeerMessage


class Layout(NamedTuple):
    """The fields of a message in its body; `addresses` are the indexes of the addresses."""

    kind: Kind
    struct: Struct
    addresses: tuple[int, ...] = ()


LAYOUTS: dict[type[Message], Layout] = {
    Announce: Layout(Kind.ANNOUNCE, Struct("!8sQ15sB268s")),
    Waiting: Layout(Kind.WAITING, Struct("!8sQ19sI8s15sB"), (2,)),
    Introduce: Layout(Kind.INTRODUCE, Struct("!8sQ19s8s19s268s15sB"), (2, 4)),
    Knock: Layout(Kind.KNOCK, Struct("!8sQ19s8s19s268s15sB"), (2, 4)),
    Challenge: Layout(Kind.CHALLENGE, Struct("!8sQ15sB")),
    Leave: Layout(Kind.LEAVE, Struct("!8sQ")),
    Observe: Layout(Kind.OBSERVE, Struct("!8s")),
    Observed: Layout(Kind.OBSERVED, Struct("!8s19sHH"), (1,)),
    Bind: Layout(Kind.BIND, Struct("!8sQ15s")),
    Bound: Layout(Kind.BOUND, Struct("!8sQ19sBI"), (2,)),
    Ping: Layout(Kind.PING, Struct("!8s8s8sB")),
    Pong: Layout(Kind.PONG, Struct("!8s8s8s19s"), (3,)),
    Nominate: Layout(Kind.NOMINATE, Struct("!8s8s8sBI")),
    Accept: Layout(Kind.ACCEPT, Struct("!8s8s8s")),
    Done: Layout(Kind.DONE, Struct("!8s8s8s")),
    Bye: Layout(Kind.BYE, Struct("!8s8s")),
}
TYPES: dict[int, type[Message]] = {layout.kind: cls for cls, layout in LAYOUTS.items()}


def pack(message: Message) -> bytes:
    """The body of a message, not yet padded."""
    layout = LAYOUTS[type(message)]
    fields: list[Any] = list(message)
    for index in layout.addresses:
        fields[index] = pack_address(fields[index])
    return layout.struct.pack(*fields)


def unpack(kind: int, body: bytes) -> Message:
    """The message in an authentic body. Raises Malformed."""
    message_type = TYPES[kind]
    layout = LAYOUTS[message_type]
    if len(body) < layout.struct.size:
        raise Malformed  # a message for control, in a datagram between ends
    fields: list[Any] = list(layout.struct.unpack_from(body))
    for index in layout.addresses:
        fields[index] = unpack_address(fields[index])
    return message_type(*fields)


def pack_address(address: Address) -> bytes:
    """An address as ADDRESS_LENGTH bytes."""
    host, port = address
    if ":" in host:
        return _ADDRESS.pack(6, inet_pton(AF_INET6, host), port)
    return _ADDRESS.pack(4, inet_pton(AF_INET, host), port)


def unpack_address(data: bytes) -> Address:
    """The inverse of `pack_address`; IPv4-mapped IPv6 becomes IPv4. Raises Malformed."""
    family, ip, port = _ADDRESS.unpack(data)
    if family == 4:
        return Address(".".join(map(str, ip[:4])), port)
    if family == 6:
        v6 = ipaddress.IPv6Address(ip)
        return Address(str(v6.ipv4_mapped or v6), port)
    raise Malformed
