"""The envelope of every v2 datagram.

0   1 byte    0xF2
1   1 byte    kind; the high bit is set if it is from, or for, end b
2   8 bytes   pair tag
10  12 bytes  nonce, random
22  n bytes   ciphertext (AES-256-GCM, associated data = bytes 0 to 9), padded inside
..  16 bytes  authentication tag
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from netpunch.wire import v2
from netpunch.wire.card import NONCE_LENGTH as NONCE_LENGTH
from netpunch.wire.card import CardSeal
from netpunch.wire.drop import Drop
from netpunch.wire.keys import (
    KEY_LENGTH,
    card_key,
    control_channel_keys,
    pair_tag,
    peer_direction_key,
)

VERSION = 0xF2
END_B = 0x80
"""The bit of the kind byte that says that the datagram is from, or for, end b."""
CONTROL_DATAGRAM = 384
"""Bytes between an end and control: room for the largest message, an introduction. One length
for all, so that no answer is longer than its question."""
CONTROL_BODY = 346
PEER_DATAGRAM = 128
"""Bytes between ends."""
PEER_BODY = 90

HEADER = slice(0, 10)
TAG_SLICE = slice(2, 10)
NONCE = slice(10, 22)
SEALED = slice(22, None)
"""The parts of a datagram: it is sealed with its nonce, and its header is authenticated."""

VERSIONS = (0xF2, *range(0xF4, 0x100))
"""First bytes of this version and, perhaps, of later ones: classic begins with text, a sealed
forward with 0xF3."""

PREFIXES = [bytes((VERSION, kind)) for kind in range(256)]
"""The first two bytes of every header: looking them up is cheaper than making them."""

EndName = Literal["a", "b"]
OTHER: dict[EndName, EndName] = {"a": "b", "b": "a"}

Buffer = bytes | bytearray | memoryview
Cipher = Callable[[bytes, Buffer, bytes | None], bytes]
"""`(nonce, text, header)`: opens what is sealed, or seals what is open. None is for no header."""
Forged = InvalidTag


def may_be_ours(data: bytes) -> bool:
    """Whether a datagram has a length and first byte of v2: most datagrams of other programs on
    the same path do not."""
    return len(data) in (PEER_DATAGRAM, CONTROL_DATAGRAM) and data[0] == VERSION


def is_of_other_version(data: bytes) -> bool:
    """Whether a datagram looks like one to control, of a netpunch that this one cannot understand.
    Nothing proves that it is."""
    return len(data) == CONTROL_DATAGRAM and data[0] != VERSION and data[0] in VERSIONS


def opener(key: bytes) -> Cipher:
    """A cipher that raises Forged for bytes that are not authentic."""
    return AESGCM(key).decrypt


def sealer(key: bytes) -> Cipher:
    return AESGCM(key).encrypt


class Direction:
    """The datagrams of one direction between two parties: one key, one length, some kinds.

    A cipher is made for each datagram: an end sends few, and keeping one for each of its four
    directions would take 2.5 KB each for as long as it waits or holds its link."""

    __slots__ = ("_flag", "_key", "_length", "_room", "_tag")

    def __init__(self, key: bytes, tag: bytes, end: EndName, length: int) -> None:
        self._key = key
        self._tag = tag
        self._flag = END_B if end == "b" else 0
        self._length = length
        self._room = CONTROL_BODY if length == CONTROL_DATAGRAM else PEER_BODY

    def seal(self, message: v2.Message, nonce: bytes) -> bytes:
        """The datagram; `nonce` is 12 random bytes."""
        body = v2.pack(message).ljust(self._room, b"\0")
        return self.seal_body(v2.LAYOUTS[type(message)].kind, body, nonce)

    def seal_body(self, kind: int, body: bytes, nonce: bytes) -> bytes:
        """The datagram of a message that is packed and padded already."""
        header = PREFIXES[kind | self._flag] + self._tag
        return header + nonce + sealer(self._key)(nonce, body, header)

    def open(self, datagram: bytes) -> v2.Message | Drop:
        """The message, or why the datagram is dropped. Takes any bytes."""
        if len(datagram) != self._length or datagram[0] != VERSION:
            return Drop.MALFORMED
        if datagram[TAG_SLICE] != self._tag:
            return Drop.UNKNOWN_PAIR
        kind = datagram[1]
        if kind & END_B != self._flag or kind & ~END_B not in v2.TYPES:
            return Drop.MALFORMED
        try:
            body = opener(self._key)(datagram[NONCE], datagram[SEALED], datagram[HEADER])
            return v2.unpack(kind & ~END_B, body)
        except Forged:
            return Drop.BAD_MAC
        except v2.Malformed:
            return Drop.MALFORMED


class ControlChannel:
    """Both directions between one end of a pair and control."""

    __slots__ = ("from_control", "to_control")

    def __init__(self, control_key: bytes, name: str, end: EndName) -> None:
        tag, keys = pair_tag(name), control_channel_keys(control_key, end)
        self.to_control = Direction(keys[:KEY_LENGTH], tag, end, CONTROL_DATAGRAM)
        self.from_control = Direction(keys[KEY_LENGTH:], tag, end, CONTROL_DATAGRAM)


class PeerChannel:
    """Between the ends of a pair, seen from `end`: both directions and both cards."""

    __slots__ = ("incoming", "outgoing", "own_card", "partner_card")

    def __init__(self, peer_key: bytes, name: str, end: EndName) -> None:
        tag = pair_tag(name)
        other = OTHER[end]
        outgoing_key = peer_direction_key(peer_key, end, other)
        incoming_key = peer_direction_key(peer_key, other, end)
        self.outgoing = Direction(outgoing_key, tag, end, PEER_DATAGRAM)
        self.incoming = Direction(incoming_key, tag, other, PEER_DATAGRAM)
        self.own_card = CardSeal(card_key(peer_key, end), end)
        self.partner_card = CardSeal(card_key(peer_key, other), other)
