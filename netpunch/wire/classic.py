"""The classic protocol on the wire, as michurin/netpunch 0.2 (Go) speaks it.

A datagram is ASCII85(HMAC-SHA256(secret, payload)), one separator byte, payload. The payloads:

    a .. z              end -> control: an announcement, the letter of the end's slot
    i|LETTER|IP:PORT    control -> end: the partner's slot and observed address
    x, y, z             end <-> end: ping, pong, close

The slots `a` and `b`, `c` and `d`, .. `y` and `z` are pairs. Signatures are only ever compared in
their encoded form, so nothing but what Go's encoder would have written is accepted.
"""

from __future__ import annotations

import base64
import hmac
from enum import StrEnum
from typing import Literal, NamedTuple

from netpunch.address import Address, parse_address
from netpunch.errors import ConfigurationError
from netpunch.wire.drop import Drop

SIGNATURE_SIZE = 40
"""32 bytes of SHA-256 in ASCII85: five characters for every four bytes."""
SEPARATOR = b" "
"""Sent at position 40. Go's reader takes any byte there, and so does ours."""
PAYLOAD_OFFSET = SIGNATURE_SIZE + len(SEPARATOR)
FIXED_SIZE = PAYLOAD_OFFSET + 1
"""The size of every announcement, ping, pong and close. Nothing shorter is a datagram."""
LARGEST_SIZE = PAYLOAD_OFFSET + 1024
"""Go reads no more than this; a longer datagram isn't worth hashing."""

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class PeerMessage(StrEnum):
    """The messages between ends."""

    PING = "x"
    """Answered by a pong to where it came from."""
    PONG = "y"
    """Answers a ping. Its receiver closes."""
    CLOSE = "z"
    """Its receiver's pong has arrived: both directions are proved."""


class UnsignableError(ValueError):
    """The payload's digest has a zero 32-bit word, which Go's encoder shortens to `z`: neither
    Go nor netpunch can send or accept it. It happens to one in 2^29 payloads."""


class Introduction(NamedTuple):
    """The content of `i`: a slot letter and where control sees its end."""

    letter: str
    address: Address


# Slots


def partner_letter(letter: str) -> str:
    """The other slot of a letter's pair. Raises ValueError unless the letter is a to z."""
    return LETTERS[_index(letter) ^ 1]


def end_of(letter: str) -> Literal["a", "b"]:
    """Which end of its pair a slot is."""
    return "b" if _index(letter) % 2 else "a"


def pair_of(letter: str) -> str:
    """The default name of a slot's pair: `a-b` for a and for b."""
    return "-".join(sorted((letter, partner_letter(letter))))


def _index(letter: str) -> int:
    if len(letter) != 1 or letter not in LETTERS:
        raise ValueError(f"expected a slot letter, a to z, got {letter!r}")
    return LETTERS.index(letter)


# Signatures


def sign(secret: bytes, payload: bytes) -> bytes:
    """The datagram that carries `payload`. Raises UnsignableError."""
    return _signature(secret, payload) + SEPARATOR + payload


def verify(secret: bytes, datagram: bytes) -> bytes | Drop:
    """The payload of an authentic datagram, or why it is dropped. Never raises."""
    if not FIXED_SIZE <= len(datagram) <= LARGEST_SIZE:
        return Drop.MALFORMED
    payload = bytes(datagram[PAYLOAD_OFFSET:])
    try:
        signature = _signature(secret, payload)
    except UnsignableError:
        return Drop.BAD_MAC
    authentic = hmac.compare_digest(signature, datagram[:SIGNATURE_SIZE])
    return payload if authentic else Drop.BAD_MAC


def _signature(secret: bytes, payload: bytes) -> bytes:
    signature = base64.a85encode(hmac.digest(secret, payload, "sha256"))
    if len(signature) != SIGNATURE_SIZE:
        raise UnsignableError("this payload cannot be signed with this secret")
    return signature


class Codec:
    """Signs and verifies under one secret; the one-letter datagrams named by `letters` are signed
    once, here, and afterwards only compared.

    Raises ConfigurationError for a secret that cannot sign them."""

    def __init__(self, secret: bytes, letters: str) -> None:
        if not secret:
            raise ConfigurationError("the classic secret is empty: choose one")
        self._secret = secret
        try:
            self._fixed = {ord(letter): sign(secret, letter.encode()) for letter in letters}
        except UnsignableError as error:
            raise ConfigurationError(
                "this classic secret cannot sign every message (one in millions cannot): "
                "choose another one"
            ) from error

    def fixed(self, letter: str) -> bytes:
        """The datagram of one of the codec's letters."""
        return self._fixed[ord(letter)]

    def sign(self, payload: bytes) -> bytes:
        """The datagram that carries `payload`. Raises UnsignableError."""
        return sign(self._secret, payload)

    def verify(self, datagram: bytes) -> bytes | Drop:
        """The payload of an authentic datagram, or why it is dropped. Never raises."""
        if len(datagram) != FIXED_SIZE or datagram[PAYLOAD_OFFSET] not in self._fixed:
            return verify(self._secret, datagram)
        expected = self._fixed[datagram[PAYLOAD_OFFSET]]
        if not hmac.compare_digest(expected[:SIGNATURE_SIZE], datagram[:SIGNATURE_SIZE]):
            return Drop.BAD_MAC
        return expected[PAYLOAD_OFFSET:]

    def same_secret(self, secret: bytes) -> bool:
        """Whether this is the codec of `secret`, in constant time."""
        return hmac.compare_digest(self._secret, secret)


# Payloads


def introduction_payload(letter: str, address: Address) -> bytes:
    """`i|LETTER|IP:PORT`, an IPv6 address in brackets."""
    return f"i|{letter}|{address}".encode()


def parse_introduction(payload: bytes) -> Introduction | None:
    """The content of `i|LETTER|IP:PORT`, else None. A host name is never looked up."""
    try:
        kind, letter, address = payload.decode("ascii").split("|")
        partner_letter(letter)
        return Introduction(letter, parse_address(address)) if kind == "i" else None
    except ValueError:
        return None


def describe(payload: bytes) -> str:
    """An authentic payload in words. One letter is an announcement: a reader that expects a
    peer message asks `describe_peer_message` first."""
    introduction = parse_introduction(payload)
    if introduction is not None:
        return f"introduce {introduction.letter} {introduction.address}"
    if len(payload) == 1 and payload.decode("latin-1") in LETTERS:
        return f"announce {payload.decode()}"
    return f"unknown message of {len(payload)} bytes"


def describe_peer_message(payload: bytes) -> str | None:
    """`ping`, `pong` or `close`; None for any other payload."""
    words = {message.encode(): message.name.lower() for message in PeerMessage}
    return words.get(payload)
