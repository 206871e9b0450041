"""Random nonces for sealing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from struct import Struct

from netpunch.core.machine import Random
from netpunch.wire.envelope import NONCE_LENGTH

DRAWN_AT_ONCE = 256
"""Asking the system for each nonce would cost as much as sealing with it."""

_split = Struct(f"{NONCE_LENGTH}s" * DRAWN_AT_ONCE).unpack


def nonces(random: Random) -> Iterator[bytes]:
    """Nonces out of `random` without end, each given once."""
    draws = iter(lambda: random(DRAWN_AT_ONCE * NONCE_LENGTH), b"")
    return chain.from_iterable(map(_split, draws))
