"""Random nonces for sealing."""

from __future__ import annotations

from collections.abc import Iterator

from netpunch.core.machine import Random
from netpunch.wire.envelope import NONCE_LENGTH

DRAWN_AT_ONCE = 256
"""Asking the system for each nonce would cost as much as sealing with it."""


def nonces(random: Random) -> Iterator[bytes]:
    """Nonces out of `random` without end, each given once."""
    while True:
        drawn = random(DRAWN_AT_ONCE * NONCE_LENGTH)
        for start in range(0, len(drawn), NONCE_LENGTH):
            yield drawn[start : start + NONCE_LENGTH]
