"""The places that a control keeps for the ends of its pairs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from netpunch.core.control.slots import Slot
from netpunch.wire.envelope import END_B, Cipher, EndName, opener, sealer
from netpunch.wire.keys import KEY_LENGTH, control_channel_keys, pair_tag

CIPHERS_KEPT = 1024
"""Ends whose ciphers are kept. A pair of ciphers takes 5 KB, as much as five registrations, and
2 µs to make from the keys of its end, which are kept: deriving those takes 7 µs more."""


class EndRecord(Slot):
    """One end's place: its slot, whose it is, and its ciphers while they are at hand.

    `flag` is its end's bit in the kind byte."""

    __slots__ = ("awaits_expiry", "decrypt", "encrypt", "end", "flag", "keys", "pair", "partner")

    partner: EndRecord

    def __init__(self, pair: Pair, end: EndName) -> None:
        super().__init__()
        self.pair = pair
        self.end = end
        self.flag = END_B if end == "b" else 0
        self.decrypt: Cipher | None = None
        self.encrypt: Cipher | None = None
        self.keys: bytes | None = None
        """Of its ciphers, once they were needed."""
        self.awaits_expiry = False


class Pair:
    """A pair that a control serves. Its key never shows in a repr."""

    __slots__ = ("a", "b", "key", "name", "tag")

    def __init__(self, name: str, key: bytes) -> None:
        self.name = name
        self.key = key
        self.tag = pair_tag(name)
        self.a = EndRecord(self, "a")
        self.b = EndRecord(self, "b")
        self.a.partner, self.b.partner = self.b, self.a


class EndRecords:
    """All records of a control. `by_tag` finds a pair by the tag of a datagram."""

    def __init__(self, pairs: Mapping[str, bytes]) -> None:
        self.by_tag: dict[bytes, Pair] = {}
        self._with_ciphers: deque[EndRecord] = deque()
        self.replace(pairs)

    def replace(self, pairs: Mapping[str, bytes]) -> list[Pair]:
        """Serves these pairs from now on; unchanged ones keep their records. Returns those that are
        gone."""
        kept = {
            pair.name: pair for pair in self.by_tag.values() if pairs.get(pair.name) == pair.key
        }
        gone = [pair for pair in self.by_tag.values() if pair.name not in kept]
        served = (kept.get(name) or Pair(name, key) for name, key in pairs.items())
        self.by_tag = {pair.tag: pair for pair in served}
        return gone

    def all(self) -> Iterator[EndRecord]:
        for pair in self.by_tag.values():
            yield pair.a
            yield pair.b

    def make_decrypt(self, record: EndRecord) -> Cipher:
        """For a record that has none; whose was made first loses his."""
        if len(self._with_ciphers) == CIPHERS_KEPT:
            oldest = self._with_ciphers.popleft()
            oldest.decrypt = oldest.encrypt = None
        self._with_ciphers.append(record)
        record.decrypt = opener(self._keys(record)[:KEY_LENGTH])
        return record.decrypt

    def make_encrypt(self, record: EndRecord) -> Cipher:
        """At the first answer: who only ever gets forgeries never needs it."""
        record.encrypt = sealer(self._keys(record)[KEY_LENGTH:])
        return record.encrypt

    def _keys(self, record: EndRecord) -> bytes:
        if record.keys is None:
            record.keys = control_channel_keys(record.pair.key, record.end)
        return record.keys
