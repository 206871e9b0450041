"""Cookies: what a control gives to see it come back from the same address. No state is kept."""

from __future__ import annotations

import hmac

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.machine import Random
from netpunch.wire.v2 import COOKIE_LENGTH, pack_address


class Cookies:
    """Good for one source address, pair, end and attempt, for 30 to 60 seconds."""

    def __init__(self, random: Random) -> None:
        self._secret = random(32)  # of this boot: a restarted control knows no older cookie

    def make(self, source: Address, context: bytes, now: float) -> bytes:
        """`context` is pair, end and attempt."""
        return self._mac(source, context, int(now // timing.COOKIE_BUCKET))

    def is_good(self, cookie: bytes, source: Address, context: bytes, now: float) -> bool:
        """Whether it was made for these in this or the previous bucket of time."""
        bucket = int(now // timing.COOKIE_BUCKET)
        return any(
            hmac.compare_digest(cookie, self._mac(source, context, each))
            for each in (bucket, bucket - 1)
        )

    def _mac(self, source: Address, context: bytes, bucket: int) -> bytes:
        message = pack_address(source) + context + bucket.to_bytes(8, "big", signed=True)
        return hmac.digest(self._secret, message, "sha256")[:COOKIE_LENGTH]
