"""Random nonces for sealing."""

from __future__ import annotations

from netpunch.core.machine import Random
from netpunch.wire.envelope import NONCE_LENGTH

DRAWN_AT_ONCE = 256
"""Asking the system for each nonce would cost as much as sealing with it."""


class Nonces:
    """Nonces out of `random`, each given once."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._left: list[bytes] = []

    def take(self) -> bytes:
        if not self._left:
            drawn = self._random(DRAWN_AT_ONCE * NONCE_LENGTH)
            starts = range(0, len(drawn), NONCE_LENGTH)
            self._left = [drawn[start : start + NONCE_LENGTH] for start in starts]
        return self._left.pop()
