"""An attempt's identity, and what announcements, checks and nominations need of their attempt."""

from __future__ import annotations

from typing import Protocol

from netpunch.address import Address
from netpunch.core.end.resources import Resources
from netpunch.core.events import Via
from netpunch.core.machine import Random
from netpunch.wire import v2
from netpunch.wire.card import Card
from netpunch.wire.envelope import EndName
from netpunch.wire.keys import KEY_LENGTH, exchange, private_key, session_key


class Identity:
    """An attempt's unguessable id and X25519 key pair. Every attempt has another, so that nothing
    recorded in an earlier one is valid in it."""

    def __init__(self, random: Random) -> None:
        self.id = random(v2.ATTEMPT_LENGTH)
        self._private = private_key(random(KEY_LENGTH))
        self.public_key = self._private.public_key().public_bytes_raw()

    def session_key(
        self, end: EndName, partner: bytes, public_key: bytes, *, pair: str, peer_key: bytes
    ) -> bytes | None:
        """The key of a link between this attempt, of `end`, and the partner's attempt and public
        key; None for a bad public key."""
        own, their = (self.id, self.public_key), (partner, public_key)
        a, b = (own, their) if end == "a" else (their, own)
        shared = exchange(self._private, public_key)
        context = a[0] + b[0] + a[1] + b[1]
        return None if shared is None else session_key(shared, peer_key, pair, context)


class Announced(Protocol):
    """An attempt that is announced to controls."""

    resources: Resources
    identity: Identity

    def card(self, named: bytes, observed: tuple[Address, ...]) -> Card:
        """The card as it is now; it names the partner's attempt `named`."""


class AttemptHost(Protocol):
    """An attempt that exchanges datagrams with the partner's attempts."""

    resources: Resources
    identity: Identity

    @property
    def may_be_relayed(self) -> bool:
        """Whether what a relay passes on counts."""

    def is_own(self, address: Address) -> bool:
        """Whether it is one of our own addresses, which no partner has."""

    def send(self, message: v2.PeerMessage, destination: Address, via: Via, ttl: int = 0) -> None:
        """Seals a message to the partner and queues it."""
