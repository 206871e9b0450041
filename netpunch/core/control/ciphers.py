"""The ciphers of a control: those of the ends heard lately, and nonces that never repeat."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain, repeat
from struct import Struct

from netpunch.core.control.registrations import EndRecord
from netpunch.core.machine import Random
from netpunch.wire.envelope import Cipher, opener, sealer
from netpunch.wire.keys import KEY_LENGTH, control_channel_keys

CIPHERS_KEPT = 1024
"""Ends whose ciphers are kept. A pair of ciphers takes 5 KB, as much as five registrations, and
2 µs to make from the keys of its end, which are kept: deriving those takes 7 µs more."""
NONCE_RANDOM_LENGTH = 8
NONCE_COUNTS = 1 << 32
"""Of a counter of 32 bits."""
_pack_nonce = Struct(f"!{NONCE_RANDOM_LENGTH}sI").pack


class Ciphers:
    """Makes the ciphers of end records, and takes the oldest away."""

    def __init__(self) -> None:
        self._records: deque[EndRecord] = deque()

    def make_decrypt(self, record: EndRecord) -> Cipher:
        """For a record without ciphers; the record whose ciphers are oldest loses them."""
        if len(self._records) == CIPHERS_KEPT:
            oldest = self._records.popleft()
            oldest.decrypt = oldest.encrypt = None
        self._records.append(record)
        record.decrypt = opener(_keys(record)[:KEY_LENGTH])
        return record.decrypt

    def make_encrypt(self, record: EndRecord) -> Cipher:
        """At the first answer: an end of which only forgeries arrive never needs it."""
        record.encrypt = sealer(_keys(record)[KEY_LENGTH:])
        return record.encrypt


def _keys(record: EndRecord) -> bytes:
    if record.keys is None:
        record.keys = control_channel_keys(record.pair.key, record.end)
    return record.keys


def nonces(random: Random, counts: int = NONCE_COUNTS) -> Iterator[bytes]:
    """Nonces without end, each given once; `counts` of them have the same random part.

    A control answers every authentic datagram, recordings too, for as long as somebody replays
    them at full speed. Random nonces may repeat after 2^32 datagrams under one key, a matter of
    hours. These have a random half, drawn anew for every 2^32 of them, and a counter: all that
    the boots of a control and its neighbours ever draw is far from repeating."""
    draws = iter(lambda: random(NONCE_RANDOM_LENGTH), b"")
    # All of it is done by C code: a control needs one for each datagram.
    return chain.from_iterable(map(_pack_nonce, repeat(drawn), range(counts)) for drawn in draws)
