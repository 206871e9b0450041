"""How an end proves its address to a control, and how little a control sends there until then.

A control gives a cookie to the address from which an announcement seems to come. An announcement
that brings it back shows that the end receives there; no state is kept for it.
"""

from __future__ import annotations

import hmac
from struct import Struct

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.allowances import TO_STRANGER, Allowance, Allowances, Replays
from netpunch.core.control.registrations import EndRecord
from netpunch.core.events import Via
from netpunch.core.machine import Random
from netpunch.wire.v2 import ADDRESS_LENGTH, COOKIE_LENGTH, NO_COOKIE, pack_address

SURVEYS = Allowance(interval=0.02, burst=72)
"""Answers to the proved host of an end, for another attempt or socket of it: all tries of a
survey at once, and fifty a second."""
NEWCOMERS = Allowance(interval=1.0, burst=8)
"""Registrations of an end without a cookie: an end is seldom started so often; further ones are
challenged first."""
STRANGER_CELLS = 1 << 16
"""512 KiB. Of 100,000 ends that come at once, after a restart, few need their whole allowance."""
END_CELLS = 1 << 14
"""128 KiB each: few ends begin, or survey, in the same seconds."""
REPLAY_CELLS = 1 << 15
"""256 KiB: a pair's announcements of five days, if nothing else is replayed."""

ANNOUNCING = b""
"""The use of the cookies that prove the address of a registration."""

HOST_PART = slice(ADDRESS_LENGTH - 2)
"""Of an address as bytes: all but the port."""
_once = Struct("!8sQ").pack
"""What no two announcements, or BINDs, of an end have in common: attempt and counter."""


def binding_at(via: Via) -> bytes:
    """The use of the cookies that prove an address to the relay. A socket counts, too: an address
    of UDP may not be that of a stream, and datagrams are sent where the cookie came from."""
    return b"bind" + via.to_bytes(8, "big")


class AddressProof:
    """The cookies of a control, and its allowances for addresses that are not proved.

    A cookie is good for one source address, pair, end, attempt and use, for 30 to 60 seconds, but
    not once its pair was removed, even if that is back: its record remembers no counter. Its
    use is to register (ANNOUNCING), or to bind at one socket of the relay (`binding_at`)."""

    def __init__(self, random: Random) -> None:
        self._secret = random(32)  # of this boot: a restarted control knows no older cookie
        self._strangers = Allowances(TO_STRANGER, STRANGER_CELLS, random)
        self._newcomers = Allowances(NEWCOMERS, END_CELLS, random)
        self._surveys = Allowances(SURVEYS, END_CELLS, random)
        self._replays = Replays(REPLAY_CELLS, random)

    def make_cookie(
        self,
        record: EndRecord,
        attempt: bytes,
        source: Address,
        now: float,
        use: bytes = ANNOUNCING,
    ) -> bytes:
        """What this attempt has to bring back from `source`."""
        return self._mac(record, attempt, source, int(now // timing.COOKIE_BUCKET), use)

    def is_good(
        self,
        cookie: bytes,
        record: EndRecord,
        attempt: bytes,
        source: Address,
        now: float,
        use: bytes = ANNOUNCING,
    ) -> bool:
        """Whether it was made for these in this or the previous bucket of time."""
        bucket = int(now // timing.COOKIE_BUCKET)
        return cookie != NO_COOKIE and any(
            hmac.compare_digest(cookie, self._mac(record, attempt, source, each, use))
            for each in (bucket, bucket - 1)
        )

    def _mac(
        self, record: EndRecord, attempt: bytes, source: Address, bucket: int, use: bytes
    ) -> bytes:
        message = pack_address(source) + record.place + attempt
        message += record.pair.epoch.to_bytes(8, "big")
        message += bucket.to_bytes(8, "big", signed=True) + use
        return hmac.digest(self._secret, message, "sha256")[:COOKIE_LENGTH]

    def is_new(
        self,
        record: EndRecord,
        attempt: bytes,
        counter: int,
        source: bytes,
        use: bytes = ANNOUNCING,
    ) -> bool:
        """Whether this datagram is no replay, as far as is remembered."""
        return self._replays.is_new(record.place + _once(attempt, counter) + source + use)

    def may_register(self, record: EndRecord, now: float) -> bool:
        """Whether one more attempt of this end may be registered without a cookie."""
        return self._newcomers.take(record.place, now)

    def may_answer(self, record: EndRecord, source: bytes, now: float) -> bool:
        """Whether the host of `source` (19 bytes) may be sent one more datagram because of this
        end, of which nothing is proved but maybe the host. By its host alone: a forger chooses
        ports at will, and which of a pair's ends to replay."""
        own = record.registration
        if own is not None and own.is_proved and own.source[HOST_PART] == source[HOST_PART]:
            return self._surveys.take(record.place, now)
        return self._strangers.take(record.pair.tag + source[HOST_PART], now)
