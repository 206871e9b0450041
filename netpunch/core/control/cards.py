"""The sealed cards of ends that want to be linked, for their partners.

A card is three times as large as all else that a control knows of an end. It is kept until the
partner comes. Then both are introduced, and from now on it serves only if that was lost, or if one
of them has a new card to offer: those of the pairs that were introduced last are kept. An end whose
card has gone counts as one on standby: it is told of its partner, announces itself at once, and
both are introduced again.
"""

from __future__ import annotations

from collections import OrderedDict

from netpunch.core.control.registrations import EndRecord, Pair
from netpunch.wire.v2 import Purpose

INTRODUCED_PAIRS_KEPT = 1024
"""One MiB. Ends that were introduced link within a second, or begin anew."""

_PUNCH = int(Purpose.PUNCH)


class Cards:
    """Cards by the records of their ends."""

    def __init__(self) -> None:
        self._cards: dict[EndRecord, bytes] = {}
        self._introduced: OrderedDict[Pair, None] = OrderedDict()

    def take(self, record: EndRecord, purpose: int, card: bytes) -> None:
        """What this end has announced. One on standby is not introduced: its card is not kept."""
        if purpose == _PUNCH:
            self._cards[record] = card
        else:
            self.forget(record)

    def of(self, record: EndRecord) -> bytes | None:
        """The card of an end, if it is kept."""
        return self._cards.get(record)

    def introduced(self, pair: Pair) -> None:
        """Its ends have been given each other's cards. Those of the pair of which this was said
        longest ago may go."""
        introduced = self._introduced
        introduced[pair] = None
        introduced.move_to_end(pair)
        if len(introduced) > INTRODUCED_PAIRS_KEPT:
            oldest, _ = introduced.popitem(last=False)
            for record in oldest.records:
                self._cards.pop(record, None)

    def forget(self, record: EndRecord) -> None:
        """The end is here no longer. If its partner is, that one waits again."""
        if self._cards.pop(record, None) is not None:
            self._introduced.pop(record.pair, None)
