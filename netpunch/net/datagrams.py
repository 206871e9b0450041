"""Programs' datagrams on their way between a program's socket and the link's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple, Protocol

Buffer = bytes | memoryview
"""A view is valid until its owner receives again, which is after the next return to the loop at the
earliest: who wants it for longer takes a copy."""


class Datagrams(NamedTuple):
    """Some datagrams in order, with their lengths in bytes. `parts` are their buffers: one each, or
    a single one that has them all, one after the other."""

    parts: Sequence[Buffer]
    lengths: Sequence[int]

    @property
    def each(self) -> Sequence[Buffer]:
        """One by one."""
        if len(self.parts) == len(self.lengths):
            return self.parts
        (whole,) = self.parts
        return [whole[start:end] for start, end in pairwise(accumulate(self.lengths, initial=0))]


class Transform(Protocol):
    """What a link does to programs' datagrams on their way, such as sealing them. Both methods get
    datagrams in order, as many as came at once, and give back what is to be sent instead, in
    order. What they leave out is dropped, and theirs to count. They keep no view that they get."""

    def seal(self, datagrams: Sequence[Buffer], /) -> list[bytes]:
        """From the program, to the partner."""

    def open(self, datagrams: Sequence[Buffer], /) -> list[bytes]:
        """From the partner, or from whoever sends from its address, to the program."""


def separate(datagrams: Sequence[Buffer]) -> Datagrams:
    """One buffer each."""
    return Datagrams(datagrams, list(map(len, datagrams)))
