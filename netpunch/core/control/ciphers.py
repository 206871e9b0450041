"""The ciphers of a control: those of the ends heard lately, and nonces that never repeat."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sized
from itertools import chain, repeat
from struct import Struct

from netpunch.core.control.registrations import EndRecord
from netpunch.core.machine import Random
from netpunch.wire.envelope import Cipher, opener, sealer
from netpunch.wire.keys import KEY_LENGTH, control_channel_keys

CIPHERS_KEPT = 1024
"""Ends whose ciphers are kept. A pair of ciphers takes 5 KB, like a dozen registered ends, and
2 µs to make from the keys of its end, which are kept: deriving those takes 7 µs more."""
FEW_CIPHERS_KEPT = 128
"""The same of a control of more pairs than CIPHERS_KEPT: each end is heard again after all others,
so none would be found, but for those that are being linked."""
NONCE_RANDOM_LENGTH = 8
NONCE_COUNTS = 1 << 32
"""Of a counter of 32 bits."""
_pack_nonce = Struct(f"!{NONCE_RANDOM_LENGTH}sI").pack


class Ciphers:
    """Makes the ciphers of end records, and takes the oldest away. `served` are the pairs of the
    control: their number decides how many ends keep theirs."""

    def __init__(self, served: Sized) -> None:
        self._served = served
        self._records: deque[EndRecord] = deque()

    def make_decrypt(self, record: EndRecord) -> Cipher:
        """For a record without it."""
        self._keep(record)
        record.decrypt = opener(_keys(record)[:KEY_LENGTH])
        return record.decrypt

    def make_encrypt(self, record: EndRecord) -> Cipher:
        """At the first answer: an end of which only forgeries arrive never needs it."""
        self._keep(record)
        record.encrypt = sealer(_keys(record)[KEY_LENGTH:])
        return record.encrypt

    def _keep(self, record: EndRecord) -> None:
        """If this is its first one, the records whose ciphers are oldest lose theirs."""
        if record.has_ciphers:
            return
        kept = CIPHERS_KEPT if len(self._served) <= CIPHERS_KEPT else FEW_CIPHERS_KEPT
        while len(self._records) >= kept:
            self._records.popleft().forget_ciphers()
        self._records.append(record)


def _keys(record: EndRecord) -> bytes:
    """Those of what the end says, and of what control says. Of both ends they are derived when the
    first is heard."""
    pair = record.pair
    if len(pair.keys) == KEY_LENGTH:
        pair.keys += control_channel_keys(pair.key, "a") + control_channel_keys(pair.key, "b")
    at = 3 * KEY_LENGTH if record.flag else KEY_LENGTH
    return pair.keys[at : at + 2 * KEY_LENGTH]


def nonces(random: Random, counts: int = NONCE_COUNTS) -> Iterator[bytes]:
    """Nonces without end, each given once; `counts` of them have the same random part.

    A control answers every authentic datagram, recordings too, for as long as somebody replays
    them at full speed. Random nonces may repeat after 2^32 datagrams under one key, a matter of
    hours. These have a random half, drawn anew for every 2^32 of them, and a counter: all that
    the boots of a control and its neighbours ever draw is far from repeating."""
    draws = iter(lambda: random(NONCE_RANDOM_LENGTH), b"")
    # All of it is done by C code: a control needs one for each datagram.
    return chain.from_iterable(map(_pack_nonce, repeat(drawn), range(counts)) for drawn in draws)
