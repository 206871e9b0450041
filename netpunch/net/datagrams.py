"""Programs' datagrams on their way between a program's socket and the link's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from netpunch.wire.envelope import Buffer


class Datagrams(NamedTuple):
    """Some datagrams in order: buffers, and how many bytes each has. A buffer has one datagram, or,
    if `cuts` has a number for it, several of so many bytes, of which the last may be shorter; no
    `cuts` if no buffer has several. A view is valid until its owner receives again, which is after
    the next return to the loop at the earliest: who wants it for longer takes a copy."""

    parts: Sequence[Buffer]
    lengths: Sequence[int]
    cuts: Sequence[int] | None = None

    @property
    def total(self) -> int:
        """How many they are."""
        return len(self.lengths) if self.cuts is None else sum(map(pieces, self.lengths, self.cuts))

    @property
    def longest(self) -> int:
        """In bytes."""
        _, lengths, cuts = self
        if cuts is None:
            return max(lengths)
        return max(cut or length for length, cut in zip(lengths, cuts, strict=True))

    @property
    def each(self) -> Sequence[Buffer]:
        """One by one."""
        parts, lengths, cuts = self
        if cuts is None:
            return parts
        return [
            part[start : start + (cut or length)]
            for part, length, cut in zip(parts, lengths, cuts, strict=True)
            for start in (range(0, length, cut) if cut else (0,))
        ]

    @property
    def by_part(self) -> Iterator[Datagrams]:
        """The same, those of one buffer at a time if any has several."""
        parts, lengths, cuts = self
        if cuts is None:
            yield self
            return
        for part, length, cut in zip(parts, lengths, cuts, strict=True):
            yield Datagrams((part,), (length,), (cut,) if cut else None)


def one(datagram: Buffer) -> Datagrams:
    """It alone."""
    return Datagrams((datagram,), (len(datagram),))


def separate(buffers: Sequence[Buffer]) -> Datagrams:
    """One buffer each."""
    return Datagrams(buffers, list(map(len, buffers)))


def pieces(length: int, cut: int) -> int:
    """How many datagrams a buffer of this length has."""
    return -(-length // cut) if cut else 1
