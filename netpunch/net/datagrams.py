"""Programs' datagrams on their way between a program's socket and the link's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from netpunch.wire.envelope import Buffer


class Datagrams(NamedTuple):
    """Some datagrams in order, with their lengths in bytes. `parts` are their buffers: one each, or
    a single one that has them all, one after the other. A view is valid until its owner receives
    again, which is after the next return to the loop at the earliest: who wants it for longer takes
    a copy."""

    parts: Sequence[Buffer]
    lengths: Sequence[int]

    @property
    def each(self) -> Sequence[Buffer]:
        """One by one."""
        if len(self.parts) == len(self.lengths):
            return self.parts
        (whole,) = self.parts
        return [whole[start:end] for start, end in pairwise(accumulate(self.lengths, initial=0))]


def one(datagram: Buffer) -> Datagrams:
    """It alone."""
    return Datagrams((datagram,), (len(datagram),))


def separate(buffers: Sequence[Buffer]) -> Datagrams:
    """One buffer each."""
    return Datagrams(buffers, list(map(len, buffers)))
