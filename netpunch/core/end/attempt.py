"""The identity of one attempt of an end: fresh for every try, so that nothing recorded in an
earlier one is valid in it."""

from __future__ import annotations

from netpunch.core.machine import Random
from netpunch.wire.envelope import EndName
from netpunch.wire.keys import KEY_LENGTH, exchange, private_key, session_key
from netpunch.wire.v2 import ATTEMPT_LENGTH


class Attempt:
    """An unguessable id and an X25519 key pair."""

    def __init__(self, random: Random) -> None:
        self.id = random(ATTEMPT_LENGTH)
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
